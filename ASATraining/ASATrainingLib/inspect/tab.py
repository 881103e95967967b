"""The tab that inspections into a model: what it holds important, what is hidden from it, what it makes up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from asa.events import Progress
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.scrolling import bring_into_view
from ASASlicerLib.table import fill_table
from ASATrainingLib import layouts
from ASATrainingLib.inspect.inspection import Inspection, InspectionRequest
from ASATrainingLib.inspect.logic import InspectionLogic
from ASATrainingLib.inspect.patch_tools import PatchTools
from ASATrainingLib.inspect.scene import InspectionScene
from ASATrainingLib.inspect.state import InspectState, State
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.runs.checkpoints import Checkpoint, checkpoints, installed, opened
from ASATrainingLib.wording import inspection_text

_POLL_MS = 50
_STEPS = 1000
RANDOM, BRAIN, DRAWN = "random", "brain", "drawn"


class InspectTab:
    """Inspects the selected checkpoint on the selected volume and shows the results in four linked views.

    `widget` is the loaded InspectTab.ui. All computation is done by the engine.
    """

    FILE, TITLE = "InspectTab.ui", "Inspect model"

    def __init__(self, widget: Any, logic: TrainingLogic, dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self.inspections = InspectionLogic(logic.runner)
        self.shown = InspectionScene(slicer.mrmlScene)
        self.tools = PatchTools(self.ui, self.shown, self._on_changed, self._on_attention)
        self.inspection: Inspection | None = None
        self._arrival: Iterator[None] | None = None  # an inspection being added to the scene
        self._views = layouts.FourViews(slicer.mrmlScene)
        self.enter, self.leave = self._views.enter, self._views.leave
        self._widget = widget
        self._dialogs = dialogs
        self._state = InspectState(logic.parameter_node)
        self._models: list[Checkpoint] = []
        self._extra = installed()  # and models opened from elsewhere
        self._scores: dict[str, tuple[str, ...]] = {}
        self._note = ""
        self._showing = False  # while the controls are being set
        self._replacing = False  # while the scene is replaced: the selector is cleared, which is not the user's choice
        self._fill_choices()
        self._connect()
        self._restore()
        self._on_run()
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._timer.start()

    def close(self) -> None:
        """Cancel a running inspection; nodes in the scene are kept."""
        self._timer.stop()
        self._showing = True  # a selector without a scene has no volume: that is not the user's choice
        self.ui.volumeSelector.setMRMLScene(None)
        self.logic.current_run_changed.disconnect(self._on_run)
        self.logic.run_state_changed.disconnect(self._on_run_state)
        for event in self._observations:
            slicer.mrmlScene.RemoveObserver(event)
        self.inspections.close()

    def _fill_choices(self) -> None:
        ui = self.ui
        masks = {RANDOM: _("Random"), BRAIN: _("Random, within the brain"), DRAWN: _("Drawn by hand")}
        overlays = {
            "importance": _("Importance (VHOG)"),
            "attention": _("Attention"),
            "error": _("Error"),
            "": _("None"),
        }
        for box, choices in ((ui.maskComboBox, masks), (ui.overlayComboBox, overlays)):
            for value, title in choices.items():
                box.addItem(title, value)
        ui.volumeSelector.setMRMLScene(slicer.mrmlScene)
        ui.progressBar.setRange(0, _STEPS)

    def _connect(self) -> None:
        ui, inspections, mrml = self.ui, self.inspections, slicer.mrmlScene
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_changed)
        ui.checkpointComboBox.connect("currentIndexChanged(int)", self._on_checkpoint)
        ui.checkpointSlider.connect("valueChanged(int)", self._on_scrubbed)
        ui.maskComboBox.connect("currentIndexChanged(int)", self._on_changed)
        for spin in (ui.ratioSpinBox, ui.seedSpinBox):
            spin.connect("valueChanged(int)", self._on_changed)
        for box in (ui.strippedCheckBox, ui.alignCheckBox):
            box.connect("toggled(bool)", self._on_changed)
        ui.openModelButton.connect("clicked()", self._open_model)
        ui.inspectButton.connect("clicked()", self.toggle)
        ui.inspectAllButton.connect("clicked()", self.inspect_all)
        ui.overlayComboBox.connect("currentIndexChanged(int)", self._arrange)
        for slider in (ui.overlaySlider, ui.blendSlider):
            slider.connect("valueChanged(int)", self._arrange)
        ui.arrangeButton.connect("clicked()", self.show_views)
        inspections.changed.connect(self._refresh)
        inspections.progressed.connect(self._on_progress)
        inspections.completed.connect(self._on_inspection)
        inspections.cached.connect(lambda _checkpoint: self._refresh())
        inspections.failed.connect(self._say)
        self.logic.current_run_changed.connect(self._on_run)
        self.logic.run_state_changed.connect(self._on_run_state)
        replaced = (mrml.EndCloseEvent, mrml.EndImportEvent, mrml.EndRestoreEvent)
        self._observations = [mrml.AddObserver(event, lambda *_: self._on_scene_replaced()) for event in replaced]
        begun = (mrml.StartCloseEvent, mrml.StartImportEvent, mrml.StartRestoreEvent)
        self._observations += [mrml.AddObserver(event, lambda *_: self._on_scene_being_replaced()) for event in begun]

    # --- request

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The selected volume; None for none."""
        volume: slicer.vtkMRMLScalarVolumeNode | None = self.ui.volumeSelector.currentNode()
        return volume

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The selected checkpoint; None for none."""
        index = self.ui.checkpointComboBox.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    @property
    def _mask(self) -> str:
        return str(self.ui.maskComboBox.itemData(self.ui.maskComboBox.currentIndex))

    def request(self) -> InspectionRequest:
        """Return the request set by the widgets."""
        ui, mask = self.ui, self._mask
        hidden = self.tools.hidden(self.volume) if mask == DRAWN else None
        drawn = np.packbits(hidden).tobytes() if hidden is not None else b"" if mask == DRAWN else None
        random = drawn is None  # unused values must not change the request
        return InspectionRequest(
            ratio=ui.ratioSpinBox.value / 100 if random else 0.0,
            seed=ui.seedSpinBox.value if random else 0,
            brain_only=mask == BRAIN,
            drawn=drawn,
            stripped=ui.strippedCheckBox.isChecked(),
            align=ui.alignCheckBox.isChecked(),
        )

    def toggle(self) -> None:
        """Inspect the selected checkpoint, or cancel the running inspection."""
        if self.inspections.running:
            self.inspections.cancel()
            self._say(_("Cancelled."))
        elif self.checkpoint is not None:
            self._inspect([self.checkpoint])

    def inspect_all(self) -> None:
        """Inspect every checkpoint of the run."""
        self._inspect([model for model in self._models if model not in self._extra])

    def _inspect(self, models: Sequence[Checkpoint]) -> None:
        shown = self.checkpoint if self.checkpoint in models else models[-1] if models else None
        self._say("")
        self.ui.progressBar.setValue(0)
        try:
            volume = self.volume
            if volume is None or shown is None:
                raise ValueError(self.inspections.problem(volume, models))
            request = self.request()
            drawn = self.tools.label_map(volume) if request.drawn is not None else None
            self.inspections.start(volume, request, shown, models, drawn)
        except ValueError as reason:
            self._say(str(reason))

    # --- checkpoints

    def _on_run(self) -> None:
        """Select the newest checkpoint of another run."""
        self._models = []
        self._list_checkpoints()

    def _list_checkpoints(self) -> None:
        run, before = self.logic.current_run, self.checkpoint
        usable = run is not None and not run.problem
        own = checkpoints(run) if run is not None and usable else []
        first = bool(own) and all(model in self._extra for model in self._models)  # the first checkpoints of the run
        self._models = [*own, *self._extra]
        self._showing = True
        self.ui.checkpointComboBox.clear()
        for model in self._models:
            self.ui.checkpointComboBox.addItem(model.title, str(model.path))
        paths = [model.path for model in self._models]
        newest = max(0, len(paths) - len(self._extra) - 1)  # of the run; without one, the first model
        kept = before is not None and before.path in paths and not first
        index = paths.index(before.path) if before is not None and kept else newest
        self.ui.checkpointComboBox.setCurrentIndex(index if paths else -1)
        self.ui.checkpointSlider.setRange(0, newest)
        self.ui.checkpointSlider.setValue(index)
        self._showing = False
        self._refresh()

    def _on_run_state(self, run: Any) -> None:
        if self.logic.current_run is not None and run.path == self.logic.current_run.path:
            self._list_checkpoints()

    def _open_model(self) -> None:
        folder = self._dialogs.choose_folder(_("Open an exported model"))
        if folder:
            self.open_model(Path(folder))

    def open_model(self, path: Path) -> None:
        """Add a checkpoint or model folder to the list and select it."""
        try:
            model = opened(path)
        except ValueError as reason:
            self._say(str(reason))
            return
        self._extra = [*(one for one in self._extra if one.path != path), model]
        self._list_checkpoints()
        self.ui.checkpointComboBox.setCurrentIndex(len(self._models) - 1)

    def _on_checkpoint(self, index: int) -> None:
        if self._showing or index < 0:
            return
        if index <= self.ui.checkpointSlider.maximum:  # else it is a model from elsewhere
            self.ui.checkpointSlider.setValue(index)
        self._on_changed()

    def _on_scrubbed(self, index: int) -> None:
        if not self._showing and index != self.ui.checkpointComboBox.currentIndex:
            self.ui.checkpointComboBox.setCurrentIndex(index)

    # --- updating the view

    def _on_changed(self, *_args: object) -> None:
        """Show the result for the current request, if cached."""
        if self._showing or self._replacing:
            return
        self._note = ""
        self._state.save(State(self.volume, self.request_settings(), self._mask))
        volume, model = self.volume, self.checkpoint
        if volume is not None and model is not None and not self.inspections.problem(volume, [model]):
            self.inspections.show(volume, self.request(), model)
        else:
            self.inspections.show_nothing()
        self._refresh()

    def request_settings(self) -> dict[str, int]:
        """Return the settings stored in the scene."""
        ui = self.ui
        return {
            "ratio": ui.ratioSpinBox.value,
            "seed": ui.seedSpinBox.value,
            "stripped": int(ui.strippedCheckBox.isChecked()),
            "align": int(ui.alignCheckBox.isChecked()),
        }

    def _restore(self) -> None:
        state = self._state.load()
        ui = self.ui
        self._showing = True
        ui.volumeSelector.setCurrentNode(state.volume)
        ui.ratioSpinBox.setValue(state.numbers.get("ratio", 75))
        ui.seedSpinBox.setValue(state.numbers.get("seed", 0))
        ui.strippedCheckBox.setChecked(bool(state.numbers.get("stripped", 0)))
        ui.alignCheckBox.setChecked(bool(state.numbers.get("align", 1)))
        ui.maskComboBox.setCurrentIndex(max(0, ui.maskComboBox.findData(state.mask)))
        self._showing = False

    def _on_scene_being_replaced(self) -> None:
        self._replacing = True

    def _on_scene_replaced(self) -> None:
        self._replacing = False
        self.inspections.cancel()
        self.inspection, self._arrival, self._scores = None, None, {}
        self.tools.take(None, None)
        self._restore()
        self._refresh()

    def _refresh(self) -> None:
        """Update the widgets that depend on the job, the choices and the inspection."""
        ui, running = self.ui, self.inspections.running
        reason = self.inspections.problem(self.volume, [self.checkpoint] if self.checkpoint is not None else [])
        ui.inspectButton.setText(_("Cancel") if running else _("Inspect"))
        ui.inspectButton.setEnabled(running or not reason)
        tip = _("Cancel the inspection; finished results are kept.") if running else reason
        ui.inspectButton.setToolTip(tip or _("Inspect the selected checkpoint on this volume."))
        ui.inspectAllButton.setEnabled(not running and not reason and len(self._models) - len(self._extra) > 1)
        ui.checkpointSlider.setEnabled(len(self._models) - len(self._extra) > 1)
        ui.progressBar.setVisible(running)
        drawing = self._mask == DRAWN
        for control in (ui.ratioSpinBox, ui.seedSpinBox, ui.ratioLabel, ui.seedLabel):
            control.setEnabled(not drawing)
        for control in (ui.drawButton, ui.clearButton, ui.hiddenLabel):
            control.setVisible(drawing)
        there = self.tools.patches(self.volume) is not None
        for control in (ui.drawButton, ui.clearButton, ui.patchButton):
            control.setEnabled(there)
        ui.viewsSection.setEnabled(self.inspection is not None)
        if not running:
            ui.statusLabel.setText(self._note or reason or self._advice(drawing, there))
        hidden = self.tools.hidden(self.volume) if drawing else None
        caption = _("{count} of {total} hidden")
        ui.hiddenLabel.setText(caption.format(count=hidden.sum(), total=len(hidden)) if hidden is not None else "")

    def _advice(self, drawing: bool, there: bool) -> str:
        if drawing and not there:
            return _("Inspect once without hidden patches to see the patch grid, then click patches to hide.")
        if self.inspection is None:
            return _("Ready.")
        volume, checkpoint = self.volume, self.checkpoint
        if volume is None or checkpoint is None or not self.inspections.known(volume, self.request(), checkpoint):
            return _("The views are out of date; run the inspection again.")
        return _("Done.")

    def _say(self, sentence: str) -> None:
        self._note = sentence
        self._refresh()
        if sentence:
            bring_into_view(self.ui.statusLabel)

    # --- what the inspections report

    def poll(self) -> None:
        """Advance the inspection and process clicks."""
        self.inspections.poll()
        self._views.poll()
        if self._arrival is not None and next(self._arrival, self) is self:
            self._arrival = None
        if self._widget.isVisible():
            self.tools.poll(self.volume, self._mask == DRAWN)

    def _on_progress(self, progress: Progress) -> None:
        self.ui.progressBar.setValue(int(_STEPS * progress.fraction))
        self.ui.statusLabel.setText(inspection_text(progress))

    def _on_inspection(self, inspection: Inspection) -> None:
        volume = self.volume
        if volume is None:
            return
        self._arrival = self._bring_in(inspection, volume)

    def _bring_in(self, inspection: Inspection, volume: slicer.vtkMRMLVolumeNode) -> Iterator[None]:
        """Add an inspection to the scene in steps."""
        yield from self.shown.show(inspection, volume)
        first = self.inspection is None
        self.inspection = inspection
        self._note = " ".join(inspection.summary.get("warnings") or [])
        if self.tools.patches(volume) is None:  # the first inspection of this volume
            self._scores = {}
        self.tools.take(inspection, volume)
        self._show_scores(inspection)
        if first and self._widget.isVisible():  # else the layout is that of another tab or module
            self.show_views()
        self._refresh()

    def _show_scores(self, inspection: Inspection) -> None:
        """Show a row per checkpoint and mask, with the share of unexplained variance."""
        summary = inspection.summary
        error, variance = summary.get("mse_hidden_brain"), summary.get("variance_hidden_brain")
        share = f"{100 * error / variance:.0f} %" if error is not None and variance else ""
        row = (
            f"{summary.get('steps', 0)}",
            f"{100 * summary.get('hidden', 0):.0f} %",
            f"{error:.4f}" if error is not None else "",
            share,
        )
        self._scores[f"{row[0]} {row[1]}"] = row
        rows = sorted(self._scores.values(), key=lambda cells: (cells[1], int(cells[0])))
        fill_table(self.ui.numbersTable, [_("Step"), _("hidden"), _("error (MSE)"), _("of variance")], rows)

    # --- views

    def show_views(self) -> None:
        """Show the four views, fitted to the volumes once the application has laid them out."""
        self._views.show()
        self._arrange()

    def _on_attention(self) -> None:
        """Show the attention over the original."""
        self.ui.overlayComboBox.setCurrentIndex(self.ui.overlayComboBox.findData("attention"))
        self._arrange()

    def _arrange(self, *_args: object) -> None:
        volume, ui = self.volume, self.ui
        if volume is not None and self.tools.patches(volume) is not None:
            overlay = str(ui.overlayComboBox.itemData(ui.overlayComboBox.currentIndex) or "")
            self.shown.arrange(volume, overlay, ui.overlaySlider.value / 100, ui.blendSlider.value / 100)
