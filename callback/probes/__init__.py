"""Questions about a step beyond its tensors: whether it counts, and how much it gained."""
