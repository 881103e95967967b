"""Pages of a reproduction: a Markdown file per table, the figure, and one HTML page with everything."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from asa.errors import InputError
from asa.files import read_json, write_text
from asa.reproduce.figure import write_figure
from asa.reproduce.plan import FINISHED, PAGE, Plan
from asa.reproduce.published import FIGURE4
from asa.reproduce.tables import CONVENTION, LEGEND, fill, markdown, table_html
from asa.runs.folder import versions

PAPER = "Huang, Li, Li, Wan: Attentive Symmetric Autoencoder for Brain MRI Segmentation, MICCAI 2022"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #222 }
.stamp { background: #c81e1e; color: #fff; font-weight: bold; padding: .7em 1em; position: sticky; top: 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid }
th, td { padding: .25em .7em; text-align: center } th.title { text-align: left; white-space: nowrap }
tr:nth-child(3) th { border-bottom: 1px solid } tr.rule > * { border-bottom: 1px solid #888 }
td span { display: block; font-variant-numeric: tabular-nums } .best { font-weight: bold }
.published { color: #666; font-size: .85em } .difference { color: #2458a8; font-size: .85em }
img { max-width: 100%; background: #000 } footer { color: #666; font-size: .9em; margin-top: 2em }
"""


def write_pages(plan: Plan, targets: Iterable[str]) -> list[Path]:
    """Write the pages of the targets with the finished rows; returns the files.

    Raises:
        InputError: nothing that could be shown, or a row made with other settings.
        OutputError: no room or no permission.
    """
    asked = list(targets)
    stamp = plan.spending.stamp
    filled = [fill(plan, table) for table in plan.tables(asked)]
    shown = [one for one in filled if one.table.name in asked]
    written = []
    for one in shown:
        written.append(plan.folder / f"{one.table.name}.md")
        write_text(written[-1], markdown(one, stamp))
    body = [f"<p>{LEGEND} {html.escape(CONVENTION)}</p>", *(table_html(one) for one in shown)]
    if FIGURE4 in asked:
        picture = plan.folder / f"{FIGURE4}.png"
        try:
            write_figure(plan, picture)
        except InputError as error:
            body.append(f"<p>Figure 4: {html.escape(str(error))}.</p>")
        else:
            written.append(picture)
            body += [
                f"<h2 id='{FIGURE4}'>Figure 4: segmentations of test cases</h2>",
                f"<p><img src='{picture.name}' alt='Test cases by system'></p>",
            ]
    title = "Tables of the paper" + (" – REHEARSAL" if stamp else "")
    head = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{title}</title><style>{STYLE}</style>",
        *([f"<p class='stamp'>{html.escape(stamp)}</p>"] if stamp else []),
        f"<h1>{title}</h1>",
        f"<p>Published: {PAPER}.</p>",
    ]
    foot = f"<footer>{html.escape(provenance(plan, asked))}</footer>"
    written.append(plan.folder / PAGE)
    write_text(written[-1], "\n".join([*head, *body, foot]) + "\n")
    return written


def provenance(plan: Plan, targets: Iterable[str]) -> str:
    """Budget, seed, time spent and versions."""
    seconds = 0.0
    for unit in plan.units(targets):
        path = plan.folder / unit.name / FINISHED
        if path.is_file():
            seconds += float(read_json(path)["seconds"])
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (
        f"Budget '{plan.budget}', seed {plan.seed}; {seconds / 60:.1f} minutes in all units together; {packages}. "
        "For research use."
    )
