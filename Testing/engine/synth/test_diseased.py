"""Synthetic tumours and white-matter lesions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from asa.synth import to_structures
from asa.synth.diseased import (
    DiseasedHeads,
    Tumours,
    WhiteMatterLesions,
    implant_lesions,
    implant_tumour,
    scan_anchors,
    vary_contrast,
)
from asa.synth.intensity import smooth_field
from asa.synth.lesions import grow_lesions, lesion_appearance, paint_plexus
from asa.synth.multimodal import CSF, FLAIR, GREY, T1, T1GD, T2, WHITE, draw_anchors
from asa.synth.structures import TARGETS
from asa.synth.tumour import ENHANCING, NECROSIS, OEDEMA, Mass, appearance, displacement, draw_mass, grow

FRAME, CROP = (40, 40, 40), (32, 32, 32)


@pytest.fixture(scope="module")
def heads() -> np.ndarray:
    """One head with 8 voxels of margin: scalp, sulcal CSF, cortex, white matter, ventricles."""
    shape = np.array(FRAME) + 16
    grid = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2) for n in shape], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grid))
    labels = np.zeros(shape, np.int64)
    for limit, value in ((0.95, 507), (0.85, 24), (0.8, 3), (0.65, 2), (0.2, 4)):
        labels[radius < limit] = value
    return to_structures(labels)[None]


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mass(kind: str = "ring", **changes: float) -> Mass:
    values = {"radius": 8.0, "extent": 8.0, "push": 0.0, **changes}
    return Mass(centres=torch.tensor([[20.0, 20.0, 20.0]]), kind=kind, shape=torch.eye(3), **values)


@pytest.mark.parametrize("disease", [Tumours(), WhiteMatterLesions()])
def test_a_seed_is_a_sample(heads, disease):
    make = DiseasedHeads(heads, FRAME, CROP, disease)
    first, again, other = make.sample(3), make.sample(3), make.sample(4)
    assert torch.equal(first.image, again.image) and torch.equal(first.target, again.target)
    assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("disease", [Tumours(), WhiteMatterLesions()])
def test_samples_are_what_the_network_sees(heads, disease):
    make = DiseasedHeads(heads, FRAME, CROP, disease, ("t1", "flair"))
    seen = 0
    for seed in range(8):
        image, labels, origin = make.sample(seed)
        assert image.shape == (2, *CROP) and labels.shape == CROP and labels.dtype == torch.int64
        assert torch.isfinite(image).all() and image.abs().max() <= 5
        assert all(0 <= 8 * o <= f - c for o, f, c in zip(origin, FRAME, CROP, strict=True))
        outside = (image == 0).all(0)
        assert not labels[outside].any()  # nothing is labelled beyond the brain
        seen += int((labels > 0).any())
    assert seen >= 3


def test_whole_brains_are_zscored(heads):
    """The statistics from voxel counts are those of the image, when the crop is the whole frame."""
    make = DiseasedHeads(heads, FRAME, FRAME, Tumours(lesion_share=0))
    means, spreads = [], []
    for seed in range(5):
        image, _, _ = make.sample(seed)
        inside = image[:, (image != 0).any(0)]
        means.append(inside.mean(1))
        spreads.append(inside.std(1))
    assert torch.stack(means).mean(0).abs().max() < 0.35
    assert (torch.stack(spreads).mean(0) - 1).abs().max() < 0.35


def test_a_ring_lies_around_necrosis_and_oedema_around_both():
    everywhere = torch.ones(40, 40, 40, dtype=torch.bool)
    labels = grow(rng(1), mass(), everywhere.float(), everywhere).numpy()
    assert set(np.unique(labels)) == {0, NECROSIS, OEDEMA, ENHANCING}
    distance = np.linalg.norm(np.indices(labels.shape) - 20, axis=0)
    depth = [distance[labels == value].mean() for value in (NECROSIS, ENHANCING, OEDEMA)]
    assert depth == sorted(depth)
    # necrosis touches nothing healthy: the wall or oedema is between them
    healthy = ndimage.binary_dilation(labels == 0)
    assert (healthy & (labels == NECROSIS)).mean() < 1e-4


def test_oedema_follows_white_matter():
    everywhere = torch.ones(40, 40, 40, dtype=torch.bool)
    white = torch.zeros(40, 40, 40)
    white[:, :, 20:] = 1
    labels = grow(rng(2), mass(extent=10.0), white, everywhere)
    oedema = labels == OEDEMA
    assert oedema[:, :, 20:].sum() > 3 * oedema[:, :, :20].sum()


def test_a_tumour_without_enhancement_has_none_and_stays_in_tissue():
    tissue = torch.ones(40, 40, 40, dtype=torch.bool)
    tissue[:20] = False
    labels = grow(rng(3), mass("none"), tissue.float(), tissue)
    assert (labels == ENHANCING).sum() == 0 and (labels > 0).sum() > 500
    assert not labels[~tissue].any()


def test_what_is_too_small_is_no_tumour():
    everywhere = torch.ones(16, 16, 16, dtype=torch.bool)
    assert not grow(rng(0), mass(radius=1.5, extent=0.0), everywhere.float(), everywhere).any()


def test_mass_effect_pushes_outward_smoothly_and_does_not_fold():
    push = displacement(mass(push=4.0), (40, 40, 40))
    away = torch.stack(torch.meshgrid(*[torch.arange(40.0) - 20] * 3, indexing="ij"))
    assert ((push * away).sum(0) >= 0).all()
    amount = push.norm(dim=0)
    assert amount.max() <= 4 + 1e-4 and amount[20, 20, 39] < amount[20, 20, 26]
    old = away - push  # where the tissue came from: must stay in order along every ray
    assert (old[2, 20, 20].diff() >= -1e-5).all()


def test_tissue_is_displaced(heads):
    make = DiseasedHeads(heads, FRAME, FRAME, Tumours()).maker
    plain = make.deform(rng(5), make.heads[0], [0, 0, 0])
    moved = make.deform(rng(5), make.heads[0], [0, 0, 0], displacement(mass(push=5.0), FRAME))
    assert 0.01 < (plain != moved).float().mean() < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_contrast_of_a_tumour_is_as_scanners_show_it(seed):
    anchors = draw_anchors(rng(seed))
    assert anchors[T1, CSF] < anchors[T1, GREY] < anchors[T1, WHITE]
    assert anchors[T2, WHITE] < anchors[T2, GREY] < anchors[T2, CSF]
    assert anchors[FLAIR, CSF] < anchors[FLAIR, WHITE]
    table = appearance(rng(seed), anchors, "ring")
    necrosis, oedema, enhancing = table.unbind(1)
    assert enhancing[T1GD] > anchors[T1GD, WHITE] > necrosis[T1GD]
    assert oedema[FLAIR] > anchors[FLAIR].max() and oedema[T2] > anchors[T2, GREY]
    assert oedema[T1] < anchors[T1, WHITE]
    lesion = lesion_appearance(rng(seed), anchors)[:, 0]
    assert lesion[FLAIR] > anchors[FLAIR].max() and lesion[T1] < anchors[T1, WHITE]


def test_kinds_of_tumour_come_in_their_shares():
    kinds = [draw_mass(rng(seed), torch.zeros(3)).kind for seed in range(150)]
    assert 0.18 < kinds.count("none") / 150 < 0.4 and 0.3 < kinds.count("ring") / 150 < 0.55


def regions() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """White matter, ventricles and cortex, as slabs along the last axis."""
    ventricles, white, cortex = (torch.zeros(32, 32, 48, dtype=torch.bool) for _ in range(3))
    ventricles[..., :8], white[..., 8:40], cortex[..., 40:] = True, True, True
    return white, ventricles, cortex


def test_lesions_fill_their_share_of_white_matter_and_lie_near_the_ventricles():
    white, ventricles, cortex = regions()
    near = far = 0
    for seed in range(12):
        labels = grow_lesions(rng(seed), white, ventricles, cortex, 0.02) > 0
        assert not labels[~white].any()
        assert int(labels.sum()) == pytest.approx(0.02 * int(white.sum()), rel=0.05)
        near, far = near + int(labels[..., 8:16].sum()), far + int(labels[..., 32:40].sum())
    assert near > 1.5 * far > 0
    assert not grow_lesions(rng(0), white, ventricles, cortex, 0.0).any()


def test_large_plaques_come_too_not_only_dots():
    white, ventricles, cortex = regions()
    largest = []
    for seed in range(24):
        parts, _ = ndimage.label(grow_lesions(rng(seed), white, ventricles, cortex, 0.05).numpy())
        sizes = np.bincount(parts.ravel())[1:]
        largest.append(sizes.max() / sizes.sum())
    assert min(largest) < 0.3 and max(largest) > 0.8


def real_case() -> tuple[torch.Tensor, torch.Tensor]:
    """A z-scored T1 + FLAIR crop in which nothing is labelled, with an empty border."""
    pattern = smooth_field(rng(0), (32, 32, 32), 6, 1)[0]
    image = torch.stack((pattern, 0.3 * pattern))
    image[:, :4] = 0
    return image, torch.zeros(32, 32, 32, dtype=torch.uint8)


def test_a_tumour_grows_in_a_real_scan():
    image, labels = real_case()
    seen = 0
    for seed in range(8):
        changed, found = implant_tumour(rng(seed), image, labels, ("t1", "flair"))
        assert not found[:4].any() and not changed[:, :4].any()
        untouched = ndimage.binary_dilation(found.numpy() > 0, iterations=1)
        assert torch.equal(changed[:, ~torch.from_numpy(untouched)], image[:, ~torch.from_numpy(untouched)])
        oedema = found == OEDEMA
        if oedema.sum() > 50:
            seen += 1
            assert changed[1][oedema].mean() > image[1][image[1] != 0].mean()
    assert seen >= 3


def test_an_implant_spares_the_lesion_that_is_there_and_needs_tissue():
    image, labels = real_case()
    labels[10:20, 10:20, 10:20] = 1
    _, found = implant_tumour(rng(1), image, labels, ("t1", "flair"))
    assert (found[10:20, 10:20, 10:20] == 1).all()
    empty, nothing = implant_tumour(rng(1), torch.zeros_like(image), torch.zeros_like(labels), ("t1", "flair"))
    assert not empty.any() and not nothing.any()


def test_lesions_are_added_to_the_white_matter_of_a_real_scan():
    image, labels = real_case()
    labels[20:24, 20:24, 20:24] = 1
    _, grey, white = scan_anchors(image, ("t1", "flair"))[0].tolist()
    drawn = 0
    for seed in range(6):
        changed, found = implant_lesions(rng(seed), image, labels, ("t1", "flair"))
        new = (found == 1) & (labels == 0)
        assert (found[labels == 1] == 1).all() and (image[0][new] > 0.5 * (grey + white)).all()
        assert not changed[:, :4].any()
        if new.sum() > 5:
            drawn += 1
            assert changed[0][new].mean() < image[0][new].mean(), "dark in T1"
    assert drawn >= 3
    empty, nothing = implant_lesions(rng(1), torch.zeros_like(image), torch.zeros_like(labels), ("t1", "flair"))
    assert not empty.any() and not nothing.any()


def test_grey_and_white_matter_lie_apart_in_flair_as_drawn():
    t1 = torch.full((24, 24, 24), 0.9)
    t1[:12], t1[:2], t1[2:4] = 0.0, 0.0, -2.4
    t1[0] = 0
    flair = torch.where(t1 > 0.5, -0.1, 0.3) - 2 * (t1 < -1)
    t1[1] = 0.05  # 0 is what lies around the brain
    t1[4:12] = 0.05
    image = torch.stack((t1, flair * (t1 != 0)))
    apart = set()
    for seed in range(8):
        changed = vary_contrast(rng(seed), image, ("t1", "flair"))
        assert torch.equal(changed[0], image[0]) and not changed[1, 0].any()
        grey, white, csf = (float(changed[1, place].median()) for place in (8, 20, 3))
        assert white == pytest.approx(-0.1, abs=1e-5) and -1e-5 <= grey - white <= 1 and csf < grey - 0.5
        apart.add(round(grey - white, 3))
    assert len(apart) == 8
    assert torch.equal(vary_contrast(rng(0), image[1:], ("flair",)), image[1:])
    assert torch.equal(vary_contrast(rng(0), image[:, :1], ("t1", "flair")), image[:, :1])  # too little of it


def test_the_choroid_plexus_is_bright_in_flair_and_stays_within_the_ventricles():
    ventricles = torch.zeros(24, 24, 24, dtype=torch.bool)
    ventricles[6:18, 6:18, 6:18] = True
    anchors = draw_anchors(rng(0))
    before = torch.where(ventricles, anchors[:, CSF].view(4, 1, 1, 1), anchors[:, WHITE].view(4, 1, 1, 1))
    images = before.clone()
    paint_plexus(rng(1), images, ventricles, anchors)
    assert torch.equal(images[:, ~ventricles], before[:, ~ventricles])
    bright = images[FLAIR] > anchors[FLAIR, CSF] + 0.6 * (anchors[FLAIR, GREY] - anchors[FLAIR, CSF])
    assert 0.01 < float((bright & ventricles).sum() / ventricles.sum()) < 0.3
    assert torch.equal(images[[T1GD, T2]], before[[T1GD, T2]])
    empty = before.clone()
    paint_plexus(rng(1), empty, torch.zeros_like(ventricles), anchors)
    assert torch.equal(empty, before)


def test_crops_lie_around_brain_tissue(heads):
    make = DiseasedHeads(heads, FRAME, CROP, Tumours())
    places = make.places[0]
    at = (places + make.margin).numpy()
    assert np.isin(TARGETS[heads[0][tuple(at.T)]], (2, 3)).all() and len(at) > 100
    assert ((places >= -8) & (places < torch.tensor(FRAME) + 8)).all()
