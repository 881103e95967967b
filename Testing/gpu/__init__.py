"""Checks of what only a GPU shows."""
