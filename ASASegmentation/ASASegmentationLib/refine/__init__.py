"""Correction of segments by marks: from strokes in slice views to previews and changes. Without Qt."""
