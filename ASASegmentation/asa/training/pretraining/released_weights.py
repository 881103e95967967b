"""The encoder in weights that the authors of ASA distribute: which tensors it has, and what they are called here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from asa.errors import ModelError
from asa.nn import Encoder, EncoderConfig
from asa.training.checkpoint import tensor_differences

PATCH = 8
# Where the encoder is in a network for pre-training, and in one for segmentation.
PREFIXES = ("encoder.vit.", "vit.")
NAMES = (
    (r"patch_embedding\.patch_embeddings\.1\.(weight|bias)", r"embed.\1"),
    (r"blocks\.(\d+)\.norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (r"blocks\.(\d+)\.attn\.qkv\.weight", r"blocks.\1.attention.qkv.weight"),
    (r"blocks\.(\d+)\.attn\.out_proj\.(weight|bias)", r"blocks.\1.attention.proj.\2"),
    (r"blocks\.(\d+)\.attn\.relative_position_bias_table", r"blocks.\1.attention.relative_bias"),
    (r"blocks\.(\d+)\.mlp\.linear1\.(weight|bias)", r"blocks.\1.mlp.0.\2"),
    (r"blocks\.(\d+)\.mlp\.linear2\.(weight|bias)", r"blocks.\1.mlp.2.\2"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)


def released_encoder(weights: Mapping[str, Tensor], source: str) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return the encoder of the authors' network, with the options under which it computes the same as theirs.

    Args:
        weights: of their network for pre-training or for segmentation, by its names.
        source: what sentences call them.

    Raises:
        ModelError: no such encoder, or tensors of other shapes than its sizes imply; each is named with both shapes.
    """
    plain = {name.removeprefix("module."): value for name, value in weights.items()}
    prefix = next((one for one in PREFIXES if f"{one}norm.weight" in plain), None)
    if prefix is None:
        raise ModelError(
            f"{source} contains no encoder of the authors' release (no tensor '{PREFIXES[0]}norm.weight' or "
            f"'{PREFIXES[1]}norm.weight')."
        )
    found: dict[str, Tensor] = {}
    for name, value in plain.items():
        for pattern, own in NAMES:
            if name.startswith(prefix) and re.fullmatch(pattern, name.removeprefix(prefix)):
                found[re.sub(pattern, own, name.removeprefix(prefix))] = value.float()
    config = sizes(found, source)
    refuse_misfits(config, found, source)
    # voxels of a patch come first there and channels last; here channels come first
    dim, length = found["embed.weight"].shape
    found["embed.weight"] = found["embed.weight"].view(dim, PATCH**3, -1).transpose(1, 2).reshape(dim, length)
    return config, found


def sizes(weights: Mapping[str, Tensor], source: str) -> EncoderConfig:
    """Read the sizes of the encoder off its tensors.

    Raises:
        ModelError: one that tells them is missing or has no such shape.
    """
    try:
        dim, voxels = weights["embed.weight"].shape
        entries, heads = weights["blocks.0.attention.relative_bias"].shape
        hidden = len(weights["blocks.0.mlp.0.weight"])
    except (KeyError, ValueError) as error:
        raise ModelError(f"{source} contains no encoder of the authors' release: {error} is missing.") from error
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    return EncoderConfig(
        in_channels=max(1, voxels // PATCH**3),
        patch=PATCH,
        dim=dim,
        depth=depth,
        heads=heads,
        window=(entries + 1) // 2,
        mlp_ratio=hidden / dim,
        position="released",
        double_softmax=True,
        late_bias=True,
    )


def refuse_misfits(config: EncoderConfig, weights: Mapping[str, Tensor], source: str) -> None:
    """Compare tensors with those of an encoder of these sizes.

    Raises:
        ModelError: some are missing, or have another shape; both shapes are stated.
    """
    with torch.device("meta"):
        expected = Encoder(config).state_dict()
    if differences := tensor_differences(weights, expected):
        raise ModelError(f"{source} does not fit the encoder: {differences}.")
