"""Which pages of results are older than the code that they measure.

    python -m Testing.benchmarks.ages [--write]

Printed is one row per page. With ``--write`` each page says it itself, in a line below its title. A page names the
commit that was measured as "commit 1a2b3c4", once or in each section; for one that does not, it is the commit in
which the page was last written. An old page is no fault: the line says which figures to measure again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from Testing.benchmarks.heads import REPOSITORY
from Testing.benchmarks.tables import markdown

_ASA = "ASASegmentation/asa"
_CLICK = ("inference", "geometry", "nn", "preprocessing", "volume", "report", "jobs", "devices.py", "models.py")
_WHOLE = tuple(f"{_ASA}/{part}" for part in _CLICK)
_LEARNING = tuple(f"{_ASA}/{part}" for part in ("training", "nn", "data", "synth", "pretext"))
# Page -> the code that it measures; folders count with all that they hold.
PAGES: dict[str, tuple[str, ...]] = {
    "Testing/benchmarks/results/ablation.md": _LEARNING,
    "Testing/benchmarks/results/accuracy.md": (*_WHOLE, "Resources/Models/tissue"),
    "Testing/benchmarks/results/correction.md": (f"{_ASA}/refinement", "ASASegmentation/ASASegmentationLib/refine"),
    "Testing/benchmarks/results/data_path.md": (f"{_ASA}/data", f"{_ASA}/training/finetuning"),
    "Testing/benchmarks/results/dicom.md": (f"{_ASA}/volume", f"{_ASA}/dicom_export"),
    "Testing/benchmarks/results/gui.md": ("ASASegmentation/ASASegmentationLib", "ASASegmentation/ASASlicerLib"),
    "Testing/benchmarks/results/interaction.md": (f"{_ASA}/refinement",),
    "Testing/benchmarks/results/pretext.md": (f"{_ASA}/pretext", f"{_ASA}/training/pretraining", f"{_ASA}/nn"),
    "Testing/benchmarks/results/robustness.md": _WHOLE,
    "Testing/benchmarks/results/scores_tumour.md": (*_WHOLE, "Resources/Models/tumour"),
    "Testing/benchmarks/results/scores_wmh.md": (*_WHOLE, "Resources/Models/wmh"),
    "Testing/benchmarks/results/speed.md": (*_WHOLE, f"{_ASA}/metrics"),
    "Testing/benchmarks/results/throughput.md": (*_WHOLE, f"{_ASA}/cohort"),
    "Testing/benchmarks/results/visits.md": (*_WHOLE, f"{_ASA}/longitudinal"),
}
NAMED = re.compile(r"\bcommit ([0-9a-f]{7,40})\b")
SAID = re.compile(r"^\*(Measured|Written) at commit ([0-9a-f]+) of .*\*\n\n?", re.MULTILINE)


@dataclass(frozen=True)
class Age:
    """How old a page is.

    Attributes:
        verb: ``Measured``, or ``Written`` where the page does not say what was measured.
        commit: the oldest commit that the page names, or in which it was written.
        date: of that commit.
        since: later commits that changed the code that the page measures.
    """

    verb: str
    commit: str
    date: str
    since: int

    def __str__(self) -> str:
        commits = "one later commit" if self.since == 1 else f"{self.since} later commits"
        changed = f"{commits} changed the code that it measures, so measure it again before quoting it"
        now = changed if self.since else "no later commit changed the code that it measures"
        return f"*{self.verb} at commit {self.commit} of {self.date}; {now}.*"


def _git(repository: Path, *words: str) -> str:
    """Return what git says, "" where it fails, as for a commit that this copy of the history does not have."""
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def age_of(page: str, measured: tuple[str, ...], repository: Path) -> Age | None:
    """Return how old a page is; None where its history is not known, as in a copy without one.

    Args:
        page: its path in the repository.
        measured: paths of the code that it measures.
        repository: a checkout.
    """
    text = (repository / page).read_text(encoding="utf-8")
    verb, commits = "Measured", NAMED.findall(SAID.sub("", text))
    if not commits:  # a line from before keeps the commit: writing it changed the page too
        said = SAID.search(text)
        verb, commits = "Written", [said[2] if said else _git(repository, "log", "-1", "--format=%h", "--", page)]
    ages = []
    for commit in commits:
        described = commit and _git(repository, "log", "-1", "--format=%h %cs", commit)
        if not described:
            return None
        name, date = described.split()
        since = _git(repository, "rev-list", "--count", "--no-merges", f"{name}..HEAD", "--", *measured)
        ages.append(Age(verb, name, date, int(since or 0)))
    return max(ages, key=lambda age: age.since)


def say(path: Path, age: Age) -> None:
    """Write the age of a page below its title, in place of what it said before."""
    title, _, body = SAID.sub("", path.read_text(encoding="utf-8")).partition("\n")
    path.write_text(f"{title}\n\n{age}\n\n{body.lstrip()}", encoding="utf-8")


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m Testing.benchmarks.ages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="say it in the pages")
    write = parser.parse_args().write
    rows = []
    for page, measured in PAGES.items():
        age = age_of(page, measured, REPOSITORY)
        if age is None:
            rows.append([page, "unknown", "–", "–"])
            continue
        rows.append([page, age.commit, age.date, str(age.since)])
        if write:
            say(REPOSITORY / page, age)
    print(markdown(["page", "commit", "date", "later commits to what it measures"], rows))


if __name__ == "__main__":
    main()
