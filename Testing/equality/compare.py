"""Compare our networks with those of published repositories, weight by weight and output by output.

    python Testing/equality/compare.py nnformer CHECKOUT
    python Testing/equality/compare.py transbts CHECKOUT
    python Testing/equality/compare.py asa CHECKOUT
    python Testing/equality/compare.py resenc CHECKOUT      (dynamic-network-architectures, which nnU-Net uses)

Prints one row of the table in docs/reference/fidelity.md; exits with 1 where outputs differ by more than 1e-4.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from names import asa_rules, nnformer_rules, renamed, resenc_rules, transbts_rules
from releases import commit, disturb, release_module
from torch import Tensor, nn

from asa.nn import Segmenter, build_segmenter, parameter_count, segmenter_preset
from asa.nn.baselines.nnformer import NNFormer
from asa.nn.baselines.resenc import BLOCKS, WIDTHS, ResEncUNet
from asa.nn.baselines.transbts import TransBTS
from asa.training.pretraining.released_weights import released_encoder

TOLERANCE = 1e-4
SIDE, CHANNELS, CLASSES = 128, 4, 4
Pair = tuple[nn.Module, nn.Module, list[str]]  # theirs, ours, and their weights that nothing here corresponds to


def load(own: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put mapped weights into our network; every one of its weights must be there."""
    expected = {name: value.shape for name, value in own.state_dict().items()}
    mapped = {name: value.shape for name, value in weights.items()}
    if expected != mapped:
        differing = sorted(expected.keys() ^ mapped.keys())
        differing += [n for n in expected.keys() & mapped.keys() if expected[n] != mapped[n]]
        raise SystemExit(f"Weights do not correspond: {differing}")
    own.load_state_dict(weights)


def nnformer(checkout: Path) -> Pair:
    """The tumour network of nnFormer, with the sizes of its BraTS trainer."""
    module = release_module(checkout, "nnformer.network_architecture.nnFormer_tumor")
    theirs = module.nnFormer((SIDE,) * 3, 96, CHANNELS, CLASSES, num_heads=[3, 6, 12, 24], patch_size=[4, 4, 4])
    ours = NNFormer(CHANNELS, CLASSES, drop_path=0.0).train()  # training: with the coarser heads; nothing is random
    disturb(theirs)
    weights, left = renamed(theirs.state_dict(), nnformer_rules())
    load(ours, weights)
    return theirs.eval(), ours, left


def transbts(checkout: Path) -> Pair:
    """TransBTS for BraTS; its output without the softmax, its first dropout (which never ends there) switched off."""
    module = release_module(checkout, "models.TransBTS.TransBTS_downsample8x_skipconnection")
    _, theirs = module.TransBTS("brats", _conv_repr=True, _pe_type="learned")
    theirs.Softmax = nn.Identity()
    theirs.Unet.InitConv.dropout = 0.0
    ours = TransBTS(CHANNELS, CLASSES).eval()
    disturb(theirs)
    weights, left = renamed(theirs.state_dict(), transbts_rules())
    load(ours, weights)
    return theirs.eval(), ours, left


def asa(checkout: Path) -> Pair:
    """The segmentation network of ASA, preset ``paper`` with the options that make it compute the same."""
    module = release_module(checkout, "ASA_Segmentation.network_architecture.MEDIUMVIT")
    theirs = module.MEDIUMVIT(CHANNELS, CLASSES, (SIDE,) * 3)
    options = {"double_softmax": True, "late_bias": True, "position": "released"}
    ours: Segmenter = build_segmenter(segmenter_preset("paper", in_channels=CHANNELS, classes=CLASSES, **options))
    disturb(theirs)
    _, encoder = released_encoder(theirs.state_dict(), "the release")
    weights, left = renamed(theirs.state_dict(), asa_rules())
    load(ours, {**weights, **{f"encoder.{name}": value for name, value in encoder.items()}})
    return theirs.eval(), ours.eval(), [name for name in left if not name.startswith("vit.") or "cls_token" in name]


def resenc(checkout: Path) -> Pair:
    """The residual-encoder U-Net with the sizes of nnU-Net's preset L."""
    module = release_module(checkout, "dynamic_network_architectures.architectures.unet")
    stages = len(WIDTHS)
    theirs = module.ResidualEncoderUNet(
        CHANNELS,
        stages,
        [32 * width for width in WIDTHS],
        nn.Conv3d,
        3,
        [1] + [2] * (stages - 1),
        list(BLOCKS),
        CLASSES,
        [1] * (stages - 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
    )
    ours = ResEncUNet(CHANNELS, CLASSES, [32 * width for width in WIDTHS]).train()  # with the coarser heads
    disturb(theirs)
    weights, left = renamed(theirs.state_dict(), resenc_rules(stages))
    load(ours, weights)
    return theirs.eval(), ours, left


NETWORKS = {"nnformer": nnformer, "transbts": transbts, "asa": asa, "resenc": resenc}


def outputs(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Logits, finest first."""
    found = network.forward_deep(image) if isinstance(network, Segmenter) else network(image)
    return list(found) if isinstance(found, (list, tuple)) else [found]


@torch.inference_mode()
def main(arguments: Sequence[str]) -> int:
    """Run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("checkout", type=Path)
    chosen = parser.parse_args(arguments)
    torch.manual_seed(0)
    theirs, ours, left = NETWORKS[chosen.network](chosen.checkout)
    image = torch.randn(1, CHANNELS, SIDE, SIDE, SIDE)
    pairs = list(zip(outputs(theirs, image), outputs(ours, image), strict=True))
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    scale = max(float(a.abs().max()) for a, _ in pairs)
    print(
        f"commit {commit(chosen.checkout)}; "
        f"parameters: {parameter_count(theirs):,} there, {parameter_count(ours):,} here"
    )
    print(f"{len(pairs)} outputs, values to {scale:.3g}, largest difference {largest:.2g}")
    dead = {name.rsplit(".", 1)[0] for name in left if not name.endswith(("relative_position_index", "attn_mask"))}
    listed = [name for name in sorted(dead) if "all_modules" not in name and not name.startswith("decoder.encoder.")]
    print(f"without a counterpart: {', '.join(listed) or 'nothing'}")  # of those, none that is another's second name
    return int(largest > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
