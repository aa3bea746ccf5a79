"""Reduces a step's tensors to statistics and histograms."""
