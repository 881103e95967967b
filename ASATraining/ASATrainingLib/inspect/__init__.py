"""Tab Inspect."""
