"""Training module in Slicer: data, runs, monitoring, inspection and publishing."""
