"""Result tables in the layout of the paper: our value, the published one and the difference."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from asa.evaluation.evaluate import Protocol, values_of
from asa.files import read_json
from asa.reproduce.comparison import Repeats, Statistics, statistics, statistics_html, statistics_markdown
from asa.reproduce.plan import Plan, row_unit
from asa.reproduce.published import Part, Table
from asa.reproduce.work import SCORES

# metric, heading, factor, which of the published values it is compared with, whether higher is better
METRICS = (
    ("dice", "Dice (%)", 100.0, 0, True),
    ("hd95_mm", "HD95 (mm)", 1.0, 1, False),
    ("hd95_pooled_mm", "HD95, pooled (mm)", 1.0, 1, False),
)
NOTHING = "–"
LEGEND = "Each cell: ours, published, difference. The best of ours in a column is bold."
NAMED = 40  # test cases named one by one below a table
CONVENTION = (
    "Means over the test cases, on the grids of their scans. Reference and prediction both empty: Dice 100 %, HD95 0; "
    "exactly one empty: Dice 0 %, HD95 the diagonal of the image. HD95 is the larger of the two directed 95th "
    "percentiles; pooled, as the authors' scripts have it, the 95th percentile of both directed distances together. "
    "The published HD95 stands with both."
)


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        ours: None where the row was not done.
        best: whether it is the best of ours in its column.
        spread: standard deviation over seeds (n - 1); None with one seed.
        one_empty: test cases where exactly one of prediction and reference was empty, so that a convention counted.
    """

    ours: float | None
    published: float | None
    best: bool = False
    one_empty: int = 0
    spread: float | None = None

    @property
    def texts(self) -> tuple[str, str, str]:
        """Ours, published and difference (with its sign)."""
        published = NOTHING if self.published is None else f"{self.published:.2f}"
        if self.ours is None:
            return NOTHING, published, NOTHING
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        if self.published is None:
            return f"{self.ours:.2f}{spread}", published, NOTHING
        return f"{self.ours:.2f}{spread}", published, f"{self.ours - self.published:+.2f}".replace("-", "−")


@dataclass(frozen=True)
class Filled:
    """A table with our numbers.

    Attributes:
        columns: benchmark, metric and anatomy of each column.
        rows: title and cells.
        data: a sentence for each benchmark: what its columns were measured on.
        notes: what a reader must know about single numbers.
        statistics: paired comparisons, one for each benchmark with several finished rows.
    """

    table: Table
    columns: list[tuple[str, str, str]]
    rows: list[tuple[str, list[Cell]]]
    data: list[str]
    notes: list[str]
    statistics: list[Statistics]


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
        for part, values in zip(table.parts, row.published or [None] * len(table.parts), strict=True):
            scores = found[part.benchmark].get(row.system.key)
            for metric, _, factor, place, _ in METRICS:
                published = [None] * len(part.anatomies) if values is None else values[place]
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
    data = [describe(plan, part, found[part.benchmark]) for part in table.parts]
    compared = [compared_rows(plan, table, part, found[part.benchmark]) for part in table.parts]
    return Filled(table, columns, rows, data, notes, [one for one in compared if one is not None])


def compared_rows(plan: Plan, table: Table, part: Part, found: Mapping[str, Repeats]) -> Statistics | None:
    """Paired comparisons on one benchmark."""
    dataset = plan.dataset(part)
    if dataset is None:
        return None
    marked = Protocol(dataset).regions
    regions = {anatomy: next(n for n in names if n in marked) for anatomy, names in part.anatomies.items()}
    headings = {metric: (title, factor) for metric, title, factor, *_ in METRICS}
    return statistics(part.benchmark, table.rows, found, regions, headings)


def row_scores(plan: Plan, table: Table, part: Part) -> dict[str, Repeats]:
    """System -> for each seed that is finished, case -> scores."""
    dataset = plan.dataset(part)
    found: dict[str, Repeats] = {}
    for row in table.rows if dataset is not None else ():
        units = [row_unit(dataset, row.system, repeat) for repeat in range(plan.seeds)]  # type: ignore[arg-type]
        if done := [unit for unit in units if plan.finished(unit)]:
            found[row.system.key] = [read_json(plan.folder / unit / SCORES) for unit in done]
    return found


def cell(
    plan: Plan,
    part: Part,
    repeats: Repeats | None,
    metric: str,
    factor: float,
    anatomy: str,
    published: float | None,
) -> Cell:
    """Return a number, the mean over seeds, and what it is compared with; ``repeats`` is None where none is done."""
    dataset = plan.dataset(part)
    if repeats is None or dataset is None:
        return Cell(None, published)
    marked = Protocol(dataset).regions
    region = next(name for name in part.anatomies[anatomy] if name in marked)
    if any(metric not in one[region] for scores in repeats for one in scores.values()):
        return Cell(None, published)  # scored by an earlier version
    means = [factor * float(np.mean(values_of(scores, region, metric))) for scores in repeats]
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
    one_empty = int(sum(sum(values_of(scores, region, "one_empty")) for scores in repeats))
    return Cell(float(np.mean(means)), published, one_empty=one_empty, spread=spread)


def mark_best(rows: list[tuple[str, list[Cell]]], place: int, *, higher: bool) -> None:
    """Mark the best of ours in a column, as it is printed; several where they are equal."""
    ours = [round(cells[place].ours, 2) for _, cells in rows if cells[place].ours is not None]  # type: ignore[arg-type]
    if not ours:
        return
    best = max(ours) if higher else min(ours)
    for _, cells in rows:
        one = cells[place]
        if one.ours is not None and round(one.ours, 2) == best:
            cells[place] = dataclasses.replace(one, best=True)


def describe(plan: Plan, part: Part, found: Mapping[str, Repeats]) -> str:
    """What a benchmark's columns were measured on: data set, test cases by name, modalities and seeds."""
    dataset = plan.dataset(part)
    if dataset is None:
        return f"{part.benchmark}: no data were given."
    names = list(next(iter(found.values()))[0]) if found else []
    listed = f" ({', '.join(names)})" if len(names) <= NAMED else ""
    known = f"{len(names)} test case{'s' if len(names) != 1 else ''}{listed}" if found else "no row is finished"
    seeds = f"; {plan.seeds} seeds per row, mean ± standard deviation over seeds" if plan.seeds > 1 else ""
    return f"{part.benchmark}: {dataset.title}; {known}; modalities {', '.join(part.modalities)}{seeds}."


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
    for one in filled.statistics:
        lines += statistics_markdown(one)
    return "\n".join(lines) + "\n"


def table_html(filled: Filled) -> str:
    """Return the table as HTML, with the paper's three header lines."""
    parts = [f"<h2 id='{filled.table.name}'>{html.escape(filled.table.title)}</h2>", "<div class='wide'><table>"]
    for level, heading in enumerate(("Task", "Metric", "Anatomy")):
        groups = grouped([tuple(column[: level + 1]) for column in filled.columns])
        arrows = {name: f"{name} {'↑' if higher else '↓'}" for _, name, _, _, higher in METRICS}
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
    parts.append("</ul>")
    for found in filled.statistics:
        parts += statistics_html(found)
    return "\n".join(parts)


def grouped(names: list[tuple[str, ...]]) -> list[tuple[tuple[str, ...], int]]:
    """Return runs of equal names, with their lengths."""
    runs: list[tuple[tuple[str, ...], int]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + 1)
        else:
            runs.append((name, 1))
    return runs
