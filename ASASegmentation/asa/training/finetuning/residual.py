"""First weights of a residual-encoder U-Net: from a run of method ``resenc``, or from a public checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from asa.errors import ModelError
from asa.nn.baselines import NetworkSpec, PlainNetwork, build_network
from asa.training import checkpoint
from asa.training.pretraining.foreign import read_weights
from asa.training.pretraining.pretrained import Pretrained

RESIDUAL = "resenc"
FOREIGN = (".pth", ".pt", ".ckpt", ".bin")
STEM = "stem.0.conv.weight"
# Names in checkpoints of nnssl (OpenMind) and nnU-Net; everything else (decoder, repeated entries) is left out.
NAMES = (
    (r"encoder\.stem\.convs\.0\.(conv|norm)\.(weight|bias)", r"stem.0.\1.\2"),
    (r"encoder\.stages\.(\d)\.blocks\.(\d+)\.conv1\.(conv|norm)\.(weight|bias)", r"stages.\1.\2.first.\3.\4"),
    (r"encoder\.stages\.(\d)\.blocks\.(\d+)\.conv2\.(conv|norm)\.(weight|bias)", r"stages.\1.\2.second.\3.\4"),
    (r"encoder\.stages\.(\d)\.blocks\.(\d+)\.skip\.\d\.(conv|norm)\.(weight|bias)", r"stages.\1.\2.shortcut.\3.\4"),
)


def pretrained_unet(spec: NetworkSpec, source: Path) -> PlainNetwork:
    """Return the network around a pre-trained encoder; stages that its crop has no room for are left out.

    The first convolution of the one channel seen in pre-training is inflated for several.

    Raises:
        ModelError: damaged, not plain weights, or an encoder that does not fit; tensors are named with both shapes.
    """
    network = build_network(spec)
    assert isinstance(network, PlainNetwork)
    encoder = network.body.encoder
    weights = residual_encoder(source)
    own = encoder.state_dict()  # type: ignore[union-attr]
    stages = {name.split(".")[1] for name in own if name.startswith("stages.")}
    weights = {n: v for n, v in weights.items() if not n.startswith("stages.") or n.split(".")[1] in stages}
    if STEM in weights and weights[STEM].shape[1] == 1:
        weights[STEM] = weights[STEM].repeat(1, spec.in_channels, 1, 1, 1) / spec.in_channels
    checkpoint.load_weights(encoder, weights, "", str(source))  # type: ignore[arg-type]
    return network


def residual_encoder(source: Path) -> dict[str, Tensor]:
    """Return the weights of the encoder under our names.

    Raises:
        ModelError: damaged, not plain weights, or no residual encoder.
    """
    if source.suffix in FOREIGN:
        found: dict[str, Tensor] = {}
        for name, value in read_weights(source).items():
            for pattern, own in NAMES:
                if re.fullmatch(pattern, plain := name.removeprefix("module.")):
                    found[re.sub(pattern, own, plain)] = value.float()
        if not found:
            raise ModelError(f"{source} contains no residual encoder in the layout of nnssl and nnU-Net.")
        return found
    pretrained = Pretrained.open(source)
    if pretrained.method != RESIDUAL:
        raise ModelError(
            f"{source} was pre-trained with '{pretrained.method}'; network {RESIDUAL} needs a run of method {RESIDUAL}."
        )
    prefix = "body.encoder."
    return {n.removeprefix(prefix): value for n, value in pretrained.weights.items() if n.startswith(prefix)}
