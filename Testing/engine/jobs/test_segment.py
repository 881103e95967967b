"""One case from request to folder: all or nothing, resumable, interruptible, and spoken as JSON lines."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.errors import Cancelled, InputError, OutputError, ResourceError
from asa.jobs import segment as job

FAKE = Path(__file__).parents[1] / "fake_engine.py"
ENGINE = Path(job.__file__).parents[2]
FILES = {"segmentation.nii.gz", "volumes.csv", "volumes.json", "overlay.png", "report.json"}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A left-handed, anisotropic head of noise, called after its patient."""
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    data[:4] = 0
    path = tmp_path / "Jane_Doe_19700101.nii.gz"
    header = nibabel.Nifti1Header()
    header["descrip"] = b"Doe, Jane"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-4.0, 4.0, 6.0, 1.0]), header), path)
    return path


def request(image: Path, **settings: Any) -> Any:
    fields = {"images": {"t1": image}, "task": "tissue", **settings}
    return sys.modules["asa.inference"].SegmentRequest(**fields)


def start(program: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FAKE), program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ENGINE), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def write_request(folder: Path, image: Path, **fields: Any) -> Path:
    path = folder / "request.json"
    content = {"images": {"t1": str(image)}, "task": "tissue", "output": str(folder / "out"), **fields}
    path.write_text(json.dumps(content))
    return path


