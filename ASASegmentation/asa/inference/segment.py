"""Scan to label map: read, align, normalise, predict, post-process, and resample to the grid of the scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from asa.devices import keep_freed_memory, set_threads
from asa.doubts import unreliable_without
from asa.errors import InputError
from asa.events import STAGES
from asa.geometry import FRAME, Alignment, to_frame
from asa.inference.confidence import region_reasons
from asa.inference.head import Head, place_head, read_scans
from asa.inference.identity import check_one_patient
from asa.inference.intensity import refine_by_intensity
from asa.inference.labelling import (
    keep_main_component,
    label_classes,
    label_regions,
    move_class,
)
from asa.inference.masses import mass_reasons
from asa.inference.placement import brain_on, reached
from asa.inference.plausibility import Anatomy, anatomy_reasons, brain_reasons
from asa.inference.quality import (
    Trust,
    confidence_reasons,
    empty_reasons,
    exchanged_reasons,
    pose_notes,
    turn_reasons,
)
from asa.inference.regions import postprocess_regions
from asa.inference.result import SegmentResult
from asa.inference.series import Placement, Series
from asa.inference.stripping import TissueModel
from asa.inference.subsets import average_over_subsets, given_channels, known_regions
from asa.memory import require_memory
from asa.models import ModelFolder, find_model
from asa.preprocessing.normalise import (
    Mask,
    brain_input,
    correct_bias,
    stripped_brain,
    zscore,
    zscore_brain,
    zscore_stripped,
)
from asa.request import SegmentRequest
from asa.tasks import TASKS, Task
from asa.volume import Grid, standardise
from asa.volume.checks import acquisition_warnings

if TYPE_CHECKING:
    from asa.inference.predictor import Predictor

Progress = Callable[[str, float], None]

# Measured on the CPU: one image of 1 mm 1.2 GiB where the network runs in windows and 1.44 in one pass, four images
# 1.45; and 0.3 of the process that writes the segments, for which a control group must have room too.
NEEDED_BYTES, NEEDED_PER_IMAGE = 1350 << 20, 100 << 20


class _Clock:
    """Times stages and reports them."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress or (lambda _stage, _fraction: None)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        names = list(STAGES)
        begin, end = STAGES[name], STAGES[names[names.index(name) + 1]]
        self.progress(name, begin)
        started = time.perf_counter()
        yield lambda part: self.progress(name, begin + part * (end - begin))
        self.seconds[name] = round(time.perf_counter() - started, 3)


def _load(model: ModelFolder, device: str) -> Predictor:
    """Return the predictor of a model; importing PyTorch is part of it."""
    weights = model.path / "model.safetensors"
    return _predictor(model.path, weights.stat().st_mtime if weights.exists() else 0.0, device)


@lru_cache(maxsize=1)
def _predictor(path: Path, stamp: float, device: str) -> Predictor:
    """Return the predictor of a model, cached so that a batch loads it once; ``stamp`` detects changed weights."""
    from asa.inference.predictor import Predictor

    return Predictor.on(find_model(path), device)


