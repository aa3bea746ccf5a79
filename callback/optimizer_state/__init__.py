"""Adapters: one family of optimizers a file. See :mod:`.base` for what each one answers."""
