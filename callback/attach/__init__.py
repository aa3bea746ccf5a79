"""Checks what the user gave, and finds the parameters, their names and their groups."""
