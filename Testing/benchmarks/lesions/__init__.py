"""Lesion models on cases they were not trained on: every subset of their modalities, region by region."""
