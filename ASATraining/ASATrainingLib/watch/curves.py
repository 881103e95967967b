"""Group the curves of a run into charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from slicer.i18n import tr as _

from ASATrainingLib.watch.events import Curves, decimated, smoothed

_BUCKETS = 1000  # plot views are rarely wider in pixels
_SMOOTH_PARTS = 60
_SMOOTH_FROM = 120
# Colour-blind safe palette (Okabe and Ito), for white and black backgrounds.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    (0.0, 0.45, 0.70), (0.90, 0.50, 0.0), (0.0, 0.62, 0.45), (0.84, 0.30, 0.05), (0.75, 0.45, 0.65), (0.62, 0.68, 0.74)
)  # fmt: skip
_CYCLE = (BLUE, ORANGE, GREEN, PURPLE, RED)


@dataclass(frozen=True)
class Curve:
    """One line of a chart: `steps` and `values` ready to be drawn, `colour` 0..1, `width` in pixels."""

    title: str
    steps: np.ndarray
    values: np.ndarray
    colour: tuple[float, float, float]
    width: float = 2.0
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes. `key` identifies the chart across updates."""

    key: str
    title: str
    axis: str
    curves: tuple[Curve, ...] = ()


def charts(found: Curves) -> list[Chart]:
    """Return the charts of a run, without empty ones."""
    drawn = [
        Chart("loss", _("Loss"), _("loss"), tuple(_losses(found))),
        _scores(found),
        Chart("lr", _("Learning rate"), _("learning rate"), _single(found, "lr", BLUE)),
        Chart("speed", _("Throughput"), _("samples / s"), _single(found, "samples_per_second", GREEN)),
        Chart("remaining", _("Remaining time"), _("minutes"), _single(found, "remaining_s", PURPLE, 1 / 60)),
    ]
    return [chart for chart in drawn if chart.curves]


def regions(found: Curves) -> list[str]:
    """Return the names of regions with a held-out Dice score."""
    return [name.removeprefix("dice ") for kind, name in found.series if kind == "validation" and name[:5] == "dice "]


def _losses(found: Curves) -> Sequence[Curve]:
    curves = []
    if ("step", "loss") in found.series:
        steps, values = found.series["step", "loss"].arrays()
        curves.append(Curve(_("training"), *decimated(steps, values, _BUCKETS), GREY, 1.0))
        if len(steps) >= _SMOOTH_FROM:
            mean = smoothed(values, len(values) // _SMOOTH_PARTS)
            curves.append(Curve(_("training, moving average"), *decimated(steps, mean, _BUCKETS), BLUE))
    if ("validation", "loss") in found.series:
        steps, values = found.series["validation", "loss"].arrays()
        curves.append(Curve(_("held out"), *decimated(steps, values, _BUCKETS), ORANGE, 2.0, True))
    return curves


def _scores(found: Curves) -> Chart:
    """Return the Dice of each region, or for runs without regions the other held-out metrics."""
    names = [f"dice {region}" for region in regions(found)]
    title, axis = _("Dice, held out"), _("Dice")
    if not names:
        names = [name for kind, name in found.series if kind == "validation" and name not in _NO_SCORES]
        title, axis = _("Held out"), _("value")
    curves = []
    for number, name in enumerate(names):
        steps, values = found.series["validation", name].arrays()
        colour = _CYCLE[number % len(_CYCLE)]
        label = name.removeprefix("dice ").replace("_", " ")
        curves.append(Curve(label, *decimated(steps, values, _BUCKETS), colour, 2.0, True))
    return Chart("scores", title, axis, tuple(curves))


_NO_SCORES = ("loss", "score", "attentive_sum")


def _single(found: Curves, name: str, colour: tuple[float, float, float], scale: float = 1.0) -> tuple[Curve, ...]:
    if ("step", name) not in found.series:
        return ()
    steps, values = found.series["step", name].arrays()
    return (Curve(name.replace("_", " "), *decimated(steps, values * scale, _BUCKETS), colour),)
