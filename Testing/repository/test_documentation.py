"""The documentation says what is so: links, commands, messages, settings, figures, and code that runs."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
TOOLS = REPOSITORY / "Resources" / "Scripts" / "documentation"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [
    *PAGES,
    *REPOSITORY.glob("*.md"),
    *(REPOSITORY / "Resources").rglob("*.md"),
    *(REPOSITORY / "Testing").rglob("*.md"),
]
README = REPOSITORY / "README.md"
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)|(?:src|href)=\"([^\"#]+)")


class Code(NamedTuple):
    """A block of code and the comment that stands right before it."""

    page: Path
    language: str
    text: str
    mark: str


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks(page: Path) -> Iterator[Code]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        before = text[: found.start()].rstrip().rsplit("\n", 1)[-1].strip()
        mark = re.fullmatch(r"<!-- (.+) -->", before)
        code = re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE)
        yield Code(page, found["language"], code, mark[1] if mark else "")


@functools.cache
def tool(module: str) -> ModuleType:
    """A file of Resources/Scripts/documentation as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        return __import__(module)


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = {one or other for one, other in LINK.findall(text)}
    local = {target for target in targets if not re.match(r"[a-z]+:", target)}
    generated = {"reference/command-line.md", "reference/settings.md", "changelog.md"}
    missing = []
    for target in local:
        path = Path(os.path.normpath(page.parent / target))
        if not path.exists() and not (path.is_relative_to(DOCS) and path.relative_to(DOCS).as_posix() in generated):
            missing.append(target)
    assert missing == []


SHOWN = [README, REPOSITORY / "CONTRIBUTING.md", *PAGES]
CODE = [code for page in SHOWN for code in blocks(page)]


def test_code_is_run_or_marked_with_a_reason() -> None:
    runnable = [code for code in CODE if code.language in ("bash", "python", "yaml", "sh", "")]
    odd = [
        (name(code.page), code.text.splitlines()[0])
        for code in runnable
        if code.language in ("", "sh") or (code.mark and not re.match(r"(not run|settings): \w", code.mark))
    ]
    assert odd == [], "name the language, and say why code is not run"


def to_run(page: Path) -> list[Code]:
    return [
        code for code in blocks(page) if code.language in ("bash", "python") and not code.mark.startswith("not run")
    ]


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page one after another in a folder that looks like the checkout's."""
    (folder / "Resources").symlink_to(REPOSITORY / "Resources")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for code in to_run(page):
        command = [sys.executable, "-c", code.text] if code.language == "python" else ["bash", "-euc", code.text]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", errors="replace", timeout=1200
        )
        assert done.returncode == 0, f"{code.text}\n{done.stdout}{done.stderr}"


SLOW = [DOCS / "tutorials" / "engineer.md"]


@pytest.mark.skipif(os.name != "posix", reason="the blocks are for a POSIX shell")
@pytest.mark.parametrize("page", [page for page in SHOWN if to_run(page) and page not in SLOW], ids=name)
def test_code_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the blocks are for a POSIX shell")
@pytest.mark.parametrize("page", SLOW, ids=name)
def test_code_of_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="the sample lies inside nilearn's wheel")
    run_page(page, tmp_path)


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Every line that begins with asa, in pages, cards and the comments of settings files."""
    for page in {*TEXTS, *SHOWN}:
        for code in (code for code in blocks(page) if code.language in ("bash", "")):
            for line in code.text.replace("\\\n", " ").splitlines():
                yield name(page), line
    for path in (REPOSITORY / "Resources" / "Configs").glob("*.yaml"):
        for line in path.read_text(encoding="utf-8").replace("\\\n#", " ").splitlines():
            yield name(path), line.lstrip("# ")


def faults(words: list[str]) -> Iterator[str]:
    """What is wrong with the words after ``asa``."""
    reference = tool("command_line")
    if words[0] in ("--version", "--help"):
        return
    commands = reference.commands()
    if words[0] not in commands:
        yield f"no command {words[0]}"
        return
    parameters = reference.parameters(commands[words[0]])
    flags = {flag: one for one in parameters if not one.is_argument for names in one.names for flag in names.split("/")}
    given, positional, rest = set(), 0, iter(words[1:])
    for word in rest:
        if word in ("--help", "--debug"):
            return
        if word.startswith("-"):
            if word not in flags:
                yield f"no option {word}"
            elif flags[word].kind is not bool and next(rest, None) is None:
                yield f"{word} lacks its value"
            given.add(flags[word].names if word in flags else word)
        else:
            positional += 1
    needed = [one for one in parameters if one.required]
    yield from (f"{one.names[0]} is missing" for one in needed if not one.is_argument and one.names not in given)
    arguments = [one for one in parameters if one.is_argument]
    if positional < sum(one.required for one in arguments):
        yield "an argument is missing"
    if positional > len(arguments) and not any(one.many for one in arguments):
        yield "too many arguments"


def test_every_command_that_is_shown_exists() -> None:
    pytest.importorskip("pydantic", reason="training has commands of its own")
    wrong, seen = [], 0
    for place, line in shown_commands():
        start = re.match(r"(?:\.venv/bin/)?asa (?!.*…)(?=[a-z-])|torchrun .*? -m asa ", line)
        if start:
            for part in line[start.end() :].split("; asa "):
                words = shlex.split(part, comments=True)
                seen += 1
                wrong += [f"{place}: {line}: {fault}" for fault in faults(words)]
    assert wrong == []
    assert seen > 40


def test_settings_that_are_shown_are_valid() -> None:
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("pydantic")
    from asa.training.planning.presets import KINDS

    shown = [code for code in CODE if code.language == "yaml" and code.mark.startswith("settings: ")]
    assert shown
    for code in shown:
        KINDS[code.mark.removeprefix("settings: ")].model_validate(yaml.safe_load(code.text))


def constants(path: Path) -> Iterator[str]:
    """Texts of a file, those within f-strings too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_that_are_explained_are_written_by_the_program() -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^> `(.+)`$", text, re.MULTILINE)
    assert len(messages) > 20
    files = [*(REPOSITORY / "ASASegmentation").rglob("*.py"), *(REPOSITORY / "ASATraining").rglob("*.py")]
    sources = [set(constants(path)) for path in files if "tests" not in path.parts]
    unknown = []
    for message in messages:
        parts = [part for part in re.split(r"…", message) if len(part.strip()) > 2]
        if not any(all(any(part in text for text in texts) for part in parts) for texts in sources):
            unknown.append(message)
    assert unknown == [], "the program does not write these"


