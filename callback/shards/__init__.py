"""What of a parameter is in this process, where several of them train one model."""
