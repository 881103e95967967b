"""Disease of one patient in the brain of another."""

from __future__ import annotations

import numpy as np
import torch

from asa.seeds import generator
from asa.synth.transplant import donor_part, transplant


def patient() -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.zeros(3, 40, 48, 40)
    image[:2, 4:36, 4:44, 4:36] = 0.1 + 0.01 * torch.rand(2, 32, 40, 32, generator=generator(0))
    return image, torch.zeros(40, 48, 40, dtype=torch.uint8)


def donor(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = np.zeros((40, 48, 40), np.uint8)
    labels[18:26, 20:30, 8:16], labels[20:24, 23:27, 10:14] = 2, 3
    image = np.full((3, 40, 48, 40), 0.1, np.float16)
    image[:, labels > 0] = 3
    places = np.argwhere(labels > 0)
    return donor_part(generator(seed), image, labels, np.insert(places, 0, 1, axis=1).astype(np.int16))


def test_disease_moves_with_its_looks():
    image, labels = patient()
    moved = 0
    for seed in range(8):
        new, found = transplant(generator(seed), image, labels, *donor(seed))
        moved += bool(found.any())
        assert not new[:, (image == 0).all(0)].any(), "background must stay 0"
        assert not new[2].any(), "a modality that the patient lacks must stay away"
        if found.any():
            assert new[0][found > 0].mean() > 2 and set(found.unique().tolist()) <= {0, 2, 3}
            assert torch.allclose(new[0][found == 0].mean(), image[0].mean(), atol=0.2)
    assert moved >= 6
    assert image.max() < 0.2 and not labels.any(), "what was given is not changed"


def test_own_disease_stays():
    image, labels = patient()
    labels[20:22, 20:22, 20:22] = 1
    for seed in range(6):
        _, found = transplant(generator(seed), image, labels, *donor(seed))
        assert (found > 0)[labels > 0].all()


def test_without_a_brain_nothing_changes():
    image, labels = torch.zeros(3, 16, 16, 16), torch.zeros(16, 16, 16, dtype=torch.uint8)
    new, found = transplant(generator(1), image, labels, *donor(1))
    assert new is image and found is labels
