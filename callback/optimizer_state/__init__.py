"""Adapters: one optimizer family per file. See :mod:`.base` for the interface."""
