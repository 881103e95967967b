"""Result tables in the layout of the paper: our value, the published one and the difference."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from asa.evaluation.evaluate import Protocol, Scores, values_of
from asa.files import read_json
from asa.metrics import summarise
from asa.reproduce.plan import Plan, row_unit
from asa.reproduce.published import Part, Table
from asa.reproduce.work import SCORES

METRICS = (("dice", "Dice (%)", 100.0, 2, True), ("hd95_mm", "HD95 (mm)", 1.0, 2, False))  # last: higher is better
NOTHING = "–"
LEGEND = "Each cell: ours, published, difference. The best of ours in a column is bold."
CONVENTION = (
    "Means over the test cases, on the grids of their scans. Reference and prediction both empty: Dice 100 %, HD95 0; "
    "exactly one empty: Dice 0 %, HD95 the diagonal of the image."
)


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        ours: None where the row was not done.
        best: whether it is the best of ours in its column.
        one_empty: test cases where exactly one of prediction and reference was empty, so that a convention counted.
    """

    ours: float | None
    published: float
    best: bool = False
    one_empty: int = 0

    @property
    def texts(self) -> tuple[str, str, str]:
        """Ours, published and difference (with its sign)."""
        published = f"{self.published:.2f}"
        if self.ours is None:
            return NOTHING, published, NOTHING
        return f"{self.ours:.2f}", published, f"{self.ours - self.published:+.2f}".replace("-", "−")


@dataclass(frozen=True)
class Filled:
    """A table with our numbers.

    Attributes:
        columns: benchmark, metric and anatomy of each column.
        rows: title and cells.
        data: a sentence for each benchmark: what its columns were measured on.
        notes: what a reader must know about single numbers.
    """

    table: Table
    columns: list[tuple[str, str, str]]
    rows: list[tuple[str, list[Cell]]]
    data: list[str]
    notes: list[str]


def fill(plan: Plan, table: Table) -> Filled:
    """Read the scores of the rows that are finished.

    Raises:
        InputError: a row was made with other settings.
    """
    columns = [
        (part.benchmark, title, anatomy)
        for part in table.parts
        for _, title, *_ in METRICS
        for anatomy in part.anatomies
    ]
    found = {part.benchmark: row_scores(plan, table, part) for part in table.parts}
    rows: list[tuple[str, list[Cell]]] = []
    for row in table.rows:
        cells: list[Cell] = []
        for part, values in zip(table.parts, row.published, strict=True):
            scores = found[part.benchmark].get(row.system.key)
            for (metric, _, factor, *_), published in zip(METRICS, values, strict=True):
                cells += [
                    cell(plan, part, scores, metric, factor, anatomy, value)
                    for anatomy, value in zip(part.anatomies, published, strict=True)
                ]
        rows.append((row.title, cells))
    for place, (_, title, _) in enumerate(columns):
        mark_best(rows, place, higher=next(higher for _, shown, _, _, higher in METRICS if shown == title))
    notes = [
        f"{title}, {anatomy} of {benchmark}: exactly one of the two masks was empty in {one.one_empty}"
        for title, cells in rows
        for (benchmark, metric, anatomy), one in zip(columns, cells, strict=True)
        if one.one_empty and metric == METRICS[0][1]
    ]
    return Filled(table, columns, rows, [describe(plan, part, found[part.benchmark]) for part in table.parts], notes)


def row_scores(plan: Plan, table: Table, part: Part) -> dict[str, dict[str, Scores]]:
    """System -> case -> scores, of the finished rows."""
    dataset = plan.dataset(part)
    found: dict[str, dict[str, Scores]] = {}
    for row in table.rows if dataset is not None else ():
        unit = row_unit(dataset, row.system)  # type: ignore[arg-type]
        if plan.finished(unit):
            found[row.system.key] = read_json(plan.folder / unit / SCORES)
    return found


def cell(
    plan: Plan,
    part: Part,
    scores: Mapping[str, Scores] | None,
    metric: str,
    factor: float,
    anatomy: str,
    published: float,
) -> Cell:
    """Return a number and what it is compared with; ``scores`` is None where the row was not done."""
    dataset = plan.dataset(part)
    if scores is None or dataset is None:
        return Cell(None, published)
    marked = Protocol(dataset).regions
    region = next(name for name in part.anatomies[anatomy] if name in marked)
    mean = summarise(values_of(scores, region, metric), resamples=1).mean
    return Cell(mean * factor, published, one_empty=int(sum(values_of(scores, region, "one_empty"))))


