"""Reads a parameter's tensors, whole or through a sample of lines, in any memory layout."""
