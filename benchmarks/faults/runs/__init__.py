"""The runs: faults to plant, healthy variations, and how they are trained and recorded."""
