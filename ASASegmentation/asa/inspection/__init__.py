"""What a pre-trained encoder sees in a scan."""
