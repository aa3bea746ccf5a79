"""From event files, or what TensorBoard hands out, to the records of a run."""
