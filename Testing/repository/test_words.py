"""The words of the project: replaced ones do not return, and messages are written in one style."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
OLD_WORDS = Path(__file__).with_name("old_words.txt")
SEARCHED = (".py", ".ui", ".md")
SHIPPED = ("ASASegmentation/", "ASATraining/")
# Names that keep their lower case at the beginning of a sentence.
LOWER_CASE = ("asa ", "figure4", "freeze_blocks", "swinunetr", "validate_cases")
# Exceptions that no user reads, or whose argument is not a sentence.
BARE = {"KeyError", "AttributeError", "AssertionError", "NotImplementedError", "IsADirectoryError"}
LONGEST_LABEL = 6  # words; what is longer is a sentence


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the checkout; without git (an exported tree) every file in it."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, encoding="utf-8")
        listed = done.stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        listed = [path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.rglob("*")]
    paths = (REPOSITORY / name for name in listed if name and not re.search(r"(^|/)(\.|build|site)", name))
    return tuple(sorted(path for path in paths if path.is_file()))


def files(*suffixes: str, shipped: bool = False) -> list[Path]:
    return [path for path in tracked() if path.suffix in suffixes and (not shipped or name(path).startswith(SHIPPED))]


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def old_words() -> list[str]:
    lines = OLD_WORDS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_replaced_words_do_not_return() -> None:
    patterns = {word: re.compile(rf"(?<!\w){re.escape(word)}(?!\w)") for word in old_words()}
    assert len(patterns) > 40
    found = []
    for path in files(*SEARCHED):
        if path.name == "CHANGELOG.md":
            continue
        text = path.read_text(encoding="utf-8")
        plain = text.replace("&amp;", "&").replace("&", "") if path.suffix == ".ui" else text
        found += [f"{name(path)}: {word}" for word, pattern in patterns.items() if pattern.search(plain)]
    assert not found, "\n".join(found)


def text_of(node: ast.expr) -> str | None:
    """The text of a string or f-string with "{}" for each placeholder, None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def raised(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each literal message of an exception raised in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            kind = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
            text = text_of(node.exc.args[0])
            if text and kind not in BARE and (kind.endswith("Error") or kind in ("TrainingDiverged", "Cancelled")):
                yield node.lineno, text


def is_sentence(text: str) -> bool:
    """Whether a text begins with a capital, a name or a placeholder and ends with a full stop or a placeholder."""
    begins = not text[:1].islower() or text.startswith(LOWER_CASE)
    return begins and text.rstrip().endswith((".", "?", "!", "}", "…"))


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("{} does not exist.", True),
        ("The file {} cannot be read: {}", True),
        ("--against takes NAME=FOLDER, not '{}'.", True),
        ("Start the run anyway?", True),
        ("unknown device '{}'.", False),
        ("Unknown device", False),
    ],
)
def test_the_rule_of_sentences(text: str, fine: bool) -> None:
    assert is_sentence(text) is fine


def test_messages_of_errors_are_sentences() -> None:
    messages = [(path, *message) for path in files(".py", shipped=True) for message in raised(path)]
    assert len(messages) > 150
    wrong = [f"{name(path)}:{line}: {text}" for path, line, text in messages if not is_sentence(text)]
    assert not wrong, "\n".join(wrong)


def translated(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string that a Slicer module shows: the literal arguments of ``_``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_" and len(node.args) == 1:
            text = text_of(node.args[0])
            if text:
                yield node.lineno, text


def test_long_texts_of_the_panels_end_like_sentences() -> None:
    wrong = []
    for path in files(".py", shipped=True):
        for line, text in translated(path):
            long = len(re.findall(r"[A-Za-z]{2,}", text)) > LONGEST_LABEL and text[:1].isupper()
            if long and not text.rstrip().endswith((".", "?", "!", "…", ":", "}", "</a>.")):
                wrong.append(f"{name(path)}:{line}: {text}")
    assert not wrong, "\n".join(wrong)


def test_tool_tips_are_sentences() -> None:
    wrong, count = [], 0
    for path in files(".ui"):
        for element in ElementTree.parse(path).iter("property"):
            text = (element.findtext("string") or "").strip()
            if element.get("name") == "toolTip" and text:
                count += 1
                if not (text[0].isupper() and text.endswith((".", "?"))):
                    wrong.append(f"{name(path)}: {text}")
    assert count > 60
    assert not wrong, "\n".join(wrong)
