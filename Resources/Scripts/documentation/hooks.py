"""What MkDocs calls while it builds the site: pages made from the source, and links that leave docs/.

The pages in docs/ link to files of the repository as GitHub shows them (``../../Resources/Screenshots/x.png``). On the
site, pictures are copied, model cards are pages, and everything else is a link to GitHub.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import command_line
import settings_reference
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[3]
ENGINE = REPOSITORY / "ASASegmentation" / "asa"
MODELS = REPOSITORY / "Resources" / "Models"
REPOSITORY_URL = "https://github.com/asa-slicer/SlicerASASegmentation"
PICTURES = "Resources/Screenshots/"
# pages that are files elsewhere: place on the site -> file
COPIES = {
    "changelog.md": "CHANGELOG.md",
    **{
        f"reference/models/{card.parent.name}.md": card.relative_to(REPOSITORY).as_posix()
        for card in MODELS.glob("*/CARD.md")
    },
}
LINK = re.compile(r"(?P<before>\]\(|src=\"|href=\")(?P<target>[^)\s\"#]+)(?P<after>[^)\"]*[)\"])")


def api_packages() -> list[str]:
    """Packages and modules of the engine that a page is about; the command line has a page of another kind."""
    inner = (path for path in ENGINE.iterdir() if not path.name.startswith("_"))
    names = {path.stem for path in inner if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return sorted(names - {"cli"})


def api_page(package: str) -> str:
    """Markdown from which mkdocstrings makes the page of a package."""
    folder = ENGINE / package
    modules = [package]
    if folder.is_dir():
        inner = (path.relative_to(ENGINE).with_suffix("") for path in sorted(folder.rglob("*.py")))
        modules += [".".join(path.parts) for path in inner if not path.name.startswith("_")]
    blocks = [f"::: asa.{module}" for module in modules]
    return "\n\n".join([f"# asa.{package}", *blocks]) + "\n"


def on_config(config: Any) -> Any:
    """Fill in the parts of the navigation that the source decides."""
    pages = {
        "Models": [
            {name: f"reference/models/{name}.md"}
            for name in sorted(path.name for path in MODELS.iterdir() if path.is_dir())
        ],
        "Python API": [{f"asa.{name}": f"reference/api/{name}.md"} for name in api_packages()],
    }
    for section in config.nav:
        for entry in next(iter(section.values())) if isinstance(next(iter(section.values())), list) else ():
            for title in set(entry) & set(pages):
                entry[title] = pages[title]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated, and the pictures."""
    made = {
        "reference/command-line.md": command_line.page(),
        "reference/settings.md": settings_reference.page(),
        **{f"reference/api/{name}.md": api_page(name) for name in api_packages()},
        **{place: (REPOSITORY / source).read_text(encoding="utf-8") for place, source in COPIES.items()},
    }
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    for picture in sorted((REPOSITORY / PICTURES).glob("*.png")):
        if not picture.stem.endswith("_dark"):
            files.append(File.generated(config, f"screenshots/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make links out of docs/ right for the site."""
    place = page.file.src_uri
    source = COPIES.get(place, f"docs/{place}")
    if place.startswith("reference/api/") or place in ("reference/command-line.md", "reference/settings.md"):
        return markdown
    return LINK.sub(
        lambda match: match["before"] + site_link(match["target"], source, place) + match["after"], markdown
    )


def site_link(target: str, source: str, place: str) -> str:
    """The link on the page ``place`` for ``target``, which is written in the file ``source`` of the repository."""
    if re.match(r"[a-z]+:", target):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path == "docs" or path.startswith("docs/"):
        there = path.removeprefix("docs/")
    elif path.startswith(PICTURES) and path.endswith(".png"):
        there = f"screenshots/{posixpath.basename(path)}"
    else:
        there = next((site for site, original in COPIES.items() if original == path), "")
    if there:
        return posixpath.relpath(there, posixpath.dirname(place) or ".")
    if path.startswith("..") or not (REPOSITORY / path).exists():
        raise PluginError(f"{source} links to {target}, which is not there")
    kind = "tree" if (REPOSITORY / path).is_dir() else "blob"
    return f"{REPOSITORY_URL}/{kind}/main/{path}"
