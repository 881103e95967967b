"""Module code is written so that it is the same in PythonQt and PySide6; read from the source itself.

What the rules are for: PythonQt ignores or refuses what they forbid, and often silently.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6 import QtCore, QtWidgets

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = [REPOSITORY / name for name in ("ASASegmentation", "ASATraining")]
FILES = sorted(
    path
    for module in MODULES
    for path in (*module.glob("*.py"), *module.glob("ASA*Lib/**/*.py"), *module.glob("SegmentEditor*/*.py"))
    if path.is_file()
)
# While Slicer waits for events its main thread keeps Python's lock: other threads starve.
_THREADS = {"threading", "concurrent", "multiprocessing", "asyncio", "_thread"}
_LIGHT = {
    "slicer",
    "qt",
    "ctk",
    "vtk",
    "numpy",
    "SegmentEditorEffects",
    "asa",
    "ASASegmentationLib",
    "ASASlicerLib",
    "ASATrainingLib",
}
# The command line runs these with slicer-core; no module imports them.
_PROGRAMS = {"segmentation_file.py"}
# These run where there is no `slicer.i18n`, as part of such a program.
_WITHOUT_APPLICATION = {"segmentation_file.py", "nifti.py", "build.py"}


def sentences(tree: ast.AST) -> Iterator[str]:
    """What nobody can translate: sentences put together as f-strings, and `_()` of what no tool can find in the source.
    Titles of the engine's tasks and modalities are the exception: they are all in asa/tasks.py.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_":
            (text,) = node.args
            title = isinstance(text, ast.Attribute) and text.attr == "title"
            if not title and not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                yield f"{node.lineno}: {ast.unparse(node)}; give it the text itself"
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
            end = str(node.values[-1].value).rstrip()
            if end.endswith((".", "?")) and len(node.values) > 1 and " " in ast.unparse(node):
                yield f"{node.lineno}: {ast.unparse(node)}; use _(...).format(...)"


def qt_names() -> frozenset[str]:
    """Properties of Qt's widgets: what PythonQt reads as a value and PySide6 calls."""
    names: set[str] = set()
    for cls in (getattr(QtWidgets, name) for name in dir(QtWidgets)):  # PySide6 makes its classes at first use
        if isinstance(cls, type) and issubclass(cls, QtCore.QObject):
            meta = cls.staticMetaObject
            names |= {meta.property(i).name() for i in range(meta.propertyCount())}
    return frozenset(names)


PROPERTIES = qt_names()
# Properties of CTK's widgets that have a setter in C++ only.
SETTERLESS = {"collapsed", "filters"}
# Attributes of a widget that PythonQt would refuse to see replaced.
RESERVED = PROPERTIES | {name for name in dir(QtWidgets.QWidget) if not name.startswith("_")}


def is_qt(node: ast.expr) -> bool:
    """Whether an expression is a name of the modules qt or ctk: qt.QLabel, qt.Qt.AlignLeft."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in ("qt", "ctk")


def is_control(node: ast.expr) -> bool:
    """Whether an expression is a control of a panel: ui.x, self.ui.x."""
    owner = node.value if isinstance(node, ast.Attribute) else None
    return (isinstance(owner, ast.Name) and owner.id == "ui") or (
        isinstance(owner, ast.Attribute) and owner.attr == "ui"
    )


def offences(tree: ast.AST) -> Iterator[str]:
    """What a module's code must not do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call_offences(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and is_control(target.value) and target.attr not in SETTERLESS:
                    yield f"{node.lineno}: set {ast.unparse(target)} through its setter"
        elif isinstance(node, ast.ClassDef) and any(is_qt(base) for base in node.bases):
            for inner in ast.walk(node):
                stored = isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
                if stored and ast.unparse(inner.value) == "self" and inner.attr in RESERVED:
                    yield f"{inner.lineno}: self.{inner.attr} is named like Qt's"


def _call_offences(node: ast.Call) -> Iterator[str]:
    called = node.func
    of_control = isinstance(called, ast.Attribute) and is_control(called.value)
    if (is_qt(called) or of_control) and node.keywords:
        yield f"{node.lineno}: keyword arguments in {ast.unparse(called)}"
    signal = called.value if isinstance(called, ast.Attribute) and called.attr == "connect" else None
    if isinstance(signal, ast.Attribute) and is_control(signal.value):
        yield f"{node.lineno}: connect {ast.unparse(signal)} by its signature"
    if of_control and called.attr in PROPERTIES:
        yield f"{node.lineno}: {ast.unparse(called)} is a property"
    if of_control and called.attr in {f"set{name.capitalize()}" for name in SETTERLESS}:
        yield f"{node.lineno}: {ast.unparse(called)} is there in C++ only; assign the property"
    if isinstance(called, ast.Name) and called.id == "isinstance" and is_qt(node.args[1]):
        yield f"{node.lineno}: isinstance with {ast.unparse(node.args[1])}; use inherits()"
    joined = is_qt(called) and ast.unparse(called).endswith("QDialogButtonBox") and node.args
    if joined:
        yield f"{node.lineno}: QDialogButtonBox takes its buttons by setStandardButtons"


def top_level_imports(tree: ast.Module) -> Iterator[str]:
    """First names of what importing a file imports."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_the_same_in_pythonqt_and_pyside(path: Path) -> None:
    assert list(offences(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_importing_needs_only_what_slicer_has(path: Path) -> None:
    if path.name in _PROGRAMS:
        pytest.skip("runs as a program of its own")
    found = set(top_level_imports(ast.parse(path.read_text(encoding="utf-8"))))
    assert not found - _LIGHT - sys.stdlib_module_names
    assert not found & _THREADS


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name != "tests" and path.name not in _WITHOUT_APPLICATION],
    ids=lambda path: path.relative_to(REPOSITORY).as_posix(),
)
def test_sentences_can_be_translated(path: Path) -> None:
    assert list(sentences(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_untranslatable_sentences_are_seen() -> None:
    source = """
def f(name, task):
    a = f"{name} is gone."
    b = _(name)
    c = _(f"{name} is gone")
    d = _("{name} is gone.").format(name=name) + _(task.title)
    return f"{name}: {d}"
"""
    assert sorted(int(found.split(":")[0]) for found in sentences(ast.parse(source))) == [3, 4, 5]


def test_offences_are_seen() -> None:
    source = """
class Row(qt.QWidget):
    def __init__(self):
        self.width = 3
        self.rows = 3
def f(ui):
    ui.box.enabled = False
    ui.box.clicked.connect(f)
    qt.QLabel(text="x")
    ui.box.setRange(0, maximum=3)
    ui.box.count()
    isinstance(x, qt.QWidget)
    ui.box.connect("clicked()", f)
    ui.box.setEnabled(ui.box.count > 3)
    ui.box.setCollapsed(True)
"""
    assert sorted(int(offence.split(":")[0]) for offence in offences(ast.parse(source))) == [4, 7, 8, 9, 10, 11, 12, 15]
