"""report.html: the result on one self-contained page: no external script, font or image."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asa import __version__
from asa.files import write_text
from asa.report.segmentation import shown
from asa.report.volumes import Measurement
from asa.tasks import Task

if TYPE_CHECKING:
    from asa.report.lesions import Lesion

_MOST_LESIONS = 30
_INTENDED_USE = "For research use only. Not a medical device; not for diagnosis or treatment."
_REVIEW = "Review the segmentation on the images before you use these numbers."
_SIDES = (
    "Left and right are the patient's, divided at the mid-sagittal plane. "
    "Asymmetry is 100 (L − R) / ((L + R) / 2), positive where the left is larger."
)
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1f24; background: #fff; margin: 0 auto; padding: 24px;
       max-width: 1000px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 28px 0 8px; }
p { margin: 6px 0; } .faint { color: #5d6570; }
img { width: 100%; height: auto; border-radius: 6px; display: block; margin-top: 16px; }
.box { border-left: 5px solid; padding: 8px 14px; margin: 14px 0; border-radius: 4px; }
.doubtful { border-color: #c05600; background: #fff3e6; } .ok { border-color: #4a6fa5; background: #eef3f9; }
.box ul { margin: 4px 0 0; padding-left: 20px; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid #dde1e6; font-variant-numeric: tabular-nums; }
th { font-weight: 600; background: #f4f6f8; } th:first-child, td:first-child { text-align: left; }
.colour { display: inline-block; width: 12px; height: 12px; margin-right: 8px; border-radius: 2px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 0; } dd { margin: 0; }
footer { margin-top: 28px; padding-top: 10px; border-top: 1px solid #dde1e6; }
@media print { body { padding: 0; } .box, table, img { break-inside: avoid; }
               * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def write_page(
    path: Path,
    task: Task,
    measurements: Sequence[Measurement],
    facts: Mapping[str, Any],
    warnings: Sequence[str],
    overlay: Path,
    lesions: Sequence[Lesion] = (),
) -> None:
    """Write the page.

    Args:
        path: the file.
        task: what was segmented.
        measurements: the volumes.
        facts: heading -> text on scan and method; and "verdict", "ok" or "doubtful".
        warnings: sentences for the user.
        overlay: the picture, which becomes part of the page.
        lesions: where they were listed, the largest first.

    Raises:
        OutputError: the file cannot be written.
    """
    picture = base64.b64encode(overlay.read_bytes()).decode("ascii")
    described = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items() if k != "verdict")
    parts = [
        f"<h1>{escape(task.title)}</h1>",
        f'<p class="faint">Automatic segmentation by ASA {escape(__version__)}. {_INTENDED_USE}</p>',
        _verdict(str(facts["verdict"]), warnings),
        f'<img alt="Outlines of the segmentation in three planes" src="data:image/png;base64,{picture}">',
        "<h2>Volumes</h2>",
        _volumes(task, measurements),
        f'<p class="faint">{escape(_brain(task))}{_SIDES}</p>',
        _lesions(lesions) if task.lesions and lesions else "",
        f"<h2>Scan and method</h2><dl>{described}</dl>",
        f'<footer class="faint">{_REVIEW}</footer>',
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(task.title)}</title><style>{_STYLE}</style></head>\n<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )
    write_text(path, page)


def _verdict(verdict: str, warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    if verdict == "doubtful":
        heading = "Doubtful: review before use."
    elif warnings:
        heading = "Please note:"
    else:
        heading = "No problem was detected. This does not mean that the segmentation is correct."
    kind = "doubtful" if verdict == "doubtful" else "ok"
    return f'<div class="box {kind}"><strong>{heading}</strong>{f"<ul>{items}</ul>" if items else ""}</div>'


def _volumes(task: Task, measurements: Sequence[Measurement]) -> str:
    colours = {item.title: item.colour for item in (*task.regions, *task.labels, *shown(task))}
    rows: dict[str, Measurement] = {}
    for row in measurements:  # a region of one label is the label
        rows.setdefault(row.title, row)
        if task.nested and row.kind == "region":
            rows[row.title] = row
    lines = []
    for title, row in rows.items():
        colour = "rgb({}, {}, {})".format(*colours[title]) if title in colours else "#5d6570"
        name = f'<span class="colour" style="background: {colour}"></span>{escape(title)}'
        numbers = (row.volume_ml, row.percent_of_brain, row.left_ml, row.right_ml, row.asymmetry_percent)
        lines.append(_cells((name, *("–" if value is None else _number(value) for value in numbers)), "td"))
    heads = ("Structure", "Volume (mL)", "% of brain", "Left (mL)", "Right (mL)", "Asymmetry (%)")
    return f"<table><thead>{_cells(heads, 'th')}</thead><tbody>{''.join(lines)}</tbody></table>"


def _lesions(lesions: Sequence[Lesion]) -> str:
    counts = Counter(lesion.location for lesion in lesions)
    volumes = {place: sum(one.volume_ml for one in lesions if one.location == place) for place in counts}
    summary = "".join(
        _cells((place.capitalize(), str(count), f"{volumes[place]:.2f}"), "td") for place, count in counts.most_common()
    )
    largest = "".join(
        _cells(
            (f"{one.number}. {one.location}", f"{one.volume_ml:.3f}", _mm(one.ventricle_mm), _mm(one.cortex_mm)), "td"
        )
        for one in lesions[:_MOST_LESIONS]
    )
    more = f" The table shows the {_MOST_LESIONS} largest; lesions.csv has all." if len(lesions) > _MOST_LESIONS else ""
    return (
        f"<h2>{len(lesions)} lesion{'s' * (len(lesions) != 1)}</h2><table><thead>"
        f"{_cells(('Location', 'Count', 'Volume (mL)'), 'th')}</thead><tbody>{summary}</tbody></table>"
        f'<p class="faint">Connected components of any size.{more}</p><table><thead>'
        f"{_cells(('Lesion', 'Volume (mL)', 'To ventricles (mm)', 'To cortex (mm)'), 'th')}</thead>"
        f"<tbody>{largest}</tbody></table>"
    )


def _brain(task: Task) -> str:
    parts = [label.title.lower() for label in task.labels if label.in_brain]
    return f"Brain is the sum of {', '.join(parts)}. ".replace("csf", "CSF") if parts else ""


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:,.1f}".replace("-", "−")


def _mm(distance: float) -> str:
    return f"{distance:.1f}" if distance < 500 else "–"


def _cells(texts: Iterable[str], kind: str) -> str:
    return f"<tr>{''.join(f'<{kind}>{text}</{kind}>' for text in texts)}</tr>"
