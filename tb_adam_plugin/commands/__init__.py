"""The commands of ``adam-debug``, one per file, and their exit codes."""
