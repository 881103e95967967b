"""Two visits from request to folder: registered half-way, compared, and all or nothing."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from Testing.engine.atlas_heads import head, true_matrix
from Testing.scripts import load_script

from asa import cli
from asa.errors import Cancelled, InputError
from asa.geometry import Alignment
from asa.geometry.midway import find_midway
from asa.jobs import compare as compare_job
from asa.jobs import compare_program
from asa.jobs.compare import CompareRequest, compare, registration_doubts
from asa.request import SegmentRequest
from asa.volume import read_volume, write_volume

POSES = (true_matrix(pitch=6, yaw=-4), true_matrix(pitch=-8, roll=5, yaw=5))


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One person, twice."""
    folder = tmp_path_factory.mktemp("visits")
    paths = folder / "visit_a.nii.gz", folder / "visit_b.nii.gz"
    for path, pose in zip(paths, POSES, strict=True):
        write_volume(head(pose, person=1), path)
    return paths


@pytest.fixture
def engine(fake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The fake engine for two visits; the alignments that it was given."""
    given: list[Any] = []

    def segment(request: Any, progress: Any, *, alignment: Alignment) -> SimpleNamespace:
        given.append(alignment)
        return fake.segment(request, progress)

    package = sys.modules["asa.inference"]
    monkeypatch.setattr(package, "segment", segment)
    monkeypatch.setattr(package, "__path__", [str(Path(cli.__file__).parents[1] / "inference")], raising=False)
    return given


@pytest.mark.slow
def test_two_visits_meet_half_way(engine: list[Any], visits: tuple[Path, Path], tmp_path: Path) -> None:
    request = CompareRequest({"t1": visits[0]}, {"t1": visits[1]})
    out = tmp_path / "out"
    stages: list[float] = []
    compare(request, out, progress=lambda stage, done: stages.append(done))
    assert stages == sorted(stages) and stages[-1] == 1.0
    names = {f"visit{n}_{what}.nii.gz" for n in (1, 2) for what in ("t1", "labels")}
    assert {path.name for path in out.iterdir()} == names | {
        "change.nii.gz",
        "changes.csv",
        "changes.png",
        "report.json",
    }
    report = json.loads((out / "report.json").read_text())
    assert report["registration"]["agreement"] > 0.3 and report["registration"]["inconsistency_mm"] < 1
    assert len(engine) == 2 and engine[0] is engine[1], "both are segmented with one alignment"
    points = np.array([[0, 0, 0], [40, -30, 20], [-40, 20, 10], [0, -80, -20]], float)  # of the brain frame
    middle = points @ engine[0].matrix[:3, :3].T + engine[0].matrix[:3, 3]
    moved = []
    for number, pose in enumerate(POSES, start=1):
        to_visit = np.array(report["registration"][f"midway_to_visit{number}"])
        np.testing.assert_allclose(to_visit[:3, :3] @ to_visit[:3, :3].T, np.eye(3), atol=1e-5)
        there = middle @ to_visit[:3, :3].T + to_visit[:3, 3]
        expected = points @ pose[:3, :3].T + pose[:3, 3]
        moved.append(there - expected)
        assert np.linalg.norm(there - expected, axis=1).max() < 6, "as well as a head is aligned with the atlas"
    assert np.linalg.norm(moved[0] - moved[1], axis=1).max() < 3, "and the visits with one another"
    first, second = (read_volume(out / f"visit{n}_t1.nii.gz") for n in (1, 2))
    assert first.grid.same_as(second.grid) and first.spacing == pytest.approx((1, 1, 1))
    brain = second.array > 200
    assert np.corrcoef(first.array[brain], second.array[brain])[0, 1] > 0.8
    with (out / "changes.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert rows["GM"]["verdict"] == "noise unknown" and float(rows["GM"]["first_ml"]) > 0
    assert "A warning of the engine." in str(report["trust"]["reasons"])

    assert [part["name"] for part in report["map"]] == ["lost", "gained"]
    change = read_volume(out / "change.nii.gz", labels=True)
    assert change.grid.same_as(first.grid)
    assert [int((change.array == value).sum()) / 1000 for value in (1, 2)] == [p["volume_ml"] for p in report["map"]]

    assert compare(request, out).reused


def test_two_people_are_noticed(tmp_path: Path) -> None:
    poses = [Alignment(pose, "affine", 0.8) for pose in POSES]
    midway = find_midway(head(POSES[0], person=1), head(POSES[1], person=2), *poses)
    (doubt,) = registration_doubts(midway, CompareRequest({}, {}))
    assert "do not seem to show the same head" in doubt
    paths = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
    for path, patient in zip(paths, ("1", "2"), strict=True):
        path.with_name(f"{path.name[0]}.json").write_text(json.dumps({"PatientID": patient}))
    request = CompareRequest({"t1": paths[0]}, {"t1": paths[1]})
    assert "of different patients" in registration_doubts(midway, request)[0]


def test_a_cancelled_comparison_leaves_nothing(
    engine: list[Any], visits: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare_job, "run", cancelled)
    with pytest.raises(Cancelled, match="nothing was written"):
        compare(CompareRequest({"t1": visits[0]}, {"t1": visits[1]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_visits_of_different_kinds(tmp_path: Path) -> None:
    for name in ("t1", "flair"):
        (tmp_path / name).touch()
    settings = SegmentRequest({}, task="wmh")
    with pytest.raises(InputError, match="The first visit has FLAIR and the second T1"):
        CompareRequest({"flair": tmp_path / "flair"}, {"t1": tmp_path / "t1"}, settings).check()
    with pytest.raises(InputError, match=r"gone\.nii does not exist"):
        CompareRequest({"t1": tmp_path / "t1"}, {"t1": tmp_path / "gone.nii"}, settings).check()


def test_the_program_of_the_panel(
    visits: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[CompareRequest] = []

    def answer(request: CompareRequest, folder: Path, **_: object) -> compare_job.Finished:
        asked.append(request)
        return compare_job.Finished(folder, {"warnings": ["Look at it."], "files": []})

    monkeypatch.setattr(compare_program, "compare", answer)
    file = tmp_path / "request.json"
    request = SegmentRequest({"t1": visits[1]}).to_json() | {"earlier": {"t1": str(visits[0])}}
    file.write_text(json.dumps(request | {"output": str(tmp_path / "out")}))
    assert compare_program.main([str(file)]) == 0
    assert (asked[0].first, asked[0].second) == ({"t1": visits[0]}, {"t1": visits[1]})
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["warning", "done"]
    for content, said in (("{}", "cannot be read"), ('{"output": "x", "earlier": {}, "images": {}, "tsk": 1}', "tsk")):
        file.write_text(content)
        assert compare_program.main([str(file)]) == 3
        assert said in capsys.readouterr().out
    assert compare_program.main([]) == 3 and "Name one request file" in capsys.readouterr().out


@pytest.fixture
def run(engine: list[Any], command: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return partial(command, "compare")


def test_wrong_calls(run: Callable[..., tuple[int, str, str]], visits: tuple[Path, Path], tmp_path: Path) -> None:
    out = ("-o", tmp_path / "out")
    for arguments, said in (
        ((*out,), "Give either two visits"),
        ((visits[0], *out), "Give two visits, the earlier first; 1 given."),
        ((*visits, "--t1", *visits, *out), "Give either two visits"),
        ((*visits, "--task", "teeth", *out), "There is no task 'teeth'"),
        ((visits[0].parent, visits[1], *out), "holds 2 cases; give the folder of one session"),
        ((visits[0], tmp_path / "gone.nii.gz", *out), "gone.nii.gz does not exist"),
    ):
        code, _, err = run(*arguments)
        assert code == 3 and said in err, err
    assert not (tmp_path / "out").exists()


def test_the_command_and_the_script_compare(
    run: Callable[..., tuple[int, str, str]],
    visits: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"name": "GM", "title": "Grey matter", "first_ml": 700.0, "second_ml": 690.0, "change_ml": -10.0}
    row |= {"change_percent": -1.44, "noise_percent": 0.5, "verdict": "decrease"}
    report = {"changes": [row], "lesions": [{"state": "new"}], "warnings": ["Look at it."]}
    asked = []

    def answer(request: CompareRequest, folder: Path, **_: object) -> compare_job.Finished:
        asked.append(request)
        return compare_job.Finished(folder, report)

    monkeypatch.setattr(compare_job, "compare", answer)
    code, out, err = run(*visits, "-o", tmp_path / "out")
    assert code == 0 and "Warning: Look at it." in err
    assert "Grey matter: 700.0 -> 690.0 mL, -10.0 mL (-1.4 %), noise 0.5 %: decrease" in out
    assert "Lesions: 1 new, 0 enlarging" in out
    module = load_script("compare_visits")
    assert module.main(["--t1", str(visits[0]), str(visits[1]), "--output", str(tmp_path / "out")]) == 0
    assert asked[0] == asked[1] and "Look at it." in capsys.readouterr().err
