"""Suggest which loaded volume belongs to which modality."""
