"""Draw the packages and their imports, and write the tree of folders, for docs/explanation/architecture.md.

A box stands above everything that it imports; arrows that follow from others are omitted. Run it after adding a package
or an import between packages.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PICTURE = REPOSITORY / "docs" / "images" / "packages.svg"
ENGINE = REPOSITORY / "ASASegmentation" / "asa"
WIDTH, BOX_W, BOX_H, ROW_H, MARGIN = 1080, 160, 52, 96, 16
DEFINITIONS = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" fill="#78909c"/></marker></defs>'
)
COLOURS = {"engine": ("#e8eaf6", "#3949ab"), "Slicer": ("#e0f2f1", "#00796b")}


def libraries() -> list[Path]:
    """Return the library folders of the Slicer modules, next to the engine."""
    return sorted(path for path in REPOSITORY.glob("ASA*/*Lib") if (path / "__init__.py").is_file())


def units() -> dict[str, list[Path]]:
    """Name of a box -> its files. A package or a module of the engine is one, and each library."""
    found: dict[str, list[Path]] = {}
    for path in sorted(ENGINE.rglob("*.py")):
        name = path.relative_to(ENGINE).parts[0].removesuffix(".py")
        if not name.startswith("_"):
            found.setdefault(f"asa.{name}", []).append(path)
    for library in libraries():
        found[library.name] = [path for path in sorted(library.rglob("*.py")) if "tests" not in path.parts]
    return found


def imports(path: Path) -> Iterable[str]:
    """Dotted names that a file imports, also inside functions; relative ones made absolute."""
    root = next(parent for parent in path.parents if not (parent / "__init__.py").is_file())
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Box -> boxes that it imports."""
    boxes = units()
    found: dict[str, set[str]] = {}
    for name, files in boxes.items():
        used = {
            ".".join(one.split(".")[:2]) if one.startswith("asa.") else one.split(".")[0]
            for p in files
            for one in imports(p)
        }
        found[name] = (used & set(boxes)) - {name}
    return found


def levels(edges: dict[str, set[str]]) -> dict[str, int]:
    """How high a box stands: one above the highest that it imports."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(edges).static_order():
        height[name] = 1 + max((height[one] for one in edges[name]), default=-1)
    return height


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same without what follows: a -> c where a -> b -> c."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(edges).static_order():
        below[name] = set().union(*({one} | below[one] for one in edges[name])) if edges[name] else set()
    return {
        name: {one for one in used if not any(one in below[other] for other in used)} for name, used in edges.items()
    }


def places(height: dict[str, int], edges: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Middle of each box: rows by height, within a row near what it imports."""
    top = max(height.values())
    middle: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    for level in range(top + 1):
        row = [name for name in height if height[name] == level]
        row.sort(
            key=lambda one: (
                not one.startswith("asa."),
                sum(middle[o] for o in sorted(edges[one])) / max(1, len(edges[one])),
                one,
            )
        )
        for number, name in enumerate(row):
            middle[name] = WIDTH * (number + 1) / (len(row) + 1)
            found[name] = (middle[name], MARGIN + BOX_H / 2 + (top - level) * ROW_H)
    return found


def purpose(name: str, files: list[Path]) -> str:
    """What hovering over a box shows: the first line of its docstring."""
    inits = [path for path in files if path.name == "__init__.py"]
    doc = ast.get_docstring(ast.parse((inits or files)[0].read_text(encoding="utf-8"))) or name
    return doc.splitlines()[0]


def picture() -> str:
    """The picture as SVG."""
    edges, boxes = graph(), units()
    height = levels(edges)
    place = places(height, edges)
    tall = 2 * MARGIN + BOX_H + max(height.values()) * ROW_H
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall:.0f}" font-family="sans-serif">',
        "<title>Packages and what they import</title>",
        DEFINITIONS,
        f'<rect width="{WIDTH}" height="{tall:.0f}" fill="#ffffff"/>',
    ]
    for name, used in reduced(edges).items():
        for other in sorted(used):
            (x, y), (to_x, to_y) = place[name], place[other]
            parts.append(
                f'<path d="M{x:.0f},{y + BOX_H / 2:.0f} L{to_x:.0f},{to_y - BOX_H / 2 - 2:.0f}" '
                'stroke="#b0bec5" fill="none" marker-end="url(#tip)"/>'
            )
    for name, (x, y) in place.items():
        fill, line = COLOURS["engine" if name.startswith("asa.") else "Slicer"]
        wide = min(BOX_W, WIDTH / (1 + sum(height[o] == height[name] for o in height)) - 6)
        parts.append(
            f"<g><title>{escape(purpose(name, boxes[name]))}</title>"
            f'<rect x="{x - wide / 2:.0f}" y="{y - BOX_H / 2:.0f}" '
            f'width="{wide:.0f}" height="{BOX_H}" rx="6" fill="{fill}" stroke="{line}"/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="14" fill="#1a237e">'
            f"{name.removeprefix('asa.')}</text></g>"
        )
    return "\n".join([*parts, "</svg>", ""])


def tree() -> str:
    """Packages, folder by folder, with the first line of what each says of itself."""
    lines = []
    for library in (ENGINE, *libraries()):
        for init in sorted(library.rglob("__init__.py")):
            folder = init.parent.relative_to(library.parent)
            if "tests" not in folder.parts:
                indent = "    " * (len(folder.parts) - 1)
                lines.append(f"{f'{indent}{folder.name}/':<28} {purpose(folder.name, [init])}".rstrip())
        modules = (
            sorted(path for path in ENGINE.glob("*.py") if not path.name.startswith("_")) if library == ENGINE else []
        )
        lines += [f"{f'    {path.name}':<28} {purpose(path.stem, [path])}" for path in modules]
    return "\n".join(lines)


def with_tree(page: str) -> str:
    """The page with the tree between its marks."""
    block = f"\n```text\n{tree()}\n```\n"
    return re.sub(
        r"(<!-- tree: .*? -->)\n.*?(<!-- end of tree -->)", lambda m: f"{m[1]}\n{block}\n{m[2]}", page, flags=re.DOTALL
    )


def main() -> int:
    """Write the picture, and the tree into the page."""
    page = REPOSITORY / "docs" / "explanation" / "architecture.md"
    page.write_text(with_tree(page.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
