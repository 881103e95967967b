"""Preview images of masked reconstruction: input, importance, mask, reconstruction, error."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from asa.data.scan_store import Shape
from asa.errors import OutputError
from asa.files import atomic_path
from asa.nn import patchify, unpatchify
from asa.nn.encoder import patch_grid
from asa.nn.objective import Batch
from asa.nn.sliding_window import gaussian_window, window_starts
from asa.pretext import Reconstruction
from asa.runs.folder import Run
from asa.runs.layout import PREVIEWS, kept_name
from asa.training.pretraining.sampling import StoredScans

Array = npt.NDArray[np.float32]
GAP, CELL, HEADER = 8, 224, 30
HIDDEN_COLOUR = (38, 46, 66)


class Reconstructed(NamedTuple):
    """One image as the auto-encoder dealt with it; every array is (T, H, W), in units of the z-scored input.

    Attributes:
        image: what went in.
        importance: VHOG importance of each patch, on its voxels.
        hidden: 1 where patches were hidden, otherwise 0.
        reconstruction: the input where it was visible, the network's answer where it was not.
        error: |reconstruction - input|.
    """

    image: Array
    importance: Array
    hidden: Array
    reconstruction: Array
    error: Array


def reconstruct(objective: Reconstruction, batch: Batch, crop: Shape | None = None) -> Reconstructed:
    """Run the auto-encoder on a batch of one image and put its answer together.

    Args:
        crop: voxels (T, H, W) that the network was trained on, if it was not the whole frame: its windows of tokens
            lie otherwise in an image of another size, so a larger one is done in overlapping crops.
    """
    network = objective.network
    image: Tensor = batch["image"]
    patch = network.config.encoder.patch
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        hidden = batch["mask"] if "mask" in batch else objective.masks(image, batch["seeds"])
        batch = {**batch, "mask": hidden.to(image.device)}
        seen = (image.shape[2], image.shape[3], image.shape[4])
        filled = _filled_in(objective, batch) if crop in (None, seen) else _in_crops(objective, batch, crop)
        importance = objective.importance(image)
    network.train(was_training)

    grid = patch_grid(image.shape, patch)

    def on_voxels(values: Tensor) -> Tensor:
        return unpatchify(values.float()[..., None].expand(-1, -1, patch**3), grid, patch)

    def volume(values: Tensor) -> Array:
        array: Array = values.float()[0, 0].cpu().numpy()
        return array

    mask = on_voxels(batch["mask"])
    whole = torch.where(mask > 0, filled, image)
    return Reconstructed(
        image=volume(image),
        importance=volume(on_voxels(importance)),
        hidden=volume(mask),
        reconstruction=volume(whole),
        error=volume((whole - image).abs()),
    )


def _filled_in(objective: Reconstruction, batch: Batch) -> Tensor:
    """What the network answers for every patch (1, C, T, H, W), in units of the input."""
    image: Tensor = batch["image"]
    patch = objective.network.config.encoder.patch
    shown = objective.explain(batch).reconstruction.float()
    if objective.options.normalised_target:  # asked for patches of mean 0 and variance 1
        patches = patchify(image, patch)
        shown = shown * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
    return unpatchify(shown, patch_grid(image.shape, patch), patch)


def _in_crops(objective: Reconstruction, batch: Batch, crop: Shape) -> Tensor:
    """Return the same from crops that overlap by half, blended; 0 where no crop had anything visible."""
    image: Tensor = batch["image"]
    patch = objective.network.config.encoder.patch
    size = tuple(min(c, n) for c, n in zip(crop, image.shape[2:], strict=True))
    grid = patch_grid(image.shape, patch)
    hidden = batch["mask"].view(1, *grid)
    weight = gaussian_window((size[0], size[1], size[2])).to(image.device)
    total, norm = torch.zeros_like(image), torch.full_like(image, 1e-12)
    starts = [window_starts(n, c, patch) for n, c in zip(image.shape[2:], size, strict=True)]
    for corner in itertools.product(*starts):
        t, h, w = (slice(s, s + n) for s, n in zip(corner, size, strict=True))
        a, b, c = (slice(s // patch, (s + n) // patch) for s, n in zip(corner, size, strict=True))
        mask = hidden[:, a, b, c].flatten(1)
        if bool(mask.all()):
            continue
        origin = tuple(o + s // patch for o, s in zip(batch["origins"][0], corner, strict=True))
        part = {"image": image[..., t, h, w].contiguous(), "mask": mask, "origins": [origin]}
        total[..., t, h, w] += _filled_in(objective, part) * weight
        norm[..., t, h, w] += weight
    return total / norm


def picture(shown: Reconstructed, title: str, at: tuple[int, int, int] | None = None) -> Image.Image:
    """Three planes (rows) of five pictures (columns), as radiologists look: the patient's right is on the left.

    ``at``: voxel (t, h, w) the planes go through; None takes the middle.
    """
    t, h, w = at or tuple(n // 2 for n in shown.image.shape)
    low, high = np.percentile(shown.image, (0.5, 99.5))
    strongest = max(float(shown.importance.max()), 1e-6)

    def grey(values: Array) -> npt.NDArray[np.uint8]:
        level = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
        return np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=-1)

    def masked(image: Array, hidden: Array) -> npt.NDArray[np.uint8]:
        return np.where(hidden[..., None] > 0, np.array(HIDDEN_COLOUR, np.uint8), grey(image))

    columns = ("input", "importance (VHOG)", "what the encoder saw", "reconstruction", "error")
    page = Image.new("RGB", (GAP + len(columns) * (CELL + GAP), HEADER * 2 + 3 * (CELL + GAP)))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    draw.text((GAP, 6), title, "white", font)
    planes = (np.s_[t, :, :], np.s_[:, h, :], np.s_[:, :, w])
    for row, plane in enumerate(planes):
        cut = Reconstructed(*(np.asarray(a[plane]) for a in shown))
        colours = (
            grey(cut.image),
            heat(cut.importance / strongest),
            masked(cut.image, cut.hidden),
            grey(cut.reconstruction),
            heat(cut.error / max(float(high - low), 1e-6)),
        )
        for column, colour in enumerate(colours):
            # upwards is anterior or superior; leftwards the patient's right, or anterior in the sagittal plane
            tile = Image.fromarray(np.ascontiguousarray(colour[::-1, ::-1]))
            scale = CELL / max(tile.size)
            tile = tile.resize((round(tile.width * scale), round(tile.height * scale)), Image.Resampling.NEAREST)
            x, y = GAP + column * (CELL + GAP), 2 * HEADER + row * (CELL + GAP)
            page.paste(tile, (x + (CELL - tile.width) // 2, y + (CELL - tile.height) // 2))
            if row == 0:
                draw.text((x + CELL // 2, HEADER + 6), columns[column], (200, 200, 200), font, anchor="ma")
    return page


def heat(values: Array) -> npt.NDArray[np.uint8]:
    """0 to 1 as black, red, yellow, white: (..., 3) uint8."""
    level = 3 * np.clip(values, 0, 1)
    return (255 * np.stack([np.clip(level - i, 0, 1) for i in range(3)], axis=-1)).astype(np.uint8)


class PreviewWriter:
    """Called after each step; now and then draws how the first scan of ``source`` is reconstructed."""

    def __init__(
        self, objective: Reconstruction, source: StoredScans, run: Run, every: int, device: torch.device
    ) -> None:
        self.objective, self.source, self.run, self.every, self.device = objective, source, run, every, device

    def __call__(self, step: int) -> None:
        """Write previews/step_<step>.png if it is due; a full disk is logged and survived."""
        if step % self.every:
            return
        batch = self.source.collate([0])
        batch["image"] = batch["image"].to(self.device)
        page = picture(reconstruct(self.objective, batch), f"step {step}: {batch['names'][0]}")
        path = self.run.folder / PREVIEWS / f"{kept_name(step)}.png"
        try:
            with atomic_path(path) as temporary:
                page.save(temporary)
        except OutputError as error:
            self.run.log(f"Preview not written, training continues: {error}")
            return
        self.run.event("preview", step=step, file=path.name)
