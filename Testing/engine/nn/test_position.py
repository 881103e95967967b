"""Symmetric position encoding (Eq. 3)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from asa.nn.position import SCHEMES, PositionEncoding, position_index, sinusoid

GRIDS = [(16, 16, 16), (8, 16, 16), (20, 24, 20), (5, 4, 7), (3, 9, 2)]


@pytest.mark.parametrize("frame", GRIDS)
def test_mirrored_positions_share_a_code_and_no_others_do(frame):
    index = position_index(frame, frame).view(frame)
    assert torch.equal(index, index.flip(-1))
    half = index[..., : (frame[2] + 1) // 2]
    assert len(torch.unique(half)) == half.numel()


def test_hand_computed_index():
    # t*(H*W) + h*W + min(w, W-1-w) on a 2x3x4 grid
    index = position_index((2, 3, 4), (2, 3, 4)).view(2, 3, 4)
    assert index[0, 0].tolist() == [0, 1, 1, 0]
    assert index[0, 2].tolist() == [8, 9, 9, 8]
    assert index[1, 1].tolist() == [16, 17, 17, 16]


def test_literal_equation_as_printed():
    # T^2 t + H h - |W/2 - w| + W/2 with T = H = W = 4
    index = position_index((4, 4, 4), (4, 4, 4), scheme="literal").view(4, 4, 4)
    assert index[0, 0].tolist() == [0, 1, 2, 1]
    assert index[1, 2].tolist() == [24, 25, 26, 25]


def test_released_code_counts_rows_of_half_the_width():
    # (t*H + h)*W/2 + min(w, W-1-w) on a 2x3x4 grid, in angles to the base 100000
    index = position_index((2, 3, 4), (2, 3, 4), scheme="released").view(2, 3, 4)
    assert index[0, 0].tolist() == [0, 1, 1, 0]
    assert index[0, 2].tolist() == [4, 5, 5, 4]
    assert index[1, 1].tolist() == [8, 9, 9, 8]
    codes = PositionEncoding((2, 3, 4), 8, "released")((2, 3, 4))
    assert torch.equal(codes, sinusoid(index.flatten(), 8, 1e5))


def test_literal_collides_on_a_grid_that_is_not_cubic_and_ours_does_not():
    frame = (8, 16, 16)
    places = list(itertools.product(range(8), range(16), range(9)))
    literal = position_index(frame, frame, scheme="literal").view(frame)
    ours = position_index(frame, frame).view(frame)
    shared = [float(literal[p]) for p in places]
    assert len(set(shared)) < len(shared) / 2
    folded = [float(ours[p]) for p in places if p[2] < 8]
    assert len(set(folded)) == len(folded)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_crop_has_the_codes_of_its_place(scheme):
    frame, origin, grid = (6, 8, 10), (1, 3, 2), (4, 5, 6)
    encode = PositionEncoding(frame, 24, scheme)
    whole = encode(frame).view(*frame, 24)
    crop = encode(grid, origin).view(*grid, 24)
    assert torch.allclose(crop, whole[1:5, 3:8, 2:8], atol=1e-6, rtol=0)


def test_mirrored_crop_has_the_mirrored_codes():
    frame, grid = (6, 8, 10), (4, 5, 6)
    encode = PositionEncoding(frame, 24)
    left = encode(grid, (1, 3, 1)).view(*grid, 24)
    right = encode(grid, (1, 3, 10 - 6 - 1)).view(*grid, 24)
    assert torch.allclose(left, right.flip(2), atol=1e-6, rtol=0)


def test_sine_and_cosine_interleave_and_are_exact_for_large_indices():
    index = torch.tensor([0.0, 1.0, 9599.0], dtype=torch.float64)
    code = sinusoid(index, 8).double().numpy()
    for row, p in zip(code, index.tolist(), strict=True):
        angles = p / 10000 ** (2 * np.arange(4) / 8)
        assert np.abs(row[0::2] - np.sin(angles)).max() < 1e-7
        assert np.abs(row[1::2] - np.cos(angles)).max() < 1e-7


def test_distinct_codes_over_the_whole_frame():
    frame = (20, 24, 20)
    code = PositionEncoding(frame, 192)(frame)
    assert len(torch.unique(code.round(decimals=5), dim=0)) == 20 * 24 * 10


@pytest.mark.parametrize(("grid", "origin"), [((5, 4, 4), (0, 0, 0)), ((4, 4, 4), (0, 0, 1)), ((2, 2, 2), (-1, 0, 0))])
def test_outside_the_frame_is_refused(grid, origin):
    with pytest.raises(ValueError, match="outside"):
        PositionEncoding((4, 4, 4), 12)(grid, origin)


def test_learned_table_is_trained():
    encode = PositionEncoding((2, 2, 2), 4, "learned")
    encode((1, 2, 2), (1, 0, 0)).sum().backward()
    assert encode.table.grad[0].abs().sum() == 0
    assert torch.all(encode.table.grad[1] == 1)


def test_unknown_scheme_and_odd_width_are_refused():
    with pytest.raises(ValueError, match="Unknown position scheme"):
        PositionEncoding((2, 2, 2), 4, "spiral")
    with pytest.raises(ValueError, match="even"):
        sinusoid(torch.zeros(1), 5)
