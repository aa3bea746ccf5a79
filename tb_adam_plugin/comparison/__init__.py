"""How runs differ: in their settings, in their losses, and in the statistics of their tensors."""
