"""A kernel in C for the CPU: how it is found. It may be missing, and nothing needs it."""