def test_a_folder_holds_every_file(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    finished = job.run(
        request(image, posterior=True), tmp_path / "out", progress=lambda stage, done: seen.append((stage, done))
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= FILES | {"posterior_GM.nii.gz", "posterior_sulcal_CSF.nii.gz", "uncertainty.nii.gz"}
    assert names == {*finished.report["files"], "report.json"}
    fractions = [done for _, done in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert "A warning of the engine." in finished.report["warnings"]
    assert finished.report["trust"] == {"verdict": "doubtful", "reasons": ["A warning of the engine."]}
    assert finished.report["reference"] == "t1" and finished.report["series"]["t1"]["registration"] == "anchor"


def test_label_map_lies_on_the_scans_own_grid(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    job.run(request(image), tmp_path / "out", segmentation_file=False)
    scan, labels = nibabel.load(image), nibabel.load(tmp_path / "out" / "segmentation.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(labels.dataobj) > 0, scan.get_fdata() > 0)


def test_no_file_tells_the_patient(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    job.run(request(image), tmp_path / "out", segmentation_file=False)
    for path in (tmp_path / "out").iterdir():
        content = nibabel.load(path).header.binaryblock if path.suffix == ".gz" else path.read_bytes()
        assert b"Doe" not in content and str(tmp_path).encode() not in content, path.name


def test_what_is_done_is_not_done_again(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not job.run(request(image), out, segmentation_file=False).reused
    assert job.run(request(image), out, segmentation_file=False).reused
    assert not job.run(request(image), out, overwrite=True, segmentation_file=False).reused
    assert not job.run(request(image, tta=True), out, segmentation_file=False).reused
    (out / "volumes.csv").unlink()
    assert not job.run(request(image, tta=True), out, segmentation_file=False).reused
    (out / "report.json").write_text("{ not json")
    assert not job.run(request(image, tta=True), out, segmentation_file=False).reused


def test_a_segmentation_file_not_made_before_is_made(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed (extra 'slicer-core')")
    job.run(request(image), tmp_path / "out", segmentation_file=False)
    assert not job.run(request(image), tmp_path / "out").reused
    assert (tmp_path / "out" / "segmentation.seg.nrrd").is_file()
    assert job.run(request(image), tmp_path / "out").reused


def test_another_image_or_model_is_another_result(
    fake: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    job.run(request(image), out, segmentation_file=False)
    monkeypatch.setitem(fake.MODEL, "name", "other")
    assert not job.run(request(image), out, segmentation_file=False).reused
    scan = nibabel.load(image)
    nibabel.save(nibabel.Nifti1Image(scan.get_fdata()[::-1].astype(np.float32), scan.affine), image)
    assert not job.run(request(image), out, segmentation_file=False).reused


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), ResourceError),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"), ResourceError),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), ResourceError),
        (RuntimeError("shapes do not match"), RuntimeError),
        (KeyboardInterrupt(), Cancelled),
        (InputError("no"), InputError),
    ],
    ids=["python", "torch cpu", "torch cuda", "other", "ctrl-c", "input"],
)
def test_a_failure_leaves_no_file(
    fake: ModuleType, image: Path, tmp_path: Path, error: BaseException, expected: type[BaseException]
) -> None:
    def failing(request: object, progress: object) -> Any:
        raise error

    with pytest.raises(expected):
        job.run(request(image), tmp_path / "out", segment=failing)
    assert not (tmp_path / "out").exists()


def test_a_failed_redo_keeps_the_old_result(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    def failing(request: object, progress: object) -> Any:
        raise MemoryError

    job.run(request(image), tmp_path / "out", segmentation_file=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ResourceError):
        job.run(request(image), tmp_path / "out", overwrite=True, segment=failing)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_no_file_of_an_older_result_stays(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job.run(request(image, posterior=True), out, segmentation_file=False)
    assert (out / "uncertainty.nii.gz").is_file()
    (out / "notes.txt").write_text("the user's own")
    job.run(request(image), out, segmentation_file=False)
    assert {path.name for path in out.iterdir()} == {*FILES, "notes.txt"}


def test_two_runs_do_not_share_a_folder(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    process = start("job", write_request(tmp_path, image, segmentation_file=False), FAKE_DELAY="60")
    assert process.stdout is not None
    try:
        while json.loads(process.stdout.readline()).get("stage") != "segmenting":
            pass
        with pytest.raises(OutputError, match="Another run is writing into the folder"):
            job.run(request(image), tmp_path / "out", segmentation_file=False)
        assert (tmp_path / "out" / ".asa-partial").is_dir(), "the other's work is left alone"
    finally:
        process.kill()
        process.communicate()
    job.run(request(image), tmp_path / "out", segmentation_file=False)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES, "what it left, killed, is gone"


def test_a_folder_that_cannot_be_made(fake: ModuleType, image: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written to"):
        job.run(request(image), image / "out")


def test_a_read_only_disk_is_found_before_the_work(
    fake: ModuleType, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    worked = False

    def working(request: object, progress: object) -> Any:
        nonlocal worked
        worked = True

    with pytest.raises(OutputError, match="Read-only file system"):
        job.run(request(image), tmp_path / "out", segment=working)
    assert not worked


def test_an_image_the_model_does_not_see_is_said(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    both = request(image, images={"t1": image, "flair": image})
    report = job.run(both, tmp_path / "out", segmentation_file=False).report
    assert list(report["inputs"]) == ["t1"]
    assert "The model 'fake' does not use the FLAIR image." in report["warnings"]


def test_unknown_task_and_modality(fake: ModuleType, image: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no task 'liver'"):
        job.run(request(image, task="liver"), tmp_path / "out")
    with pytest.raises(InputError, match="'pet'"):
        job.run(request(image, images={"pet": image}), tmp_path / "out")
    with pytest.raises(InputError, match="does not exist"):
        job.run(request(tmp_path / "missing.nii.gz"), tmp_path / "out")


def test_program_speaks_json_lines_only(image: Path, tmp_path: Path) -> None:
    process = start("job", write_request(tmp_path, image, segmentation_file=False))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    spoken = events(output)
    assert [event["event"] for event in spoken][-2:] == ["warning", "done"]
    progress = [event for event in spoken if event["event"] == "progress"]
    assert progress[-1]["fraction"] == 1.0 and progress[-1]["remaining_s"] == 0
    assert set(spoken[-1]["files"]) == FILES and all(Path(path).is_file() for path in spoken[-1]["files"].values())
    assert "a library that prints" in errors


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"images": {"t1": "missing.nii.gz"}}, 3), ({"task": "liver"}, 3), ({"nonsense": 1}, 3)],
    ids=["image", "task", "field"],
)
def test_program_reports_errors_as_events(image: Path, tmp_path: Path, fields: dict[str, Any], code: int) -> None:
    process = start("job", write_request(tmp_path, image, **fields))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code
    assert events(output)[-1]["event"] == "error" and events(output)[-1]["exit_code"] == code
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_interrupted_half_way_nothing_is_left(image: Path, tmp_path: Path, how: signal.Signals) -> None:
    process = start("job", write_request(tmp_path, image), FAKE_DELAY="60")
    assert process.stdout is not None
    while json.loads(process.stdout.readline()).get("stage") != "segmenting":
        pass
    time.sleep(0.1)
    process.send_signal(how)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert events(output)[-1] == {"event": "error", "message": "Cancelled; nothing was written.", "exit_code": 130}
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_a_full_disk_is_one_sentence_and_no_file(image: Path, tmp_path: Path) -> None:
    request_file = write_request(tmp_path, image, segmentation_file=False)
    process = start("job", request_file, FAKE_FILE_LIMIT="1000")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == OutputError.exit_code, output
    assert "\n" not in events(output)[-1]["message"]
    assert not (tmp_path / "out").exists()
