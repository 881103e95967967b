"""DICOM files with damaged or hostile headers are read or refused: no crash, no hang, no more memory than they hold."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from Testing.engine import dicom_files
from Testing.engine.dicom_files import NAME, NUMBER, noise, pydicom

from asa.errors import InputError
from asa.volume import read_volume
from asa.volume.dicom.stacks import contents_of

MOST_BYTES = 40_000_000
PATIENT = (*NAME.lower().split("^"), NUMBER.lower())


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """The files of a classic series and of an enhanced image, of few voxels."""
    folder = tmp_path_factory.mktemp("originals")
    classic = dicom_files.write_series(folder / "classic", noise(6, 5, 4))
    enhanced = dicom_files.write_enhanced(folder / "enhanced.dcm", noise(6, 5, 4))
    return {"classic": [path.read_bytes() for path in classic], "enhanced": [enhanced.read_bytes()]}


def attempt(folder: Path) -> None:
    """Read a folder; a refusal must be one sentence without the patient."""
    tracemalloc.start()
    try:
        contents_of(folder)
        read_volume(folder)
    except InputError as error:
        sentence = str(error)
        assert "\n" not in sentence and not any(word in sentence.lower() for word in PATIENT)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MOST_BYTES


COMMON = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
@settings(max_examples=40, **COMMON)
@given(data=st.data())
def test_changed_bytes(originals: dict[str, list[bytes]], tmp_path: Path, kind: str, data: st.DataObject) -> None:
    files = [bytearray(content) for content in originals[kind]]
    hit = files[data.draw(st.integers(0, len(files) - 1))]
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(132, len(hit) - 1), st.integers(0, 255)), max_size=12)
    ):
        hit[place] = value
    if data.draw(st.booleans()):
        del hit[data.draw(st.integers(132, len(hit))) :]
    for number, content in enumerate(files):
        (tmp_path / f"IM{number}").write_bytes(content)
    attempt(tmp_path)


NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan")]),
)


@settings(max_examples=40, **COMMON)
@given(
    position=st.lists(NUMBERS, min_size=3, max_size=3),
    orientation=st.lists(NUMBERS, min_size=6, max_size=6),
    spacing=st.lists(NUMBERS, min_size=2, max_size=2),
    slope=NUMBERS,
    size=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    frames=st.integers(-1, 2**31 - 1),
    bits=st.tuples(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64)),
)
def test_absurd_values(
    tmp_path: Path,
    position: list[float],
    orientation: list[float],
    spacing: list[float],
    slope: float,
    size: tuple[int, int],
    frames: int,
    bits: tuple[int, int, int],
) -> None:
    for number in range(6):
        dataset = dicom_files.common("1.2.3", dicom_files.MR)
        dicom_files.set_pixels(dataset, np.zeros((4, 4), np.int16))
        dataset.Rows, dataset.Columns = size
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits
        dataset.NumberOfFrames = frames
        # As text, past the checks of pydicom: files do not check either.
        place = {"ImagePositionPatient": [*position[:2], position[2] + 7 * number], "RescaleSlope": [slope]}
        place |= {"ImageOrientationPatient": orientation, "PixelSpacing": spacing}
        for keyword, values in place.items():
            tag = pydicom.datadict.tag_for_keyword(keyword)
            text = "\\".join(f"{value:.8g}" for value in values)
            dataset[tag] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), "DS", len(text), text.encode(), 0, False, True
            )
        dataset.save_as(tmp_path / f"IM{number}", enforce_file_format=True)
    attempt(tmp_path)


def test_a_small_file_that_claims_a_large_compressed_image_is_not_unpacked(tmp_path: Path) -> None:
    for file in dicom_files.write_series(tmp_path, noise(6, 5, 4)):
        dataset = pydicom.dcmread(file)
        dataset.Rows = dataset.Columns = 4096
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
        dataset.PixelData = pydicom.encaps.encapsulate([bytes(200)])
        dataset.save_as(file)
    with pytest.raises(InputError, match="is too short for the image that it describes"):
        read_volume(tmp_path)


@pytest.mark.parametrize("depth", [50, 5000])
def test_sequences_nested_without_end(tmp_path: Path, depth: int) -> None:
    """Sequences and items of undefined length, one within the other, which readers must follow at once."""
    level = bytes.fromhex("00522992") + b"SQ" + bytes.fromhex("0000fffffffffeff00e0ffffffff")
    pixels = bytes.fromhex("e07f1000") + b"OW"
    for file in dicom_files.write_series(tmp_path, noise(6, 5, 4)):
        content = file.read_bytes()
        assert content.count(pixels) == 1
        file.write_bytes(content.replace(pixels, depth * level + pixels))
    attempt(tmp_path)
