"""One request, whoever asks: it travels as JSON, is checked in one place, and every way to ask has its words."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from Testing.scripts import load_script

from asa.cli import segment
from asa.errors import InputError
from asa.request import SegmentRequest

FIELDS = {field.name for field in dataclasses.fields(SegmentRequest)}


@pytest.mark.parametrize("tta", [None, True, False])
def test_a_request_travels_as_json(tta: bool | None) -> None:
    asked = SegmentRequest(
        {"t1": Path("a.nii")}, "tumour", "mine", "cpu", tta, "none", 2, True, 0.4, "t1", "auto", True
    )
    assert SegmentRequest.from_json(asked.to_json(), "the request") == asked
    assert SegmentRequest.from_json({"images": {"t1": "a.nii"}}, "the request") == SegmentRequest({"t1": Path("a.nii")})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], "must hold a JSON object"),
        ({}, "'images' is missing"),
        ({"images": {}, "flip": True}, "'flip' is unknown; it takes images, task, model, device, tta, align"),
        ({"images": ["a.nii"]}, "'images' must be an object of files"),
        ({"images": {}, "tta": "on"}, "'tta' must be true or false, not 'on'"),
        ({"images": {}, "threads": 0}, "'threads' must be a whole number from 1"),
        ({"images": {}, "threshold": "half"}, "'threshold' must be a number"),
    ],
)
def test_a_request_that_cannot_be_read_is_one_sentence(values: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        SegmentRequest.from_json(values, "the request request.json")
    assert "the request request.json" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "knee"}, "no task 'knee'; the tasks are tissue, tumour, wmh"),
        ({"images": {"pet": Path(__file__)}}, "takes t1, t1gd, t2, flair images, not 'pet'"),
        ({"images": {"t1": Path("nowhere.nii")}}, "nowhere.nii does not exist"),
        ({"align": "maybe"}, "'maybe' is unknown; choose from auto, none"),
        ({"reorient": "maybe"}, "Unknown reorientation 'maybe'; choose from off, auto"),
        ({"threshold": 1.0}, "between 0 and 1, not 1.0"),
        ({"reference": "flair"}, "'flair' is not among the images given: t1"),
    ],
)
def test_what_no_model_can_do_is_refused(changes: dict[str, Any], sentence: str) -> None:
    asked = SegmentRequest({"t1": Path(__file__)}, reference="t1")
    asked.check()
    with pytest.raises(InputError, match=sentence):
        dataclasses.replace(asked, **changes).check()


def test_the_command_and_the_batch_script_have_the_words_of_the_request() -> None:
    of_command = set(inspect.signature(segment.command).parameters)
    own = {"output", "t1", "t1gd", "t2", "flair", "series", "overwrite", "jobs", "slurm"}
    assert of_command - FIELDS == own and of_command >= FIELDS
    script = load_script("segment_batch")
    of_script = set(vars(script.arguments(["--input", "a.nii", "--output", "out"])))
    assert of_script - FIELDS == {"input", "output", "series", "overwrite"}
    assert FIELDS - of_script == {"images", "reference"}
