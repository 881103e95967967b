"""Scores of label maps, and tables of them."""
