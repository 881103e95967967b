"""Position encodings on the patch grid of the brain frame (paper Eq. 3 and its alternatives).

A *frame grid* (T, H, W) of patches covers the brain frame and belongs to the model. A crop passes its own
``origin`` in that grid, so that one place in the brain has one code in a crop, a window and the whole brain.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Scheme = Literal["symmetric", "literal", "released", "sinusoid", "axial", "learned"]
Grid3 = tuple[int, int, int]
Order = Literal["thw", "twh", "htw", "hwt", "wth", "wht"]
SCHEMES: tuple[str, ...] = get_args(Scheme)


def patch_coordinates(grid: Grid3, origin: Grid3 = (0, 0, 0)) -> tuple[Tensor, Tensor, Tensor]:
    """Integer (t, h, w) of each patch of ``grid``, shifted by ``origin``; flattened with w fastest, each (N,)."""
    axes = [torch.arange(start, start + size) for start, size in zip(origin, grid, strict=True)]
    t, h, w = torch.meshgrid(*axes, indexing="ij")
    return t.flatten(), h.flatten(), w.flatten()


def position_index(frame: Grid3, grid: Grid3, origin: Grid3 = (0, 0, 0), scheme: Scheme = "symmetric") -> Tensor:
    """Scalar position of each patch, (N,) float64.

    ``symmetric``: t*(H*W) + h*W + min(w, W-1-w): Eq. 3 made exactly mirror-symmetric, and free of collisions on
    every grid. ``literal``: Eq. 3 as printed, T^2*t + H*h - |W/2 - w| + W/2. ``released``: as the authors' code counts,
    rows of half the width, (t*H + h)*ceil(W/2) + min(w, W-1-w). ``sinusoid``: the flat index of the
    patch, as in the vanilla transformer.
    """
    depth, height, width = frame
    t, h, w = patch_coordinates(grid, origin)
    if scheme == "symmetric":
        index = (t * height + h) * width + torch.minimum(w, width - 1 - w)
    elif scheme == "literal":
        return (depth**2 * t + height * h + width / 2).double() - (width / 2 - w.double()).abs()
    elif scheme == "released":
        index = (t * height + h) * ((width + 1) // 2) + torch.minimum(w, width - 1 - w)
    elif scheme == "sinusoid":
        index = (t * height + h) * width + w
    else:
        raise ValueError(f"Position scheme '{scheme}' has no scalar index.")
    return index.double()


def sinusoid(index: Tensor, dim: int, base: float = 1e4) -> Tensor:
    """Sine and cosine, interleaved, of index / base^(2i/dim): (N,) -> (N, dim) float32, computed in float64."""
    if dim % 2:
        raise ValueError(f"A sinusoidal code needs an even dimension, got {dim}.")
    exponent = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    angle = index.double()[:, None] / torch.pow(base, exponent)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


def axial(frame: Grid3, grid: Grid3, origin: Grid3, dim: int) -> Tensor:
    """Return a third of the channels for each axis (the last takes what is left over): (N, dim) float32."""
    part = 2 * (dim // 6)
    sizes = (part, part, dim - 2 * part)
    coordinates = patch_coordinates(grid, origin)
    return torch.cat([sinusoid(c.double(), s) for c, s in zip(coordinates, sizes, strict=True)], dim=1)


def sequence_rank(grid: Grid3, order: Order) -> Tensor:
    """Place of each patch of ``grid`` (flattened with w fastest) in a line by ``order``, slowest axis first: (N,)."""
    count = grid[0] * grid[1] * grid[2]
    line = torch.arange(count).view(grid).permute(["thw".index(axis) for axis in order]).flatten()
    rank = torch.empty(count, dtype=torch.int64)
    rank[line] = torch.arange(count)
    return rank


class PositionEncoding(nn.Module):
    """Codes to add to patch embeddings and mask tokens.

    Args:
        frame: patch grid (T, H, W) of the model's brain frame.
        dim: embedding width D.
        scheme: one of :data:`SCHEMES`; ``symmetric`` is the paper's SPE.
    """

    def __init__(self, frame: Grid3, dim: int, scheme: Scheme = "symmetric") -> None:
        super().__init__()
        if scheme not in SCHEMES:
            raise ValueError(f"Unknown position scheme '{scheme}'; choose from {', '.join(SCHEMES)}.")
        self.frame, self.dim, self.scheme = frame, dim, scheme
        self.table: nn.Parameter | None = None
        if scheme == "learned":
            self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(*frame, dim), std=0.02))
        self._codes: dict[tuple[Grid3, Grid3], Tensor] = {}

    def forward(self, grid: Grid3, origin: Grid3 = (0, 0, 0)) -> Tensor:
        """Codes (N, D) of the patches of a crop ``grid`` that starts at ``origin`` of the frame grid.

        Raises:
            ValueError: the crop reaches outside the frame grid.
        """
        end = tuple(o + g for o, g in zip(origin, grid, strict=True))
        if any(o < 0 or e > f for o, e, f in zip(origin, end, self.frame, strict=True)):
            raise ValueError(f"Crop {grid} at {origin} reaches outside the model's frame grid {self.frame}.")
        if self.table is not None:
            window = tuple(slice(o, e) for o, e in zip(origin, end, strict=True))
            return self.table[window].reshape(-1, self.dim)
        key = (grid, origin)
        if key not in self._codes:
            if self.scheme == "axial":
                code = axial(self.frame, grid, origin, self.dim)
            else:
                base = 1e5 if self.scheme == "released" else 1e4
                code = sinusoid(position_index(self.frame, grid, origin, self.scheme), self.dim, base)
            if len(self._codes) > 512:  # random crops visit many origins; codes are cheap to recompute
                self._codes.clear()
            self._codes[key] = code
        return self._codes[key]


def place_in_frame(start: Grid3, crop: Grid3, scan: Grid3, frame: Grid3, patch: int = 8) -> Grid3:
    """Origin, in patches of the model's frame grid, of a crop that starts at voxel ``start`` of a scan.

    The frame lies in the middle of the scan. A crop that reaches out of it takes the codes of the nearest place; so
    where the crop is as large as the frame, as in the paper, all crops share one code.
    """
    place = []
    for first, size, whole, known in zip(start, crop, scan, frame, strict=True):
        margin = (whole // patch - known) // 2
        place.append(min(max(first // patch - margin, 0), known - size // patch))
    return place[0], place[1], place[2]
