"""Runs in which a rule should fire, and runs that just miss it."""
