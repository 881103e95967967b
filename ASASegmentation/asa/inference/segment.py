"""Scan -> label map: read, align, normalise, run the network, bring the posterior back, clean up."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from asa.errors import InputError
from asa.geometry import FRAME, Alignment, align_to_frame, from_frame, to_frame
from asa.inference.intensity import refine_by_intensity
from asa.inference.predictor import Predictor, choose_device, zscore
from asa.models import ModelFolder, find_model
from asa.tasks import TASKS
from asa.volume import Grid, Volume, read_volume

Progress = Callable[[str, float], None]
Box = tuple[slice, slice, slice]
# for images that lie in MNI152 space already
UNALIGNED = Alignment(np.eye(4), "identity", 1.0)
# share of the whole time that is over when a stage begins
STAGES = {"reading": 0.0, "aligning": 0.05, "network": 0.45, "labelling": 0.8, "done": 1.0}


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment.

    Attributes:
        images: modality key -> file.
        task: a key of :data:`asa.tasks.TASKS`.
        model: folder or name; None takes the task's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        tta: average with the left-right mirrored image; None does as the model says.
        align: ``auto`` registers to the brain frame; ``none`` trusts the file's affine to be MNI152 already.
        threads: CPU threads; None leaves PyTorch's choice.
        posterior: keep the class probabilities in the scan's grid.
    """

    images: Mapping[str, Path]
    task: str = "tissue"
    model: str | None = None
    device: str = "auto"
    tta: bool | None = None
    align: str = "auto"
    threads: int | None = None
    posterior: bool = False


@dataclass(frozen=True)
class SegmentResult:
    """What came out; all volumes are on the grid of ``image``.

    Attributes:
        labels: uint8 label map with the values of the task.
        image: the scan the labels belong to.
        brain: uint8 brain mask (tissue and ventricles).
        posterior: (K, T, H, W) float16 probabilities of background and the labels, or None.
        alignment: how the scan lies in the brain frame.
        timings: seconds of each stage.
        warnings: sentences for the user.
    """

    labels: Volume
    image: Volume
    brain: Volume
    posterior: npt.NDArray[np.float16] | None
    model: ModelFolder
    alignment: Alignment
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


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
    """Segment one scan.

    Raises:
        InputError: a modality is missing or an image cannot be used.
        ModelError: no such model, or it is damaged.
        ResourceError: not enough memory, or no such device.
    """
    if request.task not in TASKS:
        raise InputError(f"unknown task '{request.task}'; choose from {', '.join(TASKS)}")
    if request.threads:
        torch.set_num_threads(request.threads)
    clock = _Clock(progress)
    model = find_model(request.model, request.task)
    missing = [m for m in model.modalities if m not in request.images]
    if missing:
        given = ", ".join(request.images) or "nothing"
        raise InputError(f"model '{model.name}' needs {', '.join(missing)}; given: {given}")
    with clock.stage("reading"):
        scans = [read_volume(Path(request.images[m])) for m in model.modalities]
        device = str(choose_device(request.device))
        weights = model.path / "model.safetensors"
        predictor = _predictor(model.path, weights.stat().st_mtime if weights.exists() else 0.0, device)
    scan = scans[0]
    warnings = spacing_warnings(scan.grid)
    with clock.stage("aligning"):
        alignment = align_to_frame(scan) if request.align == "auto" else UNALIGNED
        warnings += alignment.warnings
    with clock.stage("network") as part:
        image = np.stack([zscore(to_frame(s, alignment).array) for s in scans])
        tta = bool(model.info.get("flip_averaging", False)) if request.tta is None else request.tta
        posterior = predictor.posterior(image, tta=tta, progress=part)
        posterior = keep_main_component(reweight(posterior, model.info.get("class_weights")))
        if pair := model.info.get("intensity_classes"):
            posterior = refine_by_intensity(posterior, image[0], (pair[0], pair[1]))
    with clock.stage("labelling") as part:
        values = np.array([0, *(label.value for label in TASKS[request.task].labels)], np.uint8)
        index, kept = label_scan(posterior, alignment, scan.grid, keep=request.posterior, progress=part)
        labels = scan.with_array(values[index])
        brain = np.isin(labels.array, [label.value for label in TASKS[request.task].labels if label.in_brain])
    return SegmentResult(
        labels=labels,
        image=scan,
        brain=scan.with_array(brain.astype(np.uint8)),
        posterior=kept,
        model=model,
        alignment=alignment,
        timings=clock.seconds,
        warnings=warnings,
    )


