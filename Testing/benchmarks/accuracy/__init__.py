"""Accuracy of tissue segmentation beside classical classifiers, on heads with manual labels."""
