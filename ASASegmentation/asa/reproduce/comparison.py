"""Paired statistics of a table: the paper's system against every other one, over the same test cases."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asa.evaluation.evaluate import Scores, values_of
from asa.metrics import compare
from asa.reproduce.published import Row

HEADER = ("anatomy", "metric", "against", "mean difference", "p", "p (Holm)")
METHOD = "Wilcoxon signed-rank test over test cases, each the mean over seeds; Holm's correction over systems."
Repeats = Sequence[Mapping[str, Scores]]  # one entry per seed: case -> scores


@dataclass(frozen=True)
class Statistics:
    """Comparisons of one benchmark.

    Attributes:
        title: which system is compared, on what.
        rows: cells under :data:`HEADER`.
    """

    title: str
    rows: list[tuple[str, ...]]


def case_means(repeats: Repeats, region: str, metric: str) -> list[float]:
    """Return one metric of each case, averaged over the seeds."""
    return [float(v) for v in np.mean([values_of(scores, region, metric) for scores in repeats], axis=0)]


def statistics(
    benchmark: str,
    rows: Sequence[Row],
    found: Mapping[str, Repeats],
    regions: Mapping[str, str],
    metrics: Mapping[str, tuple[str, float]],
) -> Statistics | None:
    """Compare the last row of a table with each other one that is finished; None where there is nothing to compare.

    Args:
        benchmark: what it is called.
        rows: of the table; the last is the paper's system.
        found: key of a system -> its scores, a case's for each seed.
        regions: heading of a column -> region of the task.
        metrics: metric -> heading and factor of its values.
    """
    own = rows[-1]
    titles = {row.system.key: row.title for row in rows if row.system.key in found}
    if own.system.key not in titles or len(titles) < 2:
        return None
    cells = []
    for metric, (heading, factor) in metrics.items():
        for anatomy, region in regions.items():
            if any(metric not in scores[region] for runs in found.values() for run in runs for scores in run.values()):
                continue  # scored by an earlier version
            for one in compare({key: case_means(found[key], region, metric) for key in titles}, own.system.key):
                difference = f"{one.difference * factor:+.2f}".replace("-", "−")
                p_values = ("< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in (one.p, one.p_holm))
                cells.append((anatomy, heading, titles[one.system], difference, *p_values))
    return Statistics(f"{own.title} against the others on {benchmark}", cells)


def statistics_markdown(found: Statistics) -> list[str]:
    """Return a section as lines of Markdown."""
    lines = ["", f"## {found.title}", "", "| " + " | ".join(HEADER) + " |", "|---|---|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(row) + " |" for row in found.rows]
    return [*lines, "", METHOD]


def statistics_html(found: Statistics) -> list[str]:
    """Return a section as lines of HTML."""
    lines = [f"<h3>{html.escape(found.title)}</h3><div class='wide'><table>"]
    lines.append("<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in HEADER) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in found.rows]
    return [*lines, f"</table></div><p>{html.escape(METHOD)}</p>"]
