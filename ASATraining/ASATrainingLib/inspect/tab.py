"""The tab that looks into a model: what it holds important, what is hidden from it, what it makes up."""

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
from ASASlicerLib.table import fill_table
from ASATrainingLib import layouts
from ASATrainingLib.inspect.logic import LookLogic
from ASATrainingLib.inspect.look import Answer, Question
from ASATrainingLib.inspect.patch_tools import PatchTools
from ASATrainingLib.inspect.scene import LookScene
from ASATrainingLib.inspect.state import InspectState, State
from ASATrainingLib.logic import TrainingLogic
from ASATrainingLib.runs.checkpoints import Checkpoint, checkpoints, installed, opened
from ASATrainingLib.wording import looking_text

_POLL_MS = 50
_STEPS = 1000
RANDOM, BRAIN, DRAWN = "random", "brain", "drawn"


class InspectTab:
    """Asks the engine about the chosen volume and checkpoint, and shows its answers in four linked views.

    `widget` is the loaded InspectTab.ui. Nothing is computed here but look-ups in what the engine wrote.
    """

    FILE, TITLE = "InspectTab.ui", "Look inside"

    def __init__(self, widget: Any, logic: TrainingLogic, dialogs: Dialogs) -> None:
        self.ui = slicer.util.childWidgetVariables(widget)
        self.logic = logic
        self.looks = LookLogic(logic.runner)
        self.shown = LookScene(slicer.mrmlScene)
        self.tools = PatchTools(self.ui, self.shown, self._on_changed, self._on_attention)
        self.answer: Answer | None = None
        self._arrival: Iterator[None] | None = None  # an answer on its way into the scene
        self._widget = widget
        self._dialogs = dialogs
        self._state = InspectState(logic.parameter_node)
        self._models: list[Checkpoint] = []
        self._extra = installed()  # and those that were opened from other places than the run
        self._scores: dict[str, tuple[str, ...]] = {}
        self._note = ""
        self._showing = False  # while the controls are being set
        self._replacing = False  # while the scene is: the selector loses its volume, which is not the user's choice
        self._fill_choices()
        self._connect()
        self._restore()
        self._on_run()
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._timer.start()

    def close(self) -> None:
        """Ends a running look; what is in the scene stays."""
        self._timer.stop()
        self._showing = True  # a selector without a scene has no volume: that is not the user's choice
        self.ui.volumeSelector.setMRMLScene(None)
        self.logic.current_run_changed.disconnect(self._on_run)
        self.logic.run_state_changed.disconnect(self._on_run_state)
        for event in self._observations:
            slicer.mrmlScene.RemoveObserver(event)
        self.looks.close()

    def _fill_choices(self) -> None:
        ui = self.ui
        masks = {RANDOM: _("At random"), BRAIN: _("At random, in the brain"), DRAWN: _("Drawn: click patches")}
        overlays = {
            "importance": _("Importance (VHOG)"),
            "attention": _("Attention"),
            "error": _("Error"),
            "": _("Nothing"),
        }
        for box, choices in ((ui.maskComboBox, masks), (ui.overlayComboBox, overlays)):
            for value, title in choices.items():
                box.addItem(title, value)
        ui.volumeSelector.setMRMLScene(slicer.mrmlScene)
        ui.progressBar.setRange(0, _STEPS)

    def _connect(self) -> None:
        ui, looks, mrml = self.ui, self.looks, slicer.mrmlScene
        ui.volumeSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_changed)
        ui.checkpointComboBox.connect("currentIndexChanged(int)", self._on_checkpoint)
        ui.checkpointSlider.connect("valueChanged(int)", self._on_scrubbed)
        ui.maskComboBox.connect("currentIndexChanged(int)", self._on_changed)
        for spin in (ui.ratioSpinBox, ui.seedSpinBox):
            spin.connect("valueChanged(int)", self._on_changed)
        for box in (ui.strippedCheckBox, ui.alignCheckBox):
            box.connect("toggled(bool)", self._on_changed)
        ui.openModelButton.connect("clicked()", self._open_model)
        ui.lookButton.connect("clicked()", self.toggle)
        ui.lookAllButton.connect("clicked()", self.look_at_all)
        ui.overlayComboBox.connect("currentIndexChanged(int)", self._arrange)
        for slider in (ui.overlaySlider, ui.blendSlider):
            slider.connect("valueChanged(int)", self._arrange)
        ui.arrangeButton.connect("clicked()", self.show_views)
        looks.changed.connect(self._refresh)
        looks.progressed.connect(self._on_progress)
        looks.answered.connect(self._on_answer)
        looks.kept.connect(lambda _checkpoint: self._refresh())
        looks.failed.connect(self._say)
        self.logic.current_run_changed.connect(self._on_run)
        self.logic.run_state_changed.connect(self._on_run_state)
        replaced = (mrml.EndCloseEvent, mrml.EndImportEvent, mrml.EndRestoreEvent)
        self._observations = [mrml.AddObserver(event, lambda *_: self._on_scene_replaced()) for event in replaced]
        begun = (mrml.StartCloseEvent, mrml.StartImportEvent, mrml.StartRestoreEvent)
        self._observations += [mrml.AddObserver(event, lambda *_: self._on_scene_being_replaced()) for event in begun]

    # --- what is asked

    @property
    def volume(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        volume: slicer.vtkMRMLScalarVolumeNode | None = self.ui.volumeSelector.currentNode()
        return volume

    @property
    def checkpoint(self) -> Checkpoint | None:
        index = self.ui.checkpointComboBox.currentIndex
        return self._models[index] if 0 <= index < len(self._models) else None

    @property
    def _mask(self) -> str:
        return str(self.ui.maskComboBox.itemData(self.ui.maskComboBox.currentIndex))

    def question(self) -> Question:
        """What the controls ask."""
        ui, mask = self.ui, self._mask
        hidden = self.tools.hidden(self.volume) if mask == DRAWN else None
        drawn = np.packbits(hidden).tobytes() if hidden is not None else b"" if mask == DRAWN else None
        random = drawn is None  # what does not count must not make the same question another one
        return Question(
            ratio=ui.ratioSpinBox.value / 100 if random else 0.0,
            seed=ui.seedSpinBox.value if random else 0,
            brain_only=mask == BRAIN,
            drawn=drawn,
            stripped=ui.strippedCheckBox.isChecked(),
            align=ui.alignCheckBox.isChecked(),
        )

    def toggle(self) -> None:
        """Looks at the chosen checkpoint, or ends the look that is on its way."""
        if self.looks.running:
            self.looks.cancel()
            self._say(_("Cancelled."))
        elif self.checkpoint is not None:
            self._look([self.checkpoint])

    def look_at_all(self) -> None:
        """Looks at every checkpoint of the run, to go through them."""
        self._look([model for model in self._models if model not in self._extra])

    def _look(self, models: Sequence[Checkpoint]) -> None:
        shown = self.checkpoint if self.checkpoint in models else models[-1] if models else None
        self._say("")
        self.ui.progressBar.setValue(0)
        try:
            volume = self.volume
            if volume is None or shown is None:
                raise ValueError(self.looks.problem(volume, models))
            question = self.question()
            drawn = self.tools.label_map(volume) if question.drawn is not None else None
            self.looks.look(volume, question, shown, models, drawn)
        except ValueError as reason:
            self._say(str(reason))

    # --- which checkpoints there are

    def _on_run(self) -> None:
        """Another run: its newest checkpoint is chosen."""
        self._models = []
        self._list_checkpoints()

    def _list_checkpoints(self) -> None:
        run, before = self.logic.current_run, self.checkpoint
        usable = run is not None and not run.problem
        own = checkpoints(run) if run is not None and usable else []
        first = bool(own) and all(model in self._extra for model in self._models)  # the run has its first ones now
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
        """Adds a checkpoint or a model folder from anywhere to the list, and chooses it."""
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

    # --- from the controls to what is shown

    def _on_changed(self, *_args: object) -> None:
        """Shows the answer to what is asked now, if it is there already."""
        if self._showing or self._replacing:
            return
        self._note = ""
        self._state.save(State(self.volume, self.question_settings(), self._mask))
        volume, model = self.volume, self.checkpoint
        if volume is not None and model is not None and not self.looks.problem(volume, [model]):
            self.looks.show(volume, self.question(), model)
        else:
            self.looks.show_nothing()
        self._refresh()

    def question_settings(self) -> dict[str, int]:
        """What is remembered in the scene."""
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
        self.looks.cancel()
        self.answer, self._arrival, self._scores = None, None, {}
        self.tools.take(None, None)
        self._restore()
        self._refresh()

    def _refresh(self) -> None:
        """Enables and captions what depends on the job, the choices and the answer."""
        ui, running = self.ui, self.looks.running
        reason = self.looks.problem(self.volume, [self.checkpoint] if self.checkpoint is not None else [])
        ui.lookButton.setText(_("Cancel") if running else _("Look"))
        ui.lookButton.setEnabled(running or not reason)
        tip = _("End the look; what was answered so far stays.") if running else reason
        ui.lookButton.setToolTip(tip or _("Ask the chosen checkpoint about the volume."))
        ui.lookAllButton.setEnabled(not running and not reason and len(self._models) - len(self._extra) > 1)
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
        ui.viewsSection.setEnabled(self.answer is not None)
        if not running:
            ui.statusLabel.setText(self._note or reason or self._advice(drawing, there))
        hidden = self.tools.hidden(self.volume) if drawing else None
        told = _("{count} of {total} hidden")
        ui.hiddenLabel.setText(told.format(count=hidden.sum(), total=len(hidden)) if hidden is not None else "")

    def _advice(self, drawing: bool, there: bool) -> str:
        if drawing and not there:
            return _("Look once with nothing hidden, to see the patches; then click those to hide.")
        if self.answer is None:
            return _("Ready.")
        volume, checkpoint = self.volume, self.checkpoint
        if volume is None or checkpoint is None or not self.looks.known(volume, self.question(), checkpoint):
            return _("The views show another question; look again.")
        return _("Done.")

    def _say(self, sentence: str) -> None:
        self._note = sentence
        self._refresh()

    # --- what the looks report

    def poll(self) -> None:
        """Lets the looks go on, and takes in clicks."""
        self.looks.poll()
        if self._arrival is not None and next(self._arrival, self) is self:
            self._arrival = None
        if self._widget.isVisible():
            self.tools.poll(self.volume, self._mask == DRAWN)

    def _on_progress(self, progress: Progress) -> None:
        self.ui.progressBar.setValue(int(_STEPS * progress.fraction))
        self.ui.statusLabel.setText(looking_text(progress))

    def _on_answer(self, answer: Answer) -> None:
        volume = self.volume
        if volume is None:
            return
        self._arrival = self._bring_in(answer, volume)

    def _bring_in(self, answer: Answer, volume: slicer.vtkMRMLVolumeNode) -> Iterator[None]:
        """An answer into the scene, piece by piece."""
        yield from self.shown.show(answer, volume)
        first = self.answer is None
        self.answer = answer
        self._note = " ".join(answer.summary.get("warnings") or [])
        if self.tools.patches(volume) is None:  # the first answer, or the first of another volume
            self._scores = {}
        self.tools.take(answer, volume)
        self._show_scores(answer)
        if first:
            self.show_views()
        self._refresh()

    def _show_scores(self, answer: Answer) -> None:
        """A row for each checkpoint and mask that was looked at; the share of the variance that is not explained."""
        summary = answer.summary
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
        """Arranges the four views and fits the volumes into them."""
        layouts.show_four(slicer.mrmlScene)
        self._arrange()
        slicer.app.applicationLogic().FitSliceToAll()

    def _on_attention(self) -> None:
        """There is attention to be seen: shows it over the original."""
        self.ui.overlayComboBox.setCurrentIndex(self.ui.overlayComboBox.findData("attention"))
        self._arrange()

    def _arrange(self, *_args: object) -> None:
        volume, ui = self.volume, self.ui
        if volume is not None and self.tools.patches(volume) is not None:
            overlay = str(ui.overlayComboBox.itemData(ui.overlayComboBox.currentIndex) or "")
            self.shown.arrange(volume, overlay, ui.overlaySlider.value / 100, ui.blendSlider.value / 100)
