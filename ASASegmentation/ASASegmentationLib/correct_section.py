"""Section Correct of the panel: the Segment Editor on the segmentation of the results, with the effect ASA Refine."""

from __future__ import annotations

from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

EFFECT = "ASA Refine"
_EFFECTS = (EFFECT, "Paint", "Erase", "Scissors", "Islands", "Smoothing")
_NODE_TAG = "ASASegmentEditor"
_UNDO_STATES = 20


class CorrectSection:
    """Stands below the section of the results; the editor is made when it is opened first."""

    def __init__(self, ui: Any) -> None:
        self.section = ctk.ctkCollapsibleButton()
        self.section.setObjectName("correctSection")
        self.section.setText(_("Correct"))
        self.section.collapsed = True
        self.section.setToolTip(_("Correct the segmentation with clicks, or with other tools of the Segment Editor."))
        self._layout = qt.QVBoxLayout(self.section)
        around = ui.resultsSection.parentWidget().layout()
        around.insertWidget(around.indexOf(ui.resultsSection) + 1, self.section)
        self.section.connect("contentsCollapsed(bool)", self._on_collapsed)
        self.section.setVisible(False)
        self.editor: Any = None
        self._node: slicer.vtkMRMLSegmentationNode | None = None

    def close(self) -> None:
        """Let go of the scene."""
        if self.editor is not None:
            self._leave()
            self.editor.setSegmentationNode(None)
            self.editor.setMRMLSegmentEditorNode(None)
            self.editor.setMRMLScene(None)

    def show(self, node: slicer.vtkMRMLSegmentationNode | None, enabled: bool) -> None:
        """Follow the segmentation of the results section; None hides the section."""
        self.section.setVisible(node is not None)
        self.section.setEnabled(enabled)
        changed = node is not self._node
        self._node = node
        if node is None or not enabled:
            self.section.collapsed = True
            self._leave()
        elif changed and not self.section.collapsed:
            self._enter()

    def set_shown(self, shown: bool) -> None:
        """Follow whether the module is open: elsewhere, clicks in the views are not for this editor."""
        if not shown:
            self._leave()
        elif not self.section.collapsed:
            self._enter()

    def _on_collapsed(self, collapsed: bool) -> None:
        self._leave() if collapsed else self._enter()

    def _enter(self) -> None:
        if self._node is None:
            return
        if self.editor is None:
            self._make_editor()
        self.editor.setMRMLSegmentEditorNode(_editor_node())
        self.editor.setSegmentationNode(self._node)
        scan = self._node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
        if scan is not None:
            self.editor.setSourceVolumeNode(scan)
        self.editor.setupViewObservations()
        self.editor.installKeyboardShortcuts()
        self.editor.setActiveEffectByName(EFFECT)

    def _leave(self) -> None:
        if self.editor is None:
            return
        self.editor.setActiveEffectByName("")
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()

    def _make_editor(self) -> None:
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMaximumNumberOfUndoStates(_UNDO_STATES)
        self.editor.setEffectNameOrder(list(_EFFECTS))
        self.editor.unorderedEffectsVisible = False
        self.editor.setSegmentationNodeSelectorVisible(False)
        self.editor.setSourceVolumeNodeSelectorVisible(False)
        self.editor.setSwitchToSegmentationsButtonVisible(False)
        self._layout.addWidget(self.editor)
        self.editor.setMRMLScene(slicer.mrmlScene)


def _editor_node() -> slicer.vtkMRMLNode:
    """Return the parameters of this editor; recreated in a new scene."""
    node: slicer.vtkMRMLNode | None = slicer.mrmlScene.GetSingletonNode(_NODE_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(_NODE_TAG)
        node = slicer.mrmlScene.AddNode(node)
    return node
