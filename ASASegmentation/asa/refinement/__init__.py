"""Interactive refinement: user marks on a segmentation -> corrected segments and posterior."""

from __future__ import annotations

from asa.refinement.marks import Mark, MarkSet, read_marks
from asa.refinement.session import Refinement, Start

__all__ = ["Mark", "MarkSet", "Refinement", "Start", "read_marks"]
