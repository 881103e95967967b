"""Intensities as the networks see them, in training and inference alike."""
