"""The researcher's picture: what the auto-encoder hides of a scan, what it holds important, and what it makes up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..data.store import quantise
from ..data.stripping import Stripper
from ..errors import InputError
from ..files import atomic_path, write_json
from ..geometry import FRAME, Alignment, align_to_frame, from_frame, to_frame
from ..inference.normalise import zscore
from ..training.pretrained import Pretrained
from ..training.previews import Reconstructed, picture, reconstruct
from ..volume import Volume, read_volume, write_volume

PICTURE, SUMMARY = "inspect.png", "inspect.json"


@dataclass(frozen=True)
class Inspection:
    """What to look at.

    Attributes:
        model: run folder, checkpoint or model folder of a pre-training that reconstructs.
        image: T1-weighted scan.
        stripper: finds its brain, as it did for the scans of the training.
        seed: decides what is hidden.
        align: False trusts the scan to lie in MNI152 space already.
    """

    model: Path
    image: Path
    stripper: Stripper
    seed: int = 0
    align: bool = True


def inspect(request: Inspection, folder: Path) -> Reconstructed:
    """Write inspect.png, inspect.json and, in the scan's own grid, one NIfTI file a column of the picture.

    Returns:
        The volumes in the part of the brain frame that the network sees.

    Raises:
        InputError: the scan cannot be used.
        ModelError: no such model, or one that reconstructs nothing.
        OutputError: no room or no permission.
    """
    pretrained = Pretrained.open(request.model)
    objective = pretrained.reconstruction()
    scan = read_volume(request.image)
    alignment = align_to_frame(scan) if request.align else Alignment(np.eye(4), "identity", 1.0)
    framed = to_frame(scan, alignment)
    brain = request.stripper(request.image, framed, alignment)

    encoder = pretrained.config.encoder
    box = _seen(tuple(n * encoder.patch for n in encoder.frame))
    stored = quantise(np.asarray(framed.array[box], np.float32), brain[box])  # as the store of the training had it
    image = torch.from_numpy(zscore(stored.astype(np.float32)))[None, None]
    shown = reconstruct(objective, {"image": image, "origins": [(0, 0, 0)], "seeds": [request.seed]})

    share = f"{100 * shown.hidden.mean():.0f} % hidden"
    title = f"{request.image.name}: {pretrained.method}, {pretrained.step} steps, {share}"
    with atomic_path(folder / PICTURE) as temporary:
        picture(shown, title).save(temporary)
    for name, values in shown._asdict().items():
        overlay = _in_scan(values, box, alignment, scan, nearest=name in ("hidden", "importance"))
        write_volume(overlay, folder / f"{name}.nii.gz")
    hidden = shown.hidden > 0
    inside = hidden & (stored > 0)
    write_json(
        folder / SUMMARY,
        {
            "model": str(request.model),
            "method": pretrained.method,
            "steps": pretrained.step,
            "hidden": round(float(shown.hidden.mean()), 4),
            "mse_hidden": round(float((shown.error[hidden] ** 2).mean()), 6),
            "mse_hidden_brain": round(float((shown.error[inside] ** 2).mean()), 6) if inside.any() else None,
            "variance_hidden_brain": round(float(shown.image[inside].var()), 6) if inside.any() else None,
            "warnings": list(alignment.warnings),
        },
    )
    return shown


def _seen(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle of the brain frame, which a network with a frame of ``shape`` voxels sees."""
    if any(n > whole for n, whole in zip(shape, FRAME.shape, strict=True)):
        raise InputError(f"the model sees {shape} voxels, more than the brain frame {FRAME.shape} has")
    return tuple(slice((w - n) // 2, (w - n) // 2 + n) for n, w in zip(shape, FRAME.shape, strict=True))


def _in_scan(
    values: npt.NDArray[np.float32], box: tuple[slice, ...], alignment: Alignment, scan: Volume, *, nearest: bool
) -> Volume:
    """Values of a part of the brain frame on the scan's grid, 0 elsewhere, in the scan's storage order."""
    whole = np.zeros(FRAME.shape, np.float32)
    whole[box] = values
    return scan.with_array(from_frame(whole, alignment, scan.grid, order=0 if nearest else 1).array)
