"""Accuracy of tissue segmentation compared with classical classifiers, on heads with manual labels."""
