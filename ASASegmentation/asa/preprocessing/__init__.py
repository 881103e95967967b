"""Intensity normalisation, shared by training and inference."""
