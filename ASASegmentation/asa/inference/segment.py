"""Scan -> label map: read, align, normalise, run the network, bring the posterior back, clean up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from asa.errors import InputError
from asa.geometry import Alignment, align_to_frame, from_frame, to_frame
from asa.inference.intensity import refine_by_intensity
from asa.inference.labelling import (
    keep_main_component,
    label_classes,
    label_regions,
    move_class,
    reweight,
    settle_regions,
)
from asa.inference.normalise import BRAIN_ZSCORE, Mask, stripped_brain, zscore, zscore_brain
from asa.inference.predictor import Predictor, choose_device
from asa.inference.request import SegmentRequest, SegmentResult
from asa.models import ModelFolder, find_model
from asa.tasks import TASKS, Task
from asa.volume import Grid, Volume, read_volume
from asa.volume.checks import acquisition_warnings

Progress = Callable[[str, float], None]
# for images that lie in MNI152 space already
UNALIGNED = Alignment(np.eye(4), "identity", 1.0)
# share of the whole time that is over when a stage begins
STAGES = {"reading": 0.0, "aligning": 0.05, "network": 0.45, "labelling": 0.8, "done": 1.0}


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


@lru_cache(maxsize=1)
def _predictor(path: Path, stamp: float, device: str) -> Predictor:
    """The last network used stays loaded, so that a batch of scans loads it once; ``stamp`` notices new weights."""
    return Predictor(find_model(path), choose_device(device))


def segment(request: SegmentRequest, progress: Progress | None = None) -> SegmentResult:
    """Segment one head.

    Raises:
        InputError: a modality is missing, an image cannot be used, or the threshold is no probability.
        ModelError: no such model, or it is damaged.
        ResourceError: not enough memory, or no such device.
    """
    if request.task not in TASKS:
        raise InputError(f"unknown task '{request.task}'; choose from {', '.join(TASKS)}")
    if request.threshold is not None and not 0 < request.threshold < 1:
        raise InputError(f"the threshold is a probability between 0 and 1, not {request.threshold}")
    if request.threads:
        torch.set_num_threads(request.threads)
    clock = _Clock(progress)
    task, model = TASKS[request.task], find_model(request.model, request.task)
    used = model.channels(request.images)
    reference = choose_reference(request, task, used)
    with clock.stage("reading"):
        scans = {key: read_volume(Path(request.images[key])) for key in dict.fromkeys((*used, reference))}
        device = str(choose_device(request.device))
        weights = model.path / "model.safetensors"
        predictor = _predictor(model.path, weights.stat().st_mtime if weights.exists() else 0.0, device)
    scan = scans[reference]
    warnings = list(acquisition_warnings(scan))
    with clock.stage("aligning"):
        alignment = align_to_frame(scan) if request.align == "auto" else UNALIGNED
        warnings += alignment.warnings
        brain = stripped_brain(list(scans.values()), alignment)
    with clock.stage("network") as part:
        image = channels(model, scans, alignment, brain)
        tta = bool(model.info.get("flip_averaging", False)) if request.tta is None else request.tta
        posterior = predictor.posterior(image, tta=tta, progress=part)
        posterior = settle(posterior, image, model, task, alignment, request.threshold)
    with clock.stage("labelling") as part:
        labels, kept = label(posterior, model, task, alignment, scan.grid, request, part)
        within = [one.value for one in task.labels if one.in_brain]
        inside = np.isin(labels, within)
        if not within:
            inside = from_frame(brain.astype(np.float32), alignment, scan.grid).array > 0.5
    return SegmentResult(
        labels=scan.with_array(labels),
        image=scan,
        brain=scan.with_array(inside.astype(np.uint8)),
        posterior=kept,
        model=model,
        alignment=alignment,
        reference=reference,
        used=used,
        timings=clock.seconds,
        warnings=warnings,
    )


def choose_reference(request: SegmentRequest, task: Task, used: tuple[str, ...]) -> str:
    """The modality whose grid the result lies on.

    Raises:
        InputError: the one asked for is not given.
    """
    if request.reference is None:
        return next(key for key in (*task.reference, *used) if key in used)
    if request.reference not in request.images:
        given = ", ".join(request.images)
        raise InputError(f"the reference '{request.reference}' is not among the images given: {given}")
    return request.reference


def channels(
    model: ModelFolder, scans: Mapping[str, Volume], alignment: Alignment, brain: Mask
) -> npt.NDArray[np.float32]:
    """What the network sees, (C, T, H, W) in the brain frame; a modality that is not there is 0 all over."""
    by_brain = model.info.get("normalisation") == BRAIN_ZSCORE
    image = np.zeros((len(model.modalities), *brain.shape), np.float32)
    for channel, key in zip(image, model.modalities, strict=True):
        if key in scans:
            framed = to_frame(scans[key], alignment).array
            channel[:] = zscore_brain(framed, brain) if by_brain else zscore(framed)
    return image


def settle(
    posterior: npt.NDArray[np.float32],
    image: npt.NDArray[np.float32],
    model: ModelFolder,
    task: Task,
    alignment: Alignment,
    threshold: float | None,
) -> npt.NDArray[np.float32]:
    """What the network answered, in the brain frame, with the model's rules applied; ``threshold`` as asked for."""
    info = model.info
    if model.regions:
        voxel_ml = abs(float(np.linalg.det(alignment.matrix[:3, :3]))) / 1000
        thresholds = info.get("thresholds", {})
        if threshold is not None:
            thresholds = dict.fromkeys((region.name for region in task.regions), threshold)
        return settle_regions(posterior, task, thresholds, info.get("min_component_ml", {}), voxel_ml)
    for rule in info.get("moved_classes", ()):
        posterior = move_class(posterior, rule["from"], rule["to"], rule["box_mm"])
    posterior = reweight(posterior, info.get("class_weights"))
    if any(one.in_brain for one in task.labels):  # a brain is one piece, lesions are many
        posterior = keep_main_component(posterior)
    for first, second in info.get("intensity_classes", ()):
        posterior = refine_by_intensity(posterior, image[0], (first, second))
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
    """Label values of the task on ``grid`` and, if asked for, the probabilities of background and the labels."""
    keep = request.posterior
    if model.regions:
        return label_regions(posterior, task, alignment, grid, keep=keep, progress=progress)
    values = np.array([0, *(one.value for one in task.labels)], np.uint8)
    index, kept = label_classes(
        posterior, alignment, grid, threshold=request.threshold, keep=keep, progress=progress
    )
    return values[index], kept
