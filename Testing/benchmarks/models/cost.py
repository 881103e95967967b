"""cost.py: processor seconds of a training step and of a whole brain, for the networks that a model could be.

Two crops of 64 x 96 x 144 mm a step, a frame of 160 x 192 x 160 mm at use, one thread, the number format the trainer
takes; the least of several rounds in turns. Processor time, which other work on the machine changes little.
"""

from __future__ import annotations

import dataclasses
import time

import torch

from asa.devices import keep_freed_memory, native_bf16
from asa.nn import SegmenterConfig, build_segmenter, parameter_count, segmenter_preset
from asa.training.region_loss import region_deep_supervision

CROP, FRAME, ORIGIN = (64, 96, 144), (160, 192, 160), (4, 4, 1)
ROUNDS = 3


def networks(channels: int, classes: int) -> dict[str, SegmenterConfig]:
    """What is compared, by name."""
    brain = segmenter_preset("brain", in_channels=channels, classes=classes, subpixel=True)
    starter = segmenter_preset("starter", in_channels=channels, classes=classes, subpixel=True)
    return {
        "starter, output at 1/1": dataclasses.replace(starter, subpixel=False),
        "starter, sub-pixel": starter,
        "brain": brain,
        "brain without mirror": dataclasses.replace(brain, mirror=False),
    }


def seconds(config: SegmenterConfig, *, half: bool) -> tuple[float, float]:
    """Processor seconds of a step and of a whole frame."""
    network = build_segmenter(config).to(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters())
    image = torch.randn(2, config.encoder.in_channels, *CROP).contiguous(memory_format=torch.channels_last_3d)
    target = torch.randint(0, 2, (2, *CROP))
    regions = [[1]] * config.classes
    steps = []
    for _ in range(2):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = region_deep_supervision(network.train().forward_deep(image, ORIGIN), target, regions)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        steps.append(time.process_time() - start)
    network.eval().fuse()
    head = torch.randn(1, config.encoder.in_channels, *FRAME).contiguous(memory_format=torch.channels_last_3d)
    passes = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        for _ in range(2):
            start = time.process_time()
            network(head)
            passes.append(time.process_time() - start)
    return min(steps), min(passes)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    keep_freed_memory()
    half = native_bf16(torch.device("cpu"))
    print(f"| {'bf16' if half else 'fp32'} | parameters | step, s | whole frame, s |")
    print("|---|---:|---:|---:|")
    for channels, classes in ((4, 3), (1, 5)):
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            for name, config in networks(channels, classes).items():
                found.setdefault(name, []).append(seconds(config, half=half))
        for name, config in networks(channels, classes).items():
            step, whole = (min(times) for times in zip(*found[name], strict=True))
            count = parameter_count(build_segmenter(config)) / 1e6
            print(f"| {name}, {channels} channels | {count:.1f} M | {step:.2f} | {whole:.2f} |")


if __name__ == "__main__":
    main()
