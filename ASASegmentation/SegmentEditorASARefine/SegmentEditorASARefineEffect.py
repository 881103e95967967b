"""Segment Editor effect ASA Refine: mouse, keys and options of a correction; the rest is in ASASegmentationLib.refine.

Slicer loads this file as a module that has the name of its folder.
"""

from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from ASASegmentationLib.refine.correction import Correction
from ASASegmentationLib.refine.outline import ADDS, REMOVES, Outline, direction_of, place_of
from ASASegmentationLib.refine.strokes import BRUSHES, MAX_RADIUS_MM, TOOLS, Command, Strokes, circle
from ASASlicerLib.resident import shared_runner

NAME = "ASA Refine"  # modules find effects by it
_POLL_MS = 20
_NARROWEST = 40  # of a button, in pixels; the panel begins 350 wide
_OTHERS_KEYS = ("Space", "Esc")  # of the Segment Editor: switch to another effect, leave the effect


class SegmentEditorASARefineEffect(AbstractScriptedSegmentEditorEffect):
    """Correct a segment by marks, previewed before they are applied."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = NAME
        scriptedEffect.title = _("ASA Refine")
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self.strokes = Strokes()
        self.correction: Correction | None = None
        self._outlines: dict[Any, Outline] = {}
        self._silenced: list[Any] = []
        self._active = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    # --- what Slicer asks of an effect

    def clone(self) -> Any:
        """Return another instance, for one more editor."""
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        cloned = effects.qSlicerSegmentEditorScriptedEffect(None)
        cloned.setPythonSource(__file__.replace("\\", "/"))
        return cloned

    def icon(self) -> Any:
        """Return the icon."""
        return qt.QIcon(str(Path(__file__).parent / "SegmentEditorASARefine.png"))

    def helpText(self) -> str:
        """Return what the editor shows below the name of the effect."""
        text = _(
            "Correct the selected segment with marks. The engine uses all images of the scan; green is added, red "
            "is removed.<br>"
            "<ul style='margin: 0'>"
            "<li><b>Left button:</b> add. <b>Right button</b> or <b>Ctrl + left:</b> remove."
            "<li><b>P</b> point, <b>S</b> scribble, <b>B</b> box, <b>L</b> lasso, <b>T</b> threshold brush."
            "<li><b>Wheel:</b> size of the brush. <b>Shift + wheel:</b> next slice."
            "<li><b>Space:</b> apply the preview, each mark is one undo step. <b>Esc:</b> discard the last mark."
            "</ul>"
            "Segments with the status <i>Completed</i> and your manual edits stay as they are."
        )
        return f"<html>{text}"

    def setupOptionsFrame(self) -> None:
        """Build the options."""
        titles = (_("Point"), _("Scribble"), _("Box"), _("Lasso"), _("Threshold"))
        row = qt.QWidget()
        layout = qt.QGridLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        self.tools = {}
        for number, (tool, title) in enumerate(zip(TOOLS, titles, strict=True)):
            button = qt.QPushButton(title)
            button.setCheckable(True)
            button.setAutoExclusive(True)
            button.setMinimumWidth(_NARROWEST)
            button.setMinimumHeight(button.sizeHint.height())  # wrapped texts around it would squeeze it otherwise
            button.setToolTip(_("Key {key}").format(key=tool[0].upper()))
            button.setFocusPolicy(qt.Qt.NoFocus)  # keys go to the view
            button.connect("clicked()", lambda tool=tool: self._choose(tool))
            layout.addWidget(button, number // 3, number % 3)
            self.tools[tool] = button
        self.scriptedEffect.addOptionsWidget(row)
        self.size = qt.QDoubleSpinBox()
        self.size.setRange(0, MAX_RADIUS_MM)
        self.size.setSuffix(_(" mm"))
        self.size.setToolTip(_("Radius of the brush; 0 marks single voxels."))
        self.size.connect("valueChanged(double)", self._on_size)
        self.scriptedEffect.addLabeledOptionsWidget(_("Radius:"), self.size)
        buttons = qt.QWidget()
        line = qt.QHBoxLayout(buttons)
        line.setContentsMargins(0, 0, 0, 0)
        self.applyButton = qt.QPushButton(_("Apply (Space)"))
        self.dropButton = qt.QPushButton(_("Discard (Esc)"))
        for button, slot in ((self.applyButton, self.accept), (self.dropButton, self.drop)):
            button.connect("clicked()", slot)
            button.setMinimumWidth(_NARROWEST)
            button.setFocusPolicy(qt.Qt.NoFocus)
            line.addWidget(button)
        self.scriptedEffect.addOptionsWidget(buttons)
        self.statusLabel = qt.QLabel("")
        self.statusLabel.setWordWrap(True)
        self.scriptedEffect.addOptionsWidget(self.statusLabel)
        self._show()

    def activate(self) -> None:
        """Prepare the correction of the segmentation that is edited."""
        self._active = True
        if self.correction is None:
            save = self.scriptedEffect.saveStateForUndo
            self.correction = Correction(slicer.mrmlScene, shared_runner(), save)
            self.correction.changed.connect(self._show)
        self._open()
        self._silence_shortcuts()
        self._timer.start()

    def deactivate(self) -> None:
        """Drop what is previewed."""
        self._active = False
        self._timer.stop()
        self.strokes.abandon()
        for view, outline in self._outlines.items():
            self.scriptedEffect.removeActor2D(view, outline.actor)
        self._outlines = {}
        for shortcut in self._silenced:
            shortcut.setEnabled(True)
        self._silenced = []
        if self.correction is not None:
            self.correction.hide()

    def cleanup(self) -> None:
        """Remove temporary files; Slicer calls this before the effect is deleted."""
        self._timer.stop()
        if self.correction is not None:
            self.correction.changed.disconnect(self._show)
            self.correction.end()
            self.correction = None

    def sourceVolumeNodeChanged(self) -> None:
        """Follow another choice of what is edited."""
        self._open()

    def referenceGeometryChanged(self) -> None:
        """Follow another choice of what is edited."""
        self._open()

    def processInteractionEvents(self, callerInteractor: Any, eventId: int, viewWidget: Any) -> bool:
        """Handle an event of a view; return whether it ends here."""
        if viewWidget.className() != "qMRMLSliceWidget" or self.correction is None:
            return False
        command = vtk.vtkCommand
        if eventId == command.KeyPressEvent:
            return self._key(callerInteractor.GetKeySym())
        node = viewWidget.mrmlSliceNode()
        if eventId in (command.MouseWheelForwardEvent, command.MouseWheelBackwardEvent):
            forward = eventId == command.MouseWheelForwardEvent
            used = self._wheel(callerInteractor, viewWidget, forward)
            self._draw(callerInteractor, viewWidget)
            return used
        place = place_of(callerInteractor, node)
        if eventId in (command.LeftButtonPressEvent, command.RightButtonPressEvent):
            if callerInteractor.GetShiftKey() or callerInteractor.GetAltKey():
                return False
            if self.scriptedEffect.confirmCurrentSegmentVisible():
                left = eventId == command.LeftButtonPressEvent
                self.strokes.press(viewWidget, place, left and not callerInteractor.GetControlKey())
                self._draw(callerInteractor, viewWidget)
            return True
        used = self.strokes.drawing
        if eventId == command.MouseMoveEvent:
            if self.strokes.move(viewWidget, place) or not used:
                self._draw(callerInteractor, viewWidget)
        elif eventId in (command.LeftButtonReleaseEvent, command.RightButtonReleaseEvent):
            stroke = self.strokes.release(viewWidget, place, direction_of(node, 0), direction_of(node, 2))
            if stroke is not None:
                self.correction.mark(stroke, self.scriptedEffect.parameterSetNode().GetSelectedSegmentID() or "")
            self._draw(callerInteractor, viewWidget)
        elif eventId == command.LeaveEvent and viewWidget in self._outlines and not used:
            self._outlines[viewWidget].show([], ADDS, node)
            viewWidget.sliceView().scheduleRender()
        return used

    # --- the user's choices

    def accept(self) -> None:
        """Apply what is previewed."""
        if self.correction is not None:
            self.correction.accept()

    def drop(self) -> None:
        """Discard the current stroke, otherwise the last mark of the preview; if there is none, leave the effect."""
        if self.strokes.drawing:
            self.strokes.abandon()
        elif self.correction is not None and not self.correction.drop():
            self.scriptedEffect.selectEffect("")

    def _key(self, name: str) -> bool:
        command = self.strokes.key(name)
        if command is Command.ACCEPT:
            self.accept()
        elif command is Command.DROP:
            self.drop()
        self._show()
        return command is not Command.NONE

    def _wheel(self, interactor: Any, view: Any, forward: bool) -> bool:
        if interactor.GetControlKey():
            return False
        if interactor.GetShiftKey():
            logic = view.sliceLogic()
            step = logic.GetLowestVolumeSliceSpacing()[2]
            logic.SetSliceOffset(logic.GetSliceOffset() + (step if forward else -step))
            return True
        sized = self.strokes.resize(forward)
        self._show()
        return sized

    def _choose(self, tool: str) -> None:
        self.strokes.choose(tool)
        self._show()

    def _on_size(self, radius: float) -> None:
        self.strokes.radius_mm = radius

    # --- showing

    def _open(self) -> None:
        node = self.scriptedEffect.parameterSetNode()
        if self._active and self.correction is not None and node is not None:
            self.correction.open(node.GetSegmentationNode(), node.GetSourceVolumeNode())

    def _poll(self) -> None:
        if self.correction is not None:
            self.correction.poll()

    def _show(self) -> None:
        """Show the state of the tools and of the correction."""
        tool = self.strokes.tool
        self.tools[tool].setChecked(True)
        self.size.blockSignals(True)
        self.size.setValue(self.strokes.radius_mm)
        self.size.blockSignals(False)
        self.size.setEnabled(tool in BRUSHES)
        correction = self.correction
        self.statusLabel.setText("" if correction is None else correction.status)
        self.applyButton.setEnabled(correction is not None and correction.pending > 0)
        self.dropButton.setEnabled(correction is not None and (correction.pending > 0 or correction.busy))

    def _draw(self, interactor: Any, view: Any) -> None:
        """Draw the stroke, or the brush at the mouse."""
        node = view.mrmlSliceNode()
        if view not in self._outlines:
            self._outlines[view] = Outline()
            self.scriptedEffect.addActor2D(view, self._outlines[view].actor)
        across, normal = direction_of(node, 0), direction_of(node, 2)
        places = self.strokes.outline(across, normal)
        if not self.strokes.drawing and self.strokes.tool in BRUSHES and self.strokes.radius_mm:
            places = circle(place_of(interactor, node), across, normal, self.strokes.radius_mm)
        removes = self.strokes.drawing and not self.strokes.adds
        self._outlines[view].show(places, REMOVES if removes else ADDS, node)
        view.sliceView().scheduleRender()

    def _silence_shortcuts(self) -> None:
        """Disable the editor's shortcuts whose keys have another meaning here."""
        window = slicer.util.mainWindow()
        found = window.findChildren(qt.QShortcut) if window is not None else ()
        self._silenced = [one for one in found if one.key.toString() in _OTHERS_KEYS and one.enabled]
        for shortcut in self._silenced:
            shortcut.setEnabled(False)
