"""Checks the user's arguments, and finds the parameters, their names and their groups."""
