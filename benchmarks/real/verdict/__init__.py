"""Compares the findings in the recordings with the harm that was done."""
