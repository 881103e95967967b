"""Run folders and their processes."""
