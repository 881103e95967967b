"""Make or update the small public repository: the files of one commit, without this repository's history.

Usage: python public_repository.py FOLDER [--without MODEL ...] [--revision COMMIT]

FOLDER is new or empty, or a clone of the public repository, which then gains one commit. Models that are named are left
out, and the CMake lists follow. Slicer's extension index allows 100 MB, counting the files and their history together.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT_MB = 100


class Refused(Exception):
    """What was asked for cannot be made; the message says why and what to do."""


def git(folder: Path, *words: str) -> bytes:
    """The output of a git command run in a folder."""
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=False)
    if done.returncode:
        raise Refused(f"git {words[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout


def size_mb(folder: Path) -> float:
    """All that a folder holds, history included, in units of 2**20 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def fill(folder: Path, revision: str) -> None:
    """Replaces what a clone holds by the files of a revision."""
    for entry in folder.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with tarfile.open(fileobj=io.BytesIO(git(REPOSITORY, "archive", "--format=tar", revision))) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)


def leave_out(folder: Path, models: Sequence[str]) -> None:
    """Removes models and brings the CMake lists up to date."""
    for name in models:
        model = folder / "Resources" / "Models" / name
        if not (model / "model.json").is_file():
            raise Refused(f"there is no model {name} to leave out")
        shutil.rmtree(model)
    path = REPOSITORY / "Resources" / "Scripts" / "update_cmake_lists.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    lists = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lists)
    lists.update(folder)


def make(folder: Path, models_left_out: Sequence[str] = (), revision: str = "HEAD") -> float:
    """Makes or updates the public repository; returns its size in MB.

    Raises:
        Refused: the folder holds something else, or the result is too large for the extension index.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / ".git").is_dir():
            raise Refused(f"{folder} is neither empty nor a clone of the public repository")
        if git(folder, "status", "--porcelain"):
            raise Refused(f"{folder} has changes that are not committed")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    fill(folder, revision)
    leave_out(folder, models_left_out)
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        subject = git(REPOSITORY, "describe", "--always", "--tags", revision).decode().strip()
        git(folder, "commit", "--quiet", f"--message=Publish {subject}")
    git(folder, "gc", "--quiet")
    size = size_mb(folder)
    if size > LIMIT_MB:
        models = sorted((folder / "Resources" / "Models").glob("*/"), key=size_mb, reverse=True)
        weights = ", ".join(f"{model.name} {size_mb(model):.0f}" for model in models if model.is_dir())
        raise Refused(
            f"{folder} takes {size:.0f} MB, more than the {LIMIT_MB} MB of the extension index; every model counts "
            f"twice, as a file and in the history (MB: {weights}). Leave some out with --without."
        )
    return size


def main() -> int:
    parser = argparse.ArgumentParser(description="Make or update the small public repository.")
    parser.add_argument("folder", type=Path, help="new or empty, or a clone of the public repository")
    parser.add_argument("--without", nargs="*", default=[], metavar="MODEL", help="models to leave out")
    parser.add_argument("--revision", default="HEAD", help="what to publish (default: HEAD)")
    options = parser.parse_args()
    try:
        size = make(options.folder, options.without, options.revision)
    except (Refused, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{options.folder}: {size:.0f} MB of {LIMIT_MB}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
