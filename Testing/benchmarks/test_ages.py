"""Pages of results say by themselves that they are older than the code that they measure."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from Testing.benchmarks.ages import PAGES, age_of, say
from Testing.benchmarks.heads import REPOSITORY, RESULTS


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "code/a.py", "1")
    return tmp_path


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, *words], cwd=folder, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()


def commit(folder: Path, name: str, text: str) -> str:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", f"Change {name}")
    return git(folder, "rev-parse", "--short", "HEAD")


def test_a_page_that_names_its_commit(repository: Path) -> None:
    measured = git(repository, "rev-parse", "--short", "HEAD")
    commit(repository, "page.md", f"# Speed\n\n1 s, commit {measured}, 2026-01-01.\n")
    assert "no later commit changed the code" in str(age_of("page.md", ("code",), repository))
    later = commit(repository, "code/a.py", "2")
    commit(repository, "other.py", "2")
    age = age_of("page.md", ("code",), repository)
    assert age is not None and (age.verb, age.commit, age.since) == ("Measured", measured, 1)
    # two sections: the older one counts
    commit(repository, "page.md", f"# Speed\n\n1 s, commit {later}.\n\n2 s, commit {measured}.\n")
    assert age_of("page.md", ("code",), repository) == age


def test_a_page_that_names_none_keeps_the_commit_that_wrote_it(repository: Path) -> None:
    written = commit(repository, "page.md", "# Speed\n\n1 s.\n")
    commit(repository, "code/a.py", "2")
    age = age_of("page.md", ("code",), repository)
    assert age is not None and (age.verb, age.commit, age.since) == ("Written", written, 1)
    for _ in range(2):  # the second time in place of what it said before
        say(repository / "page.md", age)
        assert (repository / "page.md").read_text(encoding="utf-8") == f"# Speed\n\n{age}\n\n1 s.\n"
    git(repository, "commit", "-qam", "Say it")
    assert age_of("page.md", ("code",), repository) == age


def test_a_commit_that_this_copy_of_the_history_lacks(repository: Path) -> None:
    commit(repository, "page.md", "# Speed\n\n1 s, commit 1234567.\n")
    assert age_of("page.md", ("code",), repository) is None


def test_every_page_of_results_is_known_with_code_that_exists() -> None:
    plans = {"models_design.md"}  # says what is to be measured
    named = {Path(page).name for page in PAGES if page.startswith("Testing/benchmarks/")}
    assert {path.name for path in RESULTS.glob("*.md")} - plans == named
    assert [one for code in PAGES.values() for one in code if not (REPOSITORY / one).exists()] == []
