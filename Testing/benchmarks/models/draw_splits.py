"""draw_splits.py CASES LABEL_MAPS T1: who trains, who is held back to choose constants, and who is scored at the end.

CASES is what ``collect_cases.py`` wrote. Writes ``Resources/Configs/splits/*.json`` once; the test cases of the tumour,
of pre-training and those of the lesions that are named here were fixed before anything was trained, the others are
drawn by seed. Both scans of a person lie on one side.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "Resources" / "Configs" / "splits"
TUMOUR_TEST = (
    *(f"BraTS2021_{number}" for number in ("00002", "00014", "00019", "01483", "01657")),
    *("BraTS19_CBICA_ASK_1", "BraTS19_2013_2_1", "BraTS19_2013_3_1", "pat0001", "Brats18_2013_21_1"),
    *(f"BraTS-SSA-{number}-000" for number in ("00007", "00041", "00110")),
)
LESION_TEST = ("P14", "mslesseg_P1", "wmh_2516038876", "wmh_2516041494", "wmh_2516043217")
SCAN_TEST = ("sub-28", "sub-43", "sub-58", "sub-71")


def subjects(cases: Path) -> dict[str, list[str]]:
    """Subject -> names of its cases."""
    found: dict[str, list[str]] = {}
    with (cases / "cases.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found.setdefault(row["subject"], []).append(row["case"])
    return found


def write(name: str, people: dict[str, list[str]], validation: Sequence[str], test: Sequence[str]) -> None:
    """A split file with one fold."""
    train = sorted(set(people) - set(validation) - set(test))
    parts = {"train": train, "validation": sorted(validation), "test": sorted(test)}
    fold = {part: sorted(case for who in whom for case in people[who]) for part, whom in parts.items()}
    (FOLDER / f"{name}.json").write_text(json.dumps({"folds": [fold]}, indent=1) + "\n", encoding="utf-8")
    print(name, {part: len(whom) for part, whom in parts.items()})


def main() -> None:
    """See the top of the file."""
    cases, label_maps, t1 = map(Path, sys.argv[1:4])
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = random.Random(20261130)

    people = subjects(cases / "tumour")
    free = sorted(who for who in set(people) - set(TUMOUR_TEST) if len(people[who]) == 1)
    write("tumour", people, rng.sample(free, 5), TUMOUR_TEST)

    people = subjects(cases / "wmh")
    thick = sorted(who for who in people if who.isdigit() and (cases / "wmh" / f"{who}_t1.nii.gz").exists())
    alone = sorted(who for who in people if who.isdigit() and who not in thick)
    thick_test, alone_test = rng.sample(thick, 2), rng.sample(alone, 1)
    validation = [rng.choice(sorted(set(thick) - set(thick_test))), rng.choice(sorted(set(alone) - set(alone_test)))]
    write("wmh", people, [*validation, "P18"], [*LESION_TEST, *thick_test, *alone_test])

    maps = sorted(path.name.removesuffix(".nii.gz") for path in label_maps.glob("*.nii.gz"))
    test = rng.sample(maps, 4)
    write("tissue", {m: [m] for m in maps}, rng.sample(sorted(set(maps) - set(test)), 2), test)

    scans = sorted(path.name for path in t1.glob("sub-*"))
    held_out = sorted(rng.sample(sorted(set(scans) - set(SCAN_TEST)), 4))
    train = sorted({path.name for path in (cases / "scans").glob("sub-*")} - set(held_out) - set(SCAN_TEST))
    parts = {"train": train, "held_out": held_out, "test": SCAN_TEST}
    names = {part: [f"{subject}_T1w" for subject in whom] for part, whom in parts.items()}
    (FOLDER / "scans.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    print("scans", {part: len(whom) for part, whom in parts.items()})


if __name__ == "__main__":
    main()
