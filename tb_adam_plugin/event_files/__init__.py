"""Event files read directly: where records lie, and what is in them."""
