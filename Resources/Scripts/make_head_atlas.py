"""Make the head atlas that scans are aligned with, from ICBM152 tissue maps and labelled heads.

Usage: python make_head_atlas.py FOLDER_OF_LABEL_MAPS DESTINATION.nii.gz

The labelled heads (SynthSeg's training label maps, FreeSurfer numbers plus extra-cerebral classes) are affinely
aligned with the ICBM152 grey- and white-matter maps inside the nilearn wheel, averaged, and averaged again with their
own mirror image. The result is six tissue probability maps on a 3 mm grid in MNI152 space.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from asa.geometry.atlas import TISSUES, Atlas
from asa.geometry.fit import CENTRE, FULL, RIGID, Fit, ScanLevel
from asa.geometry.resample import resample
from asa.geometry.search import rotation_matrix
from asa.volume import Grid, Volume, read_volume

SIZE_MM = 3.0
SHAPE = (66, 78, 66)  # X, Y, Z: ±99, −132…99, −93…102 mm; even along X, so that its mirror image is itself
ORIGIN = np.array([-97.5, -132.0, -93.0])
# Labels of the first five tissues; every other label but 0 is soft tissue.
LABELS = (
    (2, 41, 7, 46, 16, 28, 60, 85, 25, 57, 13, 52),
    (3, 42, 8, 47, 10, 49, 11, 50, 12, 51, 17, 53, 18, 54, 26, 58, 30, 62),
    (4, 43, 5, 44, 14, 15, 72, 136, 137, 163, 164),
    (24,),
    (515,),
)
# A T1-like image of a stripped brain, to align the labelled heads with the template.
T1_LIKE = (1.0, 0.7, 0.3)
BLUR_MM = 1.5
# ICBM152's fluid deeper than this below the surface of the brain counts as ventricles.
VENTRICLE_DEPTH_MM = 25.0
# A head whose brain does not come to lie on the template's, for its atrophy say, is left out.
MIN_DICE = 0.8


def template_map(name: str) -> Volume:
    """One of nilearn's ICBM152 maps, found without importing nilearn (which takes seconds)."""
    for entry in importlib.metadata.files("nilearn") or ():
        if entry.name == f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz":
            return read_volume(str(entry.locate()))
    raise FileNotFoundError(
        f"ICBM152 {name} is not in the installed nilearn; pip install 'slicer-asa[sample]' brings it"
    )


def atlas_grid() -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.eye(3)) * SIZE_MM
    affine[:3, 3] = ORIGIN
    return Grid((SHAPE[2], SHAPE[1], SHAPE[0]), affine)


def on_atlas(volume: Volume, matrix: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float32]:
    """The volume on the grid of the atlas, (X, Y, Z)."""
    return resample(volume, atlas_grid(), matrix=matrix).array.transpose(2, 1, 0)


def make_atlas(maps: npt.NDArray[np.float32]) -> Atlas:
    affine = np.diag([SIZE_MM, SIZE_MM, SIZE_MM, 1.0])
    affine[:3, 3] = ORIGIN
    return Atlas(maps.astype(np.float32), affine)


def template() -> tuple[Atlas, Atlas]:
    """A first atlas of the brain alone, once with all fluid alike and once with that of the ventricles apart.

    The labelled brains are aligned without their sulcal CSF. One brightness for all fluid finds the pose more surely,
    but stretches the brains until they fill the template's sulcal CSF; two brightnesses do not.
    """
    t1, grey, white = (template_map(name) for name in ("t1", "gm", "wm"))
    inside = t1.array > 0
    fluid = np.clip(inside - (grey.array + white.array) / 255, 0, 1)
    deep = ndimage.distance_transform_edt(inside) > VENTRICLE_DEPTH_MM
    tissue = [white.array / 255, grey.array / 255]
    together = [*tissue, fluid, np.zeros_like(fluid)]
    apart = [*tissue, fluid * deep, fluid * ~deep]
    return tuple(
        make_atlas(np.stack([on_atlas(t1.with_array(m.astype(np.float32))) for m in maps]))
        for maps in (together, apart)
    )


