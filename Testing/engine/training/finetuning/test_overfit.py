"""Every network learns one real crop by heart, with the trainer and the loss of fine-tuning, in a few steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from asa.data.datasets import DATASETS
from asa.metrics.overlap import dice
from asa.nn.baselines import NETWORKS, NetworkSpec
from asa.nn.baselines.nnformer import DropPath
from asa.runs.folder import Run
from asa.tasks import TASKS
from asa.training.finetuning.network import make_network
from asa.training.finetuning.objective import make_objective
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.parallel.distributed import World
from asa.training.trainer import Trainer
from asa.volume import read_volume

CASE = "BraTS2021_01479"
FIRST = (60, 108, 73)  # of the crop, in (T, H, W) of the scan: all three labels, 15 %, 7 % and 14 % of a cube
CUBE, LONG = (32, 32, 32), (32, 32, 64)  # SwinUNETR needs two voxels at its deepest level
TASK = TASKS["tumour"]
ENOUGH = 0.95


@dataclass(frozen=True)
class Recipe:
    """Learning rate, its warm-up, and steps within which the crop is learnt; found by trial, then fixed."""

    lr: float
    warmup: int
    steps: int
    crop: tuple[int, int, int] = CUBE


RECIPES = {
    "asa": Recipe(1e-2, 0, 60),
    "unetr": Recipe(1e-2, 0, 50),
    "nnformer": Recipe(1e-2, 20, 120),
    "transbts": Recipe(1e-2, 5, 130),
    "swinunetr": Recipe(5e-3, 5, 50, LONG),
    "dynunet": Recipe(2e-2, 0, 90),
    "resenc": Recipe(1e-2, 0, 90),
    "segresnet": Recipe(3e-3, 0, 130),
}


@pytest.fixture(scope="module")
def scan(data_root):
    """Four modalities, z-scored within the brain, and labels of the long crop."""
    folder = data_root / "brats" / CASE
    dataset = DATASETS["brats2021"]
    (case,) = dataset.find(folder)
    box = tuple(slice(a, a + n) for a, n in zip(FIRST, LONG, strict=True))
    scans = [read_volume(case.images[key]).array for key in dataset.modalities]
    image = np.stack([((a - a[a != 0].mean()) / a[a != 0].std())[box] for a in scans]).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(dataset.to_task(read_volume(case.labels, labels=True).array)[box])


class OneCrop:
    """A training source of one sample."""

    def __init__(self, image, labels):
        self.image, self.labels = image, labels

    def collate(self, indices):
        return {"image": self.image[None], "target": self.labels[None], "origins": [(0, 0, 0)] * len(indices)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_one_real_crop_is_learnt_by_heart(scan, tmp_path, name):
    if name not in ("asa", "nnformer", "transbts", "resenc"):
        pytest.importorskip("monai")
    recipe = RECIPES[name]
    margin = (LONG[2] - recipe.crop[2]) // 2
    image, labels = (array[..., margin : LONG[2] - margin].contiguous() for array in scan)
    optimisation = {
        "optimiser": "adamw",
        "lr": recipe.lr,
        "warmup_steps": recipe.warmup,
        "steps": recipe.steps,
        "schedule": "constant",
        "weight_decay": 0.0,
        "batch": 1,
        "micro_batch": 1,
        "precision": "fp32",
    }
    settings = FinetuneSettings.model_validate(
        {"store": "", "network": name, "size": "small", "crop": recipe.crop, "optimisation": optimisation,
         "schedule": {"log_every": 10, "checkpoint_every": 0, "validate_every": 10, "patience": 0}}
    )  # fmt: skip
    torch.manual_seed(0)
    frame = tuple(n // 8 for n in recipe.crop)
    network, _, description = make_network(settings, NetworkSpec(name, 4, 4, recipe.crop, "small", frame))
    for part in network.modules():
        if isinstance(part, (nn.Dropout, nn.Dropout3d)):
            part.p = 0.0  # it is there to keep a network from learning by heart
        elif isinstance(part, DropPath):
            part.share = 0.0
    reached = {}

    def worst_dice(trained):
        with torch.inference_mode():
            found = trained(image[None], (0, 0, 0)).argmax(1)[0].numpy()
        scores = [dice(np.isin(found, r.values), np.isin(labels.numpy(), r.values)) for r in TASK.regions]
        reached[trainer.step] = min(scores)
        trainer.stop_requested = min(scores) > ENOUGH
        return {"score": min(scores)}

    run = Run.create(tmp_path, "finetuning", settings.model_dump(mode="json"), {})
    objective = make_objective(settings, network, TASK)
    here = World(0, 1, torch.device("cpu"))
    trainer = Trainer(
        objective,
        OneCrop(image, labels),
        settings.optimisation,
        settings.schedule,
        run,
        here,
        describe=description,
        validate=worst_dice,
    )
    trainer.fit()
    assert max(reached.values()) > ENOUGH, reached
