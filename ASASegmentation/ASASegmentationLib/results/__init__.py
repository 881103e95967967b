"""Results in the scene, and on their way out of it."""
