"""How fast pre-training is, at the root of the checkout: ``python -m Testing.benchmarks.pretext``.

    vhog      importance of one 128^3 volume compared with loops over voxels, and as a share of a training step
    data      seconds to read, normalise and crop a scan compared with the step that consumes it
    step      the trainer's whole step beside forward and backward alone
    tokens    step time and peak memory of preset `paper` at 128^3, 160^3 and 192^3: linear in tokens
    peer      the same step compared with MONAI's masked auto-encoder ViT of this width and depth, with full attention

``--only`` runs one part; ``--threads`` sets the number of threads of the parts `tokens` and `peer`; ``--output`` writes
the parts that were run into a Markdown file, beside what it has of the others. A step is forward, backward and AdamW
for one scan, in float32. Times are processor seconds, all threads together, the best of several calls: what other
programs do at the same time changes them little. The networks of `tokens` and `peer` have a process of their own each.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from Testing.benchmarks.speed.measure import run
from Testing.benchmarks.tables import markdown, origin, provenance
from torch import nn
from torch.utils.checkpoint import checkpoint

from asa.data.scan_store import ScanRecord, ScanStore, write_index, write_scan
from asa.devices import free_memory, keep_freed_memory
from asa.nn import autoencoder_preset
from asa.nn.objective import Batch
from asa.pretext import Reconstruction, ReconstructionOptions, importance, make_objective
from asa.runs.folder import Run
from asa.training.parallel.distributed import World
from asa.training.pretraining.sampling import StoredScans
from asa.training.settings import Optimisation, Schedule
from asa.training.trainer import Trainer

PATCH, BINS, EDGE = 8, 9, 128
LOOP_EDGE = 16
SIZES = (128, 160, 192)
PEER_SIZES = (64, 96, 128)
REPEATS = 3


def seconds(action: Callable[[], object], repeats: int = REPEATS) -> float:
    """Least processor time, of all threads together, after one call to warm up."""
    action()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def head(edge: int) -> torch.Tensor:
    """Something with edges everywhere: (1, 1, edge, edge, edge)."""
    return torch.randn(1, 1, edge, edge, edge, generator=torch.Generator().manual_seed(0))


def loop_over_vectors(image: np.ndarray) -> np.ndarray:
    """VHOG importance as one writes it down first: a gradient vector for each voxel."""
    t, h, w = (n // PATCH for n in image.shape)
    histogram = np.zeros((t, h, w, BINS, BINS))
    padded = np.pad(image, 1)
    for z, y, x in np.ndindex(*image.shape):
        ahead = np.array([padded[z + 1, y + 1, x + 2], padded[z + 1, y + 2, x + 1], padded[z + 2, y + 1, x + 1]])
        behind = np.array([padded[z + 1, y + 1, x], padded[z + 1, y, x + 1], padded[z, y + 1, x + 1]])
        g = ahead - behind
        size = np.linalg.norm(g)
        if size > 0:
            theta, phi = np.arccos(np.clip(g[2] / size, -1, 1)), np.abs(np.arctan2(g[1], g[0]))
            row, column = (min(int(angle // (np.pi / BINS)), BINS - 1) for angle in (theta, phi))
            histogram[z // PATCH, y // PATCH, x // PATCH, row, column] += size
    flat = histogram.reshape(t * h * w, -1)
    return flat.mean(1) / np.maximum(np.linalg.norm(flat, axis=1), 1e-30)


def loop_over_voxels(image: np.ndarray) -> np.ndarray:
    """The same with plain Python numbers, about as fast as a loop in Python gets."""
    t, h, w = (n // PATCH for n in image.shape)
    histogram = np.zeros((t, h, w, BINS, BINS))
    padded = np.pad(image, 1)
    for z, y, x in np.ndindex(*image.shape):
        g_x = padded[z + 1, y + 1, x + 2] - padded[z + 1, y + 1, x]
        g_y = padded[z + 1, y + 2, x + 1] - padded[z + 1, y, x + 1]
        g_z = padded[z + 2, y + 1, x + 1] - padded[z, y + 1, x + 1]
        size = math.sqrt(g_x**2 + g_y**2 + g_z**2)
        if size > 0:
            row = min(int(math.acos(max(-1.0, min(1.0, g_z / size))) * BINS / math.pi), BINS - 1)
            column = min(int(abs(math.atan2(g_y, g_x)) * BINS / math.pi), BINS - 1)
            histogram[z // PATCH, y // PATCH, x // PATCH, row, column] += size
    flat = histogram.reshape(t * h * w, -1)
    return flat.mean(1) / np.maximum(np.linalg.norm(flat, axis=1), 1e-30)


def objective(edge: int) -> Reconstruction:
    """Preset `paper` with a frame of ``edge`` voxels."""
    config = autoencoder_preset("paper", frame=(edge // PATCH,) * 3)
    made = make_objective("asa", config, ReconstructionOptions())
    assert isinstance(made, Reconstruction)
    return made


def asa_step(edge: int) -> Callable[[], object]:
    """A training step of preset `paper`."""
    network = objective(edge)
    batch = {"image": head(edge), "origins": [(0, 0, 0)], "seeds": [0]}
    return step_of(network, lambda: network(batch)["loss"])


def monai_step(edge: int, recompute: bool = False) -> Callable[[], object]:
    """A training step of MONAI's masked auto-encoder with the widths and depths of preset `paper`.

    ``recompute``: keep no attention maps, compute every block once more in the backward pass.
    """
    from monai.networks.nets import MaskedAutoEncoderViT

    network = MaskedAutoEncoderViT(
        1, edge, PATCH, hidden_size=384, mlp_dim=1536, num_layers=12, num_heads=12,
        decoder_hidden_size=384, decoder_mlp_dim=1536, decoder_num_layers=8, decoder_num_heads=12,
    )  # fmt: skip
    if recompute:
        for block in (*network.blocks, *network.decoder_blocks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    image = head(edge)

    def loss() -> torch.Tensor:
        shown, mask = network(image)
        target = image.view(1, *(edge // PATCH, PATCH) * 3).permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)
        return ((shown - target).square().mean(-1) * mask).sum() / mask.sum()

    return step_of(network, loss)


def step_of(network: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)

    def step() -> None:
        loss().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


STEPS = {"asa": asa_step, "monai": monai_step, "monai-recomputed": partial(monai_step, recompute=True)}


def measured_apart(system: str, edge: int, threads: int) -> tuple[float, float]:
    """Seconds of a step and peak memory in GiB, in a process of its own."""
    usage = run([sys.executable, "-m", "Testing.benchmarks.pretext", "--child", system, str(edge)], threads)
    return float(json.loads(usage.output)), usage.peak_gib


def full_attention_gib(edge: int) -> float:
    """What MONAI's attention maps alone take: scores and weights of 12 heads in 12 + 8 layers."""
    visible, tokens = (edge // PATCH) ** 3 // 4, (edge // PATCH) ** 3
    return 2 * 12 * 4 * (12 * visible**2 + 8 * tokens**2) / 2**30


def vhog(_threads: int) -> str:
    torch.set_num_threads(1)  # a loop in Python has no more
    image = head(EDGE)
    part = image[0, 0, :LOOP_EDGE, :LOOP_EDGE, :LOOP_EDGE].double().numpy()
    scale = (EDGE / LOOP_EDGE) ** 3
    fast = seconds(lambda: importance(image, PATCH, BINS), 9)
    vectors = seconds(lambda: loop_over_vectors(part)) * scale
    voxels = seconds(lambda: loop_over_voxels(part)) * scale
    step = seconds(asa_step(EDGE), 2)
    rows = [
        ["VHOG, one vectorised pass", fast, 1.0],
        [f"VHOG, loop over voxels with NumPy (timed at {LOOP_EDGE}^3, scaled)", vectors, vectors / fast],
        [f"VHOG, loop over voxels in plain Python (timed at {LOOP_EDGE}^3, scaled)", voxels, voxels / fast],
        ["training step, preset paper, fp32", step, step / fast],
    ]
    share = f"\nShare of a step: {100 * fast / step:.2f} %\n"
    return markdown(["128^3, one scan, one thread", "CPU seconds", "times VHOG"], rows) + share


def data(_threads: int) -> str:
    torch.set_num_threads(1)  # samples are read by one thread
    with tempfile.TemporaryDirectory() as folder:
        record = ScanRecord("scan", "a", "", "", 1.0, 1.0, 1.0, 0.0, 0.0)
        rng = np.random.default_rng(0)
        write_scan(Path(folder), record, rng.integers(0, 256, (EDGE,) * 3, np.uint8), {})
        write_index(Path(folder), (EDGE,) * 3, (0, 0, 0), [record], [])
        source = StoredScans(ScanStore.open(Path(folder)), [0], (EDGE,) * 3, PATCH)
        reading = seconds(lambda: source.collate([0]), 5)
        megabytes = (Path(folder) / "volumes/scan.npy").stat().st_size / 1e6
    step = seconds(asa_step(EDGE), 2)
    rows = [["read, normalise, crop", reading], ["training step", step]]
    return markdown(["128^3, one scan", "seconds"], rows) + (
        f"\nA reading thread supplies {step / reading:.0f} times what a step consumes. {megabytes:.2f} MB per scan: "
        f"{12_000 * megabytes / 1e3:.0f} GB for 12,000.\n"
    )


class OneHead:
    """Samples that are always the same head, so that reading them takes no time."""

    def __init__(self, edge: int) -> None:
        self.sample: Batch = {"image": head(edge), "origins": [(0, 0, 0)], "seeds": [0], "names": ["head"]}

    def __len__(self) -> int:
        return 1

    def collate(self, indices: Sequence[int]) -> Batch:
        """Return a micro-batch of one."""
        return self.sample


def whole_step(threads: int) -> str:
    torch.set_num_threads(threads)
    rows: list[list[str | float | int]] = []
    for count in (1, 4):
        network, source = objective(EDGE), OneHead(EDGE)

        def bare_pass(network: Reconstruction = network, source: OneHead = source, count: int = count) -> None:
            for _ in range(count):
                network(source.sample)["loss"].backward()
            network.zero_grad(set_to_none=True)

        settings = Optimisation(steps=100, batch=count, micro_batch=1, precision="fp32")
        with tempfile.TemporaryDirectory() as folder:
            run_folder = Run.create(Path(folder) / "run", "benchmark", {}, {})
            trainer = Trainer(
                network, source, settings, Schedule(), run_folder, World(0, 1, torch.device("cpu")), describe={}
            )
            whole = seconds(lambda trainer=trainer: trainer.optimise(trainer.objective, trainer.micro_batches(0)), 2)
        pure = seconds(bare_pass, 2)
        rows.append([count, whole, pure, whole / pure])
    return markdown(["scans of 128^3 in a step", "step s", "forward and backward s", "ratio"], rows)


def tokens(threads: int) -> str:
    rows: list[list[str | float | int]] = []
    for edge in SIZES:
        took, peak = measured_apart("asa", edge, threads)
        count = (edge // PATCH) ** 3
        rows.append([f"{edge}^3", count, took, 1e6 * took / count, peak])
    return markdown(["volume", "tokens", "step s", "µs a token", "peak GiB"], rows)


def peer(threads: int) -> str:
    rows: list[list[str | float]] = []
    for edge in PEER_SIZES:
        took, peak = measured_apart("asa", edge, threads)
        rows.append([f"{edge}^3", "ASA", f"{took:.2f}", f"{peak:.2f}"])
        needed = 1.5 * full_attention_gib(edge) + 2
        if needed < free_memory(torch.device("cpu")) / 2**30:
            took, peak = measured_apart("monai", edge, threads)
            rows.append([f"{edge}^3", "MONAI", f"{took:.2f}", f"{peak:.2f}"])
        else:
            rows.append([f"{edge}^3", "MONAI", "not run", f"needs about {needed:.0f}"])
            took, peak = measured_apart("monai-recomputed", edge, threads)
            rows.append([f"{edge}^3", "MONAI, every block computed twice to save memory", f"{took:.2f}", f"{peak:.2f}"])
    return markdown(["volume", "system", "step s", "peak GiB"], rows)


PARTS = {"vhog": vhog, "data": data, "step": whole_step, "tokens": tokens, "peer": peer}


def main() -> None:
    """Print the tables, or with --child one number."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(PARTS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="also write the tables here (Markdown)")
    parser.add_argument("--child", nargs=2, metavar=("SYSTEM", "EDGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_memory()  # as the trainer does, for whoever is measured
    if options.child:
        print(seconds(STEPS[options.child[0]](int(options.child[1])), 1))
        return
    parts = [options.only] if options.only else list(PARTS)
    sections = kept_sections(options.output) if options.output else {}
    for name in parts:
        sections[name] = f"{PARTS[name](options.threads)}\n{origin()}.\n"
        print(f"## {name}\n\n{sections[name]}")
    if options.output:
        text = f"# Cost of pre-training\n\n{provenance('torch', 'monai')}, {options.threads} thread(s)\n"
        text += "".join(f"\n## {name}\n\n{sections[name]}" for name in PARTS if name in sections)
        options.output.write_text(text, encoding="utf-8")


def kept_sections(path: Path) -> dict[str, str]:
    """Parts that a file of an earlier call has."""
    if not path.exists():
        return {}
    parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    return {name: table.strip() + "\n" for name, _, table in (part.partition("\n") for part in parts)}


if __name__ == "__main__":
    main()
