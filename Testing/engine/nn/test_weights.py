"""Weights that cannot be written are an error of the disk, whatever the library calls it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from asa.errors import OutputError
from asa.nn.weights import plain_errors
from asa.training import checkpoint

FULL = 'Error while serializing: I/O error: No space left on device (os error 28) at path "a/.tmp1"'


@pytest.mark.parametrize(("said", "number"), [(FULL, errno.ENOSPC), ("header too large", None)])
def test_errors_of_the_library_become_errors_of_the_system(said: str, number: int | None) -> None:
    with pytest.raises(OSError) as caught, plain_errors():
        raise SafetensorError(said)
    assert caught.value.errno == number


def test_a_checkpoint_on_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError(FULL)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OutputError, match=r"Cannot write .*last\.safetensors: no space left on device\."):
        checkpoint.save(tmp_path / "last.safetensors", {"a": torch.ones(2)}, {})
    assert list(tmp_path.iterdir()) == []
