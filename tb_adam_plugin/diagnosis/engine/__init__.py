"""What rules are made of: a run as arrays, what is computed of it, conditions, stretches, words."""