def align(brain: Volume, together: Atlas, apart: Atlas) -> npt.NDArray[np.float64]:
    """Matrix 4×4, template mm → mm of a labelled head; heads pitched by up to 30° are found."""
    scan = ScanLevel.of(brain, 3.0, beyond=0.0)
    coarse, fine = together.level(3, 3.0, 9.0, stripped=True), apart.level(1, 3.0, 9.0, stripped=True)
    mass = brain.grid.to_world(ndimage.center_of_mass(brain.array))
    starts = []
    for degrees in (-30, -15, 0, 15, 30):
        start = np.eye(4)
        start[:3, :3] = rotation_matrix(degrees, 0, 0)
        start[:3, 3] = mass - start[:3, :3] @ CENTRE
        fit = Fit(scan, coarse)
        start = fit.improve(start, RIGID, 15)[0]
        starts.append(fit.improve(start, FULL, 20))
    best = min(starts, key=lambda found: found[1])[0]
    return Fit(scan, fine).improve(best, FULL, 30)[0]


def halved(volume: Volume) -> Volume:
    """Every second voxel: labels of 1 mm say more than an atlas of 3 mm can keep."""
    affine = volume.grid.affine.copy()
    affine[:3, :3] *= 2
    array = volume.array[::2, ::2, ::2]
    return Volume(array, Grid(array.shape, affine))


def chosen(labels: npt.NDArray[np.integer], values: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """1 where a label is among ``values``, else 0."""
    table = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    table[[v for v in values if v < len(table)]] = 1
    return table[labels]


def tissue_maps(head: Volume, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(6, X, Y, Z) of one head, in template space; NaN where its field of view ends."""
    labels = head.array
    inner = sum(LABELS, ())
    soft = tuple(int(v) for v in np.unique(labels) if v and v not in inner)
    masks = [chosen(labels, values) for values in (*LABELS, soft)]
    maps = np.stack([on_atlas(head.with_array(m), matrix) for m in masks])
    # Below its lowest labelled slice the scan ended, the head did not.
    lowest = np.flatnonzero(labels.any(axis=(1, 2)))[0]
    points = atlas_grid().to_world(np.moveaxis(np.indices(atlas_grid().shape), 0, -1))
    below = head.grid.to_index(points @ matrix[:3, :3].T + matrix[:3, 3])[..., 0] < lowest
    maps[:, below.transpose(2, 1, 0)] = np.nan
    return maps


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    heads = sorted(Path(arguments[0]).glob("*.nii.gz"))
    together, apart = template()
    total, count = np.zeros((len(TISSUES), *SHAPE)), np.zeros(SHAPE)
    for path in heads:
        head = halved(read_volume(path, labels=True))
        brain = sum(np.float32(value) * chosen(head.array, LABELS[k]) for k, value in enumerate(T1_LIKE))
        matrix = align(head.with_array(brain), together, apart)
        maps = tissue_maps(head, matrix)
        mask = np.nan_to_num(maps[:3].sum(axis=0)) > 0.5
        dice = 2 * (mask & apart.brain).sum() / (mask.sum() + apart.brain.sum())
        ends = [np.percentile(np.argwhere(m)[:, 2], (0.5, 99.5)) * SIZE_MM + ORIGIN[2] for m in (mask, apart.brain)]
        print(f"{path.name}: Dice of the brain with the template {dice:.3f}; bottom and top {ends[0]}, {ends[1]} mm")
        if dice < MIN_DICE:
            print(f"{path.name} is omitted")
            continue
        known = np.isfinite(maps[0])
        total[:, known] += maps[:, known]
        count += known
    mean = total / np.maximum(count, 1)
    # Where no head was seen the nearest voxel that was stands in: the neck extends below the field of view.
    nearest = ndimage.distance_transform_edt(count < 3, return_distances=False, return_indices=True)
    mean = mean[(slice(None), *nearest)]
    mean = np.stack([ndimage.gaussian_filter(m, BLUR_MM / SIZE_MM, mode="nearest") for m in mean])
    mean = (mean + mean[:, ::-1]) / 2
    image = nib.Nifti1Image(np.moveaxis(np.rint(mean * 255), 0, -1).astype(np.uint8), make_atlas(mean).affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, 4)
    image.set_qform(image.affine, 4)
    nib.save(image, arguments[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
