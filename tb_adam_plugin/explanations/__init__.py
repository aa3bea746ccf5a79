"""What rules and statistics mean, from the documents, which are installed with the package."""
