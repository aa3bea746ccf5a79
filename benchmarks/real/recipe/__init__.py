"""How a run is trained: settings, planted faults, and the loop."""
