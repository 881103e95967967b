"""Requests run from beginning to end: segmentation, correction, comparison of visits, and their result folders."""
