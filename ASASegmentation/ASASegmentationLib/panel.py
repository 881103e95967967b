"""Segmentation panel: connects the widgets of the .ui file with the parameter node and the logic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from asa.models import CARD, broken_models, list_models
from ASASegmentationLib import sample_data
from ASASegmentationLib.inputs_section import InputsSection
from ASASegmentationLib.logic import Outcome, SegmentationLogic
from ASASegmentationLib.parameters import Parameters
from ASASegmentationLib.progress_section import ProgressSection
from ASASegmentationLib.results import scene
from ASASegmentationLib.results_section import ResultsSection
from ASASegmentationLib.settings_section import SettingsSection
from ASASegmentationLib.visits.section import VisitsSection
from ASASegmentationLib.wording import model_notes
from ASASlicerLib import dependencies
from ASASlicerLib.dialogs import Dialogs
from ASASlicerLib.names import shortened
from ASASlicerLib.scrolling import bring_into_view
from ASASlicerLib.signals import Signal
from ASASlicerLib.steps import Steps, advance, finish
from ASASlicerLib.store import Store

_POLL_MS = 50
_PROPOSE_AFTER_MS = 300  # volumes get their voxels after they are added, and scenes load and close node by node


class Panel:
    """Shows the parameter node, writes the user's choices to it, and runs the logic.

    `ui` holds the named widgets of ASASegmentation.ui. `parameter_node` returns the module's parameter node,
    which changes when the scene is closed. `plan` lists missing packages, `installer` installs them.
    `store` holds the user's settings.
    """

    def __init__(
        self,
        ui: Any,
        logic: SegmentationLogic,
        parameter_node: Any,
        dialogs: Dialogs,
        installer: dependencies.Installer,
        store: Store,
        plan: Callable[[Path | None], dependencies.Plan] = dependencies.plan,
    ) -> None:
        self.ui = ui
        self.logic = logic
        self._parameter_node = parameter_node
        self._dialogs = dialogs
        self._installer = installer
        self._plan = plan
        self._parameters = Parameters(parameter_node())
        self._settings = self._parameters.settings
        self._showing = False  # while the controls are set from the node, or the scene is being replaced
        self._failure = ""
        self._outcome: Outcome | None = None
        self._segmented: dict[str, str] = {}  # ids of the volumes of the last job
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._propose_timer = qt.QTimer()
        self._propose_timer.setSingleShot(True)
        self._propose_timer.setInterval(_PROPOSE_AFTER_MS)
        self._propose_timer.connect("timeout()", self._on_nodes_changed)
        self._renewal: Steps[bool] | None = None  # suggestions being renewed
        self._inputs, self._choices = InputsSection(ui), SettingsSection(ui)
        self._progress = ProgressSection(ui, store)
        self.results = ResultsSection(ui, dialogs, logic.surfaces)
        self.visits = VisitsSection(self.results.correct.section, logic.visits, self._missing, self._on_log)
        for selector in (*self._inputs.selectors, ui.outputSelector):
            selector.setMRMLScene(slicer.mrmlScene)
        self._connect()
        self._observations = self._observe()
        self._observed_node = self._observe_node()
        self.show_parameters()
        self._propose_timer.start()

    def close(self) -> None:
        """End a running job and stop observing the scene; the widgets may be deleted afterwards."""
        # after a reload the widgets are hidden, not deleted: they must no longer write to the node
        self._showing = True
        self._timer.stop()
        self._propose_timer.stop()
        self.results.close()
        self.visits.close()
        for watched, tag in (*self._observations, self._observed_node):
            watched.RemoveObserver(tag)
        for signal, listener in self._listeners:
            signal.disconnect(listener)
        for selector in (*self._inputs.selectors, self.ui.outputSelector):
            selector.setMRMLScene(None)  # a hidden selector that outlives its scene crashes the application at its end
        self.logic.close()

    # --- setting up

    def _connect(self) -> None:
        ui = self.ui
        self._choices.connect(self._on_changed)
        for selector in (*self._inputs.selectors, ui.outputSelector):
            selector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_changed)
        ui.proposeButton.connect("clicked()", self._suggest_again)
        ui.cardButton.connect("clicked()", self._show_card)
        ui.sampleButton.connect("clicked()", self._load_sample)
        ui.segmentButton.connect("clicked()", self.toggle)
        ui.undoButton.connect("clicked()", self._undo)
        ui.surfacesCheckBox.connect("toggled(bool)", self._on_surfaces)
        logic = self.logic
        self._listeners: list[tuple[Signal, Callable[..., object]]] = [
            (logic.changed, self._refresh),
            (logic.surfaces.changed, self._refresh),
            (logic.progressed, self._progress.take),
            (logic.logged, self._on_log),
            (logic.finished, self._on_finished),
            (logic.failed, self._on_failed),
            (logic.cancelled, self._on_cancelled),
            (self.visits.changed, self._refresh),
        ]
        for signal, listener in self._listeners:
            signal.connect(listener)

    def _observe(self) -> list[tuple[Any, int]]:
        mrml = slicer.mrmlScene
        replaced = [mrml.EndCloseEvent, mrml.EndImportEvent, mrml.EndRestoreEvent]
        tags = [mrml.AddObserver(event, lambda *_: self._on_scene_replaced()) for event in replaced]
        begun = [mrml.StartCloseEvent, mrml.StartImportEvent, mrml.StartRestoreEvent]
        tags += [mrml.AddObserver(event, lambda *_: self._on_scene_being_replaced()) for event in begun]
        changed = [mrml.NodeAddedEvent, mrml.NodeRemovedEvent]
        tags += [mrml.AddObserver(event, lambda *_: self._renew_later()) for event in changed]
        return [(mrml, tag) for tag in tags]

    def _observe_node(self) -> tuple[Any, int]:
        node = self._parameters.node
        return node, node.AddObserver("ModifiedEvent", lambda *_: self.show_parameters())

    def _on_scene_being_replaced(self) -> None:
        """Ignore changes of the selectors: a new scene clears them, which is not the user's choice."""
        self._showing = True
        self.visits.on_scene_closing()
        self._settings = self._parameters.settings  # what the user had chosen, before the node is reset

    def _on_scene_replaced(self) -> None:
        self._showing = False
        node, tag = self._observed_node
        node.RemoveObserver(tag)
        self._parameters = Parameters(self._parameter_node())
        if not self._parameters.stored:
            self._parameters.settings = self._settings
        self._observed_node = self._observe_node()
        self._outcome, self._failure = None, ""
        self.show_parameters()
        self._renew_later()

    # --- from the parameter node to the controls

    def show_parameters(self) -> None:
        """Set all widgets from the parameter node."""
        if self._showing:
            return
        self._showing = True
        self._inputs.show(self._parameters)
        self._choices.show(self._parameters)
        self.ui.outputSelector.setCurrentNode(self._parameters.segmentation)
        self._showing = False
        self._refresh()

    def _on_changed(self, *_args: object) -> None:
        """Write all widgets to the parameter node."""
        if self._showing:
            return
        before = self._parameters.settings
        settings = self._choices.read(before)
        node = self._parameters.node
        modified = node.StartModify()
        if settings.task == before.task:  # otherwise the rows still belong to the previous task
            self._inputs.store(self._parameters)
        self._parameters.settings = settings
        output = self.ui.outputSelector.currentNode()
        if output is not None and output is not self._parameters.segmentation:
            self._parameters.result = output
        self._parameters.segmentation = output
        if (settings.task, settings.model) != (before.task, before.model):
            finish(self._inputs.renew(self._parameters))
        node.EndModify(modified)
        self._failure = ""
        self.show_parameters()

    # --- state

    def _refresh(self) -> None:
        """Update the widgets that depend on the job, the volumes and the results."""
        ui, running = self.ui, self.logic.running
        reason = self._reason()
        ui.segmentButton.setText(_("Cancel") if running else _("Segment"))
        ui.segmentButton.setEnabled(running or not reason)
        tip = _("Cancel the running segmentation; the scene is unchanged.") if running else reason
        ui.segmentButton.setToolTip(tip or _("Segment the selected scan."))
        for section in (ui.inputsSection, ui.advancedSection):
            section.setEnabled(not running and not self.visits.logic.running)
        ui.progressBar.setVisible(running)
        sample = sample_data.SAMPLES.get(self._parameters.settings.task)
        ui.sampleButton.setVisible(sample is not None and not running and _is_empty())
        if sample is not None:
            tip = _("Download a public scan for this task ({megabytes} MB) from GitHub and load it.")
            ui.sampleButton.setToolTip(tip.format(megabytes=sample.megabytes))
        self._timer.start() if self.logic.busy else self._timer.stop()
        if not running:
            ui.statusLabel.setText(self._failure or reason or self._summary())
        ui.undoButton.setEnabled(self.logic.can_undo)
        shown = self._segmentation()
        overview = self._outcome.overview if self._outcome is not None and shown is self._outcome.node else b""
        self.results.show(shown, overview, not running)
        self.visits.show(self._parameters, running)

    def _reason(self) -> str:
        """Return why segmentation cannot start, as a sentence, or "" if it can."""
        if self.ui.modelComboBox.count == 0:
            problems = [model.problem for model in broken_models()]
            return " ".join([_("No model for this task is installed."), *problems])
        if self.visits.logic.running:
            return _("Two visits are being compared.")
        reason = self.logic.problem(self._parameters)
        if reason and _is_empty():
            wanted = ", ".join(_(modality.title) for modality in self._parameters.modalities)
            text = _(
                "Load a scan first ({modalities}): drop its files or its DICOM folder on Slicer, or load the sample."
            )
            return text.format(modalities=wanted)
        return reason

    def _summary(self) -> str:
        if self._outcome is None or self._segmented != self._volume_ids():
            ready = self._inputs.notes(self._parameters) or [_("Ready.")]
            ready.append(self._progress.expectation(self._parameters))
            model = self._parameters.model
            others = model_notes(model) if model is not None else []
            return "\n".join(filter(None, [*ready, *others, dependencies.gpu_unused()]))
        lines = [_("Done: {segmentation}.").format(segmentation=shortened(self._outcome.node.GetName()))]
        if self._outcome.kept:
            lines.append(
                _("Your edits were kept: {segments}.").format(segments=", ".join(map(shortened, self._outcome.kept)))
            )
        if self._outcome.hidden:
            text = _("Hidden, because it shows the same scan: {segmentations}.")
            lines.append(text.format(segmentations=", ".join(map(shortened, self._outcome.hidden))))
        lines.append(_("Next: check the outlines in all slices, correct them, then export."))
        return "\n".join(lines)

    def _volume_ids(self) -> dict[str, str]:
        return {key: volume.GetID() for key, volume in self._parameters.volumes().items()}

    def _segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """Return the segmentation of the results section: the last result or the selected one, otherwise the newest."""
        shown = self._parameters.result or self._parameters.segmentation
        return shown or next(reversed(scene.segmentations(slicer.mrmlScene)), None)

    def _load_sample(self) -> None:
        try:
            with self._dialogs.busy():
                sample_data.load(self._parameters.settings.task)
        except sample_data.SampleError as reason:
            self._on_failed(str(reason))

    # --- suggestions

    def _suggest_again(self) -> None:
        self._inputs.suggest_again(self._parameters)
        self.show_parameters()

    def _renew_later(self) -> None:
        """Renew the suggestions once the scene has not changed for a moment."""
        self._renewal = None
        self._propose_timer.setInterval(_PROPOSE_AFTER_MS)
        self._propose_timer.start()

    def _on_nodes_changed(self) -> None:
        if self._outcome is not None and not slicer.mrmlScene.IsNodePresent(self._outcome.node):
            self._outcome = None  # the segmentation was removed
        if self.logic.running:  # its inputs stay as they are
            self._renew_later()
            return
        self._renewal = self._renewal or self._inputs.renew(self._parameters)
        if advance(self._renewal) is None:  # many volumes are measured a few at a time
            self._propose_timer.setInterval(0)
            self._propose_timer.start()
            return
        self._renewal = None
        self.show_parameters()

    # --- running

    def toggle(self) -> None:
        """Start segmenting, or cancel the running job."""
        if self.logic.running:
            self.logic.cancel()
            return
        if reason := self._missing():
            self._on_failed(reason)
            return
        self.ui.logText.setPlainText("")
        self._outcome, self._failure = None, ""
        self._segmented = self._volume_ids()
        self._progress.start(self._parameters)
        try:
            self.logic.start(self._parameters)
        except ValueError as reason:
            self._on_failed(str(reason))

    def _missing(self) -> str:
        """Install missing packages; return why they cannot be, as a sentence, or ""."""
        wheels = str(self.ui.wheelsPathLineEdit.currentPath)
        plan = self._plan(Path(wheels) if wheels else None)
        return dependencies.provide(plan, self._dialogs, self._installer)

    def _poll(self) -> None:
        self.logic.poll()
        if self.logic.running:
            self._progress.show()

    # --- signals of the logic

    def _on_log(self, line: str) -> None:
        self.ui.logText.appendPlainText(str(line))

    def _on_finished(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._progress.finish()
        self._parameters.result = outcome.node
        self._refresh()
        if outcome.volume is not None:
            scene.present(outcome.volume, outcome.focus)

    def _on_failed(self, message: str) -> None:
        self._failure = message
        self._refresh()
        self._on_log(message)
        bring_into_view(self.ui.statusLabel)

    def _on_cancelled(self) -> None:
        self._failure = _("Cancelled; the scene is unchanged.")
        self._refresh()

    # --- results

    def _on_surfaces(self, shown: bool) -> None:
        if not self._showing:
            self._parameters.settings = replace(self._parameters.settings, surfaces=shown)
            self.results.show_surfaces(shown)

    def _undo(self) -> None:
        self.logic.undo()
        self._outcome = None
        self._parameters.result = None
        self._refresh()

    def _show_card(self) -> None:
        chosen = str(self.ui.modelComboBox.itemData(self.ui.modelComboBox.currentIndex))
        for model in list_models(self._parameters.settings.task):
            if model.name == chosen and (model.path / CARD).is_file():
                self._dialogs.show_text(model.name, (model.path / CARD).read_text(encoding="utf-8"))


def _is_empty() -> bool:
    """Whether no image is loaded."""
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
