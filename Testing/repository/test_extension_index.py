"""What Slicer's extension index checks of an entry, and what its reviewers ask for beyond that.

The index's own checker runs with `python -m Testing.extension_index`; these are the same checks, written here.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest
from Testing.scripts import load_script

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = REPOSITORY / "ASASegmentation.json"
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
ONE_LINE = re.compile(r'^set\(EXTENSION_(\w+) "([^"\n]+)"\)$', re.MULTILINE)
TYPES: dict[str, type] = {
    "$schema": str, "build_dependencies": list, "build_subdirectory": str, "category": str,
    "dicom_support_rule": str, "enabled": bool, "scm_revision": str, "scm_type": str, "scm_url": str, "tier": int,
}  # fmt: skip


@pytest.fixture
def entry() -> dict[str, object]:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def described() -> dict[str, str]:
    return dict(ONE_LINE.findall(CMAKE))


def test_the_entry_is_plain_json_of_the_schema(entry: dict[str, object]) -> None:
    assert b"\r" not in ENTRY.read_bytes()
    assert {key: type(value) for key, value in entry.items()} == TYPES
    assert str(entry["$schema"]).endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["scm_type"] in ("git", "local")
    assert entry["tier"] in range(1, 6)
    assert all(isinstance(name, str) for name in entry["build_dependencies"])  # type: ignore[attr-defined]


def test_the_names_are_as_the_index_wants_them(entry: dict[str, object]) -> None:
    url = urlsplit(str(entry["scm_url"]))
    assert url.scheme in ("git", "https")
    repository = Path(url.path).stem
    assert repository == f"Slicer{ENTRY.stem}"
    assert not ENTRY.stem.lower().startswith("slicer")
    project = re.search(r"project\s*\(\s*([^\s)]+)", CMAKE)
    assert project and project.group(1) == ENTRY.stem


def test_what_the_checker_reads_of_cmake_is_on_one_line_each() -> None:
    written = re.findall(r"set\s*\(\s*EXTENSION_(\w+)", CMAKE)
    assert sorted(described()) == sorted(written)
    assert {"ICONURL", "SCREENSHOTURLS", "HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION"} <= set(written)


def test_pictures_are_png_files_of_this_repository(entry: dict[str, object]) -> None:
    root = str(entry["scm_url"]).removesuffix(".git").replace("github.com", "raw.githubusercontent.com")
    root = f"{root}/{entry['scm_revision']}/"
    urls = [described()["ICONURL"], *described()["SCREENSHOTURLS"].split()]
    assert len(urls) > 1
    for url in urls:
        assert url.startswith(root)
        assert (REPOSITORY / url.removeprefix(root)).read_bytes().startswith(b"\x89PNG")


def test_there_is_a_licence_and_its_name_is_on_the_home_page() -> None:
    assert (REPOSITORY / "LICENSE.txt").is_file()
    assert "Apache-2.0" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_contributors_have_an_organisation() -> None:
    contributors = described()["CONTRIBUTORS"]
    assert re.fullmatch(r"[^()]+ \([^()]+\)(, [^()]+ \([^()]+\))*", contributors)
    for module in ("ASASegmentation", "ASATraining"):
        source = (REPOSITORY / module / f"{module}.py").read_text(encoding="utf-8")
        listed = re.search(r"parent\.contributors = (\[.*\])", source)
        assert listed and ", ".join(json.loads(listed.group(1))) == contributors


@pytest.mark.parametrize("module", ["ASASegmentation", "ASATraining"])
def test_the_help_of_a_module_links_to_the_documentation(module: str) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    documentation = re.search(r'^Documentation = "(https://\S+)"$', project, re.MULTILINE)
    source = (REPOSITORY / module / f"{module}.py").read_text(encoding="utf-8")
    assert documentation and f'<a href="{documentation.group(1)}">' in source


def test_cmake_asks_for_what_the_template_of_slicer_asks_for() -> None:
    assert CMAKE.startswith("cmake_minimum_required(VERSION 3.28.0...3.28.0 FATAL_ERROR)\n")


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *options, *words], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that makes the public repository, over a small repository with two commits and two models."""
    module = load_script("public_repository")
    path = REPOSITORY / "Resources" / "Scripts" / "public_repository.py"
    source = tmp_path / "source"
    files = {
        "CMakeLists.txt": "# >>> modules\nset(MODULES\n)\n# <<< modules\n",
        "ASASegmentation/ASASegmentation.py": "",
        "ASASegmentation/CMakeLists.txt": "".join(
            f"# >>> {mark}\nset(LIST\n)\n# <<< {mark}\n" for mark in ("scripts", "resources", "models")
        ),
        "Resources/Scripts/update_cmake_lists.py": path.with_name("update_cmake_lists.py").read_text(encoding="utf-8"),
        **{f"Resources/Models/{name}/model.json": "{}" for name in ("one", "two")},
    }
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet", str(source))
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message=one")
    git(source, "commit", "--quiet", "--message=two", "--allow-empty")
    monkeypatch.setattr(module, "REPOSITORY", source)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Someone")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "someone@example.org")
    return module


def test_the_public_repository_has_the_files_and_one_commit_a_release(publish: ModuleType, tmp_path: Path) -> None:
    public = tmp_path / "public"
    publish.make(public, ["two"])
    assert git(public, "rev-list", "--count", "HEAD").strip() == "1"
    tracked = git(public, "ls-files").split()
    assert "Resources/Models/one/model.json" in tracked and "Resources/Models/two/model.json" not in tracked
    lists = (public / "ASASegmentation" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "one/model.json" in lists and "two/model.json" not in lists
    publish.make(public)
    assert git(public, "rev-list", "--count", "HEAD").strip() == "2"
    assert "Resources/Models/two/model.json" in git(public, "ls-files").split()


def test_a_public_repository_that_cannot_be_is_refused(
    publish: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(publish.Refused, match="neither empty nor a clone"):
        publish.make(tmp_path / "else")
    with pytest.raises(publish.Refused, match="no model three"):
        publish.make(tmp_path / "new", ["three"])
    publish.make(tmp_path / "public")
    (tmp_path / "public" / "mine").touch()
    with pytest.raises(publish.Refused, match="not committed"):
        publish.make(tmp_path / "public")
    monkeypatch.setattr(publish, "LIMIT_MB", 0)
    with pytest.raises(publish.Refused, match="--without"):
        publish.make(tmp_path / "large")
