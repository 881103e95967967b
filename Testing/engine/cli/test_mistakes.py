"""Mistakes of somebody who trains: one clear sentence, an exit code other than 0, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from asa.cli import main

REPOSITORY = Path(__file__).resolve().parents[3]
CONFIGS = REPOSITORY / "Resources" / "Configs"
TISSUE = REPOSITORY / "Resources" / "Models" / "tissue"
STARTER = CONFIGS / "finetune_starter.yaml"


def mistake(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code of a command line and its only line on standard error."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    (said,) = capsys.readouterr().err.splitlines()
    return int(left.value.code or 0), said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            b"store: x\nsizee: starter\nschedule: {log_evry: 1}\n",
            "schedule.log_evry (is it schedule.log_every?), sizee (is it size?)",
        ),
        (b"size: starter\n", "store is missing"),
        (b"- a\n", "lines of the form NAME: VALUE"),
        (b"store: [\n", "no valid YAML in line 2: expected the node content"),
        (b"\xff\xfe\xfa", "not a text file"),
        (
            b"store: x\noptimisation: {optimiser: lion}\n",
            "optimisation.optimiser: Input should be 'adamw', 'adam' or 'sgd'",
        ),
    ],
    ids=["unknown", "missing", "a list", "no YAML", "no text", "value"],
)
def test_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, sentence: str) -> None:
    (tmp_path / "settings.yaml").write_bytes(text)
    code, said = mistake("finetune", tmp_path / "settings.yaml", "-o", tmp_path / "run", capsys=capsys)
    assert code == 3 and sentence in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("finetune", "nowhere.yaml", "-o", "run"), 3, "nowhere.yaml cannot be read: no such file or directory"),
        (("finetune", STARTER, "-o", "file"), 4, "file is a file; choose a folder for the run"),
        (("finetune", STARTER, "-o", "file/run"), 4, "file is a file; choose a folder for the run"),
        (
            ("finetune", STARTER, "-o", "model"),
            4,
            "model is not a run folder (it contains CARD.md, model.json)",
        ),
        (("train", "heads.yaml", "-o", "model"), 4, "model is not a run folder"),
        (("pretrain", "scans.yaml", "-o", "model"), 4, "model is not a run folder"),
        (("finetune", STARTER, "-o", "run", "--device", "cuda:64"), 6, "Device 'cuda:64' is not available"),
        (("finetune", STARTER, "-o", "run", "--device", "graphics"), 6, "Unknown device 'graphics'"),
        (("train", "heads.yaml", "-o", "run"), 3, "empty contains no label map"),
        (("prepare", "pretrain", "--bids", "empty"), 3, "--output is missing"),
        (("prepare", "pretrain", "--bids", "empty", "-o", "run"), 3, "empty contains no T1-weighted scan"),
        (("predict", TISSUE, "-o", "run"), 5, "tissue is an exported model. Use the run"),
        (("export", "empty", "--name", "mine"), 5, "empty contains no checkpoint"),
        (("inspect", TISSUE, "--image", "t1.nii", "-o", "run"), 5, "'tissue' is a segmentation model"),
        (("reproduce", "table9", "-o", "run"), 3, "Unknown target 'table9'"),
        (("estimate", "train", STARTER, "-o", "run"), 3, "'train' is not one of pretrain, finetune"),
    ],
    ids=lambda value: " ".join(Path(word).name for word in value) if isinstance(value, tuple) else "",
)
def test_command_lines(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("heads.yaml").write_text("label_maps: empty\n")
    Path("scans.yaml").write_text("store: empty\n")
    Path("model").mkdir()
    for name in ("CARD.md", "model.json"):
        Path("model", name).write_text("")
    before = sorted(tmp_path.rglob("*"))
    found, said = mistake(*words, capsys=capsys)
    assert found == code and sentence in said
    assert sorted(tmp_path.rglob("*")) == before
