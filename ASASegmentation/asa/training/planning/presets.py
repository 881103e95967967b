"""Presets of both kinds of run, as offered by the panel and stored in Resources/Configs."""

from __future__ import annotations

from typing import Any

from asa.errors import InputError
from asa.training.finetuning.settings import FinetuneSettings
from asa.training.pretraining.settings import PretrainSettings
from asa.training.settings import Settings

KINDS: dict[str, type[Settings]] = {"pretrain": PretrainSettings, "finetune": FinetuneSettings}

# Intensities and mirroring as the released code augments them; rotation, scaling and gamma are the defaults.
RELEASED_AUGMENTATION: dict[str, Any] = {
    "flip": "thw",
    "inverted_gamma_p": 0.1,
    "brightness_p": 0.15,
    "contrast_p": 0.15,
    "noise": 0.1**0.5,
    "noise_p": 0.1,
    "blur_p": 0.2,
    "low_resolution_p": 0.25,
    "channel_p": 0.5,
}

# What differs from the published settings, which are the defaults.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "pretrain": {
        "starter": {
            "preset": "starter",
            "crop": (96, 96, 96),
            "flip": True,
            "held_out": 0.15,
            "validation_scans": 8,
            "epochs": 150,
            "warmup_epochs": 14,
            "base_lr": 0.128,
            "batch": 4,
            "micro_batch": 4,
            "clip": 3.0,
            "preview_every": 100,
            "schedule": {"log_every": 10, "checkpoint_every": 50, "validate_every": 50, "patience": 0},
        },
        "paper": {"micro_batch": 6},
    },
    "finetune": {
        "starter": {
            "size": "starter",
            "crop": (96, 96, 96),
            "modality_dropout": 0.1,
            "validation_cases": 10,
            "optimisation": {
                "optimiser": "adamw",
                "lr": 1e-3,
                "betas": (0.9, 0.99),
                "weight_decay": 0.02,
                "warmup_steps": 100,
                "steps": 2000,
                "batch": 2,
                "micro_batch": 1,
                "ema": 0.995,
                "clip": 5.0,
            },
            "schedule": {"log_every": 10, "checkpoint_every": 100, "validate_every": 250},
        },
        "paper": {"augment": RELEASED_AUGMENTATION},
    },
}


def preset(kind: str, name: str, **changes: Any) -> Settings:
    """Return the settings called ``name`` of a kind of run.

    Raises:
        InputError: there is no such kind or name.
    """
    if name not in PRESETS.get(kind, {}):
        known = ", ".join(f"{k} {n}" for k, names in PRESETS.items() for n in names)
        raise InputError(f"There is no preset {kind} {name}; the presets are {known}.")
    return KINDS[kind].model_validate({"store": "store", **PRESETS[kind][name], **changes})
