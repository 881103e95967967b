"""Segment every head with manual tissue labels by ours and by the peers, and write one table.

    python -m Testing.benchmarks.accuracy [--model FOLDER] [--peers PYTHON] [--head NAME ...]

Run at the root of the checkout, with asa installed. The peers' scores are read from results/peers.json, which is
committed; ``--peers PYTHON`` measures them again with that environment (see make_peers_environment.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from Testing.benchmarks.accuracy import report
from Testing.benchmarks.accuracy.scoring import Record, score_ours, score_peer
from Testing.benchmarks.heads import REPOSITORY, RESULTS, Head, data_root, find_heads

PEERS = ("atropos", "n4-atropos", "hmrf")
PEER_SCORES = RESULTS / "peers.json"


def kept_scores(heads: list[Head]) -> dict[str, list[Record]]:
    """The committed scores of the peers on ``heads``."""
    names = {head.name for head in heads}
    kept = json.loads(PEER_SCORES.read_text(encoding="utf-8"))
    return {system: [record for record in records if record["head"] in names] for system, records in kept.items()}


def measured_scores(heads: list[Head], python: Path, cache: Path) -> dict[str, list[Record]]:
    """Scores of the peers on ``heads``; label maps that lie in ``cache`` already are not made again."""
    scores: dict[str, list[Record]] = {}
    for system in PEERS:
        for head in heads:
            scores.setdefault(system, []).append(score_peer(head, system, python=python, cache=cache))
            print(f"{system}: {head.name}", file=sys.stderr)
    return scores


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", help="model folder or name; default: the installed tissue model")
    parser.add_argument(
        "--tta",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="test-time augmentation (left-right flip); default: the model's setting",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--head", action="append", help="only this head; may be repeated")
    parser.add_argument("--no-ours", action="store_true", help="peers only")
    parser.add_argument("--no-peers", action="store_true", help="ours only")
    parser.add_argument("--peers", type=Path, metavar="PYTHON", help="interpreter of the peers' environment")
    parser.add_argument("--peers-cache", type=Path, default=REPOSITORY / "build" / "peers", metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the table")
    parser.add_argument("--name", default="accuracy", help="stem of the files, for a model on trial")
    arguments = parser.parse_args()

    heads = find_heads(data_root(), arguments.head)
    scores: dict[str, list[Record]] = {}
    if not arguments.no_ours:
        scores[report.OURS] = []
        for head in heads:
            record = score_ours(
                head,
                model=arguments.model,
                tta=arguments.tta,
                device=arguments.device,
                threads=arguments.threads,
            )
            scores[report.OURS].append(record)
            dices = ", ".join(f"{name} {values['dice']:.3f}" for name, values in record["classes"].items())
            print(f"ours: {head.name}: {dices} ({record['seconds']:.0f} s)", file=sys.stderr)
    if not arguments.no_peers:
        if arguments.peers is None:
            scores |= kept_scores(heads)
        else:
            scores |= measured_scores(heads, arguments.peers, arguments.peers_cache)
            if not arguments.head:
                PEER_SCORES.write_text(json.dumps({n: scores[n] for n in PEERS}, indent=1) + "\n", encoding="utf-8")
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(report.write(scores, arguments.output, arguments.name))


if __name__ == "__main__":
    main()
