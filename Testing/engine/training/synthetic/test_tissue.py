"""Validation of the tissue model."""

from __future__ import annotations

import pytest
import torch

from asa.training.synthetic.tissue import crop_dice


class Elsewhere(torch.nn.Module):
    """Lies on another device than the crops, as on a GPU; answers what the crops were painted with."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))

    def forward(self, image, _origin):
        assert image.device == self.weight.device, "the crop was left behind"
        return torch.nn.functional.one_hot(labels(), 5).movedim(-1, 1).float()


class Crops:
    def collate(self, indices):
        return {"image": torch.zeros(1, 1, 4, 4, 4), "target": labels(), "origins": [(0, 0, 0)] * len(indices)}


def labels():
    return torch.arange(64).view(1, 4, 4, 4) % 5


def test_crops_follow_the_network_to_its_device():
    assert crop_dice(Elsewhere(), Crops(), 2)["score"] == pytest.approx(1.0)
