"""Forward passes of one network in a process of its own; prints one JSON object.

    python -m Testing.benchmarks.speed.forward NAME [--threads N] [--passes N]

Evaluation mode, no gradients, random weights and input; in float32 and, where the processor has the instructions, under
bfloat16 autocast. The yardsticks see one window of 128x128x128 voxels with 4 channels and give 4 classes; ``starter``
sees the whole brain frame, 160x192x160 with one channel. Ours are prepared as the predictor does: norms folded into the
convolutions, channels last where that is faster. Then all of it again with freed memory kept (asa.devices), which
is how ``asa segment`` runs and which any network gains from.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from asa.devices import keep_freed_memory, native_bf16
from asa.geometry import FRAME
from asa.nn import Segmenter, segmenter_preset
from asa.tasks import TASKS

WINDOW = (128, 128, 128)
CHANNELS, CLASSES = 4, 4
STARTER = "ASA starter, whole brain"


def _monai(name: str) -> nn.Module:
    """MONAI's network with the settings of its paper or tutorial for BraTS."""
    from monai.networks import nets

    if name == "SegResNet":
        return nets.SegResNet(init_filters=16, in_channels=CHANNELS, out_channels=CLASSES, blocks_down=(1, 2, 2, 4))
    if name == "UNETR":
        return nets.UNETR(CHANNELS, CLASSES, WINDOW, feature_size=16, hidden_size=768, mlp_dim=3072, num_heads=12)
    if name == "SwinUNETR":
        return nets.SwinUNETR(in_channels=CHANNELS, out_channels=CLASSES, feature_size=48)
    return nets.DynUNet(
        3,
        CHANNELS,
        CLASSES,
        kernel_size=[3] * 6,
        strides=[1, 2, 2, 2, 2, 2],
        upsample_kernel_size=[2] * 5,
        filters=[32, 64, 128, 256, 320, 320],
        res_block=False,
    )


def _paper() -> nn.Module:
    return Segmenter(segmenter_preset("paper", in_channels=CHANNELS, classes=CLASSES)).eval().fuse()


def _starter() -> nn.Module:
    config = segmenter_preset("starter", in_channels=1, classes=1 + len(TASKS["tissue"].labels))
    network: nn.Module = Segmenter(config).eval().fuse().to(memory_format=torch.channels_last_3d)
    return network


def timed_passes(network: nn.Module, image: torch.Tensor, passes: int, *, bf16: bool) -> float:
    """Median seconds of ``passes`` forward passes after one that fills caches."""
    seconds = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for _ in range(1 + passes):
            start = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


Builder = Callable[[], nn.Module]
NETWORKS: dict[str, tuple[Builder, int, tuple[int, int, int]]] = {
    "SegResNet": (lambda: _monai("SegResNet"), CHANNELS, WINDOW),
    "UNETR": (lambda: _monai("UNETR"), CHANNELS, WINDOW),
    "nnU-Net (DynUNet)": (lambda: _monai("DynUNet"), CHANNELS, WINDOW),
    "SwinUNETR": (lambda: _monai("SwinUNETR"), CHANNELS, WINDOW),
    "ASA paper": (_paper, CHANNELS, WINDOW),
    STARTER: (_starter, 1, FRAME.shape),
}


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    build, channels, shape = NETWORKS[arguments.network]
    network = build().eval()
    image = torch.randn(1, channels, *shape)
    if arguments.network == STARTER:
        image = image.contiguous(memory_format=torch.channels_last_3d)
    half = native_bf16(torch.device("cpu"))
    seconds = {}
    for suffix in ("", "_kept"):
        if suffix and not keep_freed_memory():
            break
        seconds["seconds" + suffix] = timed_passes(network, image, arguments.passes, bf16=False)
        if half:
            seconds["bf16_seconds" + suffix] = timed_passes(network, image, arguments.passes, bf16=True)
    record = {
        "network": arguments.network,
        "shape": [channels, *shape],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **seconds,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024)
        / 2**30,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