def reweight(posterior: npt.NDArray[np.float32], weights: Sequence[float] | None) -> npt.NDArray[np.float32]:
    """Multiply each class of (K, T, H, W) by its weight and make the sum 1 again.

    A model uses this where annotators and its training labels draw a border differently: manual protocols count
    voxels shared by cortex and CSF as grey matter.
    """
    if weights is None:
        return posterior
    weighted = posterior * np.asarray(weights, np.float32)[:, None, None, None]
    weighted /= weighted.sum(0)
    return weighted


def spacing_warnings(grid: Grid) -> list[str]:
    """A sentence when voxels are too coarse for fine structures."""
    thickest = max(grid.spacing)
    if thickest <= 2.5:
        return []
    return [f"slices are {thickest:.1f} mm apart: thin structures are less certain than in a 1 mm scan"]


def keep_main_component(posterior: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make background of what does not touch the largest connected foreground (26-neighbourhood), in place."""
    shown = posterior[0] < 0.5
    parts, count = ndimage.label(shown, structure=np.ones((3, 3, 3)))
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        islands = shown & (parts != sizes.argmax())
        posterior[:, islands] = 0
        posterior[0, islands] = 1
    return posterior


def label_scan(
    posterior: npt.NDArray[np.float32],
    alignment: Alignment,
    grid: Grid,
    *,
    keep: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16] | None]:
    """Most likely class of each voxel of ``grid`` and, with ``keep``, its probabilities.

    Only the box of the scan that holds the brain is resampled, so that a large scan costs little memory.
    """
    box, part = brain_box(posterior, alignment, grid)
    index = np.zeros(part.shape, np.uint8)
    best = np.zeros(part.shape, np.float32)
    kept: npt.NDArray[np.float16] | None = None
    if keep:
        kept = np.zeros((len(posterior), *grid.shape), np.float16)
        kept[0] = 1
    with ThreadPoolExecutor(2) as pool:  # scipy resamples without holding the interpreter
        likely_maps = pool.map(lambda one: from_frame(one, alignment, part).array, posterior)
        for number, likely in enumerate(likely_maps):
            higher = likely > best
            index[higher] = number
            np.maximum(best, likely, out=best)
            if kept is not None:
                kept[(number, *box)] = likely
            progress((number + 1) / len(posterior))
    labels = np.zeros(grid.shape, np.uint8)
    labels[box] = index
    return labels, kept


def brain_box(posterior: npt.NDArray[np.float32], alignment: Alignment, grid: Grid) -> tuple[Box, Grid]:
    """The part of ``grid`` that the network's foreground can reach, as slices and as a grid."""
    found = ndimage.find_objects((posterior[0] < 0.95).astype(np.uint8))
    if not found:
        return crop_grid(grid, np.zeros(3, int), np.ones(3, int))
    ends = [(s.start - 2, s.stop + 1) for s in found[0]]
    points = FRAME.to_world(list(itertools.product(*ends)))
    voxels = grid.to_index(points @ alignment.matrix[:3, :3].T + alignment.matrix[:3, 3])
    low = np.clip(np.floor(voxels.min(0)) - 1, 0, np.array(grid.shape) - 1).astype(int)
    high = np.clip(np.ceil(voxels.max(0)) + 2, low + 1, grid.shape).astype(int)
    return crop_grid(grid, low, high)


def crop_grid(grid: Grid, low: npt.NDArray[np.int_], high: npt.NDArray[np.int_]) -> tuple[Box, Grid]:
    """Voxels low <= index < high of ``grid``: as slices, and as a grid of their own."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(low)
    shape = tuple(int(n) for n in high - low)
    return (box[0], box[1], box[2]), Grid((shape[0], shape[1], shape[2]), affine)
