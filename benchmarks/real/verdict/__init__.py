"""What the rules say of the recordings, beside the harm that was done."""
