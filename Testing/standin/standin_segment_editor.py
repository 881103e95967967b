"""The Segment Editor as far as a scripted effect meets it: its widget, its effects, and views with mouse and keys.

Undo, redo and their states are Slicer's own (vtkSlicerSegmentEditorLogic); the effect is loaded from its file under the
name of its folder, as qSlicerSegmentEditorScriptedEffect does it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import qt
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

_SETTABLE = {"name", "title", "perSegment", "requireSegments"}


class AbstractScriptedSegmentEditorEffect:
    """Base class of effects in Python."""

    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        EffectFactory.instance().registerEffect(self.scriptedEffect)


class EffectFactory:
    """`slicer.qSlicerSegmentEditorEffectFactory`."""

    _instance: ClassVar[EffectFactory | None] = None

    def __init__(self) -> None:
        self.effects: dict[str, Any] = {}

    @classmethod
    def instance(cls) -> EffectFactory:
        cls._instance = cls._instance or cls()
        return cls._instance

    def registerEffect(self, effect: Any) -> bool:
        self.effects[effect.name] = effect
        return True


class qSlicerSegmentEditorScriptedEffect:
    """The side of an effect that is C++ in Slicer."""

    def __init__(self, parent: Any = None) -> None:
        self.__dict__.update(name="", title="", perSegment=True, requireSegments=True, editor=None, _python=None)
        self.__dict__["_frame"] = qt.QFrame()
        self.__dict__["_layout"] = qt.QFormLayout(self._frame)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _SETTABLE:
            raise AttributeError(f"creating new attributes on C++ objects is not allowed: {name}")
        self.__dict__[name] = value

    def setPythonSource(self, path: str) -> bool:
        source = Path(path)
        module = sys.modules.get(source.parent.name)
        if module is None or not hasattr(module, source.stem):
            spec = importlib.util.spec_from_file_location(source.parent.name, source)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[source.parent.name] = module
            spec.loader.exec_module(module)
        self.__dict__["_python"] = getattr(module, source.stem)(self)
        return True

    def self(self) -> Any:
        return self._python

    def optionsFrame(self) -> Any:
        return self._frame

    def addOptionsWidget(self, widget: Any) -> None:
        self._layout.addRow(widget)

    def addLabeledOptionsWidget(self, label: str, widget: Any) -> Any:
        self._layout.addRow(label, widget)
        return widget

    def parameterSetNode(self) -> Any:
        return self.editor.mrmlSegmentEditorNode()

    def saveStateForUndo(self) -> None:
        self.editor.logic.SaveStateForUndo()

    def selectEffect(self, name: str) -> None:
        self.editor.setActiveEffectByName(name)

    def confirmCurrentSegmentVisible(self) -> int:
        """The real one asks the user about a segment that is hidden."""
        return 1

    def addActor2D(self, view: Any, actor: Any) -> None:
        view.renderer.AddViewProp(actor)

    def removeActor2D(self, view: Any, actor: Any) -> None:
        view.renderer.RemoveViewProp(actor)


class Interactor:
    """What an effect asks a render window interactor for."""

    def __init__(self, place: tuple[int, int], control: bool, shift: bool, key: str) -> None:
        self._place, self._control, self._shift, self._key = place, control, shift, key

    def GetEventPosition(self) -> tuple[int, int]:
        return self._place

    def GetControlKey(self) -> int:
        return int(self._control)

    def GetShiftKey(self) -> int:
        return int(self._shift)

    def GetAltKey(self) -> int:
        return 0

    def GetKeySym(self) -> str:
        return self._key


class SliceView:
    """A slice widget and its view, without a window: the slice node and its logic are Slicer's own."""

    SIZE = (320, 320)

    def __init__(self, volume: Any, orientation: str = "Axial") -> None:
        self.renderer = vtk.vtkRenderer()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self._logic)
        self._node = self._logic.AddSliceNode(f"Editor{orientation}")
        self._node.SetOrientation(orientation)
        self._node.SetDimensions(*self.SIZE, 1)
        self._logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        self._logic.FitSliceToBackground(*self.SIZE)
        self.renders = 0

    def close(self) -> None:
        """Removes the view."""
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        for node in (self._logic.GetSliceCompositeNode(), self._node):
            slicer.mrmlScene.RemoveNode(node)

    def className(self) -> str:
        return "qMRMLSliceWidget"

    def mrmlSliceNode(self) -> Any:
        return self._node

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> SliceView:
        return self

    def scheduleRender(self) -> None:
        self.renders += 1

    def show(self, ras: Sequence[float]) -> None:
        """Moves the slice through a point in RAS mm."""
        self._node.JumpSliceByOffsetting(*map(float, ras))

    def rotate(self, degrees: float) -> None:
        """Makes the slice oblique."""
        transform = vtk.vtkTransform()
        transform.SetMatrix(self._node.GetSliceToRAS())
        transform.RotateX(degrees)
        transform.RotateY(0.5 * degrees)
        self._node.GetSliceToRAS().DeepCopy(transform.GetMatrix())
        self._node.UpdateMatrices()

    def xy(self, ras: Sequence[float]) -> tuple[int, int]:
        """The pixel that shows a point in RAS mm."""
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        x, y, *_rest = inverse.MultiplyPoint((*map(float, ras), 1.0))
        return round(x), round(y)

    def ras(self, xy: Sequence[int]) -> np.ndarray:
        """The point in RAS mm that a pixel shows."""
        return np.array(self._node.GetXYToRAS().MultiplyPoint((*map(float, xy), 0.0, 1.0))[:3])


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):
    """The editor: a table of segments, a button for each effect, the options of the active one, undo and redo."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self._effects: dict[str, Any] = {}
        self._active = ""
        self._shortcuts = False
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QListWidget(self)
        self._table.setMaximumHeight(110)
        self._table.currentRowChanged.connect(self._on_row)
        layout.addWidget(self._table)
        self._buttons = QtWidgets.QHBoxLayout()
        layout.addLayout(self._buttons)
        self._title, self._help = QtWidgets.QLabel(self), QtWidgets.QLabel(self)
        self._help.setWordWrap(True)
        for label in (self._title, self._help):
            layout.addWidget(label)
        self._options = QtWidgets.QVBoxLayout()
        layout.addLayout(self._options)
        row = QtWidgets.QHBoxLayout()
        for title, slot in (("Undo", self.undo), ("Redo", self.redo)):
            button = QtWidgets.QPushButton(title, self)
            button.clicked.connect(slot)
            row.addWidget(button)
        layout.addLayout(row)

    # --- what modules call

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self.logic.SetMRMLScene(scene)
        if scene is None:
            self.setActiveEffectByName("")
            for effect in self._effects.values():
                effect.self().cleanup()
            self._effects = {}
            return
        for name, registered in EffectFactory.instance().effects.items():
            if name in self._effects:
                continue
            effect = registered.self().clone()
            effect.__dict__["editor"] = self
            effect.self().setupOptionsFrame()
            frame = qt.unwrap(effect.optionsFrame())
            frame.setVisible(False)
            self._options.addWidget(frame)
            button = QtWidgets.QPushButton(effect.title, self)
            button.setIcon(qt.unwrap(effect.self().icon()))
            button.setCheckable(True)
            button.clicked.connect(lambda on, name=name: self.setActiveEffectByName(name if on else ""))
            self._buttons.addWidget(button)
            self._effects[name] = effect
            effect.__dict__["button"] = button

    def setMRMLSegmentEditorNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self.logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self) -> Any:
        return self.logic.GetSegmentEditorNode()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self.logic.SetMaximumNumberOfUndoStates(count)

    def setSegmentationNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is self.segmentationNode():
            return
        self.setActiveEffectByName("")
        self.logic.SetSegmentationNode(node)
        self._table.clear()
        if node is not None:
            for key in node.GetSegmentation().GetSegmentIDs():
                self._table.addItem(node.GetSegmentation().GetSegment(key).GetName())
            self._table.setCurrentRow(0)

    def segmentationNode(self) -> Any:
        node = self.mrmlSegmentEditorNode()
        return None if node is None else node.GetSegmentationNode()

    def setSourceVolumeNode(self, node: slicer.vtkMRMLNode | None) -> None:
        if node is not self.mrmlSegmentEditorNode().GetSourceVolumeNode():
            self.logic.SetSourceVolumeNode(node)
            for effect in self._effects.values():
                effect.self().sourceVolumeNodeChanged()

    def setCurrentSegmentID(self, segment: str) -> None:
        self.mrmlSegmentEditorNode().SetSelectedSegmentID(segment)
        self._table.setCurrentRow(list(self.segmentationNode().GetSegmentation().GetSegmentIDs()).index(segment))

    def setEffectNameOrder(self, names: Sequence[str]) -> None:
        """The real one sorts its buttons."""

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        """There is no selector here."""

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        """There is no selector here."""

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        """There is no such button here."""

    unorderedEffectsVisible = QtCore.Property(bool, lambda self: True, lambda self, visible: None)

    def setActiveEffectByName(self, name: str) -> None:
        if name == self._active:
            return
        for shown, effect in self._effects.items():
            if shown == self._active:
                effect.self().deactivate()
            qt.unwrap(effect.optionsFrame()).setVisible(shown == name)
            effect.__dict__["button"].setChecked(shown == name)
        self._active = name
        effect = self._effects.get(name)
        self._title.setText(f"<b>{effect.title}</b>" if effect else "")
        teaser = effect.self().helpText().partition("<br>")[0] if effect else ""  # the rest comes with a click
        self._help.setText(f"{teaser} <a href='more'>Show details.</a>" if teaser else "")
        if self.mrmlSegmentEditorNode() is not None:
            self.mrmlSegmentEditorNode().SetActiveEffectName(name)
        if effect is not None:
            effect.self().activate()

    def activeEffect(self) -> Any:
        return self._effects.get(self._active)

    def effectByName(self, name: str) -> Any:
        return self._effects.get(name)

    def undo(self) -> None:
        self.logic.Undo()

    def redo(self) -> None:
        self.logic.Redo()

    def setupViewObservations(self) -> None:
        """Views are given to `send` here."""

    def removeViewObservations(self) -> None:
        """Views are given to `send` here."""

    def installKeyboardShortcuts(self) -> None:
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    # --- what tests do

    def send(self, view: Any, event: str, xy: Any = (0, 0), **more: Any) -> bool:
        """Sends an event of a view, such as "MouseMove", to the active effect; returns whether it ends there."""
        effect = self.activeEffect()
        if effect is None:
            return False
        given = {"control": False, "shift": False, "key": "", **more}
        interactor = Interactor(tuple(xy), **given)
        answer = effect.self().processInteractionEvents(interactor, getattr(vtk.vtkCommand, f"{event}Event"), view)
        assert isinstance(answer, bool), "Slicer takes a bool only"
        return answer

    def _on_row(self, row: int) -> None:
        node = self.segmentationNode()
        if node is not None and row >= 0:
            self.mrmlSegmentEditorNode().SetSelectedSegmentID(node.GetSegmentation().GetSegmentIDs()[row])


def install() -> None:
    """Makes the editor and what effects import importable."""
    effects = ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect  # type: ignore[attr-defined]
    decorators = ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    decorators.qSlicerSegmentEditorScriptedEffect = qSlicerSegmentEditorScriptedEffect  # type: ignore[attr-defined]
    for module in (effects, decorators):
        sys.modules[module.__name__] = module
    slicer.qSlicerSegmentEditorEffectFactory = EffectFactory
    slicer.qMRMLSegmentEditorWidget = qt.register_widget(qMRMLSegmentEditorWidget)
