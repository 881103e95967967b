"""Which loaded volume is meant for which modality."""
