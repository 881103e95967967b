"""Validated description of a model (model.json), shared by the engine and the panels.

Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from asa.entries import Entries, anything, distinct, each, flag, line, mapping, number, text, whole
from asa.errors import ModelError
from asa.tasks import TASKS

FORMAT = 1  # of model.json, the newest that is understood
_LONGEST = 1_000_000  # characters of a model.json; what follows is left out, so that it is no JSON
STANDARDISED = "standardised "  # begins the normalisation of scans whose background is found first

Range = tuple[float, float]
Box = tuple[Range, Range, Range]


class ZScore(Enum):
    """Which voxels give the mean and the standard deviation that intensities are scaled by."""

    FOREGROUND = "z-score"
    BRAIN = "brain z-score"
    CORRECTED_BRAIN = "N4, brain z-score"  # after correction of the bias field


@dataclass(frozen=True)
class Normalisation:
    """How intensities are scaled before the network sees them.

    Attributes:
        zscore: the voxels that are scaled by.
        standardised: whether the background of a scan is found, and set to 0, before it is resampled.
    """

    zscore: ZScore = ZScore.FOREGROUND
    standardised: bool = False

    @staticmethod
    def parse(text: str) -> Normalisation:
        """Read the entry ``normalisation``; the inverse of ``str``.

        Args:
            text: as :class:`ZScore` has it, with "standardised " in front where it applies. What follows
                "z-score" is a remark.

        Returns:
            The normalisation it names.

        Raises:
            ValueError: this version does not know it.
        """
        kind = text.removeprefix(STANDARDISED)
        zscore = ZScore.FOREGROUND if kind.startswith(ZScore.FOREGROUND.value) else ZScore(kind)
        return Normalisation(zscore, standardised=kind != text)

    def __str__(self) -> str:
        return f"{STANDARDISED if self.standardised else ''}{self.zscore.value}"

    @property
    def within_brain(self) -> bool:
        """Whether a brain mask is needed."""
        return self.zscore is not ZScore.FOREGROUND

    @property
    def corrects_bias(self) -> bool:
        return self.zscore is ZScore.CORRECTED_BRAIN


@dataclass(frozen=True)
class RegionRules:
    """Postprocessing of regions, each rule by the region's name.

    Attributes:
        thresholds: probability from which a region is there; 0.5 unless named.
        min_component_ml: volume in mL below which connected components are removed, and all regions within them.
        min_component_certainty: share of the certainty of the leading component, below which others are removed.
        asymmetry: difference in SD from the mirror image, below which components are removed.
        closing: radius of the ball that closes a component, as a share of the component's own radius.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_component_ml: Mapping[str, float] = field(default_factory=dict)
    min_component_certainty: Mapping[str, float] = field(default_factory=dict)
    asymmetry: Mapping[str, float] = field(default_factory=dict)
    closing: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MovedClass:
    """The probability of class ``source`` goes to class ``target`` within a box of the brain frame.

    Attributes:
        box_mm: (lowest, highest) right, anterior and superior of the template's origin, mm.
    """

    source: int
    target: int
    box_mm: Box


@dataclass(frozen=True)
class IntensityRule:
    """Two classes that share their voxels by intensity, and the weight of the network.

    Attributes:
        classes: the two, grey and white matter say.
        prior_power: exponent of the network's probability; below 1 the intensity counts for more.
        log_odds: added to those of the first class: where above 0, the border moves from half-way between the two
            means towards the second's, as it has to where annotators give shared voxels to the first.
        least: share of the two classes together below which a voxel keeps its posterior (borders with a third class).
        smoothing: standard deviation in mm of the Gaussian over which class means are taken.
        except_mm: boxes of the brain frame where the network alone decides: in the basal ganglia and the brain stem
            grey and white matter have other intensities.
    """

    classes: tuple[int, int]
    prior_power: float = 0.6
    log_odds: float = 0.0
    least: float = 0.8
    smoothing: float = 30.0
    except_mm: tuple[Box, ...] = ()


