"""Settings of the panel: task, model, and what the section Advanced holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from asa.models import list_models
from asa.tasks import TASKS
from ASASegmentationLib.parameters import Parameters, Settings


class SettingsSection:
    """`ui` holds the named widgets of ASASegmentation.ui."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        for row, task in enumerate(TASKS.values()):
            title = _(task.title)
            ui.taskComboBox.addItem(title.split(" (")[0], task.name)  # the text in brackets would be cut off
            ui.taskComboBox.setItemData(row, title, qt.Qt.ToolTipRole)
        devices = {"auto": _("Automatic"), "cpu": _("Processor (CPU)"), "cuda": _("Graphics card (GPU)")}
        for value, title in devices.items():
            ui.deviceComboBox.addItem(title, value)
        ui.wheelsPathLineEdit.filters = ctk.ctkPathLineEdit.Dirs  # a property without a setter callable from Python

    def connect(self, changed: Any) -> None:
        """Call `changed` when the user changes a setting."""
        ui = self._ui
        for box in (ui.taskComboBox, ui.modelComboBox, ui.deviceComboBox, ui.referenceComboBox, ui.ttaComboBox):
            box.connect("currentIndexChanged(int)", changed)
        ui.thresholdSpinBox.connect("valueChanged(double)", changed)
        for check in (ui.alignCheckBox, ui.posteriorCheckBox):
            check.connect("toggled(bool)", changed)

    def show(self, parameters: Parameters) -> None:
        """Set the widgets from the parameter node."""
        ui, settings = self._ui, parameters.settings
        _select(ui.taskComboBox, settings.task)
        self._show_models(settings.task, settings.model)
        self._show_references(parameters, settings.reference)
        ui.thresholdSpinBox.setValue(settings.threshold)
        ui.surfacesCheckBox.setChecked(settings.surfaces)
        _select(ui.deviceComboBox, settings.device)
        ui.alignCheckBox.setChecked(settings.align)
        self._show_tta(parameters, settings.tta)
        ui.posteriorCheckBox.setChecked(settings.posterior)

    def read(self, before: Settings) -> Settings:
        """Return the settings that the widgets show; another task has another model."""
        ui = self._ui
        task = _chosen(ui.taskComboBox)
        return replace(
            before,
            task=task,
            model=_chosen(ui.modelComboBox) if task == before.task else "",
            device=_chosen(ui.deviceComboBox),
            align=ui.alignCheckBox.isChecked(),
            tta=_chosen(ui.ttaComboBox),
            posterior=ui.posteriorCheckBox.isChecked(),
            threshold=ui.thresholdSpinBox.value,
            reference=_chosen(ui.referenceComboBox),
        )

    def _show_models(self, task: str, chosen: str) -> None:
        models = list_models(task)
        box = self._ui.modelComboBox
        box.clear()
        for model in models:
            box.addItem(f"{model.name} {model.description.version}", model.name)
        _select(box, chosen)
        self._ui.cardButton.setEnabled(bool(models))

    def _show_references(self, parameters: Parameters, chosen: str) -> None:
        modalities = parameters.modalities
        box = self._ui.referenceComboBox
        box.clear()
        for key, title in {"": _("Automatic"), **{m.key: _(m.title) for m in modalities}}.items():
            box.addItem(title, key)
        _select(box, chosen)
        for control in (box, self._ui.referenceLabel):
            control.setVisible(len(modalities) > 1)

    def _show_tta(self, parameters: Parameters, chosen: str) -> None:
        model, box = parameters.model, self._ui.ttaComboBox
        default = _("Model default (on)") if model is not None and model.description.tta else _("Model default (off)")
        box.clear()
        for value, title in {"model": default, "on": _("On"), "off": _("Off")}.items():
            box.addItem(title, value)
        _select(box, chosen)


def _select(box: Any, value: str) -> None:
    index = box.findData(value)
    box.setCurrentIndex(index if index >= 0 else 0)


def _chosen(box: Any) -> str:
    return str(box.itemData(box.currentIndex) or "")
