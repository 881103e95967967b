"""The laboratory from raw scans to a segmented head, with real programs: prepare, pre-train, watch, stop, resume, look
inside, fine-tune, publish, segment. And a run that outlives the program that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import slicer
import vtk

from asa.liveness import process_alive
from ASASlicerLib.nifti import write_nifti
from ASASlicerLib.process import PythonRunner
from ASASlicerLib.steps import finish
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.runs.control import RunControl
from ASATrainingLib.runs.run_folder import Status, read_run
from ASATrainingLib.tests.case import MemoryStore

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE = REPOSITORY / "ASASegmentation"
_PATIENCE_S = 600.0
SPACING = 4.0  # mm
# Blocks on patches of the whole brain frame, as small as they come; the segmenter of size "small" needs four blocks.
TINY = {
    "encoder": {"dim": 24, "depth": 4, "heads": 2, "mlp_ratio": 1.0},
    "decoder": {"dim": 24, "depth": 1, "heads": 2},
    "crop": [32, 32, 32], "epochs": 4000, "batch": 2, "micro_batch": 2, "held_out": 0.3, "preview_every": 0,
    "validation_scans": 1, "precision": "fp32",
    "schedule.log_every": 1, "schedule.checkpoint_every": 100, "schedule.validate_every": 0,
}  # fmt: skip
TUNED = {
    "size": "small", "crop": [32, 32, 32], "shares": [2, 1, 0], "optimisation.steps": 2, "optimisation.batch": 1,
    "optimisation.micro_batch": 1, "optimisation.ema": 0.0, "optimisation.warmup_steps": 0, "validation_cases": 1,
    "optimisation.precision": "fp32", "schedule.log_every": 1, "schedule.validate_every": 0,
    "schedule.checkpoint_every": 0, "calibrate": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, queue and temporary files of the test's own; one thread for each program."""
    (tmp_path / "tmp").mkdir()
    for name, value in (("XDG_DATA_HOME", tmp_path), ("TMPDIR", tmp_path / "tmp"), ("OMP_NUM_THREADS", 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("ASA_MODELS", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def panel() -> Iterator[Any]:
    slicer.mrmlScene.Clear(0)
    module = driving.open_module("ASATraining")
    panel = module.widgetRepresentation().self().panel
    yield panel
    for run in panel.logic.runs:
        if run.status.alive:
            panel.logic.control.kill(run)
        panel.logic.forget_run(run.path)
    module.close()
    slicer.mrmlScene.Clear(0)


def brain(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stripped head of three shells in MNI152 space: image and labels (K, J, I), affine of voxels of 4 mm."""
    rng = np.random.default_rng(seed)
    shape = (40, 48, 40)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt((k / 0.8) ** 2 + (j / 0.85) ** 2 + (i / 0.8) ** 2) + 0.05 * np.sin(6 * (i + seed))
    labels = np.select([radius < 0.3, radius < 0.65, radius < 0.95], [1, 3, 2], 0).astype(np.uint8)
    image = np.array([0, 40, 120, 180])[labels] + (labels > 0) * rng.normal(0, 6, shape)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-80, -112, -72)
    return image.clip(0).astype(np.int16), labels, affine


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    finish(write_nifti(path, lambda: array, affine))


def raw_data(folder: Path) -> tuple[Path, Path]:
    """A BIDS tree of scans, and a folder of labelled cases."""
    for seed in range(4):
        image, labels, affine = brain(seed)
        anatomy, case = folder / "bids" / f"sub-{seed}" / "anat", folder / "cases" / f"case{seed}"
        anatomy.mkdir(parents=True)
        write(anatomy / f"sub-{seed}_T1w.nii", image, affine)
        if seed < 3:
            case.mkdir(parents=True)
            write(case / "t1.nii", image, affine)
            write(case / "labels.nii", labels, affine)
    return folder / "bids", folder / "cases"


def choose(box: Any, value: str) -> None:
    assert box.findData(value) >= 0, value
    box.setCurrentIndex(box.findData(value))


def tab(panel: Any, title: str) -> Any:
    panel.ui.tabWidget.setCurrentIndex(list(panel.tabs).index(title))
    return panel.tabs[title]


def prepare(panel: Any, purpose: str, source: Path, store: Path, cases: int) -> None:
    """Tab Data: look, then prepare."""
    data = tab(panel, "Data")
    choose(data.ui.purposeComboBox, purpose)
    if purpose == "finetune":
        choose(data.ui.datasetComboBox, "tissue")
    data.ui.folderPathLineEdit.setCurrentPath(str(source))
    data.ui.storePathLineEdit.setCurrentPath(str(store))
    for box in (data.ui.strippedCheckBox, data.ui.alignedCheckBox):
        box.setChecked(True)
    data.ui.scanButton.click()
    driving.wait_for(lambda: not data.busy, _PATIENCE_S)
    assert data.ui.foundTable.rowCount == cases, data.ui.statusLabel.text
    assert "0 with problems" in data.ui.foundLabel.text
    data.ui.prepareButton.click()
    driving.wait_for(lambda: not data.busy, _PATIENCE_S)
    assert (store / "index.json").is_file(), data.ui.statusLabel.text


def start(panel: Any, kind: str, values: dict[str, Any], folder: Path) -> None:
    """Tab Run: settings, estimate, start."""
    run = tab(panel, "Run")
    assert run.kind == kind  # the prepared store chose it
    run.set_values(values)
    run.ui.runFolderPathLineEdit.setCurrentPath(str(folder))
    driving.wait_for(lambda: run.ui.deviceComboBox.findData("cpu") >= 0, _PATIENCE_S)
    choose(run.ui.deviceComboBox, "cpu")
    assert run.faults() == []
    run.ui.startButton.click()
    driving.wait_for(lambda: folder in [known.path for known in panel.logic.runs], _PATIENCE_S)


def reach(panel: Any, status: Status, seconds: float = _PATIENCE_S) -> float:
    """Waits for the current run to be so; returns the longest that the GUI thread was busy."""
    return driving.wait_for(lambda: panel.logic.current_run.status is status, seconds)


def points(watch: Any) -> int:
    """Rows of the loss curve's table."""
    chart = watch.plots.nodes().get("loss")
    series = chart.GetNthPlotSeriesNode(0) if chart is not None and chart.GetNumberOfPlotSeriesNodes() else None
    return series.GetTableNode().GetNumberOfRows() if series is not None else 0


def add_volume(image: np.ndarray, affine: np.ndarray) -> Any:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel())
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, image)
    volume.CreateDefaultDisplayNodes()
    return volume


def test_from_raw_scans_to_a_segmented_head(panel: Any, tmp_path: Path) -> None:
    driving.wait_for(lambda: panel.tabs["Run"].kind_known, _PATIENCE_S)
    scans, cases = raw_data(tmp_path)
    prepare(panel, "pretrain", scans, tmp_path / "store", 4)

    pretrained = tmp_path / "runs" / "pretrained"
    start(panel, "pretrain", TINY, pretrained)
    reach(panel, Status.RUNNING)
    watch = tab(panel, "Watch")
    busy = driving.wait_for(lambda: points(watch) >= 3, _PATIENCE_S)
    seen = points(watch)
    busy = max(busy, driving.wait_for(lambda: points(watch) > seen, _PATIENCE_S))
    assert panel.logic.current_run.status is Status.RUNNING
    driving.report("watching a run that trains", busy)
    control = tab(panel, "Run").ui
    control.stopButton.click()
    reach(panel, Status.STOPPED)
    assert (pretrained / "checkpoints" / "last.safetensors").is_file()
    stopped_at = panel.logic.current_run.state.step
    assert control.resumeButton.enabled and not control.stopButton.enabled
    control.resumeButton.click()
    driving.wait_for(lambda: panel.logic.current_run.state.step > stopped_at, _PATIENCE_S)
    control.stopButton.click()
    reach(panel, Status.STOPPED)
    events = [json.loads(line) for line in (pretrained / "events.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == sorted(set(steps))  # it went on where it had stopped

    image, _, affine = brain(9)
    volume = add_volume(image, affine)
    look = tab(panel, "Inspect model")
    look.ui.volumeSelector.setCurrentNode(volume)
    look.ui.strippedCheckBox.setChecked(True)
    look.ui.alignCheckBox.setChecked(False)
    assert look.checkpoint.path.is_relative_to(pretrained)
    look.ui.inspectButton.click()
    driving.wait_for(lambda: not look.inspections.running, _PATIENCE_S)
    driving.wait_for(lambda: look.inspection is not None or look._note, 60)
    assert look.ui.statusLabel.text == "Done."
    reconstruction = slicer.util.arrayFromVolume(look.shown.node("reconstruction"))
    assert reconstruction.shape == image.shape and np.isfinite(reconstruction).all() and reconstruction.std() > 0

    prepare(panel, "finetune", cases, tmp_path / "cases_store", 3)
    choose(panel.tabs["Run"].ui.initComboBox, str(pretrained))
    start(panel, "finetune", TUNED, tmp_path / "runs" / "tuned")
    driving.wait_for(lambda: not panel.logic.current_run.status.alive, _PATIENCE_S)
    log = (tmp_path / "runs" / "tuned" / "console.txt").read_text()
    assert panel.logic.current_run.status is Status.FINISHED, log
    assert panel.logic.current_run.settings["init"] == str(pretrained)

    clinic = driving.open_module("ASASegmentation")
    try:
        segment_with_published(panel, clinic.widgetRepresentation().self().panel, volume)
    finally:
        clinic.close()


def segment_with_published(panel: Any, clinic: Any, volume: Any) -> None:
    """Tab Publish, then the other module's panel, which was open all the time."""
    publish = tab(panel, "Publish")
    publish.ui.nameLineEdit.setText("of-this-test")
    publish.ui.publishButton.click()
    driving.wait_for(lambda: "Published" in publish.ui.statusLabel.text or publish._call is None, _PATIENCE_S)
    assert "Published" in publish.ui.statusLabel.text, publish.ui.statusLabel.text
    choose(clinic.ui.modelComboBox, "of-this-test")  # it is in the list at once
    clinic.ui.modalitySelector0.setCurrentNode(volume)
    clinic.ui.alignCheckBox.setChecked(False)
    driving.wait_for(lambda: clinic.ui.segmentButton.enabled, 20)
    clinic.ui.segmentButton.click()
    driving.wait_for(lambda: not clinic.logic.running, _PATIENCE_S)
    assert "Done" in clinic.ui.statusLabel.text, clinic.ui.statusLabel.text + clinic.ui.logText.plainText
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["ventricles", "GM", "WM", "sulcal CSF"]


START_AND_VANISH = """
import json, os, standin_modules
from pathlib import Path
standin_modules.install()
from ASASlicerLib.process import PythonRunner
from ASASlicerLib.steps import finish
from ASATrainingLib.runs.control import RunControl
control = RunControl(PythonRunner(Path({engine!r})))
control.start("pretrain", json.loads({settings!r}), Path({folder!r}), "cpu")
os._exit(0)
"""


def test_a_run_outlives_who_started_it_and_is_found_again(tmp_path: Path) -> None:
    """Started by a program that is gone at once; then killed and resumed by another one, and queued runs with it."""
    code = (
        "import json; from pathlib import Path; from Testing.engine.tiny_pretraining import make_store, settings;"
        f"print(json.dumps(settings(make_store(Path({str(tmp_path / 'store')!r})), epochs=4000)))"
    )
    path = (ENGINE, REPOSITORY / "ASATraining", REPOSITORY / "Testing" / "standin", REPOSITORY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    made = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        check=True,
    )
    folder = tmp_path / "run"
    code = START_AND_VANISH.format(engine=str(ENGINE), settings=made.stdout, folder=str(folder))
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)

    control = RunControl(PythonRunner(ENGINE))
    logic = TrainingLogic(MemoryStore(), PythonRunner(ENGINE), lambda: None, control)
    run = logic.open_run(folder)
    assert run.status.alive and run.state.here  # found again by what it wrote

    def until(condition: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not condition(logic.current_run):
            assert time.monotonic() < deadline, (folder / "console.txt").read_text()
            time.sleep(0.1)
            logic.poll()

    until(lambda run: run.state.step > 2)
    second = tmp_path / "second"
    control.start("pretrain", json.loads(made.stdout), second, "cpu")
    deadline = time.monotonic() + _PATIENCE_S
    while read_run(second).status is not Status.QUEUED:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first_pid = logic.current_run.state.pid
    control.kill(logic.current_run)
    until(lambda run: run.status is Status.DIED)
    assert not process_alive(first_pid)
    logic.open_run(second)
    until(lambda run: run.status is Status.RUNNING)  # its turn came without anyone giving it
    control.stop(logic.current_run)
    until(lambda run: run.status is Status.STOPPED)
    logic.open_run(folder)
    assert control.why_not_resume(logic.current_run) == ""
    control.resume(logic.current_run)
    until(lambda run: run.status is Status.RUNNING)
    os.kill(logic.current_run.state.pid, signal.SIGTERM)  # what a system that shuts down sends
    until(lambda run: run.status is Status.STOPPED)
