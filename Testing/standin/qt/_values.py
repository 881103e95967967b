"""Values on their way between Python and Qt, changed as PythonQt changes them.

PythonQt stores Python values in a QVariant and takes them out again, so lists come back as tuples, keys of a dict as
strings, bytes as a QByteArray; enumerators are plain ints; whatever a QVariant cannot hold keeps its identity.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import shiboken6
from PySide6 import QtCore


class Mismatch(Exception):
    """A value does not fit a parameter."""


class Bridge:
    """How wrappers and native objects are turned into one another; set by the module that defines the wrappers."""

    wrap: Callable[[Any], Any]
    unwrap: Callable[[Any], Any]
    native_class: Callable[[type], type]


def to_python(value: Any) -> Any:
    """A value from Qt as Python code gets to see it."""
    if isinstance(value, enum.Enum):  # an enumerator of Qt's, or an object of the caller's that a QVariant held
        return value.value if type(value).__module__.startswith("PySide6") else value
    if isinstance(value, (list, tuple)):
        return tuple(to_python(item) for item in value)
    if isinstance(value, dict):
        return {str(key): to_python(item) for key, item in value.items()}
    if isinstance(value, shiboken6.Shiboken.Object):
        return Bridge.wrap(value)
    return value


def to_variant(value: Any) -> Any:
    """A Python value as a QVariant holds it."""
    if isinstance(value, dict):
        return {str(key): to_variant(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [to_variant(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return QtCore.QByteArray(bytes(value))
    return Bridge.unwrap(value)


def to_parameter(value: Any, annotation: Any, strict: bool) -> Any:
    """A Python value for a parameter with PySide's annotation. Raises Mismatch.

    `strict` allows no change of type; PythonQt looks for such an overload first and then tries again with less.
    """
    if annotation in (Any, object, inspect.Parameter.empty):
        return to_variant(value)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _first_fitting(value, get_args(annotation), strict)
    if origin is type:
        return Bridge.native_class(value)
    if origin is not None and issubclass(origin, Callable):  # type: ignore[arg-type]
        return _checked(value, callable(value))
    if origin is not None and issubclass(origin, Sequence):
        _checked(value, isinstance(value, (list, tuple, str)))
        return [to_parameter(item, get_args(annotation)[0], strict=False) for item in value]
    if annotation is type(None):
        return _checked(value, value is None)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enumerator(value, annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation](value, strict)
    value = Bridge.unwrap(value)
    return _checked(value, not isinstance(annotation, type) or isinstance(value, annotation))


def _checked(value: Any, fits: bool) -> Any:
    if not fits:
        raise Mismatch
    return value


def _first_fitting(value: Any, annotations: tuple[Any, ...], strict: bool) -> Any:
    for annotation in annotations:
        try:
            return to_parameter(value, annotation, strict)
        except Mismatch:
            continue
    raise Mismatch


def _enumerator(value: Any, kind: type[enum.Enum]) -> Any:
    _checked(value, isinstance(value, (int, np.integer)) and not isinstance(value, bool))
    try:
        return kind(int(value))
    except ValueError:
        raise Mismatch from None


def _string(value: Any, strict: bool) -> str:
    return str(_checked(value, isinstance(value, str) or not strict))


def _integer(value: Any, strict: bool) -> int:
    allowed = (int, np.integer) if strict else (int, float, np.integer, np.floating)
    return int(_checked(value, isinstance(value, allowed)))


def _real(value: Any, _strict: bool) -> float:
    return float(_checked(value, isinstance(value, (int, float, np.integer, np.floating))))


def _boolean(value: Any, strict: bool) -> bool:
    allowed = (bool,) if strict else (bool, int, float, type(None))
    return bool(_checked(value, isinstance(value, allowed)))


def _bytes(value: Any, strict: bool) -> bytes:
    if isinstance(value, str) and not strict:
        return value.encode()
    return bytes(_checked(value, isinstance(value, (bytes, bytearray))))


_PLAIN: dict[Any, Callable[[Any, bool], Any]] = {
    str: _string,
    int: _integer,
    float: _real,
    bool: _boolean,
    bytes: _bytes,
}


def to_property(value: Any, type_name: str) -> Any:
    """A Python value for a Qt property of a type, in C++ spelling. Raises Mismatch."""
    kinds = {"QString": str, "int": int, "double": float, "bool": bool}
    if type_name in kinds:
        return to_parameter(value, kinds[type_name], strict=False)
    if type_name == "QStringList":
        return to_parameter(value, Sequence[str], strict=False)
    return to_variant(value)
