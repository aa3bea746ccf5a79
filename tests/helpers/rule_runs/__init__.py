"""Runs that have what a rule is for, and runs that just miss it, by what the rules judge."""
