"""Checkpoint -> model folder that inference and the GUI list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from asa.errors import ModelError
from asa.files import atomic_path, protect_inputs, protect_others, sha256, write_json, write_text
from asa.model_description import FORMAT, check_description
from asa.models import CARD, DESCRIPTION, WEIGHTS, open_model
from asa.nn.weights import check_weights, plain_errors
from asa.training import checkpoint


def export_model(
    source: Path, folder: Path, description: dict[str, Any], card: str = "", others: Sequence[Path] = ()
) -> None:
    """Write model.safetensors (half precision where that holds), model.json and CARD.md.

    Args:
        source: checkpoint of a segmentation run; the moving average of its weights is taken where there is one.
        folder: model folder, made if missing.
        description: further contents of model.json: name, task, modalities, data, scores ...
        card: text of the model card.
        others: checkpoints of the same network, of one origin; the mean of the weights of all is written, which errs
            less than each (model soup, Wortsman et al., ICML 2022).

    Raises:
        ModelError: a checkpoint cannot be read, they are not of one network, or the description is wrong.
        OutputError: no room or no permission, or the folder holds files of these names that are of no model.
    """
    weights, record = network_weights(source)
    all_weights = [weights]
    for path in others:
        more, its_record = network_weights(path)
        if its_record["network"] != record["network"]:
            raise ModelError(f"{path} belongs to a different network than {source}, so their weights have no mean.")
        all_weights.append(more)
    outputs = [folder / name for name in (WEIGHTS, DESCRIPTION, CARD)]
    protect_inputs([source, *others], outputs)
    try:
        open_model(folder)
    except ModelError:
        protect_others(outputs)
    network = record["network"]
    described = {"format": FORMAT, **description, "network": network, "steps": record["step"]}
    check_description(described, f"the description of model {folder.name}")
    halved = {name: halve(mean([one[name] for one in all_weights])) for name in weights}
    folder.mkdir(parents=True, exist_ok=True)
    # The description goes first: it tells whose the other files are, should this be interrupted.
    new = not (folder / DESCRIPTION).exists()
    try:
        with atomic_path(folder / WEIGHTS) as temporary:
            with plain_errors():
                save_file(halved, temporary)
            write_json(folder / DESCRIPTION, {**described, "weights_sha256": sha256(temporary)})
        if card:
            write_text(folder / CARD, card)
    except BaseException:
        if new and not (folder / WEIGHTS).exists():
            (folder / DESCRIPTION).unlink(missing_ok=True)
        raise


def network_weights(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a checkpoint's weights, by the network's own names, and its record.

    Raises:
        ModelError: it cannot be read, or its weights are not finite.
    """
    tensors, record = checkpoint.load(source)
    prefix = checkpoint.weights_prefix(tensors)
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    check_weights(weights, source)
    return weights, record


def mean(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape; of counts, the first."""
    first = tensors[0]
    return torch.stack(list(tensors)).mean(0) if len(tensors) > 1 and first.is_floating_point() else first


def halve(tensor: Tensor) -> Tensor:
    """A tensor in half precision; unchanged if it is not a float or has values beyond 65504, which would be infinite.

    Variances of batch normalisation can be that large; an infinite one silences its channel without any error.
    """
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    return half.contiguous() if bool(torch.isfinite(half).all()) else tensor.contiguous()
