"""What the rules say of the recordings, counted."""
