"""Finds the C kernel for the CPU. It is optional."""
