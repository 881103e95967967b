"""The effect ASA Refine in the editor: mouse, keys, preview, apply, undo, scenes saved and loaded, a real engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import driving
import numpy as np
import pytest
import qt
import slicer
import standin_segment_editor
import vtk
from Testing.engine.refined_heads import CENTRE, MISSED, Head, tumour_head

from asa import events
from asa.errors import AsaError
from asa.jobs.correction import Corrections
from asa.refinement.record import Record
from asa.tasks import TASKS
from ASASegmentationLib.refine.subject import RefusedError, find_subject
from ASASegmentationLib.results import record, scene
from ASASegmentationLib.results.result import segment_specs
from ASASegmentationLib.segments import edits
from ASASegmentationLib.segments.build import build_segments
from ASASlicerLib import resident
from ASASlicerLib.nifti import right_handed
from ASASlicerLib.resident import ResidentRunner
from ASASlicerLib.steps import finish

TASK = TASKS["tumour"]
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "ED": (2,), "NCR": (1,)}


class Engine:
    """The engine's answers without its process."""

    def __init__(self) -> None:
        self.corrections = Corrections()
        self.output: list[tuple[str, str]] = []
        self.code: int | None = None
        self.crashes = 0

    def send(self, line: str) -> None:
        if self.code is not None:
            raise BrokenPipeError
        if self.crashes:
            self.crashes -= 1
            self.output.append(("stderr", "Segmentation fault"))
            self.code = -11
            return
        request = json.loads(line)
        try:
            values = self.corrections.answer(Path(request["file"]), lambda stage, fraction: None)
            event: events.Event = events.Reported("refined", values)
        except AsaError as error:
            event = events.Failed(str(error), error.exit_code)
        ended = events.Reported("ended", {"exit_code": 0})
        self.output += [("stdout", events.to_line(one)) for one in (event, ended)]

    def lines(self) -> list[tuple[str, str]]:
        output, self.output = self.output, []
        return output

    @property
    def exit_code(self) -> int | None:
        return None if self.output else self.code

    def stop(self) -> None:
        self.code = -9


class Runner:
    """Starts such engines."""

    def __init__(self) -> None:
        self.engines: list[Engine] = []

    def open(self, arguments: Sequence[str], folder: Path) -> Engine:
        self.engines.append(Engine())
        return self.engines[-1]

    def start(self, arguments: Sequence[str], folder: Path) -> Any:
        raise AssertionError


@pytest.fixture(scope="module")
def head() -> Head:
    return tumour_head(spacing=2.0)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner()
    shared = ResidentRunner(made)  # type: ignore[arg-type]
    monkeypatch.setattr(resident, "_shared", shared)
    return made


def ijk_affine(head: Head) -> np.ndarray:
    return head.start.labels.grid.affine @ np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


def add_volume(head: Head, name: str, image: np.ndarray) -> Any:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_affine(head).ravel())
    volume.SetIJKToRASMatrix(matrix)
    slicer.util.updateVolumeFromArray(volume, image)
    volume.CreateDefaultDisplayNodes()
    return volume


