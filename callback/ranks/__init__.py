"""Who says what to whom, where several processes train one model."""
