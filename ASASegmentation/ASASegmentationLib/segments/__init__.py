"""Segments: how they are built, what was edited, surfaces, and the file of them."""
