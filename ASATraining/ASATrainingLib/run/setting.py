"""One setting of a run, as described by the engine: formatting and validation of its text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from asa.runs.setting_row import Row

_TRUE, _FALSE = "yes", "no"


@dataclass(frozen=True)
class Setting(Row):
    """A row of `asa settings --json`, and what a form does with it."""

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> Setting:
        """Return a setting from JSON, ignoring unknown fields of newer engines."""
        known = {name: row[name] for name in Setting.__dataclass_fields__ if name in row}
        return Setting(**{**known, "choices": tuple(row.get("choices", ()))})

    @property
    def options(self) -> tuple[str, ...]:
        """The choices, () for free text."""
        if self.type == "boolean":
            return (_TRUE, _FALSE)
        return (("", *self.choices) if self.nullable else self.choices) if self.type == "choice" else ()

    @property
    def bounds(self) -> str:
        """The bounds in words, "" without any."""
        low, high = self.minimum, self.maximum
        below = _("more than {number:g}") if self.open_below else _("at least {number:g}")
        above = _("less than {number:g}") if self.open_above else _("at most {number:g}")
        parts = [text.format(number=end) for text, end in ((below, low), (above, high)) if end is not None]
        return _(" and ").join(parts)

    def text(self, value: Any) -> str:
        """Return a value as shown in the form."""
        if value is None:
            return ""
        if self.type == "boolean":
            return _TRUE if value else _FALSE
        if self.type == "object":
            return json.dumps(value) if value else ""
        if isinstance(value, (list, tuple)):
            return ", ".join(f"{number:g}" for number in value)
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    def value(self, text: str) -> Any:
        """Return the value of a text.

        Raises:
            ValueError: it is invalid; the message is a phrase that completes "must be …".
        """
        text = text.strip()
        if self.type == "string":
            return text
        if self.type == "boolean":
            return text == _TRUE
        if not text and self.nullable:
            return None
        if self.type == "choice":
            if text not in self.choices:
                raise ValueError(_("one of {choices}").format(choices=", ".join(self.choices)))
            return text
        if self.type == "object":
            return _object(text)
        if self.type in ("integers", "numbers"):
            parts = [part for part in text.replace(",", " ").replace("x", " ").split() if part]
            if len(parts) != self.length:
                raise ValueError(_("{count} numbers separated by commas").format(count=self.length))
            return [_number(part, self.type == "integers") for part in parts]
        return self._bounded(_number(text, self.type == "integer"))

    def _bounded(self, number: float) -> float:
        low, high = self.minimum, self.maximum
        under = low is not None and (number <= low if self.open_below else number < low)
        over = high is not None and (number >= high if self.open_above else number > high)
        if under or over:
            raise ValueError(self.bounds)
        return number


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """{"schedule.log_every": 10} -> {"schedule": {"log_every": 10}}, as settings are written."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


def _number(text: str, whole: bool) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise ValueError(_("a whole number") if whole else _("a number")) from None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(_('a JSON object, such as {"depth": 4}'))
    return value
