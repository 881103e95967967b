"""What contributors meet before the code: workflows, templates, hooks, the changelog, how to cite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

REPOSITORY = Path(__file__).resolve().parents[2]
GITHUB = REPOSITORY / ".github"
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))


@pytest.mark.parametrize("path", [*WORKFLOWS, *sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml"))], ids=lambda path: path.name)
def test_what_github_reads_is_valid_yaml(path: Path) -> None:
    assert isinstance(load(path), dict)


def test_tests_run_on_three_systems_and_every_python_that_is_supported() -> None:
    matrix = load(GITHUB / "workflows" / "tests.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', PROJECT)
    assert oldest and matrix["python"][0] == oldest.group(1)
    assert matrix["python"] == [f"3.{minor}" for minor in range(10, 14)]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_what_is_there(path: Path) -> None:
    steps = [step for job in load(path)["jobs"].values() for step in job["steps"]]
    commands = "\n".join(step["run"] for step in steps if "run" in step)
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake (\w+)", commands):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for file in re.findall(r"\b(?:Testing|Resources|ASASegmentation)/[\w./]+", commands):
        assert (REPOSITORY / file).is_file(), file
    extras = re.findall(r"'\.\[(\w+)\]'", commands)
    assert all(re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE) for extra in extras)


def test_hooks_call_the_tools_of_the_environment() -> None:
    config = load(REPOSITORY / ".pre-commit-config.yaml")
    local = {hook["id"]: hook for repo in config["repos"] if repo["repo"] == "local" for hook in repo["hooks"]}
    assert {hook["entry"].split()[0] for hook in local.values() if hook["language"] == "system"} == {
        "ruff", "mypy", "python"
    }  # fmt: skip
    too_long = re.compile(local["subject"]["entry"])
    assert not too_long.match("x" * 72 + "\n\nbody") and too_long.match("x" * 73)


def test_every_version_of_the_changelog_links_to_its_tag() -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([\d.]+)\]", text, re.MULTILINE)
    assert versions
    for version in versions:
        assert re.search(rf"^\[{re.escape(version)}\]: https://\S+/tag/v{re.escape(version)}$", text, re.MULTILINE)
    assert not re.search(r"^## \d", text, re.MULTILINE)


def test_the_citation_names_the_paper_and_this_repository() -> None:
    citation = load(REPOSITORY / "CITATION.cff")
    homepage = re.search(r'^Homepage = "(\S+)"$', PROJECT, re.MULTILINE)
    assert homepage and citation["repository-code"] == homepage.group(1)
    assert citation["preferred-citation"]["doi"].startswith("10.")
    assert [author["family-names"] for author in citation["preferred-citation"]["authors"]] == [
        "Huang", "Li", "Li", "Wan"
    ]  # fmt: skip


def test_contributors_are_sent_to_what_is_there() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"(?:ASASegmentation|Resources|Testing)/[\w./]*\w", text)
    assert named
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