@dataclass(frozen=True)
class ModelDescription:
    """The content of a model.json as far as a program acts on it; the rest of the file is for people.

    Attributes:
        task: a key of :data:`asa.tasks.TASKS`, or ``pretraining``.
        modalities: modality keys in the order of the network's input channels.
        network: architecture; the package of the network checks it.
        optional_modalities: those it was trained to do without.
        regions: whether the network gives a probability of each nested region of the task, instead of classes.
        temperature: divides the logits.
        tta: whether test-time augmentation (left-right flip) is on unless a request says otherwise.
        doubts: sentences that make every result of a weak model doubtful.
        doubtful_below: Dice that the network's probabilities let expect of a region, below which its outline is
            doubtful; networks expect too much, so this is chosen on held-back patients.
        unknown_without: modality key -> names of the regions that cannot be known without it.
        subset_averaging: sets of modality keys that the network also sees alone, for an average of the answers.
        region_rules: postprocessing of regions.
        moved_classes: first step of the postprocessing of classes.
        intensity_rules: last step of the postprocessing of classes.
        steps: optimiser steps it was trained for.
        scores: data set -> structure -> mean Dice.
        weights_sha256: SHA-256 of the weights, 64 hexadecimal digits; "" in models of older versions.
    """

    name: str
    task: str
    modalities: tuple[str, ...]
    network: Mapping[str, Any]
    version: str = ""
    optional_modalities: tuple[str, ...] = ()
    regions: bool = False
    normalisation: Normalisation = Normalisation()
    temperature: float = 1.0
    tta: bool = False
    doubts: tuple[str, ...] = ()
    doubtful_below: float = 0.7
    unknown_without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    subset_averaging: tuple[frozenset[str], ...] = ()
    region_rules: RegionRules = RegionRules()
    moved_classes: tuple[MovedClass, ...] = ()
    intensity_rules: tuple[IntensityRule, ...] = ()
    steps: int = 0
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights_sha256: str = ""


