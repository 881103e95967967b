"""Where a command runs: no home folder, no current folder, a full standard output, missing packages, odd names."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest

from asa import cli, models, program
from asa.errors import AsaError, DependencyError, InputError, OutputError, ResourceError
from asa.files import atomic_path, write_json
from asa.runs import queue

ENGINE = Path(cli.__file__).parents[2]
REPOSITORY = ENGINE.parent
MISSING = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from asa.__main__ import main
main()
"""
NO_FULL_DISK = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def asa(*words: object, code: str = "from asa.__main__ import main; main()", **options: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command in a process of its own."""
    settings = {"stdout": subprocess.PIPE, **options}
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), **settings.pop("environment", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(  # type: ignore[call-overload]
        command, env=environment, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", check=False, **settings
    )
    return done.returncode, done.stdout or "", done.stderr


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry in /etc/passwd and without HOME."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for variable in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA", "USER", "LOGNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asa.training.publishing.card import publish

    assert models.user_models() is None
    assert {model.name for model in models.list_models()} >= {"tissue", "wmh"}
    assert models.find_model(None, "tissue").name == "tissue"
    monkeypatch.setattr(queue.tempfile, "gettempdir", lambda: str(tmp_path))
    assert queue.holders("cpu") == []
    assert queue.turns_folder().parent == tmp_path
    with pytest.raises(OutputError, match="--output"):
        publish(tmp_path, "mine")


@pytest.mark.usefixtures("homeless")
def test_a_folder_that_is_named_is_no_less_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models.user_models() == tmp_path / "asa" / "models"


@NO_FULL_DISK
@pytest.mark.parametrize("words", [("models",), ("--help",), ("--version",), ("models", "--events")])
def test_a_full_standard_output(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        code, _, err = asa(*words, stdout=full)
    assert code == OutputError.exit_code
    said = [] if "--events" in words else ["Error: The output cannot be written: no space left on device."]
    assert err.splitlines() == said


@pytest.mark.skipif(sys.platform == "win32", reason="no pipe of this kind")
def test_a_reader_that_leaves_early() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        _, _, err = asa("models", stdout=pipe)
    assert err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the current folder of a process")
@pytest.mark.parametrize("module", ["asa", "asa.jobs.segment"])
def test_a_current_folder_that_was_deleted(tmp_path: Path, module: str) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program_text = f"import os, runpy, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    program_text += f"runpy.run_module({module!r}, run_name='__main__')"
    code, out, err = asa("models", code=program_text)
    assert code == InputError.exit_code
    assert "current folder cannot be used" in out + err and "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("settings", "pretrain"),
        ("pretrain", "a.yaml", "--store", "store", "-o", "run"),
        ("finetune", "a.yaml", "--store", "store", "-o", "run"),
        ("train", "a.yaml", "-o", "run"),
        ("estimate", "pretrain", "a.yaml", "-o", "run"),
        ("predict", "run", "-o", "out"),
        ("export", "run", "--name", "mine"),
        ("reproduce", "table2", "--data", "brats2021=x", "-o", "out"),
        ("settings", "--json", "--events"),
    ],
    ids=lambda words: words[0],
)
def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("yaml", "pydantic", "pydantic_core")
    for name in [*sys.modules]:
        if name.partition(".")[0] in names or name.startswith(("asa.training", "asa.runs.folder", "asa.reproduce")):
            monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)  # as if it could not be found
    with pytest.raises(SystemExit) as left:
        cli.main(list(words))
    out, err = capsys.readouterr()
    assert left.value.code == DependencyError.exit_code
    (line,) = (out if "--events" in words else err).splitlines()
    assert "pip install 'slicer-asa[train]'" in line and "No module" not in line
    assert list(tmp_path.iterdir()) == []


def test_extras_are_those_of_the_package() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    names = {"yaml": "pyyaml", "skimage": "scikit-image", "slicer": "slicer-core", "pydantic_core": "pydantic"}
    for package, extra in program.EXTRAS.items():
        (wanted,) = re.findall(rf"^{extra} = (\[[^\]]*\])$", text, re.MULTILINE)
        assert f'"{names.get(package, package)}>' in wanted, package


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), DependencyError, "[train]'"),
        (ModuleNotFoundError("No module named 'submitit'", name="submitit.x"), DependencyError, "[slurm]'"),
        (ModuleNotFoundError("No module named 'nibabel'", name="nibabel"), DependencyError, "--force-reinstall"),
        (ImportError("x.so: failed to map segment from shared object"), ResourceError, "out of memory"),
        (MemoryError(), ResourceError, "out of memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory", "a.nii"), ResourceError, "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), OutputError, "no space left on device."),
        (OSError(errno.ENOSPC, "No space left on device", "a.nii"), OutputError, "a.nii cannot be used: no space"),
        (PermissionError(errno.EACCES, "Permission denied", "a.nii"), InputError, "a.nii cannot be used: permission"),
        (OSError(errno.ENAMETOOLONG, "File name too long", b"a" * 300), InputError, "file name too long."),
        (RuntimeError("CUDA out of memory"), ResourceError, "--device cpu"),
        (ZeroDivisionError("division by zero"), AsaError, "Unexpected error: ZeroDivisionError: division by zero"),
    ],
)
def test_what_an_exception_means(error: Exception, kind: type[AsaError], sentence: str) -> None:
    found = program.explain(error)
    assert type(found) is kind and sentence in str(found) and "\n" not in str(found)


@pytest.mark.parametrize("command", ["segment", "evaluate"])
def test_a_name_that_is_too_long(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([command, str(tmp_path / ("a" * 300)), str(tmp_path), "-o", str(tmp_path / "out")])
    (said,) = capsys.readouterr().err.splitlines()
    assert left.value.code in (InputError.exit_code, OutputError.exit_code)
    assert said.startswith("Error: ") and ("too long" in said or "no" in said)


def test_a_store_takes_names_as_long_as_the_file_system_does(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".npy")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"content")
    assert path.read_bytes() == b"content"


def test_threads_are_at_most_the_processors() -> None:
    import torch

    from asa.devices import set_threads

    before = torch.get_num_threads()
    try:
        for threads in (1, 100_000, 10**30):
            set_threads(threads)
            assert torch.get_num_threads() == min(threads, program.processors())
        torch.set_num_threads(program.processors() + 2)  # as in a container that may use fewer than there are
        set_threads(None)
        assert torch.get_num_threads() == program.processors()
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "damaged"}, 8),
        ({}, 8),
    ],
)
def test_processors_of_a_control_group(
    files: dict[str, str], share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(program, "CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert program.processors() == share


@pytest.mark.skipif(sys.platform != "linux", reason="names there are text")
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_a_folder_whose_name_is_no_text(tmp_path: Path, locale: str) -> None:
    name = os.fsdecode(b"kopf_\xe4")
    write_json(tmp_path / "summary.json", {"case": name})
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["case"] == name
    environment = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "from asa import cli\ncli._run = lambda words: print('Gr\\xf6\\xdfe', words[0]) or 0\ncli.main()"
    status, out, err = asa(name, code=code, environment=environment)
    assert status == 0 and "kopf_" in out, err


def test_a_line_break_in_a_name_stays_within_its_line(
    fake: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if sys.platform == "win32":
        pytest.skip("no such names")
    folder = tmp_path / "in"
    folder.mkdir()
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-6.0, 6.0, 9.0, 1.0])), folder / "a.nii.gz")
    (folder / "a.nii.gz").rename(folder / "two\nlines.nii.gz")
    (folder / "bad\r\nError: x.nii.gz").write_bytes(b"no image")
    with pytest.raises(SystemExit):
        cli.main(["segment", str(folder), "-o", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"two_lines", "summary.json", "volumes.tsv"}
    starts = [line.split(":")[0] for line in err.splitlines()]
    assert starts == ["bad_Error", "two_lines", "Error"], err
    with pytest.raises(SystemExit):
        cli.main(["segment", str(folder / "bad\r\nError: x.nii.gz"), "-o", str(tmp_path / "one")])
    assert len(capsys.readouterr().err.splitlines()) == 1