def segment(
    request: SegmentRequest,
    progress: Progress | None = None,
    *,
    alignment: Alignment | None = None,
    head: Head | None = None,
) -> SegmentResult:
    """Segment one head.

    Args:
        request: the images, the task, and the settings.
        progress: called with the name of the stage, a key of :data:`asa.events.STAGES`, and the fraction done.
        alignment: of the head with the brain frame, where it is known, as of two visits that must be treated alike;
            None: it is found.
        head: that of an earlier result of these images, aligned in the same way; None: they are read.

    Returns:
        The label map on the grid of the reference image, with warnings and, if requested, probabilities.

    Raises:
        InputError: a modality is missing, an image is unusable, or :meth:`SegmentRequest.check` rejects the request.
        ModelError: the model does not exist, is damaged, or predicts values that are not finite.
        ResourceError: there is not enough memory, or the device does not exist.
    """
    keep_freed_memory()
    request.check()
    clock = _Clock(progress)
    task, model = TASKS[request.task], find_model(request.model, request.task)
    used = model.channels(request.images)
    reference = choose_reference(request, task, used)
    paths = {key: Path(request.images[key]) for key in dict.fromkeys((*used, reference))}
    require_memory(NEEDED_BYTES + NEEDED_PER_IMAGE * len(paths))
    with ThreadPoolExecutor(1) as pool:  # PyTorch and the network need no processor that the alignment needs
        loading = pool.submit(_load, model, request.device)
        with clock.stage("reading"):
            check_one_patient(paths)
            if head is not None and head.scans.keys() != paths.keys():  # of a task that uses other images
                head = None
            scans = read_scans(paths) if head is None else head.scans
        with clock.stage("aligning"):
            head = head or place_head(scans, align=request.align == "auto", alignment=alignment)
            predictor = loading.result()
            set_threads(request.threads)
            placement = head.placement
            turned = list(turn_reasons(placement))
            doubts = [*model.description.doubts, *head.doubts, *(turned if request.reorient != "auto" else [])]
            notes = [*head.notes, *pose_notes(placement), *(turned if request.reorient == "auto" else [])]
            refuse_if_strict(request, doubts, model)
            labels_brain = any(one.in_brain for one in task.labels)
            brain = None
            if not labels_brain or model.description.normalisation.within_brain:
                brain = find_brain(placement, paths, request.device) if head.brain is None else head.brain
                head.brain = brain
    with clock.stage("network") as part:
        channels = input_channels(model, placement, brain)
        if brain is not None:
            doubts += [*brain_reasons(brain), *exchanged_reasons(channels, brain)]
        image = np.stack([channels.get(key, np.zeros(FRAME.shape, np.float32)) for key in model.modalities])
        tta = model.description.tta if request.tta is None else request.tta
        posterior = average_over_subsets(predictor, image, model, task, tta=tta, progress=part)
        notes += [predictor.note] if predictor.note else []
        if not model.description.regions:
            doubts += confidence_reasons(posterior)
        series = placement.series[reference]
        answer = posterior
        posterior = postprocess(answer, image, model, task, series.alignment, request.threshold)
        if model.description.regions:
            seen = known_regions(model, task, set(used), always=False)
            known = [one.name for one, can_be_seen in zip(task.regions, seen, strict=True) if can_be_seen]
            voxel_ml = FRAME.voxel_volume_ml * series.alignment.volume_scale
            doubts += region_reasons(answer, posterior, task, voxel_ml, known, model.description.doubtful_below)
            if task.lesions:
                doubts += mass_reasons(posterior.max(axis=0) > 0.5, voxel_ml)
        if labels_brain:
            doubts += anatomy_reasons(Anatomy.of(posterior, task, series.alignment))
    with clock.stage("labelling") as part:
        labels, kept = label(posterior, model, task, series.alignment, series.scan.grid, request, part)
        within = [one.value for one in task.labels if one.in_brain]
        inside = np.isin(labels, within) if brain is None else brain_on(series, brain)
        if within:
            doubts += empty_reasons(np.isin(labels, within))
    refuse_if_strict(request, doubts, model)
    return SegmentResult(
        labels=series.scan.with_array(labels),
        image=series.scan,
        brain=series.scan.with_array(inside.astype(np.uint8)),
        posterior=kept,
        model=model,
        alignment=series.alignment,
        reference=reference,
        used=used,
        series=placement.to_report(),
        device=str(predictor.device),
        trust=Trust(tuple(doubts)),
        head=head,
        timings=clock.seconds,
        warnings=[*doubts, *notes, *acquisition_warnings(series.scan), *unknown_regions(model, task, used)],
    )


def refuse_if_strict(request: SegmentRequest, doubts: list[str], model: ModelFolder) -> None:
    """Refuse a result that is doubtful for reasons other than the model's ``doubts``, if the request is strict.

    Raises:
        InputError: with the first reason.
    """
    found = [doubt for doubt in doubts if doubt not in model.description.doubts]
    if request.strict and found:
        raise InputError(f"Refused, because the result would be doubtful (--strict): {found[0]}")


def choose_reference(request: SegmentRequest, task: Task, used: tuple[str, ...]) -> str:
    """Return the modality on whose grid the result is: as requested, or the first that the task prefers."""
    return request.reference or next(key for key in (*task.reference, *used) if key in used)


def find_brain(placement: Placement, paths: Mapping[str, Path], device: str) -> Mask:
    """Return the brain mask (T, H, W) in the brain frame, of a stripped series or by the tissue model in the anchor.

    Args:
        placement: the series of the head, aligned with the brain frame.
        paths: modality -> file.
        device: device of the tissue model.

    Raises:
        InputError: the tissue model finds no brain.
        ModelError: there is no tissue model.
    """
    if (stripped := placement.stripped) is not None:
        return stripped_brain(stripped.scan, stripped.alignment)
    anchor = placement.series[placement.anchor]
    return TissueModel(device=device)(paths[placement.anchor], anchor.framed, anchor.alignment)


