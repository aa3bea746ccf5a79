"""What is asked of a step besides its tensors: whether it counts, and what it was worth."""
