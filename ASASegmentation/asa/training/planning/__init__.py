"""Planning a run: presets, settings schema, and an estimate of its requirements."""
