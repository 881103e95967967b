"""Every score in README, in the models' cards and in model.json is a number of the committed results, rounded once."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import Any

import pytest
from Testing.benchmarks.ages import SAID
from Testing.benchmarks.heads import REPOSITORY
from Testing.benchmarks.models.scores_report import groups, measured, table

RESULTS = REPOSITORY / "Testing" / "benchmarks" / "results"
MODELS = REPOSITORY / "Resources" / "Models"
LESION_MODELS = ("tumour", "wmh")
COLUMNS = {"ventricles": "Dice CSF", "GM": "Dice GM", "WM": "Dice WM"}
HEADS = {"IBSR-18, 6 heads": "ibsr", "MICCAI 2012 (MALF), 5 scans": "malf"}  # as model.json calls them
CARD_HEADS = {"IBSR-18": "ibsr", "MICCAI 2012": "malf"}


def agree(shown: Sequence[str | float], measured: Iterable[float], places: int | None = None) -> bool:
    """Whether each number is the measured one rounded to the places it shows, once; a half may go either way.

    places: of numbers from JSON, where trailing zeros are lost.
    """
    values = list(measured)

    def close(text: str | float, value: float) -> bool:
        given = Decimal(str(text))
        digits = places if places is not None else -int(given.as_tuple().exponent)
        half = Decimal(5).scaleb(-digits - 1)
        # six decimals are what the measurements hold; beyond them is the noise of binary fractions
        return abs(given - Decimal(f"{value:.6f}")) <= half and given == round(given, digits)

    return len(shown) == len(values) and all(map(close, shown, values))


def info(model: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MODELS / model / "model.json").read_text(encoding="utf-8"))
    return loaded


def card(model: str) -> str:
    return (MODELS / model / "CARD.md").read_text(encoding="utf-8")


def scored(task: str) -> list[dict[str, Any]]:
    """Records of whole segmentations of the test part, of the model that ships and of others."""
    loaded: list[dict[str, Any]] = json.loads((RESULTS / f"scores_{task}.json").read_text(encoding="utf-8"))
    return loaded


def on_test_part(task: str, given: str) -> dict[str, dict[str, float]]:
    """Region -> case -> Dice of the model that ships, with the images ``given``, a title of its page of results."""
    shipped = [record for record in scored(task) if record["system"] == info(task)["version"]]
    found: dict[str, dict[str, float]] = {}
    for record in dict(groups(shipped, task))[given]:
        for region in record["regions"]:
            if (values := measured(record, region)) is not None:
                found.setdefault(region, {})[record["case"]] = values["dice"]
    return found


def means(found: Mapping[str, Mapping[str, float]]) -> list[float]:
    """Mean over the cases, of each region."""
    return [fmean(cases.values()) for cases in found.values()]


def tissue(data: str) -> list[float]:
    """Mean Dice of our model over the heads of a data set, of each class."""
    with (RESULTS / "accuracy.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if (row["data"], row["system"]) == (data, "ours")]
    return [fmean(float(row[column]) for row in rows) for column in COLUMNS.values()]


def tables(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_scores_of_the_tissue_model() -> None:
    scores = info("tissue")["scores"]
    assert set(scores) == set(HEADS)
    for where, values in scores.items():
        assert list(values) == list(COLUMNS)
        assert agree([*values.values()], tissue(HEADS[where]), places=4), where


def test_the_card_of_the_tissue_model() -> None:
    text = card("tissue")
    rows = {row[0]: row[1:] for row in tables(section(text, "Scores"))}
    shipped = next(row for row in tables(text) if f"({info('tissue')['version']})" in row[0])
    for number, (name, data) in enumerate(CARD_HEADS.items()):
        (cells,) = [cells for heads, cells in rows.items() if heads.startswith(name)]
        assert agree(cells, tissue(data))
        assert agree(shipped[2 - number].split(" / "), tissue(data))


@pytest.mark.parametrize("task", LESION_MODELS)
def test_scores_of_lesion_models(task: str) -> None:
    assert info(task)["scores"]
    for where, values in info(task)["scores"].items():
        found = on_test_part(task, where.rpartition(", ")[2])
        assert f"{max(map(len, found.values()))} " in where
        assert list(values) == list(found)
        assert agree([*values.values()], means(found), places=4), where


@pytest.mark.parametrize("task", LESION_MODELS)
def test_cards_of_lesion_models(task: str) -> None:
    """Their tables of scores are rows of the page of results, which is that of the committed records."""
    page = SAID.sub("", (RESULTS / f"scores_{task}.md").read_text(encoding="utf-8"))
    # above, the machine is that of the measurement
    assert page.splitlines()[4:] == table(scored(task), task, "test").splitlines()[4:]
    rows = list(tables(section(card(task), "Scores")))
    assert len(rows) > 3
    assert [row for row in rows if row not in list(tables(page))] == []
    assert "doubts" not in info(task), "it is doubtful where this scan gives reason"


def test_readme() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = {row[0].split("]")[0].strip("["): row[2] for row in tables(section(text, "Models")) if len(row) == 4}
    assert agree(re.findall(r"0\.\d+", rows["tumour"]), means(on_test_part("tumour", "T1 + T1Gd + T2 + FLAIR")))
    assert agree(re.findall(r"0\.\d+", rows["wmh"]), means(on_test_part("wmh", "all that a case has of T1 + FLAIR")))
    scores = info("tissue")["scores"]
    expected = [
        value for where in ("MICCAI 2012 (MALF), 5 scans", "IBSR-18, 6 heads") for value in scores[where].values()
    ]
    assert agree(re.findall(r"0\.\d+", rows["tissue"]), expected)
    assert len(re.findall(r"(?<!\d)0\.\d+", text)) == 10, "every score of the page stands in the table"


def test_figures_are_rounded_once() -> None:
    assert agree(["0.83", "0.835", "0.57"], [0.834767, 0.834767, 0.57485])
    assert not agree(["0.84"], [0.834767]) and not agree(["0.58"], [0.57485]) and not agree(["0.83"], [])
    assert agree([0.907], [0.90701], places=4) and not agree([0.835], [0.834767], places=4)
