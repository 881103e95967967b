"""Evaluation metrics on (T, H, W) masks and label maps, in millimetres and millilitres; numpy and scipy only."""

from asa.metrics.case import score_case
from asa.metrics.lesions import LesionScores, lesion_scores
from asa.metrics.overlap import dice, precision, sensitivity, volume_error
from asa.metrics.statistics import Comparison, Summary, compare, holm, paired_wilcoxon, summarise
from asa.metrics.surface import hausdorff95, normalised_surface_dice, pooled_hausdorff95

__all__ = [
    "Comparison",
    "LesionScores",
    "Summary",
    "compare",
    "dice",
    "hausdorff95",
    "holm",
    "lesion_scores",
    "normalised_surface_dice",
    "paired_wilcoxon",
    "pooled_hausdorff95",
    "precision",
    "score_case",
    "sensitivity",
    "summarise",
    "volume_error",
]
