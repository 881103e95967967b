"""Data: prepared scans, and where they come from."""