class Editing:
    """A scene with a result of ASA, and the editor on it with the effect active."""

    def __init__(self, head: Head, folder: Path, *, with_record: bool = True) -> None:
        self.head, self.folder = head, folder
        images = (image.array for image in head.start.images)
        self.volumes = {key: add_volume(head, key, image) for key, image in zip(("t1gd", "flair"), images, strict=True)}
        labels, affine = right_handed(head.start.labels.array.T, ijk_affine(head))
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
        node.CreateDefaultDisplayNodes()
        segments = finish(build_segments(labels, affine, segment_specs(TASK)))
        finish(edits.mark_as_made(segments))
        finish(edits.add(node, segments))
        node.SetAttribute(scene.TASK_ATTRIBUTE, "tumour")
        scene.attach(node, self.volumes["t1gd"])
        scene.show(node, TASK)
        record.attach_images(node, self.volumes)
        if with_record:
            self._attach_record(node)
        self.open(node)

    def _attach_record(self, node: Any) -> None:
        subject = find_subject(node, None)
        from asa.files import sha256
        from ASASegmentationLib.refine.exchange import write_opening

        opened = finish(write_opening(subject, self.folder))
        inputs = {key: {"sha256": sha256(Path(path))} for key, path in opened["images"].items()}
        series = {key: {"frame_to_scan": np.eye(4).tolist()} for key in inputs}
        report = {"task": "tumour", "inputs": inputs, "reference": "t1gd", "series": series, "alignment": {}}
        start = self.head.start
        posterior = np.asarray(start.posterior, np.float16)
        Record(report, start.labels.grid, start.labels.array, posterior).write(self.folder / "made.zip")
        record.attach_record(node, (self.folder / "made.zip").read_bytes())

    def open(self, node: Any) -> None:
        self.node = node
        self.volume = record.images_of(node)["t1gd"]
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.native = qt.unwrap(self.editor)
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        self.editor.setMaximumNumberOfUndoStates(10)
        self.editor.setSegmentationNode(node)
        self.editor.setSourceVolumeNode(self.volume)
        self.editor.setActiveEffectByName("ASA Refine")
        self.effect = self.native.activeEffect().self()
        self.view = standin_segment_editor.SliceView(self.volume)
        self.wait()

    def close(self) -> None:
        self.editor.setMRMLScene(None)
        self.view.close()
        self.editor.deleteLater()

    def wait(self) -> None:
        driving.wait_for(lambda: not self.effect.correction.busy, 120)

    @property
    def status(self) -> str:
        return str(self.effect.statusLabel.text)

    def place(self, voxel: Sequence[float]) -> np.ndarray:
        found: np.ndarray = self.head.start.labels.grid.to_world(voxel)
        return found

    def drag(self, *voxels: Sequence[float], button: str = "Left", control: bool = False) -> None:
        """Presses a button at the first voxel (t, h, w), moves through the others, and releases it."""
        self.view.show(self.place(voxels[0]))
        places = [self.view.xy(self.place(voxel)) for voxel in voxels]
        assert self.native.send(self.view, f"{button}ButtonPress", places[0], control=control)
        for place in places[1:]:
            assert self.native.send(self.view, "MouseMove", place, control=control)
        assert self.native.send(self.view, f"{button}ButtonRelease", places[-1], control=control)
        self.wait()

    def key(self, name: str) -> None:
        assert self.native.send(self.view, "KeyPress", key=name)
        self.wait()

    def arrays(self) -> dict[str, np.ndarray]:
        """The voxels (T, H, W) of each segment."""
        return {
            key: slicer.util.arrayFromSegmentBinaryLabelmap(self.node, key, self.volume) != 0
            for key in self.node.GetSegmentation().GetSegmentIDs()
        }

    def same(self, before: dict[str, np.ndarray]) -> bool:
        now = self.arrays()
        return set(now) == set(before) and all((now[key] == before[key]).all() for key in now)


@pytest.fixture
def edit(head: Head, runner: Runner, tmp_path: Path) -> Iterator[Callable[..., Editing]]:
    slicer.mrmlScene.Clear(0)
    standin_segment_editor.EffectFactory.instance().effects.clear()
    module = driving.open_module("ASASegmentation")
    slicer.app.complete_startup()
    opened: list[Editing] = []

    def make(**more: Any) -> Editing:
        opened.append(Editing(head, tmp_path, **more))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    module.close()
    slicer.mrmlScene.Clear(0)


