"""Building blocks of rules: a run as arrays, derived values, conditions, stretches, wording."""