def mark_best(rows: list[tuple[str, list[Cell]]], place: int, *, higher: bool) -> None:
    """Mark the best of ours in a column, as it is printed; several where they are equal."""
    ours = [round(cells[place].ours, 2) for _, cells in rows if cells[place].ours is not None]  # type: ignore[arg-type]
    if not ours:
        return
    best = max(ours) if higher else min(ours)
    for _, cells in rows:
        one = cells[place]
        if one.ours is not None and round(one.ours, 2) == best:
            cells[place] = Cell(one.ours, one.published, True, one.one_empty)


def describe(plan: Plan, part: Part, scores: Mapping[str, Mapping[str, Scores]]) -> str:
    """What a benchmark's columns were measured on."""
    dataset = plan.dataset(part)
    if dataset is None:
        return f"{part.benchmark}: no data were given."
    cases = len(next(iter(scores.values()))) if scores else 0
    known = f"{cases} test case{'s' if cases != 1 else ''}" if scores else "no row is finished"
    return f"{part.benchmark}: {dataset.title}; {known}; modalities {', '.join(part.modalities)}."


def markdown(filled: Filled, stamp: str = "") -> str:
    """Return the table as Markdown: three lines for each system."""
    header = [f"{metric}, {anatomy}" for _, metric, anatomy in filled.columns]
    if len(filled.table.parts) > 1:
        header = [f"{benchmark}: {text}" for (benchmark, _, _), text in zip(filled.columns, header, strict=True)]
    lines = [f"# {filled.table.title}", ""]
    if stamp:
        lines += [f"> **{stamp}**", ""]
    lines += ["| | | " + " | ".join(header) + " |", "|---|---|" + "---:|" * len(header)]
    for title, cells in filled.rows:
        ours = [f"**{one.texts[0]}**" if one.best else one.texts[0] for one in cells]
        lines.append(f"| {title} | ours | " + " | ".join(ours) + " |")
        lines.append("| | published | " + " | ".join(one.texts[1] for one in cells) + " |")
        lines.append("| | difference | " + " | ".join(one.texts[2] for one in cells) + " |")
    lines += ["", LEGEND, CONVENTION, "", *(f"- {text}" for text in (*filled.data, *filled.notes))]
    return "\n".join(lines) + "\n"


def table_html(filled: Filled) -> str:
    """Return the table as HTML, with the paper's three header lines."""
    parts = [f"<h2 id='{filled.table.name}'>{html.escape(filled.table.title)}</h2>", "<div class='wide'><table>"]
    for level, heading in enumerate(("Task", "Metric", "Anatomy")):
        groups = grouped([tuple(column[: level + 1]) for column in filled.columns])
        arrows = {"Dice (%)": "Dice (%) ↑", "HD95 (mm)": "HD95 (mm) ↓"}
        heads = "".join(
            f"<th colspan='{count}'>{html.escape(arrows.get(name[-1], name[-1]))}</th>" for name, count in groups
        )
        parts.append(f"<tr><th class='title'>{heading}</th>{heads}</tr>")
    for number, (title, cells) in enumerate(filled.rows, start=1):
        shown = "".join(
            f"<td><span class='ours{' best' if one.best else ''}'>{ours}</span>"
            f"<span class='published'>{published}</span><span class='difference'>{difference}</span></td>"
            for one in cells
            for ours, published, difference in [one.texts]
        )
        rule = " class='rule'" if number in filled.table.rule_after else ""
        parts.append(f"<tr{rule}><th class='title'>{html.escape(title)}</th>{shown}</tr>")
    parts.append("</table></div><ul>")
    parts += [f"<li>{html.escape(text)}</li>" for text in (*filled.data, *filled.notes)]
    return "\n".join([*parts, "</ul>"])


def grouped(names: list[tuple[str, ...]]) -> list[tuple[tuple[str, ...], int]]:
    """Return runs of equal names, with their lengths."""
    runs: list[tuple[tuple[str, ...], int]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return runs
