"""Write the lists of modules and of their files into the CMakeLists.txt files, between their marks.

Usage: python update_cmake_lists.py          (run it after adding, renaming or removing a file that ships)

A module is a folder with a Python file of the same name; a new one gets its CMakeLists.txt here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE_MODULE = "ASASegmentation"  # carries the engine and the models for all
LEFT_OUT = {"__pycache__", "CMakeLists.txt", ".DS_Store"}
NEW_LISTING = """\
# The lists between the marks are written by Resources/Scripts/update_cmake_lists.py; a test fails when they are not up
# to date.

# >>> scripts
set(MODULE_PYTHON_SCRIPTS
)
# <<< scripts

# >>> resources
set(MODULE_PYTHON_RESOURCES
)
# <<< resources

slicerMacroBuildScriptedModule(
  NAME {name}
  SCRIPTS ${{MODULE_PYTHON_SCRIPTS}}
  RESOURCES ${{MODULE_PYTHON_RESOURCES}}
  WITH_GENERIC_TESTS
)
"""


def modules(repository: Path = REPOSITORY) -> list[Path]:
    """The folders of the scripted modules, in order."""
    return sorted(folder for folder in repository.iterdir() if (folder / f"{folder.name}.py").is_file())


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
    if module.name == ENGINE_MODULE:
        lists["models"] = files_below(module.parent / "Resources" / "Models")
    return lists


def listings(repository: Path = REPOSITORY) -> dict[Path, dict[str, list[Path]]]:
    """CMakeLists.txt -> mark -> what has to be listed there, for the top folder and for each module."""
    found = modules(repository)
    top = {"modules": [Path(module.name) for module in found]}
    return {
        repository / "CMakeLists.txt": top,
        **{module / "CMakeLists.txt": packaged(module) for module in found},
    }


def with_list(text: str, mark: str, files: Iterable[Path]) -> str:
    """The text with the list between the marks replaced; the set(NAME line and the parenthesis stay."""
    pattern = re.compile(rf"(# >>> {mark}\nset\(\w+\n)(?:.*\n)*?(\)\n# <<< {mark}\n)")
    if not pattern.search(text):
        raise ValueError(f"no list between the marks {mark}")
    lines = "".join(f"  {path.as_posix()}\n" for path in files)
    return pattern.sub(lambda match: match.group(1) + lines + match.group(2), text)


def update(repository: Path = REPOSITORY) -> list[Path]:
    """Brings every CMakeLists.txt up to date; returns those that were not."""
    changed = []
    for listing, lists in listings(repository).items():
        before = listing.read_text(encoding="utf-8") if listing.is_file() else ""
        text = before or NEW_LISTING.format(name=listing.parent.name)
        for mark, files in lists.items():
            text = with_list(text, mark, files)
        if text != before:
            listing.write_text(text, encoding="utf-8")
            changed.append(listing)
    return changed


def main() -> int:
    for listing in update():
        print(f"{listing.relative_to(REPOSITORY)} updated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
