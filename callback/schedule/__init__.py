"""When to record a step, what that may cost, and what triggers a closer look."""
