"""Read typed values of external JSON objects; every fault becomes one sentence.

A converter gets a value and returns it as its type, or raises ``ValueError`` or ``TypeError``. Needs the standard
library only.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from asa.errors import AsaError

_T = TypeVar("_T")


class Entries:
    """The entries of one JSON object.

    Attributes:
        values: the object.
        where: what messages call it.
    """

    def __init__(self, values: object, where: str, error: type[AsaError], remedy: str) -> None:
        """Check that it is an object.

        Args:
            values: the JSON value.
            where: the file, or the part of it, that it comes from.
            error: raised for whatever is wrong.
            remedy: ends each message: what the reader can do.

        Raises:
            AsaError: of type ``error``: it is not an object.
        """
        self.where, self._error, self._remedy = where, error, remedy
        if not isinstance(values, dict):
            raise error(f"{where} must hold a JSON object, not {reprlib.repr(values)}; {remedy}.")
        self.values: dict[str, Any] = values

    def take(self, key: str, convert: Callable[[Any], _T], expected: str, default: _T) -> _T:
        """Convert an entry.

        Args:
            key: its name.
            convert: a converter.
            expected: what it must be, for the message.
            default: the result where there is no such entry.

        Returns:
            The converted value, or the default.

        Raises:
            AsaError: the value is not what it must be.
        """
        if key not in self.values:
            return default
        try:
            return convert(self.values[key])
        except (ValueError, TypeError):
            raise self.fault(f"'{key}' must be {expected}, not {reprlib.repr(self.values[key])}") from None

    def parts(self, key: str, convert: Callable[[Entries], _T]) -> tuple[_T, ...]:
        """Convert a list of objects; without such an entry the result is empty."""
        nothing: tuple[Any, ...] = ()
        members = self.take(key, lambda value: each(value, anything), "a list of objects", nothing)
        where = [f"entry {number} of '{key}' in {self.where}" for number, _ in enumerate(members, start=1)]
        parts = [Entries(one, place, self._error, self._remedy) for one, place in zip(members, where, strict=True)]
        return tuple(convert(part) for part in parts)

    def only(self, required: Collection[str], optional: Collection[str]) -> None:
        """Refuse an object that lacks an entry, or has one that nothing reads.

        Raises:
            AsaError: the first such entry.
        """
        for key in required:
            if key not in self.values:
                raise self.fault(f"'{key}' is missing")
        for key in self.values:
            if key not in (*required, *optional):
                raise self.fault(f"'{key}' is unknown; it takes {', '.join((*required, *optional))}")

    def fault(self, text: str) -> AsaError:
        """Return the error that says what is wrong with the object, where it is and what to do."""
        return self._error(f"In {self.where}, {text}; {self._remedy}.")


def anything(value: object) -> Any:
    """Any value, as it is."""
    return value


def text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def line(value: object) -> str:
    """Return a text that is not empty and can be printed on one line."""
    if not text(value).isprintable():
        raise ValueError
    return text(value)


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def number(value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if isinstance(value, int) and abs(value) > sys.float_info.max:  # which isfinite cannot take
        raise ValueError
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError
    return value


def whole(value: object, low: float = 0, high: float = math.inf) -> int:
    """Return a whole number from ``low`` to ``high``."""
    if not isinstance(value, int):
        raise TypeError
    return int(number(value, low, high))


def each(value: object, convert: Callable[[Any], _T]) -> tuple[_T, ...]:
    """Return a list, each member converted."""
    if not isinstance(value, list):
        raise TypeError
    return tuple(convert(one) for one in value)


def distinct(value: object, choices: Collection[str] | None) -> tuple[str, ...]:
    """Return a list of different texts, out of ``choices`` where there are any."""
    texts = each(value, text)
    if len(set(texts)) < len(texts) or (choices is not None and not set(texts) <= set(choices)):
        raise ValueError
    return texts


def mapping(value: object, choices: Collection[str] | None, convert: Callable[[Any], _T]) -> Mapping[str, _T]:
    """Return an object, each value converted; its keys are out of ``choices`` where there are any."""
    if not isinstance(value, dict):
        raise TypeError
    if choices is not None and not set(value) <= set(choices):
        raise ValueError
    return {key: convert(one) for key, one in value.items()}
