"""results/visits.md and the noise that ships, from the records of the measurements."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from Testing.benchmarks.heads import RESULTS

from asa.files import read_json, write_json, write_text
from asa.longitudinal import volumes
from asa.longitudinal.volumes import LIMIT, rms

_COLUMNS = "reference | labelled | found | right | detected | precision | recall | F1"
# Measured once, with arrays that were kept for it; what was found worse has no program.
_TRIED = """
Tried with model `wmh` 0.2.0 on these two patients and not built in: lesions of at least 10 mm³, 3 or 6 mm inside the
brain, added where the later FLAIR, smoothed by 0.7 mm, is brighter than the earlier one by 2.5 to 5 times the noise
(its quartiles over the brain, or in ten classes of the gradient) and the probability is at least 0, 0.02 or 0.1. From
0.02 on none is added: where that model misses a lesion, its probability is 0.00. Without a probability, at 3 times
the noise by gradient and 6 mm inside, patient 01 had 5 more, 3 of them right and one a lesion that had been missed,
and patient 03 one more, wrong.
"""
PAGE, NOISE = RESULTS / "visits.md", Path(volumes.__file__).with_name("noise.json")


def records(work: Path, name: str) -> list[dict[str, Any]]:
    """Records of one kind, by name."""
    return [read_json(path) for path in sorted(work.glob(f"{name}*.json"))]


def noise(work: Path) -> dict[str, dict[str, Any]]:
    """Model -> version and standard deviation of the change of each volume, in percent."""
    found: dict[str, dict[str, Any]] = {}
    for task in ("tissue", "wmh"):
        measured = records(work, f"noise_{task}_")
        if not measured:
            continue
        names = [row["name"] for row in measured[0]["changes"]]
        changes = {
            name: [row["change_percent"] for one in measured for row in one["changes"] if row["name"] == name]
            for name in names
        }
        found[measured[0]["model"]["name"]] = {
            "version": measured[0]["model"]["version"],
            "heads": len(measured),
            "noise_percent": {
                name: round(rms([value for value in values if value is not None]), 2)
                for name, values in changes.items()
            },
        }
    return found


def write(work: Path, versions: Mapping[str, str]) -> None:
    """Write the page and the noise; of models of another version nothing is written."""
    measured = {name: one for name, one in noise(work).items() if versions.get(name) == one["version"]}
    write_json(NOISE, measured)
    commits = sorted({one["commit"] for one in records(work, "")})
    measured_at = f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"
    lines = [
        "# Longitudinal comparison",
        "",
        "`python -m Testing.benchmarks.visits noise tissue`, `... noise wmh`, `... rescan`, `... lesions`,",
        f"`... changes`, `... report`; measured at {measured_at}, {platform.machine()}, Python",
        f"{platform.python_version()}, CPU.",
        "",
        "## Noise: differences without a change",
        "",
        "Each scan is compared with a copy of itself that was rotated by up to 10°, shifted by up to 10 mm, resampled",
        "to other voxels (0.9 to 1.2 mm), and given a bias field of up to 20 %, another contrast (gamma 0.9 to 1.1)",
        "and 1 to 3 % Rician noise. The noise is the root mean square of the change in % of the mean of both volumes.",
        f"It ships with the engine; a change of more than {LIMIT} times the noise is called an increase or a decrease.",
        "",
    ]
    for name, one in measured.items():
        titles = {row["name"]: row["title"] for row in records(work, f"noise_{name}_")[0]["changes"]}
        lines += [f"Model `{name}` {one['version']}, {one['heads']} scans:", "", "| volume | noise (%) |", "|---|---|"]
        lines += [f"| {titles[key]} | {value:.2f} |" for key, value in one["noise_percent"].items()]
        lines.append("")
    lines += _states(work) + _rescan(work, measured) + _changes(work) + _lesions(work)
    write_text(PAGE, "\n".join(lines))


def _states(work: Path) -> list[str]:
    measured = records(work, "noise_wmh_")
    if not measured:
        return []
    every = [state for one in measured for state in one["lesions"]]
    counts = {state: every.count(state) for state in ("new", "enlarging", "stable", "shrinking", "gone")}
    shown = ", ".join(f"{count} {state}" for state, count in counts.items())
    return [
        f"Lesions in these copies, of which none has changed: {shown}. The rules for lesions were fixed beforehand.",
        "",
    ]


def _rescan(work: Path, measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = records(work, "rescan")
    if not found:
        return []
    known = measured.get("tissue", {}).get("noise_percent", {})
    lines = [
        "## Test–retest: one subject scanned twice",
        "",
        "Scans 1003 and 1023 of MICCAI 2012 (OASIS), on which nothing was tuned. Agreement of the two scans:",
        f"{found[0]['registration']['agreement']:.2f}.",
        "",
        "| volume | first (mL) | second (mL) | change (%) | noise (%) | within 1.96 times the noise |",
        "|---|---|---|---|---|---|",
    ]
    for row in found[0]["changes"]:
        limit = known.get(row["name"])
        within = "–" if limit is None else "yes" if abs(row["change_percent"]) <= LIMIT * limit else "no"
        shown = "–" if limit is None else f"{limit:.2f}"
        values = f"{row['first_ml']:.1f} | {row['second_ml']:.1f} | {row['change_percent']:+.2f}"
        lines.append(f"| {row['title']} | {values} | {shown} | {within} |")
    return [*lines, "", *_scale(work)]


def _scale(work: Path) -> list[str]:
    measured = {one["name"]: one for one in records(work, "scale_")}
    rescan, copies = measured.pop("rescan", None), [one["volume"] for one in measured.values()]
    manual = records(work, "manual_rescan")
    if rescan is None or not copies or not manual:
        return []
    text = f"""
