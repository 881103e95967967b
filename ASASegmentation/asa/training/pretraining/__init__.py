"""Self-supervised pre-training on scans without labels."""
