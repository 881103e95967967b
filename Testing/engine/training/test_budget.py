"""A run that must end within a given time: fewer steps, and a schedule that fits them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from Testing.engine.training.test_trainer import ALONE, Line, Numbers

from asa.errors import InputError
from asa.runs.folder import Run, read_events
from asa.training import budget as budget_module
from asa.training.budget import CALIBRATION_STEPS, Budget
from asa.training.settings import Optimisation, Schedule, learning_rate
from asa.training.trainer import Trainer


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module, "time", clock)
    monkeypatch.setattr("asa.training.trainer.time", clock)
    return clock


class Slow(Line):
    """A network of which a step takes three seconds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, batch: Any) -> Any:
        self.clock.now += 1.5  # two micro-batches are a step
        return super().forward(batch)


def trainer(folder: Path, clock: Clock, minutes: float, **changes: Any) -> Trainer:
    def validate(_network: torch.nn.Module) -> dict[str, float]:
        clock.now += 30
        return {"score": 1.0}

    values = {"lr": 0.05, "steps": 1000, "batch": 4, "micro_batch": 2, "precision": "fp32", "warmup_steps": 100}
    optimisation = Optimisation(**{**values, "schedule": "trapezoid", **changes})
    schedule = Schedule(log_every=5, checkpoint_every=10, validate_every=20, budget_minutes=minutes)
    run = Run.create(folder, "line", {}, {}) if not folder.exists() else Run(folder)
    return Trainer(Slow(clock), Numbers(), optimisation, schedule, run, ALONE, describe={}, validate=validate)


def test_the_run_ends_within_its_budget_and_its_schedule_with_it(tmp_path: Path, clock: Clock) -> None:
    began = clock.now
    one = trainer(tmp_path / "run", clock, 10)
    one.objective.freeze_at = 750
    assert one.fit() == "finished"
    assert 8 * 60 < clock.now - began <= 10 * 60, "the time is used, and not exceeded"
    planned = [
        event["steps"] for event in read_events(tmp_path / "run" / "events.jsonl") if event["event"] == "planned"
    ]
    assert len(planned) == 2 and one.step == planned[-1] == one.optimisation.steps
    assert planned[1] < planned[0] < 1000, "the time of validations is known after the first"
    assert learning_rate(one.optimisation, one.step - 1) < 0.1 * one.optimisation.lr
    assert one.optimisation.warmup_steps == planned[-1] // 10
    assert one.objective.freeze_at == pytest.approx(0.75 * planned[-1], rel=0.01)


def test_a_resumed_run_keeps_its_length(tmp_path: Path, clock: Clock) -> None:
    first = trainer(tmp_path / "run", clock, 10)
    first.on_step = lambda step: first.run.stop_path.touch() if step == 40 else None
    assert first.fit() == "stopped"
    second = trainer(tmp_path / "run", clock, 10)
    assert second.resume() and second.optimisation.steps == first.optimisation.steps < 1000
    assert second.fit() == "finished" and second.step == first.optimisation.steps


def test_a_run_shorter_than_its_budget_is_as_long_as_asked_for(tmp_path: Path, clock: Clock) -> None:
    one = trainer(tmp_path / "run", clock, 1000, steps=40)
    assert one.fit() == "finished" and one.step == 40
    assert one.optimisation.warmup_steps <= 4


def test_a_budget_too_short_is_one_sentence_and_the_run_stays_resumable(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(InputError, match=r"A budget of 0.7 minutes is too short: a step takes 3 s") as caught:
        trainer(tmp_path / "run", clock, 0.7).fit()
    said, outcome = str(caught.value), ""
    for name in ("before a validation", "after one"):  # what is asked for is enough, once both times are known
        (enough,) = re.findall(r"Allow at least ([\d.]+) minutes\.$", said)
        try:
            outcome = trainer(tmp_path / name, clock, float(enough)).fit()
        except InputError as error:
            said = str(error)
    assert outcome == "finished"
    again = trainer(tmp_path / "run", clock, 10)
    assert again.resume() and again.step == CALIBRATION_STEPS
    assert again.fit() == "finished"


def test_without_a_budget_nothing_is_planned() -> None:
    budget = Budget(0)
    assert not any(budget.step_done() for _ in range(50)) and not budget.validation_done(3)
