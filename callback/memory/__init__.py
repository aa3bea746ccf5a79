"""Memory that lasts from record to record, and transfers to and from the host."""