def test_the_readme_is_a_hub() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in ("sample", "test"):
        assert any(re.match(rf"make {target}\b", line) for line in lines), f"the quick start names make {target}"
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_pages_are_made_from_the_program() -> None:
    pytest.importorskip("pydantic")
    reference = tool("command_line")
    page = reference.page()
    for command, function in reference.commands().items():
        assert f"## asa {command}\n" in page
        for one in reference.parameters(function):
            flags = "/".join(one.names).split("/")
            assert one.is_argument or one.info.hidden or all(f"`{flag}`" in page for flag in flags)
    settings = tool("settings_reference")
    page = settings.page()
    for title, model in settings.kinds().items():
        assert f"## {title}\n" in page
        assert all(f"| `{row.key}` |" in page for row in settings.flat_rows(model))


def test_the_picture_of_the_packages_is_up_to_date_and_shows_every_one() -> None:
    packages = tool("packages")
    drawn_before = packages.PICTURE.read_text(encoding="utf-8")
    assert drawn_before == packages.picture(), "run Resources/Scripts/documentation/packages.py"
    edges = packages.graph()
    assert {"asa.nn", "asa.cli", "ASASegmentationLib"} <= set(edges)
    assert "asa.nn" in edges["asa.pretext"]
    height = packages.levels(edges)  # fails on a circle
    assert all(height[name] > height[used] for name, below in edges.items() for used in below)
    drawn = ElementTree.fromstring(packages.picture())
    texts = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {name.removeprefix("asa.") for name in edges} <= texts


def test_the_architecture_page_is_up_to_date() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    assert tool("packages").with_tree(page) == page, "run Resources/Scripts/documentation/packages.py"
    named = re.findall(r"`((?:ASASegmentation|ASATraining|asa|Testing)/[\w./]+)`", page)
    missing = [
        path
        for path in named
        if not any((base / path).exists() for base in (REPOSITORY, REPOSITORY / "ASASegmentation"))
    ]
    assert missing == []


def test_figures_are_small_and_drawn_by_our_code(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("pydantic")
    figures = tool("figures")
    assert {path.name for path in (DOCS / "images").iterdir()} == {"packages.svg", *figures.FIGURES}
    assert all(path.stat().st_size < 250_000 for path in (DOCS / "images").iterdir())
    for one in ("network.svg", "spe.png", "windows.svg"):
        assert figures.draw(one, tmp_path).stat().st_size > 10_000


def test_pages_read_well_on_github() -> None:
    """Python-Markdown's attributes, admonitions and Markdown within HTML show literally there."""
    marks = re.compile(r"\)\{ ?[\w.:#]|^!!! |^<\w+[^>]* markdown", re.MULTILINE)
    wrong = [name(page) for page in TEXTS if marks.search(FENCE.sub("", page.read_text(encoding="utf-8")))]
    assert wrong == []


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs brings it")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", errors="replace", timeout=1200
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "reference" / "api" / "nn" / "index.html").is_file()
