"""Write the lists of packaged files into the modules' CMakeLists.txt, between their marks.

Usage: python update_cmake_lists.py          (run it after adding, renaming or removing a file that ships)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("ASASegmentation", "ASATraining")
LEFT_OUT = {"__pycache__", "CMakeLists.txt", ".DS_Store"}


def files_below(folder: Path) -> list[Path]:
    """Files of a folder that ship, relative to it, in order."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    shipped = (path for path in found if not LEFT_OUT & set(path.parts) and path.suffix != ".pyc")
    return sorted(path for path in shipped if not any(part.startswith(".") for part in path.parts))


def packaged(module: Path) -> dict[str, list[Path]]:
    """The lists of a module's CMakeLists.txt: mark -> files, each relative to the folder CMake takes them from."""
    files = files_below(module)
    lists = {
        "scripts": [path for path in files if path.suffix == ".py"],
        "resources": [path for path in files if path.suffix != ".py"],
    }
    if module.name == MODULES[0]:
        lists["models"] = files_below(module.parent / "Resources" / "Models")
    return lists


def with_list(text: str, mark: str, files: Iterable[Path]) -> str:
    """The text with the list between the marks replaced; the set(NAME line and the parenthesis stay."""
    pattern = re.compile(rf"(# >>> {mark}\nset\(\w+\n)(?:.*\n)*?(\)\n# <<< {mark}\n)")
    if not pattern.search(text):
        raise ValueError(f"no list between the marks {mark}")
    lines = "".join(f"  {path.as_posix()}\n" for path in files)
    return pattern.sub(lambda match: match.group(1) + lines + match.group(2), text)


def main() -> int:
    for name in MODULES:
        listing = REPOSITORY / name / "CMakeLists.txt"
        if not listing.is_file():
            continue
        text = before = listing.read_text(encoding="utf-8")
        for mark, files in packaged(listing.parent).items():
            text = with_list(text, mark, files)
        if text != before:
            listing.write_text(text, encoding="utf-8")
            print(f"{listing.relative_to(REPOSITORY)} updated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
