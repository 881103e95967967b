"""Does pre-training help? At the root of the checkout: ``python -m Testing.benchmarks.ablation --work FOLDER``.

The paper's Table 4 at the size of one core: encoders from scratch and pre-trained in several ways, with the same small
budget and the same random numbers, are fine-tuned on synthetic T1-weighted crops of two label maps and measured on
stripped heads of two other data sets, which were not used for training. Every seed draws its own first weights, masks,
crops and heads. FOLDER keeps finished parts; re-run the same command to resume. `--only ARM ...` restricts it,
`--seeds S ...` says which, so that several processes may share the work; `--output` also writes the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from Testing.benchmarks.heads import REFERENCE_REGIONS, RESULTS, data_root, find_heads
from Testing.benchmarks.tables import markdown, provenance

from asa.data.prepare import Preparation, prepare
from asa.data.stripping import AlreadyStripped
from asa.geometry import FRAME, align_to_frame, resample, to_frame
from asa.metrics import dice
from asa.nn import Segmenter, SegmenterConfig
from asa.preprocessing.normalise import zscore
from asa.runs.folder import Run
from asa.synth import HeadGenerator, SynthSettings
from asa.synth.heads import prepare_heads
from asa.training import checkpoint
from asa.training.parallel.distributed import World
from asa.training.pretraining.pretrain import pretrain
from asa.training.pretraining.pretrained import Pretrained
from asa.training.pretraining.settings import PretrainSettings
from asa.training.settings import Optimisation, Schedule
from asa.training.synthetic.tissue import CLASSES, SyntheticHeads, TissueObjective
from asa.training.trainer import Trainer
from asa.volume import read_volume

# What differs between the arms; the position encoding follows from the method. Without steps it is from scratch.
ARMS: dict[str, dict[str, Any]] = {
    "scratch, vanilla encoding": {"method": "mae", "steps": 0},
    "scratch, symmetric encoding": {"method": "asa", "steps": 0},
    "mae": {"method": "mae"},
    "a-ssl": {"method": "a-ssl"},
    "asa": {"method": "asa"},
    "asa, weights by magnitude": {"method": "asa", "weight_mode": "magnitude"},
    "asa, weights by product": {"method": "asa", "weight_mode": "product"},
}
CROP = (48, 48, 48)
PRETRAIN_STEPS, PRETRAIN_BATCH = 120, 4
FINETUNE_STEPS, FINETUNE_BATCH = 50, 2
LABEL_MAPS = 2
HEADS = ["IBSR_01", "1000"]
WORLD = World(0, 1, torch.device("cpu"))
Scores = dict[str, float]


def settings(arm: Mapping[str, Any], seed: int, work: Path) -> PretrainSettings:
    """Pre-training of an arm: a small encoder on crops of all scans."""
    return PretrainSettings(
        store=str(work / "store"),
        method=arm["method"],
        weight_mode=arm.get("weight_mode", "paper"),
        preset="starter",
        encoder={"dim": 96, "depth": 6, "heads": 4},
        decoder={"dim": 96, "depth": 2, "heads": 4},
        crop=CROP,
        flip=True,
        held_out=0,
        epochs=PRETRAIN_STEPS * PRETRAIN_BATCH / len(list((work / "store/records").iterdir())),
        warmup_epochs=3,
        base_lr=2e-3 * 256 / PRETRAIN_BATCH,
        batch=PRETRAIN_BATCH,
        micro_batch=PRETRAIN_BATCH,
        preview_every=0,
        seed=seed,
        schedule=Schedule(checkpoint_every=0, validate_every=0),
    )


def segmenter(arm: Mapping[str, Any], seed: int, work: Path) -> Segmenter:
    """The network that is fine-tuned: the paper's layout, small, around the arm's encoder."""
    how = settings(arm, seed, work)
    torch.manual_seed(seed)
    encoder = how.autoencoder().encoder
    # image and hidden states meet as in the paper; without its convolutional short cuts the encoder must do the work
    network = Segmenter(
        SegmenterConfig(encoder, CLASSES, widths=(8, 16, 32, 64, 96), taps=(2, 4, 6), pyramid=False, norm="instance")
    )
    if arm.get("steps", PRETRAIN_STEPS):
        folder = work / "runs" / f"{how.method}_{how.weight_mode}_{seed}"
        _to_the_end(pretrain(how, folder, WORLD))
        checkpoint.load_weights(network.encoder, Pretrained.open(folder).encoder()[1], "", str(folder))
    return network


def finetune(network: Segmenter, seed: int, work: Path, folder: Path) -> None:
    """Train all of the network on synthetic crops, in the run ``folder``; every arm sees the same ones."""
    heads = np.load(work / "heads.npy", mmap_mode="r")
    generator = HeadGenerator(heads, FRAME.shape, CROP, SynthSettings(t1_share=1.0, stripped_share=1.0))
    optimisation = Optimisation(
        lr=2e-3, weight_decay=0.02, warmup_steps=5, steps=FINETUNE_STEPS, batch=FINETUNE_BATCH, clip=5.0, seed=seed
    )
    trainer = Trainer(
        TissueObjective(network),
        SyntheticHeads(generator, seed << 32),
        optimisation,
        Schedule(checkpoint_every=0, validate_every=0),
        Run.create(folder, "tissue", {}, {}),
        WORLD,
        describe={},
    )
    _to_the_end(trainer.fit())


def _to_the_end(outcome: str) -> None:
    """A run that was asked to stop is no result."""
    if outcome != "finished":
        raise SystemExit(f"{outcome}; run the same command to resume")


def measure(network: Segmenter, heads: Mapping[str, Mapping[str, np.ndarray]]) -> Scores:
    """Dice of each region of the references, averaged over the heads."""
    network.eval()
    scores: dict[str, list[float]] = {name: [] for name in REFERENCE_REGIONS}
    for head in heads.values():
        image = torch.from_numpy(zscore(head["image"]))[None, None]
        labels = torch.zeros(image.shape[2:], dtype=torch.uint8)
        # the smallest number of windows that covers the frame
        starts = [sorted({round(i * (n - c) / (-(-n // c) - 1) / 8) * 8 for i in range(-(-n // c))})
                  for n, c in zip(labels.shape, CROP, strict=True)]  # fmt: skip
        for corner in itertools.product(*starts):
            box = tuple(slice(s, s + c) for s, c in zip(corner, CROP, strict=True))
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                logits = network(image[(..., *box)], tuple(s // 8 for s in corner))
            labels[box] = logits[0].argmax(0).byte()
        found = labels.numpy()
        for name, values in REFERENCE_REGIONS.items():
            scores[name].append(dice(found == values[0], np.isin(head["reference"], values)))
    means = {name: statistics.fmean(values) for name, values in scores.items()}
    return {**means, "mean": statistics.fmean(means.values())}


def measured_heads(work: Path) -> dict[str, dict[str, np.ndarray]]:
    """Images and references of the heads to measure on, in the brain frame."""
    found = {}
    for head in find_heads(data_root(), HEADS):
        path = work / "heads" / f"{head.name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            image, reference = read_volume(head.image), read_volume(head.reference, labels=True)
            alignment = align_to_frame(image)
            framed = resample(reference, FRAME, order=0, matrix=alignment.matrix)
            np.savez_compressed(path, image=to_frame(image, alignment).array, reference=framed.array)
        found[head.name] = dict(np.load(path))
    return found


def make_data(work: Path) -> None:
    """Store of scans to pre-train on and label maps to fine-tune on."""
    if not (work / "store/index.json").exists():
        prepare(Preparation(data_root() / "t1", work / "store", AlreadyStripped(), FRAME.shape))
    if not (work / "heads.npy").exists():
        prepare_heads(sorted((data_root() / "label_maps").glob("*.nii.gz"))[:LABEL_MAPS], work / "heads.npy")


def table(done: Mapping[tuple[str, int], Scores]) -> str:
    """Mean and SD over seeds of each arm, and what it gains over scratch with the same encoding, seed by seed."""
    rows: list[list[str | float | int]] = []
    lines = []
    for name, arm in ARMS.items():
        seeds = sorted(seed for known, seed in done if known == name)
        if not seeds:
            continue
        cells = [_mean_sd([done[name, s][key] for s in seeds]) for key in (*REFERENCE_REGIONS, "mean")]
        base = "scratch, symmetric encoding" if arm["method"] == "asa" else "scratch, vanilla encoding"
        gains = [done[name, s]["mean"] - done[base, s]["mean"] for s in seeds if (base, s) in done and name != base]
        rows.append([name, len(seeds), *cells, _mean_sd(gains, sign="+") if gains else ""])
        if len(gains) > 1:
            mean, error = statistics.fmean(gains), statistics.stdev(gains) / len(gains) ** 0.5
            unsure = abs(mean) <= 2 * error
            verdict = "no significant difference with these seeds" if unsure else "better" if mean > 0 else "worse"
            lines.append(f"- {name}: {verdict} (gain {mean:+.3f}, standard error {error:.3f}, {base}).")
    unlearned = [r for r in REFERENCE_REGIONS if statistics.fmean(scores[r] for scores in done.values()) < 0.05]
    if unlearned:
        lines.append(f"- No arm learned {', '.join(unlearned)} in so few steps: this measures how learning begins.")
    header = ["encoder", "seeds", *(f"Dice {name}" for name in REFERENCE_REGIONS), "mean Dice", "gain over scratch"]
    return markdown(header, rows) + "\nMean ± SD over seeds; gains are of the same seed.\n\n" + "\n".join(lines) + "\n"


def report(done: Mapping[tuple[str, int], Scores]) -> str:
    """The table and what it was measured with, in Markdown."""
    return (
        f"# Encoders pre-trained in several ways, fine-tuned on little\n\n{provenance('torch')}. Pre-training: "
        f"{PRETRAIN_STEPS} steps of {PRETRAIN_BATCH} crops of {CROP[0]}³ of unlabelled T1s; fine-tuning: "
        f"{FINETUNE_STEPS} steps of {FINETUNE_BATCH} synthetic crops of {LABEL_MAPS} label maps; measured on "
        f"{len(HEADS)} heads of IBSR-18 and MICCAI 2012, which were not used for training. Normalisation, "
        f"learning rate, "
        "steps and the number of heads were chosen after seeing scratch runs of other settings, before any pre-trained "
        "one."
        f"\n\n{table(done)}"
    )


def _mean_sd(values: Sequence[float], sign: str = "") -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.3f}{spread}"


def main() -> None:
    """Run what is not done yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1, 2))
    parser.add_argument("--only", nargs="*", choices=tuple(ARMS), default=tuple(ARMS), metavar="ARM")
    parser.add_argument("--output", type=Path, nargs="?", const=RESULTS / "ablation.md", help="also write the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work: Path = options.work
    make_data(work)
    heads = measured_heads(work)
    kept = work / "results.jsonl"
    records = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done: dict[tuple[str, int], Scores] = {(r["arm"], r["seed"]): r["scores"] for r in records}
    for seed, name in itertools.product(options.seeds, options.only):
        if (name, seed) in done:
            continue
        started = time.process_time()
        network = segmenter(ARMS[name], seed, work)
        finetune(network, seed, work, work / "tuned" / f"{list(ARMS).index(name)}_{seed}")
        done[name, seed] = measure(network, heads)
        record = {"arm": name, "seed": seed, "scores": done[name, seed], "cpu_s": round(time.process_time() - started)}
        with kept.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
    text = report(done)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
