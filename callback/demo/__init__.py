"""Small trainings that go wrong on purpose, for `adam-debug demo` and the gallery."""
