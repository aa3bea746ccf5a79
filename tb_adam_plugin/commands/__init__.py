"""The commands of ``adam-debug``, a file each, and what they end with."""
