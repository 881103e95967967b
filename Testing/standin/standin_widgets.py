"""CTK's and Slicer's widgets that the panels use, as PySide6 widgets: same names, properties and signals, no more."""

from __future__ import annotations

import enum
from pathlib import Path

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

Property, Signal = QtCore.Property, QtCore.Signal
_NO_LIMIT = 16777215  # QWIDGETSIZE_MAX


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A heading that shows or hides the children below it; its layout is that of the children."""

    contentsCollapsed = Signal(bool)
    _MARGIN = 22

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsed, self._busy = False, False
        self._hidden: set[QtCore.QObject] = set()
        self._heading = QtWidgets.QToolButton(self)
        self._heading.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._heading.setAutoRaise(True)
        self._heading.clicked.connect(lambda: self._set_collapsed(not self._collapsed))
        self._heading.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._heading.setFocusPolicy(QtCore.Qt.FocusPolicy.StrongFocus)
        self.setContentsMargins(0, self._MARGIN, 0, 0)
        self._set_arrow()

    def resizeEvent(self, event: object) -> None:
        self._heading.setGeometry(0, 0, self.width(), self._MARGIN)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        child = event.child()
        if isinstance(child, QtWidgets.QWidget) and child is not getattr(self, "_heading", child):
            if event.added():
                child.installEventFilter(self)
                self._show_child(child)
            elif event.removed():
                self._hidden.discard(child)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """Remembers which children their owner has hidden: they stay so when the rest is shown again."""
        if not self._busy and event.type() == QtCore.QEvent.Type.HideToParent:
            self._hidden.add(child)
        elif not self._busy and event.type() == QtCore.QEvent.Type.ShowToParent:
            self._hidden.discard(child)
            self._show_child(child)
        return False

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        """Shows a child, or hides it without keeping its owner from hiding it, as CTK does."""
        self._busy = True
        if self._collapsed or child in self._hidden:
            child.setVisible(False)
        elif child.isHidden():
            child.setVisible(True)
        if child not in self._hidden:
            child.setAttribute(QtCore.Qt.WidgetAttribute.WA_WState_ExplicitShowHide, False)
        self._busy = False

    def sizeHint(self) -> QtCore.QSize:
        hint = super().sizeHint()
        return QtCore.QSize(hint.width(), self._MARGIN) if self._collapsed else hint

    def _set_arrow(self) -> None:
        arrow = QtCore.Qt.ArrowType.RightArrow if self._collapsed else QtCore.Qt.ArrowType.DownArrow
        self._heading.setArrowType(arrow)

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and child is not self._heading:
                self._show_child(child)
        self.setMaximumHeight(self._MARGIN if collapsed else _NO_LIMIT)
        self._set_arrow()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _get_text(self) -> str:
        return self._heading.text()

    def _set_text(self, text: str) -> None:
        self._heading.setText(text)

    collapsed = Property(bool, _get_collapsed, _set_collapsed)
    text = Property(str, _get_text, _set_text)

    def setText(self, text: str) -> None:
        self._set_text(text)


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path and a button to browse for it: for a file unless the filters say a folder, as in CTK.

    An empty path is no valid one: CTK tells of it by `validInputChanged` alone.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    class Filter(enum.Enum):
        Dirs = 1
        Files = 2

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._filters = self.Filter.Files.value
        self._edit = QtWidgets.QLineEdit(self)
        browse = QtWidgets.QToolButton(self)
        browse.setText("…")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit)
        layout.addWidget(browse)
        self.setFocusProxy(self._edit)
        self._valid = False
        self._edit.textChanged.connect(self._on_text)
        browse.clicked.connect(self._browse)

    def _on_text(self, text: str) -> None:
        before, self._valid = self._valid, bool(text)
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def _browse(self) -> None:
        start = str(Path(self._edit.text() or "."))
        if self._filters & self.Filter.Files.value:
            path, _kind = QtWidgets.QFileDialog.getOpenFileName(self, "", start)
        else:
            path = QtWidgets.QFileDialog.getExistingDirectory(self, "", start)
        if path:
            self._edit.setText(path)

    def _get_filters(self) -> int:
        return self._filters

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    def _get_path(self) -> str:
        return self._edit.text()

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    currentPath = Property(str, _get_path, setCurrentPath)
    filters = Property(int, _get_filters, _set_filters)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box; the real one can also be told not to come back."""


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Lists the nodes of a scene that have one of the types, and follows the scene while it changes."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: slicer.vtkMRMLScene | None = None
        self._scene_tags: list[int] = []
        self._node_tags: dict[str, int] = {}
        self._types: list[str] = []
        self._options = {"noneEnabled": False, "showChildNodeTypes": True}
        # The real widget has a menu to create nodes, rename and remove them, and selects those created there.
        self._ignored = dict.fromkeys(("addEnabled", "removeEnabled", "renameEnabled", "selectNodeUponCreation"), True)
        self._none_display = "None"
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.currentIndexChanged.connect(self._on_index)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._current = ""

    # --- what the .ui file sets

    def _get_types(self) -> list[str]:
        return self._types

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    def _get_none_display(self) -> str:
        return self._none_display

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._refresh()

    def _option(name: str) -> QtCore.Property:  # type: ignore[misc]
        def getter(self: qMRMLNodeComboBox) -> bool:
            return self._options[name]

        def setter(self: qMRMLNodeComboBox, value: bool) -> None:
            self._options[name] = value
            self._refresh()

        return Property(bool, getter, setter)

    def _unused_option(name: str) -> QtCore.Property:  # type: ignore[misc]
        """An option of the real widget's menu, which there is none of here."""

        def getter(self: qMRMLNodeComboBox) -> bool:
            return self._ignored[name]

        def setter(self: qMRMLNodeComboBox, value: bool) -> None:
            self._ignored[name] = value

        return Property(bool, getter, setter)

    nodeTypes = Property("QStringList", _get_types, _set_types)
    noneDisplay = Property(str, _get_none_display, _set_none_display)
    noneEnabled = _option("noneEnabled")
    showChildNodeTypes = _option("showChildNodeTypes")
    addEnabled = _unused_option("addEnabled")
    removeEnabled = _unused_option("removeEnabled")
    renameEnabled = _unused_option("renameEnabled")
    selectNodeUponCreation = _unused_option("selectNodeUponCreation")

    # --- what the modules call

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        for tag in self._scene_tags:
            self._scene.RemoveObserver(tag)
        self._scene = scene
        changed = (scene.NodeAddedEvent, scene.NodeRemovedEvent) if scene else ()
        self._scene_tags = [scene.AddObserver(event, self._on_scene) for event in changed]
        replaced = (scene.EndCloseEvent, scene.EndImportEvent) if scene else ()
        self._scene_tags += [scene.AddObserver(event, self._on_scene_replaced) for event in replaced]
        self._refresh()

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self._scene

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        self._select(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        self._select(node_id or "")

    def _get_id(self) -> str:
        return self._current

    currentNodeID = Property(str, _get_id, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._nodes())

    # --- following the scene

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if not node.GetHideFromEditors() and self._has_type(node)]

    def _has_type(self, node: slicer.vtkMRMLNode) -> bool:
        if self._options["showChildNodeTypes"]:
            return any(node.IsA(kind) for kind in self._types)
        return node.GetClassName() in self._types

    def _on_scene(self, _scene: object, _event: str) -> None:
        if not self._is_gone() and not self._scene.IsImporting() and not self._scene.IsClosing():
            self._refresh()

    def _on_scene_replaced(self, _scene: object, _event: str) -> None:
        """The real one makes its list anew, in which nothing is chosen any more."""
        if not self._is_gone():
            self._select("")
            self._refresh()

    def _is_gone(self) -> bool:
        """Deleted with the panel around it: then nothing is followed any more."""
        if shiboken6.isValid(self._combo):
            return False
        for tag in self._scene_tags:
            self._scene.RemoveObserver(tag)
        return True

    def _refresh(self) -> None:
        nodes = self._nodes()
        self._follow_names(nodes)
        ids = [node.GetID() for node in nodes]
        current = self._current if self._current in ids else ""
        if not current and not self._options["noneEnabled"] and ids:
            current = ids[0]
        self._combo.blockSignals(True)
        self._combo.clear()
        if self._options["noneEnabled"] or not nodes:
            self._combo.addItem(self._none_display, "")
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        self._combo.setCurrentIndex(self._combo.findData(current))
        self._combo.blockSignals(False)
        self._announce(current)

    def _follow_names(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        """Renamed nodes are shown with their new names."""
        for node in nodes:
            if node.GetID() not in self._node_tags:
                self._node_tags[node.GetID()] = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._on_renamed)

    def _on_renamed(self, node: slicer.vtkMRMLNode, _event: str) -> None:
        index = self._combo.findData(node.GetID())
        if index >= 0:
            self._combo.setItemText(index, node.GetName())

    def _select(self, node_id: str) -> None:
        index = max(self._combo.findData(node_id), self._combo.findData(""))
        self._combo.blockSignals(True)
        self._combo.setCurrentIndex(index)
        self._combo.blockSignals(False)
        self._announce(self._combo.itemData(index) or "")

    def _on_index(self, index: int) -> None:
        self._announce(self._combo.itemData(index) or "")

    def _announce(self, current: str) -> None:
        if current != self._current:
            self._current = current
            self.currentNodeChanged.emit(self.currentNode())
