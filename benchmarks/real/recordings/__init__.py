"""Which runs there are, where their recordings are kept, and how missing ones are trained."""
