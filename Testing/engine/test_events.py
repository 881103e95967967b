"""Events travel as lines from programs to panels, the failure of a plain command too."""

from __future__ import annotations

import json

import pytest

from asa.cli import main
from asa.errors import ModelError
from asa.events import FLAG, Event, Failed, Progress, Reported, Warned, from_line, to_line


@pytest.mark.parametrize(
    "event",
    [
        Progress("aligning", 0.25, 12.5),
        Progress("reading", 0.0),
        Warned("Thick slices."),
        Failed("There is no model.", 5),
        Reported("done", {"folder": "out", "files": {"report.json": "out/report.json"}}),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line and from_line(line) == event


def test_what_newer_programs_add_is_left_out_and_a_log_is_no_event() -> None:
    assert from_line('{"event": "progress", "stage": "a", "fraction": 1, "device": "cpu"}') == Progress("a", 1)
    assert from_line('{"event": "new", "a": 1}') == Reported("new", {"a": 1})
    for line in ("", "Reading", "3", "[1, 2]", '{"rows": []}', '{"event": "error"}', '{"event": []}', "[" * 100_000):
        assert from_line(line) is None


def test_the_failure_of_a_plain_command_is_an_event_where_one_is_asked_for(capsys, tmp_path) -> None:
    words = ["export", str(tmp_path / "nowhere"), "--name", "mine"]
    for flags in ([], [FLAG]):
        with pytest.raises(SystemExit) as left:
            main([*words, *flags])
        out, err = capsys.readouterr()
        assert left.value.code == ModelError.exit_code
        if flags:
            failed = from_line(out.strip())
            assert (
                isinstance(failed, Failed) and failed.exit_code == ModelError.exit_code and "nowhere" in failed.message
            )
            assert err == ""
        else:
            assert err.startswith("Error: ") and out == "" and json.dumps("nowhere").strip('"') in err
