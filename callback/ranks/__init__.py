"""Which process records what, and the messages between processes that train one model."""
