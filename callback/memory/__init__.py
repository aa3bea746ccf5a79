"""Where numbers lie: what lasts from record to record, and the way to and from the host."""
