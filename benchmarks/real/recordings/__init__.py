"""Which runs there are, where their recordings are kept, and how the missing ones are trained."""
