"""Before a run: presets, settings as a form, and an estimate of what it needs."""
