"""Tab Watch."""
