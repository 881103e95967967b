"""Segmentation of scans with trained models."""

from asa.inference.request import SegmentRequest, SegmentResult
from asa.inference.segment import segment

__all__ = ["SegmentRequest", "SegmentResult", "segment"]
