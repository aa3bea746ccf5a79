"""The findings of the rules in the recordings, counted."""
