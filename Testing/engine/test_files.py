"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from asa import files
from asa.data.scans import find_scans
from asa.errors import OutputError
from asa.files import atomic_path, walk, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_arrives_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.nii.gz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz"), "writers choose their format by the name"
        temporary.write_bytes(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert names(target.parent) == ["a.nii.gz"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError("no")])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(failure if isinstance(failure, type) else type(failure)), atomic_path(target) as temporary:
        temporary.write_text("half of the ne")
        raise failure
    assert target.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied")],
)
def test_the_disk_says_no(tmp_path: Path, code: int, words: str) -> None:
    target = tmp_path / "labels.nii.gz"
    with pytest.raises(OutputError) as caught, atomic_path(target) as temporary:
        temporary.write_bytes(b"part")
        raise OSError(code, os.strerror(code))
    assert str(target) in str(caught.value)
    assert words in str(caught.value).lower()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
    assert names(tmp_path) == []


def test_on_windows_a_reader_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a panel looks at state.json or at a checkpoint just while a run writes it anew."""
    refusals, replace = [PermissionError(13, "in use")] * 3, Path.replace

    def sometimes(self: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt", umask=os.umask, fsync=os.fsync))
    write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text" and not refusals
    refusals += [PermissionError(13, "in use")] * 100
    monkeypatch.setattr(files, "_PAUSE_S", 0.0)
    with pytest.raises(OutputError, match="in use"):
        write_text(tmp_path / "a.txt", "other")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_met_while_writing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), atomic_path(tmp_path / "a") as temporary:
        temporary.symlink_to("/dev/full")
        with temporary.open("wb") as file:
            file.write(b"x" * 100_000)
    assert names(tmp_path) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(tmp_path / "out", "text")
    assert names(tmp_path) == ["out"]


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="Cannot write"):
        write_text(tmp_path / "out" / "a.txt", "text")


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "σ\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "σ\nb\n".encode()
    write_json(tmp_path / "a.json", {"title": "Größe", "values": [1, 2.5]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "title": "Größe"')
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))
    assert "Größe" in (tmp_path / "a.json").read_text(encoding="utf-8"), "the old file stays"


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    subject = tmp_path / "elsewhere" / "sub-01" / "anat"
    subject.mkdir(parents=True)
    (subject / "sub-01_T1w.nii.gz").touch()
    tree = tmp_path / "study"
    tree.mkdir()
    try:
        (tree / "sub-01").symlink_to(tmp_path / "elsewhere" / "sub-01", target_is_directory=True)
        (subject / "up").symlink_to(tree, target_is_directory=True)
    except OSError:
        pytest.skip("no links can be made here")
    found = [name for _folder, _below, here in walk(tree) for name in here]
    assert found == ["sub-01_T1w.nii.gz"]
    (scan,) = find_scans(tree)[0]
    assert scan.path.as_posix() == "sub-01/anat/sub-01_T1w.nii.gz"
