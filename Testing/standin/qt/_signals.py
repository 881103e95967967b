"""Signals and connections: by name and signature, slots given only the arguments they take, and kept alive."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from ._calls import accepted
from ._values import to_python, to_variant

Slot = Callable[..., Any]

# Overloads that Qt 6 no longer has and that PythonQt picks when a slot is connected without a signature.
_QT5_ARGUMENTS = {("QProcess", "finished"): 1}


def normalised(signature: str) -> str:
    """A signal's signature as the meta object spells it. Pointers to VTK objects are Python objects here."""
    types = signature.replace("vtkMRMLNode*", "PyObject").replace("vtkMRMLScene*", "PyObject")
    types = types.replace("vtkObject*", "PyObject")
    return bytes(QtCore.QMetaObject.normalizedSignature(types).data()).decode()


def argument_count(signature: str) -> int:
    """Number of arguments in a normalised signature."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    return inside.count(",") + 1 if inside else 0


def _taken(slot: Slot, given: int) -> int:
    """How many of the arguments of a signal a slot takes."""
    overloads = getattr(slot, "overloads", None)
    if overloads is not None:
        return accepted(overloads, given)
    try:
        kinds = [parameter.kind for parameter in inspect.signature(slot).parameters.values()]
    except (TypeError, ValueError):
        return given
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return given
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(given, sum(kind in positional for kind in kinds))


def _adapter(slot: Slot, given: int) -> Slot:
    """A function of exactly `given` parameters: PySide counts them to decide what to pass."""
    taken = _taken(slot, given)

    def run(*args: Any) -> None:
        slot(*map(to_python, args[:taken]))

    shapes: tuple[Slot, ...] = (
        lambda: run(),
        lambda a: run(a),
        lambda a, b: run(a, b),
        lambda a, b, c: run(a, b, c),
    )
    return shapes[given]


def _connections(native: QtCore.QObject) -> list[tuple[str, Slot, Slot]]:
    """(signal name, slot, adapter) of every connection made through this module."""
    return native.__dict__.setdefault("_standin_connections", [])


def connect(native: QtCore.QObject, name: str, given: int, slot: Slot) -> bool:
    """Connects a signal that passes `given` arguments on."""
    adapter = _adapter(slot, given)
    getattr(native, name).connect(adapter)
    _connections(native).append((name, slot, adapter))
    return True


def disconnect(native: QtCore.QObject, name: str, slot: Slot | None) -> bool:
    """Undoes one connection with this slot, or all of the signal."""
    connections = _connections(native)
    matching = [entry for entry in connections if entry[0] == name and (slot is None or entry[1] == slot)]
    for entry in matching if slot is None else matching[:1]:
        getattr(native, name).disconnect(entry[2])
        connections.remove(entry)
    return bool(matching)


def connect_by_signature(native: QtCore.QObject, signature: str, slot: Slot) -> bool:
    """`object.connect("clicked(bool)", slot)`; a signal that does not exist is printed and False returned."""
    found = _resolved(native, signature)
    if found is None:
        print(f"QObject::connect() signal '{signature}' does not exist on {native.metaObject().className()}")
        return False
    return connect(native, *found, slot)


def disconnect_by_signature(native: QtCore.QObject, signature: str, slot: Slot | None = None) -> bool:
    """`object.disconnect("clicked(bool)", slot)`."""
    found = _resolved(native, signature)
    return found is not None and disconnect(native, found[0], slot)


def _resolved(native: QtCore.QObject, signature: str) -> tuple[str, int] | None:
    """Name and number of arguments of a signal that the object has."""
    plain = normalised(signature)
    if native.metaObject().indexOfSignal(plain) < 0:
        return None
    return plain.split("(")[0], argument_count(plain)


class BoundSignal:
    """`object.clicked`: connect, disconnect, emit; calling it emits too."""

    def __init__(self, native: QtCore.QObject, name: str) -> None:
        self._native = native
        self._name = name

    def connect(self, slot: Slot) -> bool:
        """Connects the overload with the most arguments; where Qt 5 has two, the one that PythonQt picks."""
        given = max(len(types) for types in self._overloads())
        for (class_name, name), count in _QT5_ARGUMENTS.items():
            if name == self._name and self._native.inherits(class_name):
                given = count
        return connect(self._native, self._name, given, slot)

    def disconnect(self, slot: Slot | None = None) -> bool:
        return disconnect(self._native, self._name, slot)

    def emit(self, *args: Any) -> None:
        types = next((types for types in self._overloads() if len(types) == len(args)), ())
        getattr(self._native, self._name)[",".join(types)].emit(*map(to_variant, args))

    def _overloads(self) -> list[list[str]]:
        """Types of the arguments of each overload."""
        meta = self._native.metaObject()
        methods = (meta.method(i) for i in range(meta.methodCount()))
        named = [method for method in methods if bytes(method.name().data()).decode() == self._name]
        return [[bytes(t.data()).decode() for t in method.parameterTypes()] for method in named]

    __call__ = emit
