"""Evaluation of label maps, and result tables."""
