"""The tab Inspect."""
