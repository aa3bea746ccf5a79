"""Data, networks, and the tasks that combine them."""
