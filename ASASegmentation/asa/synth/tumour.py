"""Synthetic tumours: location, mass effect and appearance.

A mass with a necrotic core, an enhancing rim and an oedema that follows white matter; it displaces the tissue around
it by a smooth deformation. Shape and appearance are drawn at random over wide ranges: solid, ring-shaped, patchy or
without any enhancement, with or without satellites.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from asa.seeds import chance, uniform
from asa.synth.intensity import gaussian_blur, smooth_field
from asa.synth.multimodal import CSF, FLAIR, GREY, T1, T1GD, T2, WHITE

NECROSIS, OEDEMA, ENHANCING = 1, 2, 3  # values of the task
SMALLEST = 60  # voxels; less is no tumour
KINDS = ("ring", "solid", "patchy", "none")
KIND_SHARES = (0.42, 0.08, 0.2, 0.3)


@dataclass(frozen=True)
class Mass:
    """The geometry of one tumour; lengths in voxels of 1 mm.

    Attributes:
        centres: (N, 3) in the crop; the first is the mass, others are satellites.
        radius: of the core.
        extent: how far oedema reaches into white matter beyond the core.
        push: largest displacement of the tissue around it.
        kind: how it enhances, one of :data:`KINDS`.
        shape: 3x3 that makes the ball an ellipsoid.
    """

    centres: Tensor
    radius: float
    extent: float
    push: float
    kind: str
    shape: Tensor


def draw_mass(rng: Generator, centre: Tensor) -> Mass:
    """Return a tumour around ``centre`` (3,)."""
    radius = math.exp(uniform(rng, math.log(4), math.log(30)))
    extent = 0.0 if chance(rng, 0.1) else math.exp(uniform(rng, math.log(3), math.log(32)))
    kind = KINDS[int(torch.multinomial(torch.tensor(KIND_SHARES), 1, generator=rng))]
    axes, _ = torch.linalg.qr(torch.randn(3, 3, generator=rng))
    stretch = torch.exp(0.25 * torch.randn(3, generator=rng).clamp(-2, 2))
    centres = [centre]
    if chance(rng, 0.2):
        away = torch.randn(3, generator=rng)
        centres.append(centre + away / away.norm() * radius * uniform(rng, 1.2, 2.5))
    return Mass(
        centres=torch.stack(centres),
        radius=radius,
        extent=extent,
        push=0.0 if chance(rng, 0.25) else radius * uniform(rng, 0.1, 0.5),
        kind=kind,
        shape=axes @ torch.diag(stretch) @ axes.T,
    )


def offsets(shape: tuple[int, ...], centre: Tensor) -> Tensor:
    """(3, T, H, W) vectors from ``centre`` to each voxel."""
    axes = [torch.arange(n, dtype=torch.float32) - float(c) for n, c in zip(shape, centre, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def displacement(mass: Mass, shape: tuple[int, ...]) -> Tensor:
    """(3, T, H, W) voxels by which the tissue now there was pushed outward; it fades away with distance.

    The distance of the tissue's old place grows with that of its new one, so that nothing folds.
    """
    away = offsets(shape, mass.centres[0])
    distance = away.norm(dim=0).clamp(min=1e-3)
    reach = 1.5 * mass.radius + 10
    # no tissue comes from beyond the centre
    amount = torch.minimum(mass.push * torch.exp(-((distance / reach) ** 2)), distance)
    moved: Tensor = away * (amount / distance)
    return moved


def grow(rng: Generator, mass: Mass, white: Tensor, tissue: Tensor) -> Tensor:
    """Return labels (T, H, W) uint8 of the tumour: 1 necrotic or not enhancing core, 2 oedema, 3 enhancing.

    Args:
        white: (T, H, W) in [0, 1], how much white matter: oedema spreads along it.
        tissue: (T, H, W) bool, brain without CSF; nothing grows elsewhere.
    """
    shape = tuple(tissue.shape)
    rough = smooth_field(rng, shape, 6)[0] * uniform(rng, 0.05, 0.25)
    rough += smooth_field(rng, shape, 16)[0] * uniform(rng, 0.03, 0.12)
    distance: Tensor | None = None
    for number, centre in enumerate(mass.centres):
        ball = torch.einsum("ij,jthw->ithw", mass.shape, offsets(shape, centre)).norm(dim=0)
        ball *= 1.0 if number == 0 else 2.0  # satellites are half as large
        distance = ball if distance is None else torch.minimum(distance, ball)
    assert distance is not None
    distance = distance * torch.exp(rough)
    labels = torch.zeros(shape, dtype=torch.uint8)
    fine = smooth_field(rng, shape, 24)[0]
    # white matter conducts, cortex hardly; blurred, so that thin blades of white matter end smoothly
    conduct = 0.12 + 0.88 * gaussian_blur(white, (1.5, 1.5, 1.5))
    labels[distance < mass.radius + mass.extent * conduct * torch.exp(0.3 * fine)] = OEDEMA
    core = distance < mass.radius
    labels[core] = NECROSIS
    if mass.kind == "ring":
        wall = uniform(rng, 0.1, 0.5)
        labels[core & (distance > mass.radius * (1 - wall * torch.exp(0.5 * fine)))] = ENHANCING
    elif mass.kind == "solid":
        labels[core & (fine > uniform(rng, -2.0, -0.7))] = ENHANCING
    elif mass.kind == "patchy":
        labels[core & (fine > uniform(rng, 0.6, 1.6))] = ENHANCING
    labels[~tissue] = 0
    if int((labels > 0).sum()) < SMALLEST:
        labels.zero_()
    return labels


def appearance(rng: Generator, anchors: Tensor, kind: str) -> Tensor:
    """Intensity of NCR, ED and ET in T1, T1Gd, T2 and FLAIR, (4, 3), given those of CSF, GM and WM (4, 3).

    Fluid is dark in T1 and bright in T2; FLAIR shows oedema bright, and free fluid in a necrosis dark or bright.
    Contrast agent is seen in T1Gd only.
    """
    table = torch.empty(4, 3)

    def towards(modality: int, start: int, low: float, high: float) -> float:
        a, b = float(anchors[modality, start]), float(anchors[modality, CSF])
        return a + uniform(rng, low, high) * (b - a)

    def bright(low: float, high: float) -> float:
        brain = anchors[FLAIR, GREY:]
        lift = float(brain.max() - anchors[FLAIR, CSF]) * uniform(rng, low, high)
        return float(brain.max()) + lift

    ncr, ed, et = range(3)
    enhances = kind != "none"
    table[T1, ncr] = towards(T1, GREY, 0.15, 0.9 if enhances else 0.7)
    table[T2, ncr] = towards(T2, GREY, 0.3, 1.05)
    dark = chance(rng, 0.3 if enhances else 0.15)
    table[FLAIR, ncr] = towards(FLAIR, GREY, 0.1, 0.8) if dark else bright(0.1, 1.0)
    table[T1, ed] = towards(T1, WHITE, 0.15, 0.65)
    table[T2, ed] = towards(T2, GREY, 0.1, 0.8)
    table[FLAIR, ed] = bright(0.15, 1.1)
    table[T1, et] = towards(T1, GREY, -0.3, 0.6)
    table[T2, et] = towards(T2, GREY, -0.1, 0.6)
    table[FLAIR, et] = bright(-0.1, 0.8)
    change = anchors[T1GD, WHITE] - anchors[T1, WHITE]
    table[T1GD] = table[T1] + change
    scale = float(anchors[T1GD, WHITE] - anchors[T1GD, CSF])
    table[T1GD, et] = float(anchors[T1GD, WHITE]) + scale * uniform(rng, 0.15, 1.2)
    return table


def paint(rng: Generator, images: Tensor, labels: Tensor, table: Tensor) -> None:
    """Draw a tumour over images (4, T, H, W), in place; oedema lets some of the tissue below show through."""
    shape = tuple(labels.shape)
    texture = smooth_field(rng, shape, 20)[0]
    through = (uniform(rng, 0.0, 0.5) + 0.2 * smooth_field(rng, shape, 8)[0]).clamp_(0, 0.7)
    cover = torch.where(labels == OEDEMA, 1 - through, (labels > 0).float())
    for image, row in zip(images, table, strict=True):
        values = torch.cat((torch.zeros(1), row))[labels.long()]
        values += uniform(rng, 0.0, 0.06) * texture
        image.lerp_(values, cover)
