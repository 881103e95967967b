"""Windows over large images: they cover them, lie on the patch grid, and blend as a plain sum does."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from asa.nn.position import place_in_frame
from asa.nn.sliding_window import blend_windows, gaussian_window, window_starts


def test_places_in_the_frame():
    assert place_in_frame((16, 8, 0), (32, 32, 32), (64, 64, 64), (8, 8, 8)) == (2, 1, 0)
    # a frame as large as the crop has one place for all crops; a scan smaller than the frame lies in its middle
    assert place_in_frame((32, 64, 24), (128, 128, 128), (160, 192, 160), (16, 16, 16)) == (0, 0, 0)
    assert place_in_frame((0, 8, 0), (32, 32, 32), (32, 64, 32), (8, 8, 8)) == (2, 1, 2)


@pytest.mark.parametrize(("size", "window"), [(160, 96), (192, 96), (96, 96), (200, 96), (104, 96)])
def test_windows_cover_the_axis_on_the_patch_grid(size, window):
    starts = window_starts(size, window, 8)
    assert starts[0] == 0 and starts[-1] == size - window
    assert all(s % 8 == 0 for s in starts)
    assert all(b - a <= window // 2 + 8 for a, b in pairwise(starts))


def test_the_overlap_is_asked_for():
    assert window_starts(160, 128, 8) == [0, 32]
    assert window_starts(128, 128, 8) == [0]
    assert window_starts(128, 64, 8) == [0, 32, 64]
    assert window_starts(128, 64, 8, 0.0) == [0, 64]
    assert window_starts(64, 128, 8) == [0], "a window that is larger than the image"


def test_gaussian_window_is_symmetric_and_positive():
    weight = gaussian_window((96, 96, 96))
    assert torch.equal(weight, weight.flip(0, 1, 2)) and weight.min() > 0 and weight.argmax() > 0


def test_windows_blend_as_a_sum_in_double_precision_does():
    scan, window = (40, 32, 24), (16, 32, 16)
    image = torch.randn(2, *scan, generator=torch.Generator().manual_seed(1))
    starts = [window_starts(n, w, 8) for n, w in zip(scan, window, strict=True)]
    shares = []

    def run(box, corner):
        assert tuple(side.start for side in box) == corner
        return image[(slice(None), *box)] * (1 + corner[0])

    found = blend_windows(scan, window, starts, run, shares.append)
    weight = gaussian_window(window).double()
    total, norm = torch.zeros(2, *scan).double(), torch.zeros(scan).double()
    for t, h, w in product(*starts):
        box = tuple(slice(start, start + side) for start, side in zip((t, h, w), window, strict=True))
        total[(slice(None), *box)] += image[(slice(None), *box)].double() * (1 + t) * weight
        norm[box] += weight
    assert torch.allclose(found.double(), total / norm, atol=1e-6)
    assert shares == sorted(shares) and shares[-1] == 1
