"""Calling Qt functions as PythonQt does: overloads chosen by value, no keyword arguments, errors in C++ words."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args, get_origin

from shibokensupport.signature import get_signature  # comes with PySide6

from ._values import Mismatch, to_parameter, to_python, to_variant

Signatures = tuple[inspect.Signature, ...]

_CPP_NAMES = {
    str: "QString",
    float: "double",
    Any: "QVariant",
    object: "QVariant",
    None: "void",
    Sequence[str]: "QStringList",
    "Qt.WindowType": "Qt::WindowFlags",
    "Qt.AlignmentFlag": "Qt::Alignment",
}


@cache
def signatures(function: Any) -> Signatures:
    """The overloads of a PySide function or class; empty for functions written in Python."""
    try:
        found = get_signature(function)
    except (TypeError, ValueError):
        found = None
    if found is None:
        return ()
    return tuple(found) if isinstance(found, list) else (found,)


def parameters(signature: inspect.Signature) -> list[inspect.Parameter]:
    """What can be given by position, without self."""
    return [
        parameter
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]


def accepted(overloads: Signatures, given: int) -> int:
    """How many of the arguments of a signal a Qt function takes: as many as any overload does."""
    for count in range(given, -1, -1):
        if any(_fits_count(parameters(signature), count) for signature in overloads):
            return count
    return given


def _fits_count(wanted: list[inspect.Parameter], count: int) -> bool:
    required = sum(parameter.default is inspect.Parameter.empty for parameter in wanted)
    return required <= count <= len(wanted)


def call(function: Any, name: str, overloads: Signatures, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Calls a native function; `overloads` are its signatures. Raises ValueError when no overload fits."""
    if kwargs:
        shown = describe(name, min(overloads, key=lambda s: len(parameters(s)))) if overloads else f"{name}()"
        raise ValueError(f"Called {shown} with keyword arguments, but called slot does not support keyword arguments")
    if not overloads:
        return function(*map(to_variant, args))
    for strict in (True, False):
        for signature in overloads:
            wanted = parameters(signature)
            if not _fits_count(wanted, len(args)):
                continue
            try:
                pairs = zip(args, wanted, strict=False)
                return function(*(to_parameter(value, parameter.annotation, strict) for value, parameter in pairs))
            except Mismatch:
                continue
    if len(overloads) == 1:
        raise ValueError(f"Called {describe(name, overloads[0])} with wrong arguments: {tuple(args)}")
    raise ValueError(f"Could not find matching overload of {name} for given arguments: {tuple(args)}")


def result(value: Any, name: str) -> Any:
    """What a native call returned, as PythonQt hands it over: of a value and its out-parameters only the value."""
    if isinstance(value, tuple) and name in _OUT_PARAMETERS:
        value = value[0]
    return to_python(value)


# Static functions of QFileDialog and QInputDialog that have a chosen filter or an "ok" besides their result.
_OUT_PARAMETERS = {
    "getOpenFileName", "getOpenFileNames", "getSaveFileName", "getText", "getInt", "getDouble", "getItem",
}  # fmt: skip


def documentation(name: str, overloads: Signatures) -> str:
    """The doc string PythonQt gives a static function."""
    if not overloads:
        return ""
    names = ", ".join(parameter.name for parameter in parameters(overloads[0]))
    returned = overloads[0].return_annotation
    if name in _OUT_PARAMETERS:
        returned = get_args(returned)[0]
    return f"X.{name}({names}) -> {getattr(returned, '__name__', returned)}"


def describe(name: str, signature: inspect.Signature) -> str:
    """A signature in C++ words: "setValue(int val) -> void"."""
    arguments = ", ".join(f"{_cpp_name(p.annotation)} {p.name}" for p in parameters(signature))
    returned = signature.return_annotation
    constructor = "self" in signature.parameters and returned is None and name[:1] == "Q"
    return f"{name}({arguments}) -> {name if constructor else _cpp_name(returned)}"


def _cpp_name(annotation: Any) -> str:
    if annotation in _CPP_NAMES:
        return _CPP_NAMES[annotation]
    if get_origin(annotation) is not None or not isinstance(annotation, type):
        inner = [item for item in get_args(annotation) if item is not type(None)]
        return _cpp_name(inner[0]) if inner else str(annotation)
    if issubclass(annotation, enum.Enum) and annotation.__qualname__ in _CPP_NAMES:
        return _CPP_NAMES[annotation.__qualname__]
    return annotation.__qualname__.replace(".", "::")
