"""Time and memory: a whole segmentation against the peers, one forward pass against other networks, HD95."""
