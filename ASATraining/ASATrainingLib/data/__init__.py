"""Tab Data."""