Part of the difference is geometric. More than 6 mm inside the brain, where the border of the mask has no influence,
the second scan is larger by {rescan["superior"]:+.2f} % inferior–superior, {rescan["anterior"]:+.2f} %
posterior–anterior and {rescan["right"]:+.2f} % left–right: {rescan["volume"]:+.2f} % in volume (`... scale`; in
{len(copies)} copies, whose scale is the same, {min(copies):+.2f} to {max(copies):+.2f} %). The manual labels differ
likewise: grey and white matter together by {manual[0]["GM and WM"]:+.2f} %, white matter by {manual[0]["WM"]:+.2f} %.
Such a scaling is not taken out, because without the skull it cannot be distinguished from a change of the brain. The
copies have none, so the noise does not include it.
"""
    return [*text.strip().splitlines(), ""]


def _changes(work: Path) -> list[str]:
    found = records(work, "changes_")
    if not found:
        return []
    model = found[0]["model"]
    lines = [
        "## Masks of change",
        "",
        "Patients 01 (FLAIR and T1) and 03 (FLAIR) of open_ms_data, whole heads in slices of 3 to 4 mm, on which rules",
        f"may be developed; model `{model['name']}` {model['version']}. Gained: a part of the mask that is brighter at",
        "the second visit, against lesions called new or enlarging; lost: the other parts, against lesions called gone",
        "or shrinking. Columns as in the next section.",
        "",
        f"| patient | change | {_COLUMNS} |",
        f"|---|---|{'---|' * _COLUMNS.count('|')}---|",
    ]
    lines += [_row(one["name"], kind, one[kind]) for one in found for kind in ("gained", "lost")]
    return [*lines, "", *_TRIED.strip().splitlines(), ""]


def _lesions(work: Path) -> list[str]:
    found = records(work, "lesions_")
    if not found:
        return []
    model = found[0]["model"]
    lines = [
        "## New and gone lesions",
        "",
        f"Model `{model['name']}` {model['version']}.",
        "Patient P14 of MSLesSeg at three visits, FLAIR and T1, against the differences of the consensus masks",
        "(a lesion that neither overlaps nor touches one of the other visit, from 3 mm³). F1 counts lesions.",
        "",
        "Labelled: reference lesions of which the model labels at least one voxel at the visit that shows them; the",
        "rules of the comparison cannot detect any others.",
        "",
        f"| visits | change | {_COLUMNS} |",
        f"|---|---|{'---|' * _COLUMNS.count('|')}---|",
    ]
    lines += [_row(" → ".join(one["visits"]), state, one[state]) for one in found for state in ("new", "gone")]
    return [*lines, ""]


def _row(name: str, change: str, row: Mapping[str, Any]) -> str:
    shares = ["–" if row[key] is None else f"{row[key]:.2f}" for key in ("precision", "recall", "f1")]
    counts = [str(row[key]) for key in ("reference", "labelled", "found", "right", "detected")]
    return f"| {name} | {change} | {' | '.join([*counts, *shares])} |"
