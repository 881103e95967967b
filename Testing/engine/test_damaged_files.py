"""Whatever stands in a file that ASA reads: it is understood, or refused in one sentence."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asa.cohort.batch import protect_summary
from asa.data.case_store import CaseStore
from asa.data.cases import LabelledCase
from asa.data.scan_store import ScanRecord, ScanStore, read_record, read_scan_split
from asa.data.sources import read_sources
from asa.data.splits import Recipe, load_or_draw_split
from asa.errors import AsaError
from asa.events import from_line
from asa.files import read_json
from asa.inference.identity import _identity
from asa.jobs.result_folder import _damaged, _recorded, find_current
from asa.jobs.segment import _read_request
from asa.models import open_model
from asa.reproduce.plan import Plan
from asa.reproduce.work import begin
from asa.runs.folder import Run, read_events

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
SCANS = [ScanRecord("a", "a", "", "a.nii", 1, 1, 1, 0, 1), ScanRecord("b", "b", "", "b.nii", 1, 1, 1, 0, 1)]
CASES = [LabelledCase("a", "a", {}, None), LabelledCase("b", "b", {}, None)]
RECORD = {"name": "a", "subject": "a", "voxels": {}, "alignment": 1, "cut": 0, "warnings": []}
INDEX = {"format": 1, "shape": [1, 1, 1], "origin": [0, 0, 0], "dataset": "wmh", "modalities": ["t1"]}
FOLD = {"train": ["a"], "validation": [], "test": ["b"]}
REPORT = {"settings": {}, "inputs": {"t1": {"sha256": ""}}, "outputs": {"a": {"sha256": ""}}, "files": ["a"]}

# File, a value of it that is right, and what reads it.
READERS: dict[str, tuple[str, dict[str, Any], Callable[[Path], object]]] = {
    "scan store": ("index.json", {**INDEX, "scans": [SCANS[0].__dict__]}, lambda path: ScanStore.open(path.parent)),
    "case store": ("index.json", {**INDEX, "cases": [RECORD]}, lambda path: CaseStore.open(path.parent)),
    "record": ("records/a.json", {**SCANS[0].__dict__, "sources": {}}, lambda path: read_record(path.parents[1], "a")),
    "sources": ("a.json", {"sources": {"t1": {"path": "a"}}}, read_sources),
    "scan split": ("a.json", {"train": ["a"], "held_out": ["b"]}, lambda path: read_scan_split(path, SCANS)),
    "case split": ("a.json", {"folds": [FOLD]}, lambda path: load_or_draw_split(path, CASES, Recipe())),
    "report": ("report.json", REPORT, lambda path: (find_current(path.parent, {}, {}, []), _recorded(path.parent))),
    "damaged report": ("report.json", REPORT, _damaged),
    "summary": ("a.json", {"cases": [{"case": "a", "status": "done", "exit_code": 0}]}, protect_summary),
    "identity": ("a.json", {"PatientID": "a"}, lambda path: _identity(path.with_suffix(".nii"))),
    "request": ("a.json", {"output": "out", "images": {"t1": "a"}}, _read_request),
    "model": ("model.json", {"format": 1, "name": "a", "task": "wmh"}, lambda path: open_model(path.parent)),
    "plan": ("plan.json", {"format": 1, "budget": "small"}, lambda path: Plan.open(path.parent)),
    "begun": ("begun.json", {"digest": "a"}, lambda path: begin(path.parent, "a")),
    "run": ("run.yaml", {"format": 1, "kind": "wmh", "settings": {}}, lambda path: Run(path.parent).describe()),
    "run again": ("run.yaml", {"format": 1, "kind": "wmh"}, lambda path: Run.create(path.parent, "wmh", {"a": 1}, {})),
    "events": ("events.jsonl", {"event": "step"}, lambda path: list(read_events(path))),
    "events of a program": (
        "a.json",
        {"event": "progress"},
        lambda path: from_line(path.read_text("utf-8", "replace")),
    ),
}


def understood_or_refused(reader: str, content: bytes) -> None:
    name, _, read = READERS[reader]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        try:
            read(path)
        except AsaError as error:
            assert str(error).strip() and "Unexpected" not in str(error)


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_value_of_another_type(reader: str, data: st.DataObject) -> None:
    right = READERS[reader][1]
    key = data.draw(st.sampled_from([*right, ""]))
    value = data.draw(JSON)
    changed = {**right, key: value} if key else value
    if isinstance(right.get(key), list) and data.draw(st.booleans()):
        changed = {**right, key: [value]}
    understood_or_refused(reader, json.dumps(changed).encode())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"\xff\xfe\x00", b"[" * 100_000, b"{a: [", b"&a [*a]", b"\xef\xbb\xbf{}", b"1" * 9999],
)
def test_what_is_no_value(reader: str, content: bytes) -> None:
    understood_or_refused(reader, content)


def test_a_mark_of_the_byte_order_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"a": 1}
