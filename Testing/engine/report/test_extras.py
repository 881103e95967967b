"""What is written on request: masks, transforms, look-up tables and a page that other programs and people can read."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest

from asa.cohort import batch
from asa.errors import AsaError, InputError
from asa.geometry import Alignment
from asa.jobs import segment as job
from asa.report.exchange import write_mgz, write_transforms
from asa.report.lesions import Lesion
from asa.report.page import write_page
from asa.report.volumes import Measurement
from asa.request import EXTRAS, SegmentRequest, parse_extras
from asa.tasks import TASKS
from asa.volume import read_volume

ALSO = ("brain", "transform", "mgz", "luts", "html")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A left-handed head of noise, called after its patient."""
    data = np.random.default_rng(0).uniform(1, 100, (24, 28, 16)).astype(np.float32)
    data[:4] = 0
    path = tmp_path / "Jane_Doe_19700101.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-4.0, 4.0, 6.0, 1.0])), path)
    return path


@pytest.fixture
def result(fake: ModuleType, head: Path, tmp_path: Path) -> Path:
    job.run(SegmentRequest({"t1": head}, also=ALSO), tmp_path / "out", segmentation_file=False)
    return tmp_path / "out"


def test_the_files_that_were_asked_for_are_part_of_the_result(result: Path) -> None:
    report = json.loads((result / "report.json").read_text(encoding="utf-8"))
    wanted = {name for key in ALSO for name in EXTRAS[key]}
    assert wanted <= {path.name for path in result.iterdir()} & set(report["outputs"])


def test_a_result_without_them_is_made_again(fake: ModuleType, head: Path, tmp_path: Path) -> None:
    def run(*also: str) -> job.Finished:
        return job.run(SegmentRequest({"t1": head}, also=also), tmp_path / "out", segmentation_file=False)

    run()
    again = run("brain")
    assert not again.reused and "brain_mask.nii.gz is missing" in again.notes[0]
    assert run("brain").reused and run().reused


def test_mask_and_label_map_are_on_the_grid_of_the_scan(result: Path, head: Path) -> None:
    scan, labels = nibabel.load(head), nibabel.load(result / "segmentation.nii.gz")
    mask, mgz = nibabel.load(result / "brain_mask.nii.gz"), nibabel.load(result / "segmentation.mgz")
    assert set(np.unique(mask.dataobj)) == {0, 1}
    for image in (mask, mgz):
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(mgz.dataobj), np.asarray(labels.dataobj))
    assert mgz.get_data_dtype() == np.uint8


def test_an_oblique_label_map_keeps_its_place_as_mgz(tmp_path: Path) -> None:
    affine = np.array([[1, 0.3, 0, -5], [-0.2, 1.1, 0.1, 6], [0, 0.1, 2, 7], [0, 0, 0, 1]], float)
    data = np.random.default_rng(0).integers(0, 4, (60, 50, 45)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "labels.nii")
    volume = read_volume(tmp_path / "labels.nii", labels=True)
    write_mgz(volume, tmp_path / "labels.mgz")
    back = read_volume(tmp_path / "labels.mgz", labels=True)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.grid.affine, volume.grid.affine, atol=1e-4)


