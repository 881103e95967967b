"""Names of the weights of the releases -> names of ours; where the layout of a tensor differs, how it is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from asa.training.finetuning.residual import NAMES

Rule = tuple[str, str]  # regular expression for the whole name in the release, and what it becomes here


def renamed(weights: Mapping[str, Tensor], rules: Sequence[Rule]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights under our names, and the names that no rule matches."""
    found: dict[str, Tensor] = {}
    left: list[str] = []
    for name, tensor in weights.items():
        rule = next((rule for rule in rules if re.fullmatch(rule[0], name)), None)
        if rule is None:
            left.append(name)
        else:
            found[re.sub(*rule, name)] = tensor
    return found, left


_END = r"\.(weight|bias)"


def _block(release: str, own: str) -> list[Rule]:
    """Rules of a block of windowed attention; groups of ``release`` come first."""
    groups = re.compile(release).groups
    end = rf"\g<{groups + 1}>"
    return [
        (rf"{release}\.norm([12]){_END}", rf"{own}.norm{end}.\g<{groups + 2}>"),
        (rf"{release}\.attn\.(?:qkv|kv){_END}", rf"{own}.attention.project_in.{end}"),
        (rf"{release}\.attn\.proj{_END}", rf"{own}.attention.project_out.{end}"),
        (rf"{release}\.attn\.relative_position_bias_table", rf"{own}.attention.bias"),
        (rf"{release}\.mlp\.fc1{_END}", rf"{own}.mlp.0.{end}"),
        (rf"{release}\.mlp\.fc2{_END}", rf"{own}.mlp.2.{end}"),
    ]


def nnformer_rules() -> list[Rule]:
    """Rules for the class ``nnFormer`` of the tumour network."""
    embed = {"proj1.conv1": "0.convolution", "proj1.norm1": "2", "proj1.conv2": "3.convolution", "proj1.norm2": "5"}
    embed |= {"proj2.conv1": "6.convolution", "proj2.norm1": "8", "proj2.conv2": "9.convolution", "norm": "10"}
    rules = [(rf"model_down\.patch_embed\.{re.escape(a)}{_END}", rf"embed.{b}.\1") for a, b in embed.items()]
    rules += _block(r"model_down\.layers\.(\d)\.blocks\.(\d)", r"stages.\1.\2")
    rules += [
        (rf"model_down\.layers\.(\d)\.downsample\.norm{_END}", r"downs.\1.1.\2"),
        (rf"model_down\.layers\.(\d)\.downsample\.reduction{_END}", r"downs.\1.2.convolution.\2"),
        (rf"model_down\.norm(\d){_END}", r"norms.\1.\2"),
        (rf"final\.(\d)\.up{_END}", r"heads.\1.convolution.\2"),
    ]
    for release in range(3):  # counted from the finest there, from the coarsest here
        layer, own = rf"decoder\.layers\.{release}", 2 - release
        rules += [
            (rf"{layer}\.Upsample\.norm{_END}", rf"ups.{own}.0.\1"),
            (rf"{layer}\.Upsample\.up{_END}", rf"ups.{own}.1.convolution.\1"),
            *_block(rf"{layer}\.blocks\.0", f"skips.{own}"),
            *_block(rf"{layer}\.blocks\.1", f"blocks.{own}"),
        ]
    return rules


_STATE = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"


def _two_units(release: str, own: str) -> list[Rule]:
    """Rules of two times convolution, batch normalisation, ReLU."""
    pairs = {"conv1": "0.0", "bn1": "0.1", "conv2": "1.0", "bn2": "1.1"}
    return [(rf"{release}\.{a}{_STATE}", rf"{own}.{b}.\1") for a, b in pairs.items()]


