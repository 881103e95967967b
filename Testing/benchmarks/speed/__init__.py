"""Time and memory: a whole segmentation beside the peers, one forward pass beside other networks, HD95 beside MONAI."""
