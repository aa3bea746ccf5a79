"""All tensors of a device in one pass, by a Triton kernel."""
