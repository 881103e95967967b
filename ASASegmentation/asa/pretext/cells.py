"""3 x 3 x 3 cells of a volume and the pretext tasks on their positions (Taleb et al. 2020: 3D-RPL, 3D-Jigsaw)."""

from __future__ import annotations

import itertools

import torch
from torch import Generator, Tensor

CELLS = 27
CENTRE = 13
NEIGHBOURS = tuple(i for i in range(CELLS) if i != CENTRE)


def cut_cells(image: Tensor, patch: int, generator: Generator | None) -> Tensor:
    """Return one crop of each cell: (C, T, H, W) -> (27, C, t, h, w), cells flattened with W fastest.

    Crops are the largest multiples of ``patch`` that are smaller than a cell; where in its cell each one lies is
    drawn at random, so that edges do not give the neighbourhood away. Without a ``generator`` they are centred.

    Raises:
        ValueError: a cell does not hold one patch.
    """
    cells = [n // 3 for n in image.shape[1:]]
    crops = [(n - 1) // patch * patch for n in cells]
    if min(crops) < patch:
        raise ValueError(
            f"An image of {tuple(image.shape[1:])} voxels is too small for 27 cells of patches of {patch}."
        )
    parts = []
    for place in itertools.product(range(3), repeat=3):
        part = image
        for axis, (index, cell, crop) in enumerate(zip(place, cells, crops, strict=True), start=1):
            free = cell - crop
            jitter = free // 2 if generator is None else int(torch.randint(free + 1, (), generator=generator))
            part = part.narrow(axis, index * cell + jitter, crop)
        parts.append(part)
    return torch.stack(parts)


def permutations(count: int = 100) -> Tensor:
    """Orders of the 27 cells that differ pairwise in at least 26 places: (count, 27) int64, the first is the identity.

    They are the maps x -> a*x + b of the field of 27 elements: two of them agree in one place at most, and more than
    27 permutations cannot do better. Elements are polynomials over GF(3) modulo x^3 + 2x + 1, written as 9p + 3q + r.

    Raises:
        ValueError: more than the 702 such maps.
    """
    if not 0 < count <= 26 * CELLS:
        raise ValueError(f"There are {26 * CELLS} such permutations, not {count}.")
    elements = range(CELLS)
    return torch.tensor([[_add(_times(1 + i // CELLS, x), i % CELLS) for x in elements] for i in range(count)])


def _digits(x: int) -> list[int]:
    return [x % 3, x // 3 % 3, x // 9]


def _add(x: int, y: int) -> int:
    r, q, p = ((a + b) % 3 for a, b in zip(_digits(x), _digits(y), strict=True))
    return 9 * p + 3 * q + r


def _times(x: int, y: int) -> int:
    product = [0] * 5
    for i, a in enumerate(_digits(x)):
        for j, b in enumerate(_digits(y)):
            product[i + j] += a * b
    for power in (4, 3):  # x^3 = x + 2
        product[power - 2] += product[power]
        product[power - 3] += 2 * product[power]
    r, q, p = (c % 3 for c in product[:3])
    return 9 * p + 3 * q + r
