"""Tab Publish."""
