"""One step, from its start to its record."""
