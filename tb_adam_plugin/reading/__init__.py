"""From event files, or from TensorBoard's data provider, to the records of a run."""