def test_click_preview_apply_undo_and_redo(edit: Callable[..., Editing]) -> None:
    editing = edit()
    assert "Ready" in editing.status and "intensities" not in editing.status
    before = editing.arrays()
    editing.drag(MISSED)
    assert editing.same(before) and "Preview" in editing.status
    preview = editing.effect.correction.preview
    assert preview.GetHideFromEditors() and not preview.GetSaveWithScene()
    shown = slicer.util.arrayFromSegmentBinaryLabelmap(preview, "Added", editing.volume)
    assert shown.sum() > 300 and shown[MISSED]

    editing.key("space")
    after = editing.arrays()
    assert (after["WT"] == (before["WT"] | (shown != 0))).all()
    for key, values in REGIONS.items():  # the regions stay nested, and the labels disjoint
        labels = sum(after[name] * value for name, value in (("ED", 2), ("NCR", 1), ("ET", 3)))
        assert (after[key] == np.isin(labels, values)).all(), key
    assert editing.effect.correction.preview is None

    editing.editor.undo()
    assert editing.same(before)
    editing.editor.redo()
    assert editing.same(after)
    editing.editor.undo()
    editing.drag((20, 25, 14))  # already tumour
    assert "already satisfies the mark" in editing.status
    editing.key("Escape")
    editing.drag(MISSED)
    editing.key("space")
    assert editing.same(after)


def test_two_marks_are_two_steps_of_undo_and_escape_drops_the_last(edit: Callable[..., Editing]) -> None:
    editing = edit()
    states = [editing.arrays()]
    editing.drag(MISSED)
    editing.drag((20, 16, 14), button="Right")
    editing.drag((20, 25, 14), control=True)
    assert editing.effect.correction.pending == 3
    editing.key("Escape")
    assert editing.effect.correction.pending == 2
    editing.key("space")
    states.append(editing.arrays())
    assert states[1]["WT"][MISSED] and not states[1]["WT"][20, 16, 14] and states[1]["WT"][20, 25, 14]
    editing.editor.undo()
    middle = editing.arrays()
    assert middle["WT"][MISSED] and middle["WT"][20, 16, 14]
    editing.editor.undo()
    assert editing.same(states[0])


def test_every_tool_on_an_oblique_slice(edit: Callable[..., Editing]) -> None:
    editing = edit()
    editing.view.rotate(25.0)
    t, h, w = MISSED
    editing.view.show(editing.place(MISSED))
    centre = np.array(editing.view.xy(editing.place(MISSED)))
    for key, way in (
        ("s", [(-6, 0), (0, 0), (6, 2)]),
        ("l", [(-6, -6), (6, -6), (6, 6), (-6, 6)]),
        ("b", [(-20, -20), (20, 20)]),
        ("t", [(-4, 0), (4, 0)]),
    ):
        editing.key(key)
        places = [tuple(int(one) for one in centre + step) for step in way]
        assert editing.native.send(editing.view, "LeftButtonPress", places[0])
        for place in places[1:]:
            editing.native.send(editing.view, "MouseMove", place)
        editing.native.send(editing.view, "LeftButtonRelease", places[-1])
        editing.wait()
        assert editing.effect.correction.pending == 1, (key, editing.status)
        editing.key("space")
        assert editing.arrays()["WT"][t, h, w], key


def test_the_wheel_sizes_the_brush_and_with_shift_moves_the_slice(edit: Callable[..., Editing]) -> None:
    editing = edit()
    editing.key("s")
    before = editing.effect.strokes.radius_mm
    assert editing.native.send(editing.view, "MouseWheelForward", (5, 5))
    assert editing.effect.size.value == pytest.approx(1.25 * before)
    assert editing.view.renderer.GetViewProps().GetNumberOfItems() == 1
    offset = editing.view.sliceLogic().GetSliceOffset()
    assert editing.native.send(editing.view, "MouseWheelBackward", (5, 5), shift=True)
    assert editing.view.sliceLogic().GetSliceOffset() == pytest.approx(offset - 2.0)
    assert not editing.native.send(editing.view, "MouseWheelForward", (5, 5), control=True)
    editing.editor.setActiveEffectByName("")
    assert editing.view.renderer.GetViewProps().GetNumberOfItems() == 0


