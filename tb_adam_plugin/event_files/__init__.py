"""Reads event files directly: where records are, and what they contain."""
