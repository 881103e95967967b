"""Correction of segments with marks: from strokes in slice views to previews and changes. Without Qt."""
