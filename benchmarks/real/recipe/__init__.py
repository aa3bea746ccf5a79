"""How a run is trained: settings, what is planted in them, and the loop."""
