"""Checkpoints: one safetensors file with weights, optimiser state and progress. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from asa.errors import ModelError
from asa.files import atomic_path
from asa.nn.weights import check_weights, plain_errors
from asa.training.parallel.sharding import shared_like

FORMAT = "asa-checkpoint-1"
LISTED = 5  # tensors that do not fit and are named
NETWORK, AVERAGE = "model.network.", "average."  # begin the names of a network's weights, and of their moving average


def as_json(value: Any) -> Any:
    """What ``value`` looks like after it was written as JSON and read again."""
    return json.loads(json.dumps(value))


# Entries of descriptions that checkpoints of earlier versions do not have, with the value that they imply.
LATER_ENTRIES: dict[str, Any] = {
    "typical": False,
    "orders": ["thw"],
    "brain_tokens": False,
    "decoded": 1.0,
    "layout": "own",
    "late_bias": False,
    "visible_codes": False,
}


def same_network(recorded: Any, described: Any) -> bool:
    """Return whether two JSON descriptions are of one network; the first may be of an earlier version."""
    if not (isinstance(recorded, dict) and isinstance(described, dict)):
        return bool(recorded == described)
    if recorded.keys() - described.keys():
        return False
    later = described.keys() - recorded.keys()
    return all(name in LATER_ENTRIES and described[name] == LATER_ENTRIES[name] for name in later) and all(
        same_network(value, described[name]) for name, value in recorded.items()
    )


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of each parameter as ``optimiser.<index>.<name>``."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{k}": v for i, values in state.items() for k, v in values.items() if torch.is_tensor(v)}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], source: str) -> None:
    """Inverse of :func:`optimiser_tensors`; learning rates follow from the step and are not stored.

    Raises:
        ModelError: the state is that of another optimiser, or of other parameters.
    """
    # AdamW is an Adam
    keys = {"step", "exp_avg", "exp_avg_sq"} if isinstance(optimiser, torch.optim.Adam) else {"momentum_buffer"}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            parameter = parameters[int(index)] if int(index) < len(parameters) else None
            if parameter is None or key not in keys or (value.ndim and value.shape != parameter.shape):
                raise ModelError(
                    f"{source} belongs to a different optimiser or different frozen layers; choose another run folder."
                )
            state.setdefault(int(index), {})[key] = shared_like(value, parameter) if value.ndim else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def save(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write atomically; ``record`` is any JSON.

    Raises:
        OutputError: no room or no permission; what was there before is untouched.
    """
    plain = apart({name: t.detach().to("cpu").contiguous() for name, t in tensors.items()})
    with atomic_path(path) as temporary, plain_errors():
        save_file(plain, temporary, metadata={"format": FORMAT, "record": json.dumps(record)})


def apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which no two share memory, as safetensors requires: networks may list a weight under two names."""
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return own


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and record of a checkpoint.

    Raises:
        ModelError: missing, damaged, or not one of ours.
    """
    if not path.is_file():
        raise ModelError(f"No checkpoint at {path}.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(f"{path} is not a checkpoint of this program (format '{metadata.get('format')}').")
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
        return tensors, json.loads(metadata["record"])
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"{path} is damaged or not a checkpoint: {error}") from error


def weights_prefix(tensors: Mapping[str, Tensor]) -> str:
    """What begins the names of the weights that a checkpoint is used with: their moving average where there is one."""
    return AVERAGE if any(name.startswith(AVERAGE) for name in tensors) else NETWORK


def tensor_differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return which tensors are missing, unknown or of another shape, both shapes stated; empty where all fit."""
    shapes = [{name: tuple(value.shape) for name, value in one.items()} for one in (found, expected)]
    wrong = [name for name in {**shapes[1], **shapes[0]} if shapes[0].get(name) != shapes[1].get(name)]
    listed = [f"{name} ({shapes[0].get(name, 'none')} there, {shapes[1].get(name, 'none')} here)" for name in wrong]
    more = f" and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    return f"{len(wrong)} tensors differ, {', '.join(listed[:LISTED])}{more}" if wrong else ""


def load_weights(module: nn.Module, tensors: dict[str, Tensor], prefix: str, source: str) -> None:
    """Copy ``prefix`` tensors into ``module``.

    Raises:
        ModelError: names or shapes differ, or values are not finite; the first offenders are named.
    """
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    own = module.state_dict()
    if differences := tensor_differences(weights, own):
        raise ModelError(f"{source} belongs to a different network: {differences}.")
    check_weights(weights, source)
    module.load_state_dict({k: shared_like(v, own[k]) for k, v in weights.items()})