def test_the_transform_takes_points_of_mni_to_the_scan(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    matrix = np.array([[0.9, 0.1, 0, 4], [-0.1, 1.0, 0.05, -8], [0, 0.02, 1.1, 12], [0, 0, 0, 1]])
    paths = [tmp_path / "to_mni.tfm", tmp_path / "to_mni.mat"]
    write_transforms(Alignment(matrix, "affine", 1.0), paths)
    point = np.array([10.0, -20.0, 30.0])
    expected = (matrix @ [*point, 1])[:3]
    for path in paths:
        moved = np.array(sitk.ReadTransform(str(path)).TransformPoint((point * (-1, -1, 1)).tolist()))
        np.testing.assert_allclose(moved * (-1, -1, 1), expected, atol=1e-6)


def test_the_tables_hold_every_label(result: Path) -> None:
    labels = TASKS["tissue"].labels
    rows = [line.split() for line in (result / "freesurfer_lut.txt").read_text().splitlines() if line[0] != "#"]
    assert rows[0][:2] == ["0", "Unknown"] and [int(row[0]) for row in rows[1:]] == [one.value for one in labels]
    assert all(
        len(row) == 6 and tuple(map(int, row[2:5])) == one.colour for row, one in zip(rows[1:], labels, strict=True)
    )
    lines = [line for line in (result / "itksnap_labels.txt").read_text().splitlines() if not line.startswith("#")]
    pattern = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([01])\s+([01])\s+([01])\s+"(.+)"')
    parsed = [pattern.fullmatch(line) for line in lines]
    assert [one and one.group(8) for one in parsed] == ["Clear Label", *(one.title for one in labels)]


class Page(HTMLParser):
    """The text of a page, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_names_nobody(result: Path) -> None:
    text = (result / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [one[:22] for one in page.loaded] == ["data:image/png;base64,"]
    assert not page.tags & {"script", "link", "iframe", "object", "form"} and "http" not in page.text
    assert "url(" not in text and "@import" not in text
    for word in ("Jane", "Doe", "19700101"):
        assert word not in re.sub(r"base64,[^\"]+", "", text)
    assert "Doubtful: review before use." in page.text and "A warning of the engine." in page.text
    assert all(label.title in page.text for label in TASKS["tissue"].labels)
    assert "For research use only" in page.text


def row(name: str, title: str, kind: str, ml: float) -> Measurement:
    return Measurement(name, title, kind, (1,), ml, None, ml / 2, ml / 2, 0.0)


def test_the_page_shows_lesions_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "overlay.png").write_bytes(b"picture")
    lesions = [Lesion(n, "deep" if n > 1 else "periventricular", 0.5, 2.0, 999.0, 0, 0, 0) for n in range(1, 42)]
    facts = {"verdict": "ok", "Model": "<b>wmh</b>"}
    measured = [row("WMH", "White-matter lesions", kind, 20.5) for kind in ("label", "region")]
    write_page(tmp_path / "report.html", TASKS["wmh"], measured, facts, ["a < b"], tmp_path / "overlay.png", lesions)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<b>" not in text and "a &lt; b" in text and "41 lesions" in page.text
    assert "The table shows the 30 largest" in page.text and text.count("20.5") == 1
    assert "Please note:" in page.text


@pytest.mark.parametrize(
    ("also", "sentence"),
    [
        (("everything",), "Unknown output 'everything'; choose from brain, transform,"),
        (("lesions",), "The task 'tissue' has no lesions to list one by one"),
        (("dicom",), "DICOM output needs DICOM images, and Jane_Doe_19700101.nii.gz is not one"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_computed(
    fake: ModuleType, head: Path, tmp_path: Path, also: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError) as error:
        job.run(SegmentRequest({"t1": head}, also=also), tmp_path / "out")
    assert sentence in str(error.value) and not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_not_replaced(fake: ModuleType, head: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").write_text("mine")
    with pytest.raises(AsaError, match=r"report\.html already exists"):
        job.run(SegmentRequest({"t1": head}, also=("html",)), tmp_path / "out")


def test_a_request_travels_as_json() -> None:
    request = SegmentRequest({"t1": Path("a.nii")}, also=("brain", "html"))
    assert SegmentRequest.from_json(json.loads(json.dumps(request.to_json())), "it") == request
    with pytest.raises(InputError):
        SegmentRequest.from_json({"images": {"t1": "a"}, "also": ["x"]}, "it")
    assert parse_extras(["brain, mgz", "brain"]) == ("brain", "mgz")


def outcome(name: str, status: str, *volumes: dict[str, Any]) -> batch.Outcome:
    report: Any = {"volumes": list(volumes), "trust": {"verdict": "ok"}, "warnings": []}
    finished = job.Finished(Path(name), report) if status == "done" else None
    return batch.Outcome(batch.Case(name, {}), status, 1.0, finished)


def test_a_batch_has_one_table_of_volumes(tmp_path: Path) -> None:
    volumes = {"name": "sulcal CSF", "volume_ml": 1.5, "left_ml": 1.0, "right_ml": 0.5, "asymmetry_percent": None}
    batch.write_summary(tmp_path / batch.SUMMARY, [outcome("a", "done", volumes), outcome("b", "failed")])
    lines = [line.split("\t") for line in (tmp_path / "volumes.tsv").read_text(encoding="utf-8").splitlines()]
    assert lines == [
        [
            "case",
            "status",
            "trust",
            *(f"sulcal_CSF_{end}" for end in ("ml", "left_ml", "right_ml", "asymmetry_percent")),
        ],
        ["a", "done", "ok", "1.5", "1.0", "0.5", "n/a"],
        ["b", "failed", "n/a", "n/a", "n/a", "n/a", "n/a"],
    ]
    batch.protect_summary(tmp_path / batch.SUMMARY)
    (tmp_path / "volumes.tsv").write_text("mine\n")
    with pytest.raises(AsaError, match=r"volumes\.tsv already exists"):
        batch.protect_summary(tmp_path / batch.SUMMARY)
