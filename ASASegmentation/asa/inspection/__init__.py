"""Inspection of pre-trained encoders: importance, masks, reconstructions, attention."""
