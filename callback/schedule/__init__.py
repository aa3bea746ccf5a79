"""When a step is recorded, what that may cost, and what calls for a closer look."""
