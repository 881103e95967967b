"""The table of shares: steps are exclusive, those of helping threads are marked, and sums are of the main thread."""

from __future__ import annotations

import threading
import time

import pytest
from Testing.benchmarks.speed.shares import BESIDE, REST, Clock, table


def test_a_step_does_not_count_what_another_does() -> None:
    clock = Clock()
    inner = clock.wrap("inner", lambda: time.sleep(0.05))
    outer = clock.wrap("outer", inner)
    clock.stack()
    outer()
    helper = threading.Thread(target=inner)
    helper.start()
    helper.join()
    assert set(clock.steps) == {REST, "outer", "inner", REST + BESIDE, "inner" + BESIDE}
    assert clock.steps["inner"][0] >= 0.05 > clock.steps["outer"][0]
    assert clock.steps["inner" + BESIDE][1] == 0


def test_shares_are_of_the_main_thread() -> None:
    rounds = [{"network": [3.0, 6.0, 1.5], REST: [1.0, 1.0, 0.5], "network" + BESIDE: [9.0, 0.0, 0.0]}]
    text = table(rounds)
    assert "| network | 3.00 | 75% | 6.00 | 1.50 |" in text
    assert "| **whole process** | 4.00 | 100% | 7.00 | 1.50 |" in text


def test_an_unknown_case_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from Testing.benchmarks.speed import shares

    monkeypatch.setattr("sys.argv", ["shares", "--case", "knee"])
    with pytest.raises(SystemExit):
        shares.main()
    assert "invalid choice" in capsys.readouterr().err
