"""Which part of a parameter this process has, if several processes train one model."""
