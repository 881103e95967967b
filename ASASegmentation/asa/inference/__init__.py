"""Segmentation of scans with trained models."""

from asa.inference.result import SegmentResult
from asa.inference.segment import segment
from asa.request import SegmentRequest

__all__ = ["SegmentRequest", "SegmentResult", "segment"]