def transbts_rules() -> list[Rule]:
    """Rules for the class ``BTS``."""
    rules = [
        (rf"Unet\.InitConv\.conv{_END}", r"stem.0.\1"),
        (rf"bn{_STATE}", r"embed.0.\1"),
        (rf"conv_x{_END}", r"embed.2.\1"),
        (r"position_encoding\.position_embeddings", "position"),
        (rf"endconv{_END}", r"head.\1"),
        *_two_units("Enblock8_1", "reduce"),
        *_two_units("Enblock8_2", "reduce.2.body"),
    ]
    for stage, count in enumerate((1, 2, 2, 4), start=1):
        for number in range(count):
            name = rf"Unet\.EnBlock{stage}" + (rf"_{number + 1}" if count > 1 else "")
            own = f"stages.{stage - 1}.{number}.body"
            pairs = {"bn1": "0", "conv1": "2", "bn2": "3", "conv2": "5"}
            rules += [(rf"{name}\.{a}{_END}", rf"{own}.{b}.\1") for a, b in pairs.items()]
        rules.append((rf"Unet\.EnDown{stage}\.conv{_END}", rf"downs.{stage - 1}.\1"))
    for layer in range(4):
        attention, forward, own = f"{2 * layer}", f"{2 * layer + 1}", f"layers.{layer + 1}"
        rules += [
            (rf"transformer\.net\.{attention}\.fn\.norm{_END}", rf"{own}.norm1.\1"),
            (rf"transformer\.net\.{attention}\.fn\.fn\.qkv{_END}", rf"{own}.qkv.\1"),
            (rf"transformer\.net\.{attention}\.fn\.fn\.proj{_END}", rf"{own}.proj.0.\1"),
            (rf"transformer\.net\.{forward}\.fn\.norm{_END}", rf"{own}.norm2.\1"),
            (rf"transformer\.net\.{forward}\.fn\.fn\.net\.([03]){_END}", rf"{own}.mlp.\1.\2"),
        ]
    for release, own in ((4, "ups.0"), (3, "ups.1"), (2, "ups.2")):
        pairs = {"conv1": "narrow", "conv2": "up", "conv3": "join"}
        rules += [(rf"DeUp{release}\.{a}{_END}", rf"{own}.{b}.\1") for a, b in pairs.items()]
        rules += _two_units(f"DeBlock{release}", f"{own}.block.body")
    return rules


def asa_rules() -> list[Rule]:
    """Rules for the convolutions of the class ``MEDIUMVIT``; its encoder is what ``asa import-weights`` reads."""

    def residual(release: str, own: str) -> list[Rule]:
        pairs = {"conv1": "first", "conv2": "second", "conv3": "shortcut"}
        return [(rf"{release}\.{a}\.conv\.weight", f"{own}.{b}.weight") for a, b in pairs.items()]

    rules = [
        *residual(r"encoder1\.layer", "stem"),
        (r"encoder2\.transp_conv_init\.conv\.weight", "taps.0.0.weight"),
        (r"encoder2\.blocks\.0\.0\.conv\.weight", "taps.0.1.weight"),
        *residual(r"encoder2\.blocks\.0\.1", "taps.0.2"),
        (r"encoder3\.transp_conv_init\.conv\.weight", "taps.1.weight"),
        *residual(r"encoder4\.layer", "taps.2"),
        (r"encoder5\.down_conv_init\.conv\.weight", "taps.3.weight"),
        (r"encoder6\.down_conv_init\.conv\.weight", "taps.4.0.weight"),
        (r"encoder6\.blocks\.0\.0\.conv\.weight", "taps.4.1.weight"),
        *residual(r"encoder6\.blocks\.0\.1", "taps.4.2"),
        (rf"out\.(\d)\.conv\.conv{_END}", r"heads.\1.\2"),
    ]
    for level in range(5):
        rules.append((rf"decoder{level + 2}\.transp_conv\.conv\.weight", f"ups.{level}.weight"))
        rules += residual(rf"decoder{level + 2}\.conv_block", f"joins.{level}")
    return rules


def resenc_rules(stages: int) -> list[Rule]:
    """Rules for the class ``ResidualEncoderUNet``, of which the encoder's are those of fine-tuning."""
    rules = [(pattern, f"encoder.{own}") for pattern, own in NAMES]
    for release in range(stages - 1):  # counted from the coarsest there, from the finest here
        own = stages - 2 - release
        rules += [
            (rf"decoder\.transpconvs\.{release}{_END}", rf"ups.{own}.\1"),
            (rf"decoder\.stages\.{release}\.convs\.0\.(conv|norm){_END}", rf"joins.{own}.0.\1.\2"),
            (rf"decoder\.seg_layers\.{release}{_END}", rf"heads.{own}.\1"),
        ]
    return rules