def test_completed_segments_and_edits_by_hand_stay(edit: Callable[..., Editing]) -> None:
    editing = edit()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    core = editing.node.GetSegmentation().GetSegment("TC")
    logic.SetSegmentStatus(core, logic.Completed)
    before = editing.arrays()
    editing.editor.setCurrentSegmentID("TC")
    editing.drag((20, 27, 14))
    assert "locked segment (TC)" in editing.status and editing.same(before)
    logic.SetSegmentStatus(core, logic.InProgress)

    painted = before["WT"].copy()
    painted[20, 38:41, 20:23] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted.astype(np.uint8), editing.node, "WT", editing.volume)
    editing.editor.setCurrentSegmentID("WT")
    editing.drag(MISSED)
    editing.key("space")
    after = editing.arrays()
    assert after["WT"][MISSED] and after["WT"][20, 38:41, 20:23].all()


def test_a_scene_that_is_read_again_can_be_corrected(edit: Callable[..., Editing], tmp_path: Path, head: Head) -> None:
    editing = edit()
    editing.drag(MISSED)  # the preview is not saved
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    editing.editor.setActiveEffectByName("")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    editing.close()
    editing.open(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
    assert "Ready" in editing.status and "intensities" not in editing.status, editing.status
    editing.drag(MISSED)
    editing.key("space")
    assert editing.arrays()["WT"][MISSED]


def test_without_probabilities_it_says_so(edit: Callable[..., Editing]) -> None:
    editing = edit(with_record=False)
    assert "intensities only" in editing.status
    editing.drag(MISSED)
    editing.key("space")
    assert editing.arrays()["WT"][MISSED]


def test_a_crash_fails_one_mark_and_the_next_goes_on(edit: Callable[..., Editing], runner: Runner) -> None:
    editing = edit()
    editing.drag(MISSED)
    editing.key("space")
    before = editing.arrays()
    runner.engines[-1].crashes = 1
    editing.drag(CENTRE, button="Right")
    assert "Segmentation fault" in editing.status or "unexpectedly" in editing.status
    assert editing.same(before) and editing.effect.correction.pending == 0
    editing.drag((20, 16, 14), button="Right")
    editing.key("space")
    after = editing.arrays()
    assert len(runner.engines) == 2 and after["WT"][MISSED] and not after["WT"][20, 16, 14]


def test_what_cannot_be_corrected_is_one_sentence(edit: Callable[..., Editing]) -> None:
    editing = edit()
    with pytest.raises(RefusedError, match="Choose a segmentation"):
        find_subject(None, editing.volume)
    foreign = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "foreign")
    foreign.GetSegmentation().AddEmptySegment("s1", "Liver")
    with pytest.raises(RefusedError, match="no segment whose name ASA recognises"):
        find_subject(foreign, editing.volume)
    foreign.GetSegmentation().AddEmptySegment("s2", "WMH")
    with pytest.raises(RefusedError, match="source volume"):
        find_subject(foreign, None)
    assert find_subject(foreign, editing.volume).names == {"s2": "WMH"}
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    editing.node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(RefusedError, match="different transforms"):
        find_subject(editing.node, None)
    editing.node.SetAndObserveTransformNodeID(None)
    slicer.mrmlScene.RemoveNode(editing.volume)
    assert "flair" in find_subject(editing.node, None).images


def test_marks_outside_the_image_and_on_foreign_segments_are_refused(edit: Callable[..., Editing]) -> None:
    editing = edit()
    before = editing.arrays()
    editing.drag((20, -20, 22))
    assert "outside" in editing.status and editing.effect.correction.pending == 0
    editing.node.GetSegmentation().AddEmptySegment("mine", "My own")
    editing.native.mrmlSegmentEditorNode().SetSelectedSegmentID("mine")
    editing.drag(MISSED)
    assert "Select one of these segments" in editing.status
    editing.node.GetSegmentation().RemoveSegment("mine")
    assert editing.same(before)
