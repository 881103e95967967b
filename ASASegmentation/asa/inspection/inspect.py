"""Inspect an auto-encoder: hidden patches, importance and reconstruction of a scan."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asa.data.scan_store import Shape, quantise
from asa.data.stripping import Stripper
from asa.errors import InputError, ModelError
from asa.files import atomic_path, protect_inputs, protect_others, read_json, write_json
from asa.geometry import resample
from asa.inspection.framed import Box, FramedScan, frame_scan, seen_box
from asa.nn import Encoder
from asa.nn.attention_maps import attention_in_crops, attention_maps
from asa.nn.objective import Batch
from asa.nn.sliding_window import window_starts
from asa.preprocessing.normalise import zscore
from asa.pretext import Reconstruction, ReconstructionOptions
from asa.runs.layout import kept_name
from asa.training.pretraining.pretrained import Pretrained
from asa.training.pretraining.previews import Reconstructed, picture, reconstruct
from asa.volume import read_volume, write_volume

PICTURE, SUMMARY = "inspect.png", "inspect.json"
ATTENTION, ATTENTION_KEYS = "attention.npy", "attention_keys.npy"
SHARED = ("image", "importance", "hidden", "patches")

Progress = Callable[[str, float], None]
Report = Callable[[Path, int], None]


@dataclass(frozen=True)
class Inspection:
    """What to look at.

    Attributes:
        models: run folders, checkpoints or model folders of pre-trainings that reconstruct; several are checkpoints of
            one network.
        image: T1-weighted scan.
        stripper: finds its brain, as it did for the scans of the training.
        seed: decides what is hidden.
        align: False trusts the scan to lie in MNI152 space already.
        ratio: share of the patches that is hidden; None takes the training's.
        brain_only: hide patches that hold brain only; None does as the training did.
        mask: label map in the world of the scan; hides the patches of which it marks more than half, and no others.
        attention: also write who attends to whom in the encoder.
        kept: folder to keep the aligned and stripped scan in, for the next look at it.
        compressed: write .nii.gz instead of .nii.
        pictures: write inspect.png.
    """

    models: tuple[Path, ...]
    image: Path
    stripper: Stripper
    seed: int = 0
    align: bool = True
    ratio: float | None = None
    brain_only: bool | None = None
    mask: Path | None = None
    attention: bool = False
    kept: Path | None = None
    compressed: bool = True
    pictures: bool = True

    @property
    def ending(self) -> str:
        """Of the names of the volumes that are written."""
        return ".nii.gz" if self.compressed else ".nii"


def protect_inspection(request: Inspection, folder: Path) -> None:
    """Refuse a folder in which the results would replace the scan or the mask, or files that no inspection wrote.

    Raises:
        OutputError: a file is in the way.
    """
    places = [folder, *folder.glob("step_*")]
    names = [f"{name}{request.ending}" for name in (*Reconstructed._fields, "patches")]
    names += [SUMMARY, PICTURE, ATTENTION, ATTENTION_KEYS]
    outputs = [place / name for place in places for name in names]
    protect_inputs([request.image, *([request.mask] if request.mask else [])], outputs)
    if not any(_is_summary(place / SUMMARY) for place in places):
        protect_others(outputs)


def _is_summary(path: Path) -> bool:
    try:
        return "patches_to_ras" in read_json(path)
    except (OSError, ValueError, TypeError):
        return False


def inspect(
    request: Inspection, folder: Path, progress: Progress | None = None, report: Report | None = None
) -> Reconstructed:
    """Write what one auto-encoder, or several states of one, make of a scan.

    In the scan's own grid, one NIfTI file each: image, importance, hidden, patches (number of the patch + 1),
    reconstruction and error; inspect.png, inspect.json; with ``attention`` also attention.npy and attention_keys.npy,
    see :class:`~asa.nn.attention_maps.AttentionMaps`. Image and reconstruction are in standard deviations above air.
    With several models, each has a separate folder in ``folder`` for its results.

    Args:
        progress: called with what is done and the finished share.
        report: called with the folder and the optimiser steps of each model that is done.

    Returns:
        The volumes of the last model, in the part of the brain frame that it sees.

    Raises:
        InputError: the scan or the mask cannot be used.
        ModelError: no such model, one that reconstructs nothing, or models of different networks.
        OutputError: no room or no permission, or a file that is in the way.
    """
    protect_inspection(request, folder)
    say = progress or (lambda _stage, _share: None)
    say("reading", 0.0)
    first = Pretrained.open(request.models[0])
    first.reconstruction()  # fail before the scan is aligned
    say("aligning", 0.05)
    framed = frame_scan(request.image, request.stripper, align=request.align, kept=request.kept)
    say("network", 0.5)

    patch = first.config.encoder.patch
    box = seen_box(tuple(n * patch for n in first.config.encoder.frame))
    stored = quantise(framed.array[box], framed.brain[box])  # as the store of the training had it
    image = torch.from_numpy(zscore(stored.astype(np.float32)))[None, None]
    batch: Batch = {"image": image, "origins": [(0, 0, 0)], "seeds": [request.seed]}
    if request.mask is not None:
        batch["mask"] = _drawn(request.mask, framed, box, _numbers(stored.shape, patch))
    shown = None
    for number, path in enumerate(request.models):
        pretrained = first if number == 0 else Pretrained.open(path)
        if (pretrained.config, pretrained.options) != (first.config, first.options):
            raise ModelError(
                f"{path} belongs to a different network than {request.models[0]}; inspect them separately."
            )
        objective = pretrained.reconstruction()
        objective.options = _options(pretrained.options, request)
        shown = reconstruct(objective, batch, pretrained.crop)
        place = folder / kept_name(pretrained.step) if len(request.models) > 1 else folder
        # the summary first: it tells whose the other files are
        write_json(place / SUMMARY, _summary(shown, framed, box, stored > 0, pretrained, request))
        _write(shown, framed, box, patch, place, folder if number == 0 else None, request)
        if request.attention:
            _write_attention(objective, image, pretrained.crop, place)
        if request.pictures:
            share = f"{100 * shown.hidden.mean():.0f} % hidden"
            title = f"{request.image.name}: {pretrained.method}, {pretrained.step} steps, {share}"
            with atomic_path(place / PICTURE) as temporary:
                picture(shown, title).save(temporary)
        if report is not None:
            report(place, pretrained.step)
        say("network", 0.5 + 0.5 * (number + 1) / len(request.models))
    assert shown is not None
    return shown


def _options(options: ReconstructionOptions, request: Inspection) -> ReconstructionOptions:
    return dataclasses.replace(
        options,
        mask_ratio=options.mask_ratio if request.ratio is None else request.ratio,
        brain_only=options.brain_only if request.brain_only is None else request.brain_only,
    )


def _numbers(shape: tuple[int, ...], patch: int) -> npt.NDArray[np.int32]:
    """Return the number of its patch + 1 at each voxel (T, H, W); patches are counted with W fastest."""
    t, h, w = (n // patch for n in shape)
    numbers = np.arange(1, t * h * w + 1, dtype=np.int32).reshape(t, h, w)
    return numbers.repeat(patch, 0).repeat(patch, 1).repeat(patch, 2)


def _drawn(path: Path, framed: FramedScan, box: Box, numbers: npt.NDArray[np.int32]) -> Tensor:
    """Patches (1, N) that a label map hides: those of whose voxels in the scan it marks more than half."""
    drawn = resample(read_volume(path, labels=True), framed.scan.grid, order=0).array > 0
    # counted on the scan's grid, where it was drawn: thick slices leave some patches few voxels
    there = framed.in_scan(numbers, box, nearest=True).array
    voxels = np.bincount(there.ravel(), minlength=int(numbers.max()) + 1)[1:]
    marked = np.bincount(there[drawn], minlength=len(voxels) + 1)[1:]
    hidden = 2 * marked > voxels
    if hidden[voxels > 0].all():
        raise InputError(f"{path.name} hides every patch. Leave some patches visible.")
    return torch.from_numpy(hidden[None])


def _write(
    shown: Reconstructed, framed: FramedScan, box: Box, patch: int, own: Path, shared: Path | None, request: Inspection
) -> None:
    """The volumes: what differs between models into ``own``, what they share into ``shared``."""
    air = shown.image.min()
    volumes: dict[str, npt.NDArray[Any]] = {
        **shown._asdict(),
        "image": shown.image - air,
        "reconstruction": shown.reconstruction - air,
        "patches": _numbers(shown.image.shape, patch),
    }
    for name, values in volumes.items():
        place = shared if name in SHARED else own
        if place is not None:
            nearest = name in ("hidden", "importance", "patches")
            write_volume(framed.in_scan(values, box, nearest=nearest), place / f"{name}{request.ending}")


def _summary(
    shown: Reconstructed,
    framed: FramedScan,
    box: Box,
    brain: npt.NDArray[np.bool_],
    pretrained: Pretrained,
    request: Inspection,
) -> dict[str, Any]:
    """What inspect.json says. Patches are flattened with the last axis fastest."""
    hidden = shown.hidden > 0
    inside = hidden & brain
    encoder = pretrained.config.encoder
    return {
        "model": str(pretrained.source),
        "method": pretrained.method,
        "steps": pretrained.step,
        "seed": request.seed,
        "hidden": round(float(shown.hidden.mean()), 4),
        "mse_hidden": round(float((shown.error[hidden] ** 2).mean()), 6) if hidden.any() else None,
        "mse_hidden_brain": round(float((shown.error[inside] ** 2).mean()), 6) if inside.any() else None,
        "variance_hidden_brain": round(float(shown.image[inside].var()), 6) if inside.any() else None,
        "grid": list(encoder.frame),
        "patch": encoder.patch,
        "position": encoder.position,
        "patches_to_ras": framed.patches_to_ras(box, encoder.patch).tolist(),
        "warnings": list(framed.alignment.warnings),
    }


def _write_attention(objective: Reconstruction, image: Tensor, crop: Shape | None, folder: Path) -> None:
    encoder, seen = objective.network.encoder, image.shape[2:]
    if not isinstance(encoder, Encoder):
        raise ModelError("A residual-encoder U-Net has no attention to show; inspect a run of another method.")
    if crop is None:
        maps = attention_maps(encoder, image)
    else:
        t, h, w = (min(c, n) for c, n in zip(crop, seen, strict=True))
        low, back, left = (window_starts(n, c, encoder.config.patch) for n, c in zip(seen, (t, h, w), strict=True))
        maps = attention_in_crops(encoder, image, (t, h, w), itertools.product(low, back, left))
    for name, values in ((ATTENTION, maps.weights), (ATTENTION_KEYS, maps.keys.int())):
        with atomic_path(folder / name) as temporary:
            np.save(temporary, values.numpy())
