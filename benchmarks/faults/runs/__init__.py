"""The runs: faults to plant, what is rightly varied, and how they are trained and recorded."""
