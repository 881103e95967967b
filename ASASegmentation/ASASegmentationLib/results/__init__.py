"""Results in the scene and their export."""