def read_description(path: Path) -> ModelDescription:
    """Read a model.json.

    Raises:
        ModelError: it cannot be read, was written by a newer version, or an entry is missing or wrong.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:  # some editors of Windows begin a file with a mark
            content = stream.read(_LONGEST)
        values = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {_REMEDY}.") from error
    return check_description(values, str(path))


def check_description(values: object, where: str) -> ModelDescription:
    """Check the content of a model.json.

    Args:
        values: the JSON value of the whole file. Entries that are not named here are for people.
        where: the file, as messages name it.

    Returns:
        The description.

    Raises:
        ModelError: it was written for a newer version, or an entry is missing or wrong.
    """
    entries = Entries(values, where, ModelError, _REMEDY)
    if (version := entries.take("format", lambda v: whole(v, 1), "a whole number from 1", FORMAT)) > FORMAT:
        raise ModelError(f"{where} needs a newer version of ASA (format {version}); update ASA.")
    missing = [key for key in ("format", "name", "task", "modalities", "network") if key not in entries.values]
    if missing:
        raise ModelError(f"{where} lacks {', '.join(missing)}; {_REMEDY}.")
    task = entries.take("task", line, "a text on one line", "")
    problem = TASKS.get(task)  # None for a task that only a newer version knows, and for pre-training
    keys = None if problem is None else [modality.key for modality in problem.modalities]
    nothing: tuple[str, ...] = ()
    channels = entries.take(
        "modalities", lambda v: distinct(v, keys), f"a list of {_out_of('modalities', keys)}", nothing
    )
    if not channels:
        raise entries.fault("'modalities' is empty")
    given = f"a list of {_out_of('modalities', channels)}"
    names = None if problem is None else [region.name for region in problem.regions]
    classes = math.inf if problem is None else len(problem.labels)
    return ModelDescription(
        name=entries.take("name", line, "a text on one line", ""),
        task=task,
        modalities=channels,
        network=entries.take("network", lambda v: mapping(v, None, anything), "an object", {}),
        version=entries.take("version", line, "a text on one line", ""),
        optional_modalities=entries.take("optional_modalities", lambda v: distinct(v, channels), given, ()),
        regions=entries.take("output", ("classes", "regions").index, "'classes' or 'regions'", 0) == 1,
        normalisation=entries.take(
            "normalisation", lambda v: Normalisation.parse(text(v)), _NORMALISATIONS, Normalisation()
        ),
        temperature=entries.take("temperature", lambda v: number(v, _ABOVE_0), "a number above 0", 1.0),
        # older models call it flip_averaging
        tta=entries.take("tta", flag, "true or false", entries.take("flip_averaging", flag, "true or false", False)),
        doubts=entries.take("doubts", lambda v: each(v, text), "a list of sentences", ()),
        doubtful_below=entries.take("doubtful_below", lambda v: number(v, 0, 1), "a Dice from 0 to 1", 0.7),
        unknown_without=entries.take(
            "unknown_without",
            lambda v: mapping(v, channels, lambda one: distinct(one, names)),
            f"an object whose keys are {_out_of('modalities', channels)} and whose values are lists of "
            f"{_out_of('regions', names)}",
            {},
        ),
        subset_averaging=entries.take(
            "subset_averaging",
            lambda v: each(v, lambda one: frozenset(distinct(one, channels))),
            f"lists, each {given}",
            (),
        ),
        region_rules=_region_rules(entries, names),
        moved_classes=entries.parts("moved_classes", lambda part: _moved_class(part, classes)),
        intensity_rules=entries.parts("intensity_rules", lambda part: _intensity_rule(part, classes)),
        steps=entries.take("steps", whole, "a whole number", 0),
        scores=entries.take(
            "scores",
            lambda v: mapping(v, None, lambda found: mapping(found, None, number)),
            "an object that maps data sets to objects of structures and their mean Dice",
            {},
        ),
        weights_sha256=entries.take("weights_sha256", _digest, "64 hexadecimal digits", ""),
    )


_REMEDY = "correct the file or install the model again"
_NORMALISATIONS = (
    f"one of {', '.join(repr(one.value) for one in ZScore)}, with or without '{STANDARDISED.strip()}' in front"
)
_ABOVE_0 = 1e-6
_BELOW_1 = 1 - 1e-6


def _out_of(plural: str, choices: Collection[str] | None) -> str:
    return plural if choices is None else f"different {plural} ({', '.join(choices)})"


def _region_rules(entries: Entries, regions: Collection[str] | None) -> RegionRules:
    def rule(key: str, what: str, low: float, high: float = math.inf) -> Mapping[str, float]:
        expected = f"an object whose keys are {_out_of('regions', regions)} and whose values are {what}"
        return entries.take(key, lambda v: mapping(v, regions, lambda one: number(one, low, high)), expected, {})

    return RegionRules(
        thresholds=rule("thresholds", "probabilities above 0 and below 1", _ABOVE_0, _BELOW_1),
        min_component_ml=rule("min_component_ml", "volumes in mL", 0),
        min_component_certainty=rule("min_component_certainty", "shares from 0 to 1", 0, 1),
        asymmetry=rule("asymmetry", "differences in SD, from 0", 0),
        closing=rule("closing", "shares from 0", 0),
    )


def _moved_class(part: Entries, classes: float) -> MovedClass:
    part.only(("from", "to", "box_mm"), ())
    expected = f"a class from 0 to {classes}"
    source, target = (part.take(key, lambda v: whole(v, 0, classes), expected, 0) for key in ("from", "to"))
    return MovedClass(source, target, part.take("box_mm", _box, _BOX, ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))))


def _intensity_rule(part: Entries, classes: float) -> IntensityRule:
    part.only(("classes",), ("prior_power", "log_odds", "least", "smoothing", "except_mm"))

    def pair(value: object) -> tuple[int, int]:
        first, second = each(value, lambda one: whole(one, 0, classes))
        if first == second:
            raise ValueError
        return first, second

    default = IntensityRule((0, 1))
    return IntensityRule(
        classes=part.take("classes", pair, f"a list of two different classes from 0 to {classes}", default.classes),
        prior_power=part.take("prior_power", lambda v: number(v, 0), "a number from 0", default.prior_power),
        log_odds=part.take("log_odds", number, "a number", default.log_odds),
        least=part.take("least", lambda v: number(v, 0, _BELOW_1), "a share from 0 to below 1", default.least),
        smoothing=part.take("smoothing", lambda v: number(v, _ABOVE_0), "a length in mm above 0", default.smoothing),
        except_mm=part.take("except_mm", lambda v: each(v, _box), f"a list, each entry {_BOX}", default.except_mm),
    )


def _digest(value: object) -> str:
    digits = text(value).lower()
    if len(digits) != 64 or int(digits, 16) < 0:
        raise ValueError
    return digits


_BOX = "a list of three pairs [lowest, highest] in mm"


def _box(value: object) -> Box:
    right, anterior, superior = each(value, _range)
    return right, anterior, superior


def _range(value: object) -> Range:
    low, high = each(value, number)
    if low > high:
        raise ValueError
    return low, high
