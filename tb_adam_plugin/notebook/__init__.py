"""How a run shows itself in a notebook: pictures as SVG, findings as HTML."""
