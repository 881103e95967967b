"""Match loaded volumes to modalities by name, DICOM tags and image contrast.

The evidence is weighted: a clear name outweighs tags, tags outweigh contrast. All volumes are assigned jointly, so that
of two T1s the one more likely to be contrast-enhanced is suggested as such.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asa.modalities.contrast import Contrast

# The DICOM attributes that tell sequences apart: keyword -> tag.
TAGS = {
    "SeriesDescription": "0008,103E",
    "ContrastBolusAgent": "0018,0010",
    "RepetitionTime": "0018,0080",
    "EchoTime": "0018,0081",
    "InversionTime": "0018,0082",
}
_NAME, _TAGS = 10.0, 6.0
_T1 = r"(t1(?!\d)|mp-?rage|bravo|spgr|tfl3d|3d.?tfe)"
_AGENT = (
    r"((?<![a-z])(ce|gd|gad\w*|km|post\w*|contrast\w*|enhanced)(?![a-z])"
    r"|\+\s*c|t1w?[\s_.-]*(ce|c|gd|gad|km)(?![a-z]))"
)
# The first match decides; "" marks volumes that are not inputs of any task.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("", r"(seg|label|mask|lesions?|posterior|uncertainty|adc|dwi|swi|bold|pd(w|\b))"),
    ("flair", r"(flair|dark.?fluid|tirm)"),
    ("t1", rf"(?=.*{_T1})(?=.*(?<![a-z])(pre|without|w/o|no|native)(?![a-z]))"),
    ("t1gd", rf"(?=.*{_T1})(?=.*{_AGENT})"),
    ("t1", _T1),
    ("t2", r"t2(?!\d|\*|.?star)"),
)


@dataclass(frozen=True)
class Candidate:
    """Properties of a volume used for matching.

    `tags`: DICOM attributes by keyword (SeriesDescription, EchoTime in ms, RepetitionTime in ms, InversionTime in ms,
    ContrastBolusAgent), empty if the volume is not from DICOM.
    """

    id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    contrast: Contrast | None = None


def named_modality(text: str) -> str | None:
    """Return the modality key in a name or description, "" if it names something else, None if it is inconclusive."""
    for key, pattern in _PATTERNS:
        if re.search(pattern, text, re.IGNORECASE):
            return key
    return None


def tagged_modality(tags: Mapping[str, str]) -> str | None:
    """Return the modality key from DICOM tags, or None: first the description, then the sequence timing."""
    described = named_modality(tags.get("SeriesDescription", ""))
    enhanced = bool(tags.get("ContrastBolusAgent", "").strip())
    if described is not None:
        return "t1gd" if described == "t1" and enhanced else described
    echo, repetition, inversion = (_number(tags, key) for key in ("EchoTime", "RepetitionTime", "InversionTime"))
    if echo is None:
        return None
    if echo < 30 and (repetition is None or repetition < 3500):
        return "t1gd" if enhanced else "t1"
    if echo > 60 and inversion is not None and inversion > 1500:
        return "flair"
    return "t2" if echo > 60 else None


def _number(tags: Mapping[str, str], key: str) -> float | None:
    try:
        return float(tags[key])
    except (KeyError, ValueError):
        return None


def identified_modality(candidate: Candidate) -> str | None:
    """Return the modality key from the name, otherwise from the tags; "" or None as in `named_modality`."""
    named = named_modality(candidate.name)
    return named if named is not None else tagged_modality(candidate.tags)


def score(candidate: Candidate, modality: str) -> float:
    """Return how well a volume fits a modality key; positive values are evidence for it."""
    total = 0.0
    for key, weight in ((named_modality(candidate.name), _NAME), (tagged_modality(candidate.tags), _TAGS)):
        if key is not None:
            total += weight if key == modality else -weight
    if candidate.contrast is not None:
        total += candidate.contrast.score(modality)
    return total


def propose(candidates: Sequence[Candidate], modalities: Sequence[str], required: Sequence[str]) -> dict[str, str]:
    """Return modality key -> id of the suggested volume; modalities without a match are omitted.

    A single volume is suggested for a single required modality unless its name or tags contradict it.
    """
    scores = {(c.id, m): score(c, m) for c in candidates for m in modalities}
    likely = sorted(candidates, key=lambda c: max(scores[c.id, m] for m in modalities), reverse=True)[:8]
    ids: list[str | None] = [*(c.id for c in likely), *([None] * len(modalities))]
    best: dict[str, str] = {}
    best_total = 0.0
    for chosen in itertools.permutations(ids, len(modalities)):
        pairs = [(m, i) for m, i in zip(modalities, chosen, strict=True) if i is not None and scores[i, m] > 0]
        total = sum(scores[i, m] for m, i in pairs)
        if total > best_total:
            best, best_total = dict(pairs), total
    if not best and len(candidates) == 1 and len(required) == 1:
        (only,) = candidates
        if identified_modality(only) is None:
            return {required[0]: only.id}
    return best