def input_channels(model: ModelFolder, placement: Placement, brain: Mask | None) -> dict[str, npt.NDArray[np.float32]]:
    """Normalise each given modality for the network.

    Args:
        model: its description says how intensities are normalised.
        placement: the series of the head, aligned with the brain frame.
        brain: brain mask (T, H, W) in the brain frame; None for a model that normalises over the whole head.

    Returns:
        Modality -> channel (T, H, W) in the brain frame.
    """
    normalisation = model.description.normalisation
    corrects = normalisation.corrects_bias

    def standardised(series: Series) -> npt.NDArray[np.float32]:
        scan, shown = standardise(series.scan)
        framed = to_frame(scan, series.alignment).array
        if brain is None:
            return zscore(framed)
        if not series.stripped:
            return brain_input(framed, reached(series, brain), corrects=corrects)
        # A partly filled voxel at the rim counts as brain only if most of it is, as in training.
        own = stripped_brain(scan, series.alignment, shown) if series.registered else brain
        return brain_input(framed, own, corrects=corrects)

    def normalised(series: Series) -> npt.NDArray[np.float32]:
        if normalisation.standardised:
            return standardised(series)
        framed = series.framed.array
        if brain is None:
            return zscore(framed)
        if series.stripped:
            # A partly filled voxel at the rim counts as brain only if most of it is, as in training.
            own = stripped_brain(series.scan, series.alignment) if series.registered else brain
            framed = np.where(own, framed, 0)
            return zscore_stripped(correct_bias(framed, framed > 0) if corrects else framed)
        inside = reached(series, brain)
        return zscore_brain(correct_bias(framed, inside) if corrects else framed, inside)

    given = [key for key in model.modalities if key in placement.series]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(given, pool.map(lambda key: normalised(placement.series[key]), given), strict=True))


def unknown_regions(model: ModelFolder, task: Task, used: tuple[str, ...]) -> Iterator[str]:
    """Yield a warning for each missing modality without which the model cannot segment some regions.

    ``unknown_without`` in model.json maps a modality to names of regions.
    """
    titles = {region.name: region.title for region in task.regions}
    for key, regions in model.description.unknown_without.items():
        if key not in used:
            yield unreliable_without(key, [titles[name] for name in regions])


def postprocess(
    posterior: npt.NDArray[np.float32],
    image: npt.NDArray[np.float32],
    model: ModelFolder,
    task: Task,
    alignment: Alignment,
    threshold: float | None,
) -> npt.NDArray[np.float32]:
    """Apply the post-processing rules of a model to a posterior in the brain frame.

    Args:
        posterior: (K, T, H, W), of classes or nested regions.
        image: (C, T, H, W), the input of the network.
        model: its description holds the rules.
        task: the task of the model.
        alignment: of the reference image, for volumes in mL.
        threshold: requested probability threshold; None for the model's own.

    Returns:
        The posterior (K, T, H, W); the one given may have been changed in place.
    """
    described = model.description
    if described.regions:
        rules = described.region_rules
        if threshold is not None:
            rules = replace(rules, thresholds=dict.fromkeys((region.name for region in task.regions), threshold))
        bright = given_channels(model, image).get("flair")
        voxel_ml, inside = FRAME.voxel_volume_ml * alignment.volume_scale, (image != 0).any(0)
        return postprocess_regions(posterior, task, rules, voxel_ml, inside, bright)
    for moved in described.moved_classes:
        posterior = move_class(posterior, moved)
    if any(one.in_brain for one in task.labels):  # a brain is one component, lesions are many
        posterior = keep_main_component(posterior)
    for rule in described.intensity_rules:
        posterior = refine_by_intensity(posterior, image[0], rule)
    return posterior


def label(
    posterior: npt.NDArray[np.float32],
    model: ModelFolder,
    task: Task,
    alignment: Alignment,
    grid: Grid,
    request: SegmentRequest,
    progress: Callable[[float], None],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16] | None]:
    """Label the voxels of ``grid``.

    Args:
        posterior: post-processed probabilities (K, T, H, W) in the brain frame.
        model: it predicts classes or nested regions.
        task: the task of the model.
        alignment: of the image with this grid.
        grid: grid of the result.
        request: whether to keep probabilities, and the threshold of classes.
        progress: called with the fraction done.

    Returns:
        Label values of the task and, if requested, the probabilities of background and the labels, (K, *grid.shape).
    """
    keep = request.posterior
    if model.description.regions:
        return label_regions(posterior, task, alignment, grid, keep=keep, progress=progress)
    values = np.array([0, *(one.value for one in task.labels)], np.uint8)
    index, kept = label_classes(posterior, alignment, grid, threshold=request.threshold, keep=keep, progress=progress)
    return values[index], kept
