"""Budgets of a reproduction: as published, or a dry run in less than an hour on two cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asa.data.scan_store import Shape
from asa.errors import InputError
from asa.geometry import FRAME
from asa.nn.baselines import NetworkSpec, asa_config
from asa.pretext import Method
from asa.reproduce.published import System
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.planning.presets import RELEASED_AUGMENTATION
from asa.training.pretraining.settings import PretrainSettings


@dataclass(frozen=True)
class Budget:
    """Settings of every row that do not depend on the row.

    Attributes:
        case_shape, scan_shape: voxels (T, H, W) kept of labelled cases and of scans to pre-train on.
        shares: task -> subjects for training, validation and test.
        pretraining, finetuning: changes to the published settings, which are the defaults.
        by_method: further changes for one method of pre-training.
        mirror: axes of 'thw' along which test cases are mirrored; the mean over all combinations counts.
        stamp: what every page and picture says first; empty where the numbers are results.
    """

    name: str
    case_shape: Shape
    scan_shape: Shape
    shares: Mapping[str, tuple[int, int, int]]
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    by_method: Mapping[Method, Mapping[str, Any]] = field(default_factory=dict)
    finetuning: Mapping[str, Any] = field(default_factory=dict)
    stamp: str = ""
    mirror: str = ""

    def pretrain_settings(self, method: Method, store: str, seed: int) -> PretrainSettings:
        """Return the settings of one pre-training."""
        values = {**self.pretraining, **self.by_method.get(method, {})}
        return PretrainSettings.model_validate({"store": store, "method": method, "seed": seed, **values})

    def finetune_settings(
        self, system: System, task: str, store: str, init: str, seed: int, repeat: int = 0
    ) -> FinetuneSettings:
        """Return the settings of one row.

        Args:
            init: the pre-training run of its method, or empty.
            repeat: which of the row's fine-tunings it is; all have the split of ``seed``.
        """
        values = {
            "store": store,
            "network": system.network,
            "position": system.position,
            "init": init,
            "shares": self.shares[task],
            "split_seed": seed,
            **self.finetuning,
        }
        settings = FinetuneSettings.model_validate(values)
        settings.optimisation.seed = seed + repeat
        return settings


_ADAM = {"optimiser": "adam", "betas": (0.9, 0.999), "weight_decay": 0.0}

# Tables 2 and 4: 7:1:2 of the subjects; Table 3: 12 and 6 of IBSR-18, 36 and 24 of WMH 2017, and none to validate on.
PAPER = Budget(
    "paper",
    case_shape=FRAME.shape,
    scan_shape=(128, 128, 128),
    shares={"tumour": (7, 1, 2), "tissue": (12, 0, 6), "wmh": (36, 0, 24)},
    # an epoch differs in steps from method to method, and so would patience
    pretraining={"validate_epochs": 1},
    # their own published optimiser, batch and learning rate; base_lr is for a batch of 256
    by_method={
        "rpl": {"batch": 32, "base_lr": 1e-4 * 256 / 32, **_ADAM},
        "jigsaw": {"batch": 8, "base_lr": 1e-4 * 256 / 8, **_ADAM},
    },
    finetuning={"fit": "batch", "augment": RELEASED_AUGMENTATION},
    mirror="thw",
)

SMALL_FRAME = (16, 16, 16)
SMALL_CROP = (64, 64, 64)
_SMALL_ENCODER = asa_config(NetworkSpec("asa", 1, 2, SMALL_CROP, "small", SMALL_FRAME)).encoder
SMALL = Budget(
    "small",
    case_shape=(128, 128, 128),
    scan_shape=(128, 128, 128),
    shares={"tumour": (2, 0, 1), "tissue": (5, 0, 1), "wmh": (1, 0, 1)},
    pretraining={
        "preset": "starter",
        "encoder": {
            name: value
            for name, value in dataclasses.asdict(_SMALL_ENCODER).items()
            if name in ("frame", "dim", "depth", "heads", "window", "mlp_ratio")
        },
        "decoder": {"dim": _SMALL_ENCODER.dim, "depth": 2, "heads": _SMALL_ENCODER.heads},
        "crop": SMALL_CROP,
        "flip": True,
        "held_out": 0.0,
        "epochs": 20,
        "warmup_epochs": 2,
        "base_lr": 0.06,
        "batch": 4,
        "micro_batch": 4,
        "precision": "fp32",
        "preview_every": 0,
        "schedule": {"checkpoint_every": 20, "validate_every": 0},
    },
    finetuning={
        "size": "small",
        "crop": (32, 32, 32),
        "foreground": 0.75,
        "overlap": 0.0,
        "optimisation": {
            "optimiser": "adamw",
            "lr": 3e-3,
            "betas": (0.9, 0.99),
            "weight_decay": 0.01,
            "warmup_steps": 3,
            "steps": 30,
            "batch": 1,
            "micro_batch": 1,
            "precision": "fp32",
        },
        "schedule": {"log_every": 5, "checkpoint_every": 0, "validate_every": 0},
    },
    stamp=(
        "REHEARSAL, not a result: reduced networks, crops of 32 voxels, 30 steps per row and a few cases. It shows "
        "that every row runs from files to this page; it does not show which system is better."
    ),
)

BUDGETS = {budget.name: budget for budget in (PAPER, SMALL)}


def budget_by_name(name: str) -> Budget:
    """Return the budget called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in BUDGETS:
        raise InputError(f"Unknown budget '{name}'; choose from {', '.join(BUDGETS)}.")
    return BUDGETS[name]
