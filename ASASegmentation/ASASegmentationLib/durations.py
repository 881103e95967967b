"""How far a segmentation is and how long it will take, from how long the last ones took on this computer."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from asa.events import Progress, part_of_stage
from ASASlicerLib.store import Store

_KEY = "ASASegmentation/durations"
# Seconds until a stage was timed here. A job takes 12.8 s in Testing/benchmarks/results/speed.md; how it is divided is
# rough, and only the proportions matter, because the pace of the running segmentation is measured.
_UNTIMED_S = {
    "preparing": 3.0, "reading": 0.5, "aligning": 4.0, "network": 3.0, "labelling": 1.1, "writing": 1.2,
    "surfaces": 3.0, "adding": 1.0,
}  # fmt: skip
_RUNS, _KINDS = 5, 20  # how many are remembered
_MOST_OF_A_STAGE = 0.95  # that a stage without fractions of its own reaches before it ends
_LEAST_PART = 0.01  # fractions of the whole are rounded
_PACED_FROM = 0.1  # fraction of the whole from which on the pace is known


@dataclass(frozen=True)
class Estimate:
    """State of a running segmentation: `fraction` is 0 to 1, times are in seconds, `remaining_s` None if unknown."""

    stage: str
    fraction: float
    elapsed_s: float
    remaining_s: float | None


class Durations:
    """Times the stages of one segmentation at a time, and remembers those of the last few.

    `store` keeps them for the next session. A kind of segmentation is a text: what it depends on how long one takes.
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now = store, now
        self._kind = ""
        self._began: dict[str, float] = {}  # stage -> when it began; empty if nothing is being timed
        self._part = 0.0  # of the current stage, as it reported
        self._fraction = 0.0

    def total_s(self, kind: str) -> float | None:
        """Return how long a segmentation of a kind takes, in seconds; None if none was timed on this computer."""
        known = self._known().get(kind)
        return sum(_medians(known).values()) if known else None

    def start(self, kind: str) -> None:
        """Begin with the first stage."""
        self._kind, self._began = kind, {"preparing": self._now()}
        self._part = self._fraction = 0.0

    def take(self, progress: Progress) -> None:
        """Note how far the segmentation is."""
        if self._began and progress.stage in _UNTIMED_S:
            self._began.setdefault(progress.stage, self._now())
            self._part = part_of_stage(progress)

    def finish(self) -> None:
        """Remember the durations of a segmentation that is complete."""
        if not self._began:
            return
        ends = [*list(self._began.values())[1:], self._now()]
        took = {stage: round(end - begin, 2) for (stage, begin), end in zip(self._began.items(), ends, strict=True)}
        self._began = {}
        known = self._known()
        runs = [*known.pop(self._kind, []), took][-_RUNS:]
        kept = dict(list(known.items())[-_KINDS + 1 :])
        self._store.setValue(_KEY, json.dumps({**kept, self._kind: runs}))

    def estimate(self) -> Estimate | None:
        """Return the state of the running segmentation, None if none is timed; its fraction never decreases."""
        if not self._began:
            return None
        known = self._known().get(self._kind)
        expected = _medians(known) if known else dict(_UNTIMED_S)
        stage, began = list(self._began.items())[-1]
        expected.setdefault(stage, _UNTIMED_S[stage])
        order = list(_UNTIMED_S)
        before = sum(s for name, s in expected.items() if order.index(name) < order.index(stage))
        total = max(sum(expected.values()), 1e-3)
        elapsed, waited = self._now() - next(iter(self._began.values())), self._now() - began
        paced = before >= _PACED_FROM * total
        pace = (elapsed - waited) / before if paced else 1.0
        here = max(expected[stage] * pace, 1e-3)
        part = self._part if self._part > _LEAST_PART else min(_MOST_OF_A_STAGE, waited / here)
        self._fraction = max(self._fraction, min(1.0, (before + part * expected[stage]) / total))
        remaining = pace * total * (1 - self._fraction) if known or paced else None
        return Estimate(stage, self._fraction, elapsed, remaining)

    def _known(self) -> dict[str, list[Mapping[str, float]]]:
        """Return kind -> durations of its last runs; what is stored may be damaged or of another version."""
        try:
            stored = json.loads(str(self._store.value(_KEY) or "{}"))
        except ValueError:
            return {}
        if not isinstance(stored, dict):
            return {}
        found = {kind: [run for run in runs if _valid(run)] for kind, runs in stored.items() if isinstance(runs, list)}
        return {kind: runs for kind, runs in found.items() if runs}


def _valid(run: object) -> bool:
    return (
        isinstance(run, dict)
        and bool(run)
        and set(run) <= set(_UNTIMED_S)
        and all(type(s) in (int, float) and math.isfinite(s) and s >= 0 for s in run.values())
    )


def _medians(runs: list[Mapping[str, float]]) -> dict[str, float]:
    """Return stage -> seconds, in the order of the stages."""
    return {
        stage: statistics.median(run[stage] for run in runs if stage in run)
        for stage in _UNTIMED_S
        if any(stage in run for run in runs)
    }
