"""Reduces the tensors of a step to statistics and histograms."""
