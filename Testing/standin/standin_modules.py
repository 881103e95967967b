"""Scripted modules without Slicer: their base classes, and loading and opening them as the application does."""

from __future__ import annotations

import importlib.util
import sys
import unittest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import qt
import slicer
from PySide6 import QtWidgets


class ScriptedLoadableModule:
    """Describes a module; `parent` carries what the application shows of it."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return ""


class ScriptedLoadableModuleWidget:
    """The panel of a module; `parent` is the widget that it fills."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        folder = Path(getattr(slicer.modules, self.moduleName.lower()).path).parent / "Resources"
        return str(folder / filename)

    def setup(self) -> None:
        """The real class adds its developer tools here."""

    def cleanup(self) -> None:
        """Called before the panel is destroyed."""


class ScriptedLoadableModuleLogic:
    """The logic of a module, with its parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The parameter node of the module, made when the scene has none."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetModuleName(self.moduleName)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of the tests in a module file."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        print(message)


class qSlicerScriptedLoadableModuleWidget(QtWidgets.QWidget):
    """What `widgetRepresentation()` returns; `self()` gives the Python panel in it."""

    def __init__(self) -> None:
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self.python_widget: Any = None

    def self(self) -> Any:
        return self.python_widget


class ModuleObject:
    """`slicer.modules.<name>` of a scripted module."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.name = path.stem
        self._python = _imported(path)
        self._representation: Any = None
        getattr(self._python, self.name)(self)

    def widgetRepresentation(self) -> Any:
        """The panel, set up at first use."""
        if self._representation is None:
            native = qSlicerScriptedLoadableModuleWidget()
            self._representation = qt.wrap(native)
            panel = getattr(self._python, f"{self.name}Widget")(self._representation)
            native.python_widget = panel
            setattr(slicer.modules, f"{self.name}Widget", panel)
            panel.setup()
        return self._representation

    def close(self) -> None:
        """What the application does with a panel when it ends."""
        if self._representation is not None:
            self._representation.self().cleanup()
            self._representation.delete()
            self._representation = None


def _imported(path: Path) -> ModuleType:
    """The module file, imported as the application does: with its folder on the path."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def load_module(path: Path) -> ModuleObject:
    """Loads a module file and returns `slicer.modules.<name>`."""
    module = ModuleObject(path)
    setattr(slicer.modules, path.stem.lower(), module)
    return module


def install() -> None:
    """Makes `slicer.ScriptedLoadableModule` and `slicer.i18n` importable."""
    scripted = ModuleType("slicer.ScriptedLoadableModule")
    names = ("", "Widget", "Logic", "Test")
    for name in (f"ScriptedLoadableModule{end}" for end in names):
        setattr(scripted, name, globals()[name])
    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text, context=None: text  # type: ignore[attr-defined]
    i18n.translate = lambda context, text: text  # type: ignore[attr-defined]
    for module in (scripted, i18n):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)
    slicer.qSlicerScriptedLoadableModule = ModuleObject
    slicer.qSlicerScriptedLoadableModuleWidget = qt.register_widget(qSlicerScriptedLoadableModuleWidget)
    slicer.modules = SimpleNamespace()
