"""Corrections as 3D Slicer asks for them: a session that follows the segmentation, whatever the user does to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Testing.engine.refined_heads import CENTRE, MISSED, Head, distance_from, tumour_head

from asa.errors import InputError
from asa.files import sha256
from asa.jobs.correction import UNCHANGED, Corrections
from asa.refinement import Mark, Refinement, Start
from asa.refinement.record import Record
from asa.tasks import TASKS
from asa.volume import Volume, read_scan, write_volume

REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
KEYS = ("t1gd", "flair")
Labels = np.ndarray


class Scene:
    """What Slicer holds: images, segments, and marks; patches are applied as the effect does it."""

    def __init__(self, folder: Path, head: Head, *, record: bool = True) -> None:
        self.folder, self.head = folder, head
        self.labels = head.start.labels.array.copy()
        self.images = {key: folder / f"{key}.nii.gz" for key in KEYS}
        for path, image in zip(self.images.values(), head.start.images, strict=True):
            write_volume(image, path)
        self.storage = read_scan(self.images["t1gd"]).storage
        self.record = folder / "record.zip" if record else None
        if self.record is not None:
            inputs = {key: {"sha256": sha256(path)} for key, path in self.images.items()}
            identity = {"frame_to_scan": np.eye(4).tolist()}
            report = {"task": "tumour", "inputs": inputs, "reference": "t1gd", "series": dict.fromkeys(KEYS, identity)}
            posterior = np.asarray(head.start.posterior, np.float16)
            Record({**report, "alignment": {}}, head.start.labels.grid, self.labels, posterior).write(self.record)
        self.opened = {
            "task": "tumour",
            "reference": "t1gd",
            "images": {key: str(path) for key, path in self.images.items()},
            "record": str(self.record) if self.record else None,
            "segments": self.segments("start"),
        }
        self.applied: list[Mark] = []
        self.engine = Corrections()
        self._count = 0

    def segments(self, name: str) -> dict[str, Any]:
        affine = self.storage.stored_affine(self.head.start.labels.grid)
        found = {}
        for key, values in REGIONS.items():
            stored = self.storage.to_stored(np.isin(self.labels, values))
            box = [np.flatnonzero(stored.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
            low = [int(one[0]) if len(one) else 0 for one in box]
            crop = stored[tuple(slice(a, int(one[-1]) + 1 if len(one) else 0) for a, one in zip(low, box, strict=True))]
            path = self.folder / f"{name}_{key}.npy"
            np.save(path, crop)
            moved = affine.copy()
            moved[:3, 3] += affine[:3, :3] @ low
            found[key] = {"file": str(path), "ijk_to_ras": moved.tolist()}
        return found

    def ask(self, *pending: Mark, edited: bool = False, locked: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        self._count += 1
        request = {
            "opened": self.opened,
            "locked": list(locked),
            "applied": [mark.to_json() for mark in self.applied],
            "pending": [mark.to_json() for mark in pending],
            "output": str(self.folder),
            **({"current": self.segments(f"now{self._count}")} if edited else {}),
            **more,
        }
        path = self.folder / "request.json"
        path.write_text(json.dumps(request), encoding="utf-8")
        answer = self.engine.answer(path, lambda stage, fraction: None)
        assert len(answer["patches"]) == len(pending)
        return answer

    def patched(self, answer: dict[str, Any]) -> Labels:
        stored = self.storage.to_stored(self.labels).copy()
        for patch in answer["patches"]:
            crop = np.load(patch["file"])
            box = tuple(slice(a, a + n) for a, n in zip(patch["low"], crop.shape, strict=True))
            assert np.count_nonzero(crop != UNCHANGED) == patch["voxels"]
            stored[box] = np.where(crop == UNCHANGED, stored[box], crop)
        return np.ascontiguousarray(self.storage.to_array(stored))

    def apply(self, *marks: Mark, **more: Any) -> None:
        answer = self.ask(*marks, **more)
        self.applied = [*self.applied[: answer["kept"]], *marks]
        self.labels = self.patched(answer)


@pytest.fixture(scope="module")
def head() -> Head:
    return tumour_head(spacing=2.0)


@pytest.fixture
def open_scene(tmp_path: Path, head: Head) -> Callable[..., Scene]:
    return lambda **more: Scene(tmp_path, head, **more)


def directly(scene: Scene, *marks: Mark, **more: Any) -> Labels:
    """The same marks without any of the machinery."""
    start = scene.head.start
    images = [read_scan(path) for path in scene.images.values()]
    record = None if scene.record is None else Record.read(scene.record)
    posterior = None if record is None else record.posterior
    session = Refinement(
        Start([Volume(one.array, start.labels.grid) for one in images], start.labels, start.task, posterior, **more)
    )
    for mark in marks:
        session.add(mark)
    return session.labels


@pytest.mark.parametrize("record", [True, False])
def test_marks_do_what_they_do_without_slicer(open_scene: Callable[..., Scene], head: Head, record: bool) -> None:
    scene = open_scene(record=record)
    answer = scene.ask()
    assert answer == {"kept": 0, "patches": [], "posterior": record, "notes": []}
    first, second = head.mark(MISSED), head.mark((20, 25, 14), "ET")
    scene.apply(first)
    scene.apply(second)
    assert (scene.labels == directly(scene, first, second)).all()


def test_a_preview_that_is_dropped_leaves_nothing(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    both = scene.ask(head.mark(MISSED), head.mark((20, 25, 14), "ET"))
    assert [patch["voxels"] > 0 for patch in both["patches"]] == [True, True]
    scene.apply(head.mark((20, 25, 14), "ET"))
    assert (scene.labels == directly(scene, head.mark((20, 25, 14), "ET"))).all()


def test_undo_in_the_editor_is_followed(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    states = [scene.labels]
    marks = [head.mark(MISSED), head.mark((20, 25, 14), "ET")]
    for mark in marks:
        scene.apply(mark)
        states.append(scene.labels)
    scene.labels = states[0]
    assert scene.ask(edited=True)["kept"] == 0
    scene.labels = states[2]  # and made again
    assert scene.ask(edited=True)["kept"] == 2
    scene.labels = states[1]
    scene.apply(marks[1], edited=True)
    assert scene.applied == marks and (scene.labels == states[2]).all()


def test_edits_since_the_last_mark_stay(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    scene.apply(head.mark(MISSED))
    painted = distance_from((20, 40, 22)) < 2
    erased = (distance_from(MISSED) < 2) & ~(distance_from(MISSED) < 0.5)
    scene.labels[painted] = 2
    scene.labels[erased] = 0
    scene.apply(head.mark((20, 25, 14), "ET"), edited=True)
    assert (scene.labels[painted] == 2).all() and not scene.labels[erased].any()
    assert (scene.labels == 3).any()
    before = scene.labels.copy()
    scene.apply(head.mark((20, 23, 31)))
    assert not (scene.labels != before)[erased].sum() > 1  # the marked voxel may be one of them


def test_a_locked_segment_stays(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    scene.apply(head.mark(MISSED))
    with pytest.raises(InputError, match="locked segment"):
        scene.ask(head.mark((20, 26, 14), "TC"), locked=("TC",))
    before = scene.labels
    scene.apply(head.mark((20, 32, 32)), locked=("TC",))
    assert (np.isin(scene.labels, REGIONS["TC"]) == np.isin(before, REGIONS["TC"])).all()


def test_an_engine_that_was_started_again_goes_on(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    marks = [head.mark(MISSED), head.mark((20, 25, 14), "ET")]
    scene.apply(marks[0])
    scene.engine = Corrections()
    scene.apply(marks[1], edited=True)
    assert (scene.labels == directly(scene, *marks)).all()


def test_a_record_of_another_scan_is_refused_and_said(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    brighter = head.start.images[1].with_array(head.start.images[1].array * 1.1)
    write_volume(brighter, scene.images["flair"])
    answer = scene.ask(head.mark(MISSED))
    assert not answer["posterior"] and answer["patches"][0]["voxels"] > 100
    assert "another version of the FLAIR image" in answer["notes"][0]
    assert scene.record is not None
    scene.record.write_bytes(b"nothing")
    scene.engine = Corrections()
    assert "damaged" in scene.ask()["notes"][0]


def test_a_refused_mark_changes_nothing(open_scene: Callable[..., Scene], head: Head) -> None:
    scene = open_scene()
    scene.apply(head.mark(MISSED))
    outside = Mark("point", "WT", "add", ((900.0, 0.0, 0.0),))
    for wrong in (outside, head.mark(MISSED, action="remove"), head.mark(CENTRE, "liver")):
        with pytest.raises(InputError):
            scene.ask(wrong)
    again = scene.ask(head.mark((20, 25, 14), "ET"))
    assert (scene.patched(again) == directly(scene, head.mark(MISSED), head.mark((20, 25, 14), "ET"))).all()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"opened": []}, "must hold a JSON object"),
        ({"pending": [{"kind": "star"}]}, "'pending'"),
        ({"applied": 3}, "'marks'"),
        ({"locked": [3]}, "'locked'"),
        ({"output": ""}, "'output'"),
        ({"current": {"WT": {"file": "nowhere.npy", "ijk_to_ras": np.eye(4).tolist()}}}, "mask of WT cannot be read"),
        ({"current": {"WT": {"file": "a", "ijk_to_ras": [[1]]}}}, "ijk_to_ras"),
        ({"more": 1}, "more"),
    ],
)
def test_a_bad_request_is_one_sentence(open_scene: Callable[..., Scene], fault: dict[str, Any], words: str) -> None:
    scene = open_scene()
    with pytest.raises(InputError) as caught:
        scene.ask(**fault)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_record_is_read_as_it_was_written(tmp_path: Path, head: Head) -> None:
    report = {"task": "tumour", "inputs": {}, "reference": "t1gd", "series": {}, "alignment": {}}
    start = head.start
    assert start.posterior is not None
    path = tmp_path / "record.zip"
    Record(report, start.labels.grid, start.labels.array, np.asarray(start.posterior)).write(path)
    record = Record.read(path)
    assert record.grid.same_as(start.labels.grid) and (record.labels == start.labels.array).all()
    assert record.task is TASKS["tumour"]
    assert np.abs(record.posterior.astype(float) - start.posterior).max() < 0.005
    assert path.stat().st_size < 0.1 * record.posterior.nbytes
