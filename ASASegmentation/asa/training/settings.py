"""Settings shared by all training runs, from YAML, command-line options or the panel."""

from __future__ import annotations

import difflib
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from asa.errors import InputError


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values are validated on assignment."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


def unit(name: str) -> dict[str, JsonValue]:
    """For ``Field(json_schema_extra=...)``: the unit shown next to the value in a form."""
    return {"unit": name}


STEPS, SAMPLES, VOXELS, SECONDS = unit("steps"), unit("samples"), unit("voxels"), unit("s")

AnySettings = TypeVar("AnySettings", bound=Settings)


def expand_variables(path: str) -> str:
    """Replace ``${NAME}`` in a path by the environment variable of that name.

    Raises:
        ValueError: the variable is not set.
    """

    def value(found: re.Match[str]) -> str:
        if not (text := os.environ.get(found[1], "")):
            raise ValueError(f"The environment variable {found[1]} is not set. Set it to the folder of your data.")
        return text

    return re.sub(r"\$\{(\w+)\}", value, path)


PathStr = Annotated[str, AfterValidator(expand_variables)]


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, nothing checked.

    Raises:
        InputError: not readable.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
    except UnicodeDecodeError:
        reason = "it is not a text file"
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        reason = f"no valid YAML in line {mark.line + 1}: {problem}" if mark else "no valid YAML"
    raise InputError(f"Settings {path} cannot be read: {reason}.")


def names_task(path: Path) -> bool:
    """Return whether a settings file names its task (that of the tissue model does not)."""
    values = read_yaml(path)
    return isinstance(values, dict) and "task" in values


def read_settings(path: Path, kind: type[AnySettings]) -> AnySettings:
    """Return the settings from a YAML file.

    Raises:
        InputError: not readable, or with unknown or unfit values; all of them are named.
    """
    values = read_yaml(path)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"Invalid settings in {path}: {_faults(error, kind)}.") from error


def _faults(error: ValidationError, kind: type[Settings]) -> str:
    """Return the faults of settings, with the nearest known name of unknown ones."""
    faults, unknown = [], []
    for fault in error.errors():
        name = ".".join(map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, _names(kind), 1)
            unknown.append(f"{name} (is it {near[0]}?)" if near else name)
        elif fault["type"] == "missing":
            faults.append(f"{name} is missing")
        else:
            reason = fault["msg"].removeprefix("Value error, ").rstrip(".")
            faults.append(f"{name}: {reason}" if name else "they must be lines of the form NAME: VALUE")
    return "; ".join([*faults, *([f"unknown: {', '.join(unknown)}"] if unknown else [])])


def _names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Return every setting by its dotted name."""
    names = []
    for key, field in kind.model_fields.items():
        names.append(prefix + key)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += _names(field.annotation, f"{prefix}{key}.")
    return names


class Optimisation(Settings):
    """Optimiser, schedule and precision.

    The global batch is the same whatever the number of devices: each process takes its share in micro-batches
    and gradients are accumulated.
    """

    optimiser: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="AdamW, Adam (weight decay added to the gradient), or SGD with Nesterov momentum"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay of the two moving averages of AdamW and Adam")
    momentum: float = Field(0.99, ge=0, lt=1, description="Nesterov momentum of sgd")
    weight_decay: float = Field(0.05, ge=0, description="weight decay; not applied to biases and norms")
    schedule: Literal["cosine", "polynomial", "constant", "trapezoid"] = Field(
        "cosine", description="learning rate decay after the warm-up"
    )
    power: float = Field(0.9, gt=0, description="exponent of the polynomial schedule")
    fall: float = Field(0.3, gt=0, le=1, description="share of the steps in which a trapezoid schedule decays")
    warmup_steps: int = Field(0, ge=0, description="length of the warm-up", json_schema_extra=STEPS)
    warmup_lr: float = Field(1e-6, ge=0, description="learning rate of the first warm-up step")
    final_lr: float = Field(0.0, ge=0, description="final learning rate")
    steps: int = Field(10_000, gt=0, description="length of the whole run", json_schema_extra=STEPS)
    batch: int = Field(
        2, gt=0, description="global batch size, independent of the number of devices", json_schema_extra=SAMPLES
    )
    micro_batch: int = Field(
        2, gt=0, description="samples per device and pass; smaller values need less memory", json_schema_extra=SAMPLES
    )
    clip: float = Field(12.0, gt=0, description="gradient norm is clipped to this")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average of weights; 0 turns it off")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 if the device supports it")
    # PyTorch's generator keeps 32 bits of what the first weights are seeded with
    seed: int = Field(
        0, ge=0, lt=1 << 32, description="seed of the initial weights and all samples; equal seeds give equal runs"
    )


class Schedule(Settings):
    """When things happen, in optimiser steps; 0 means never."""

    log_every: int = Field(10, gt=0, description="interval between points of the curves", json_schema_extra=STEPS)
    checkpoint_every: int = Field(
        200, ge=0, description="interval between checkpoints; a crash loses later progress", json_schema_extra=STEPS
    )
    keep_every: int = Field(
        0, ge=0, description="interval at which checkpoints are kept permanently", json_schema_extra=STEPS
    )
    validate_every: int = Field(500, ge=0, description="interval between validations", json_schema_extra=STEPS)
    patience: int = Field(
        0, ge=0, description="validations after the warm-up without improvement before early stopping; 0: no limit"
    )
    max_seconds: float = Field(
        0,
        ge=0,
        description="time limit after which the run stops with a checkpoint; 0: no limit",
        json_schema_extra=SECONDS,
    )
    budget_minutes: float = Field(
        0,
        ge=0,
        description="the run and its learning rate schedule are shortened to end within this time; 0: no limit",
        json_schema_extra=unit("min"),
    )


def learning_rate(o: Optimisation, step: int) -> float:
    """Learning rate of optimiser step ``step`` (from 0): linear warm-up, then the schedule."""
    if step < o.warmup_steps:
        return o.warmup_lr + (o.lr - o.warmup_lr) * step / o.warmup_steps
    done = min(1.0, (step - o.warmup_steps) / max(1, o.steps - o.warmup_steps))
    if o.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * done))
    elif o.schedule == "polynomial":
        factor = (1 - done) ** o.power
    elif o.schedule == "trapezoid":
        factor = min(1.0, (1 - done) / o.fall)
    else:
        factor = 1.0
    return o.final_lr + (o.lr - o.final_lr) * factor
