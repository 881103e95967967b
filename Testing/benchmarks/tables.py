"""Tables as Markdown and CSV."""

from __future__ import annotations

import contextlib
import csv
import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from Testing.benchmarks.heads import REPOSITORY

Cell = str | float | int


def shown(cell: Cell, digits: int = 3) -> str:
    """A cell as text; floats with ``digits`` decimals."""
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]], digits: int = 3) -> str:
    """A Markdown table; numbers are set to the right."""
    numeric = [bool(rows) and all(not isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
        *("| " + " | ".join(shown(cell, digits) for cell in row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """The same table for a program, with six decimals."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([shown(cell, 6) for cell in row] for row in rows)


@lru_cache(maxsize=1)
def commit() -> str:
    """Short name of the commit that is measured, with "-dirty" where files were changed; "" without a history.

    It is what was checked out at the first call: long work outlives a checkout.
    """
    words = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=False).stdout.strip()


def origin() -> str:
    """One line: the commit that was measured, the date, and the machine."""
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = f"{os.cpu_count()} processors {model}".strip()
    return f"{f'commit {commit()}' if commit() else 'no commit'}, {datetime.date.today().isoformat()}, {cores}"


def provenance(*packages: str) -> str:
    """One line: processor architecture, Python and the versions of packages, as far as they are installed."""
    parts = [platform.machine(), f"Python {platform.python_version()}"]
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(parts)
