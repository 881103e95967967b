"""PythonQt's `qt` module over PySide6, for tests without 3D Slicer.

Names are looked up in PySide6 at first use. README.md one folder up says what differs from PythonQt.
"""

from __future__ import annotations

import ctypes
import inspect
import sys
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from ._wrappers import unwrap, wrap, wrapper_class

__all__ = ["Property", "Signal", "Slot", "SIGNAL", "register_widget", "unwrap", "wrap"]

if sys.version_info < (3, 12):
    # PySide 6.12 returns None, True and False without counting a reference, which is right only where they are
    # immortal, from Python 3.12 on. Before, the interpreter dies after some ten thousand calls. So make them immortal.
    for _object in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_object)).value += 1 << 40

SIGNAL = str
"""PythonQt's SIGNAL() returns the signature it is given."""

_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
_custom_widgets: list[type[QtWidgets.QWidget]] = []


def register_widget(native: type[QtWidgets.QWidget]) -> Any:
    """Makes a widget class known to QUiLoader; returns its wrapper class."""
    _custom_widgets.append(native)
    return wrapper_class(native)


class _UiLoader(QtUiTools.QUiLoader):
    """Knows the widgets that stand in for those of CTK and Slicer."""

    def __init__(self, parent: QtCore.QObject | None = None) -> None:
        super().__init__(parent)
        for widget in _custom_widgets:
            self.registerCustomWidget(widget)


def __getattr__(name: str) -> Any:
    if name == "QUiLoader":
        value: Any = wrapper_class(_UiLoader)
    else:
        value = next((getattr(module, name) for module in _MODULES if hasattr(module, name)), None)
        if inspect.isclass(value) and isinstance(value, type(QtCore.QObject)):
            value = wrapper_class(value)
        elif not (inspect.isbuiltin(value) and name.startswith("q")):
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
    globals()[name] = value
    return value
