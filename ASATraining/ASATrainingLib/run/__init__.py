"""Tab Run."""
