"""Building segments, detecting edits, surfaces, and segmentation files."""
