"""Who records what, and what the processes that train one model tell one another."""
