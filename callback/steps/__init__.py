"""One step from its beginning to its record."""
