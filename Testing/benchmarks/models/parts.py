"""What each part of a trained lesion model contributes: Dice with it, and with the part switched off.

``python -m Testing.benchmarks.models.parts STORE SPLIT RUN [RUN ...] [--part validation|test]``

Rows: the model as trained; without attention (what every block's attention adds is 0); without position codes; without
the image features that are added to the tokens; without the difference to the other hemisphere. Other runs (from
scratch, a convolutional twin) are further tables. Whole frames in one pass, thresholds 0.5, no post-processing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from asa.data.case_store import CaseStore
from asa.nn import HybridSegmenter, Segmenter
from asa.tasks import TASKS
from asa.training import checkpoint
from asa.training.finetuning.prediction import rebuild
from asa.training.finetuning.validation import frame_dice
from asa.training.publishing.export import network_weights
from asa.training.synthetic.lesion_samples import training_cases


def silence(*layers: nn.Module) -> None:
    """Layers whose output becomes 0."""
    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            nn.init.zeros_(parameter)


def attention(network: Segmenter) -> None:
    """Switch off what attention adds in every block of the encoder."""
    silence(*(block.attention.proj for block in network.encoder.blocks))


def codes(network: Segmenter) -> None:
    """Switch off position codes."""

    def nowhere(grid: tuple[int, int, int], _origin: object = None) -> Tensor:
        return torch.zeros(1, grid[0] * grid[1] * grid[2], network.config.encoder.dim)

    network.encoder.codes = nowhere  # type: ignore[method-assign, assignment]


def injection(network: Segmenter) -> None:
    """Switch off the image features that are added to the tokens."""
    if isinstance(network, HybridSegmenter):
        silence(network.inject[1])


def mirror(network: Segmenter) -> None:
    """Switch off the difference to the other hemisphere."""
    if isinstance(network, HybridSegmenter) and network.mirror is not None:
        network.asymmetry = lambda image, origin: torch.zeros_like(  # type: ignore[method-assign]
            HybridSegmenter.asymmetry(network, image, origin)
        )


PARTS: dict[str, Callable[[Segmenter], None]] = {
    "as trained": lambda _network: None,
    "attention off": attention,
    "codes off": codes,
    "image features off": injection,
    "mirror off": mirror,
}


def trained(run: Path) -> Segmenter:
    """The network of a run with its best weights, or else its last."""
    path = next(p for p in (run / "checkpoints" / f"{name}.safetensors" for name in ("best", "last")) if p.is_file())
    weights, record = network_weights(path)
    network, _ = rebuild(record["network"])
    checkpoint.load_weights(network, weights, "", str(path))
    assert isinstance(network, Segmenter)
    return network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("split")
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--part", default="validation", choices=("validation", "test"))
    arguments = parser.parse_args()
    store = CaseStore.open(arguments.store)
    task = TASKS[store.dataset.task]
    cases = training_cases(arguments.split, 0, store, arguments.part)
    names = [region.name for region in task.regions]
    for run in arguments.runs:
        print(f"\n| {run.name}, {len(cases)} cases | " + " | ".join(names) + " |")
        print("|---|" + "---:|" * len(names))
        for title, switch in PARTS.items():
            network = trained(run)
            switch(network)
            scores = frame_dice(network, store, cases, task, torch.device("cpu"))
            print(f"| {title} | " + " | ".join(f"{scores[f'dice {name}']:.3f}" for name in names) + " |")


if __name__ == "__main__":
    main()
