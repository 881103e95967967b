"""Length of a run that must end within a given time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from asa.errors import InputError

CALIBRATION_STEPS = 10  # of which the time of a step is measured
RESERVE = 0.05  # share of the time that is left for the last checkpoint and the export
LEAST_STEPS = 2 * CALIBRATION_STEPS


@dataclass
class Budget:
    """Measures steps and validations, and tells how many steps the time allows.

    Attributes:
        minutes: for the whole run; 0: no limit.
    """

    minutes: float
    _started: float = field(default_factory=lambda: time.monotonic())
    _first_step: float = 0.0
    _steps: int = 0
    _validation_s: float = 0.0
    _validations: int = 0

    def step_done(self) -> bool:
        """Count a step, and return whether the length should be planned now, because steps have become known."""
        self._steps += 1
        if self._steps == 1:  # the first one loads and compiles
            self._first_step = time.monotonic()
        return self.minutes > 0 and self._steps == CALIBRATION_STEPS

    def validation_done(self, seconds: float) -> bool:
        """Count a validation, and return whether the length should be planned again, because its time is known now."""
        self._validations += 1
        self._validation_s = seconds
        return self.minutes > 0 and self._validations == 1 and self._steps >= CALIBRATION_STEPS

    def plan(self, step: int, steps: int, validate_every: int) -> int:
        """Return how many steps the run should have.

        Args:
            step: steps that are done.
            steps: steps in the settings, which are not exceeded.
            validate_every: steps between validations; 0: never.

        Raises:
            InputError: the time is too short for a run.
        """
        now = time.monotonic()
        spent_validating = self._validation_s * self._validations
        each = (now - self._first_step - spent_validating) / max(1, self._steps - 1)
        if validate_every:
            each += self._validation_s / validate_every
        left = (1 - RESERVE) * 60 * self.minutes - (now - self._started) - self._validation_s
        planned = min(steps, step + int(left / max(each, 1e-9)))
        if planned < LEAST_STEPS:
            lacking = self._validation_s + max(0, LEAST_STEPS - step) * each
            needed = (now - self._started + lacking) / 60 / (1 - RESERVE)
            raise InputError(
                f"A budget of {self.minutes:g} minutes is too short: a step takes {each:.2g} s and a validation "
                f"{self._validation_s:.2g} s here. Allow at least {math.ceil(10 * needed) / 10:g} minutes."
            )
        return planned
