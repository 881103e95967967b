"""Segmentation of scans with trained models."""

from asa.inference.segment import SegmentRequest, SegmentResult, segment

__all__ = ["SegmentRequest", "SegmentResult", "segment"]
