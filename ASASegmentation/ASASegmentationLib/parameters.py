"""Typed access to the parameter node, which stores volumes, segmentation and settings with the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import slicer

from asa.models import ModelFolder, list_models
from asa.request import SegmentRequest
from asa.tasks import TASKS, Modality, Task

_VOLUME, _SUGGESTED, _SEGMENTATION = "ASA.volume.", "ASA.suggested.", "ASA.segmentation"
_RESULT = "ASA.result"


@dataclass(frozen=True)
class Settings:
    """How to segment.

    `task`: a key of `asa.tasks.TASKS`. `model`: name of a model, "" for the first one of the task. `device`: auto,
    cpu or cuda:N. `align`: align the head to the brain frame first. `tta`: test-time augmentation (left-right flip),
    "on", "off" or "model", the model's default. `posterior`: also make a volume of class probabilities and one of their
    uncertainty. `surfaces`: make 3-D surfaces. `threshold`: the probability, 0..1, from which on a voxel is labelled; 0
    takes the likeliest class. `reference`: key of the modality whose grid the result is on, "" for the one that shows
    the task best.
    """

    task: str = "tissue"
    model: str = ""
    device: str = "auto"
    align: bool = True
    tta: str = "model"
    posterior: bool = False
    surfaces: bool = True
    threshold: float = 0.0
    reference: str = ""

    def request(self, images: Mapping[str, Path], reference: str) -> SegmentRequest:
        """What the engine is asked for.

        Args:
            images: modality key -> file.
            reference: key of the modality whose grid the result is on.
        """
        return SegmentRequest(
            images,
            self.task,
            model=self.model or None,
            device=self.device,
            align="auto" if self.align else "none",
            tta={"on": True, "off": False}.get(self.tta),
            posterior=self.posterior,
            threshold=self.threshold or None,
            reference=reference,
        )


class Parameters:
    """A typed view of a `vtkMRMLScriptedModuleNode`."""

    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.node = node

    @property
    def settings(self) -> Settings:
        """Return the stored settings, with defaults for missing or invalid values."""
        values: dict[str, Any] = {}
        for field in fields(Settings):
            text = self.node.GetParameter(field.name)
            if text and isinstance(field.default, bool):
                values[field.name] = text == "true"
            elif text and isinstance(field.default, float):
                values[field.name] = _probability(text)
            elif text:
                values[field.name] = text
        # A scene of an older version: its tick box said on, or else left it to the model.
        if "tta" not in values and self.node.GetParameter("flip") == "true":
            values["tta"] = "on"
        if values.get("task") not in TASKS:
            values.pop("task", None)
        return Settings(**values)

    @settings.setter
    def settings(self, settings: Settings) -> None:
        modified = self.node.StartModify()
        for name, value in asdict(settings).items():
            self.node.SetParameter(name, str(value).lower() if isinstance(value, bool) else str(value))
        self.node.EndModify(modified)

    @property
    def stored(self) -> bool:
        """Whether the node holds settings."""
        return bool(self.node.GetParameter("task"))

    @property
    def task(self) -> Task:
        """The selected task."""
        return TASKS[self.settings.task]

    def volume(self, modality: str) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume chosen for a modality key."""
        volume: slicer.vtkMRMLScalarVolumeNode | None = self.node.GetNodeReference(_VOLUME + modality)
        return volume

    def set_volume(self, modality: str, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Select the volume of a modality; None for none."""
        self.node.SetNodeReferenceID(_VOLUME + modality, volume.GetID() if volume is not None else None)

    def suggest_volume(self, modality: str, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Set the volume of a modality as a suggestion, which lasts until the user changes it."""
        self.node.SetNodeReferenceID(_SUGGESTED + modality, volume.GetID() if volume is not None else None)
        self.set_volume(modality, volume)

    def is_suggested(self, modality: str) -> bool:
        """Whether the volume of a modality, or its absence, is not the user's choice."""
        return self.node.GetNodeReference(_SUGGESTED + modality) is self.volume(modality)

    @property
    def model(self) -> ModelFolder | None:
        """The selected model, or the first one of the task if the scene names a model that is not installed."""
        settings = self.settings
        models = list_models(settings.task)
        return next((model for model in models if model.name == settings.model), models[0] if models else None)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The inputs of the model, or without a model all modalities of the task."""
        model = self.model
        if model is None:
            return self.task.modalities
        taken = (m for m in self.task.modalities if m.key in model.modalities)
        return tuple(replace(m, required=m.key in model.required) for m in taken)

    def volumes(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Return modality key -> volume for the inputs that have one."""
        chosen = {modality.key: self.volume(modality.key) for modality in self.modalities}
        return {key: volume for key, volume in chosen.items() if volume is not None}

    @property
    def reference(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume whose grid the result uses; None if no volume is selected."""
        volumes = self.volumes()
        order = (self.settings.reference, *self.task.reference, *volumes)
        return next((volumes[key] for key in order if key in volumes), None)

    @property
    def segmentation(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation to update; None creates a new one."""
        node: slicer.vtkMRMLSegmentationNode | None = self.node.GetNodeReference(_SEGMENTATION)
        return node

    @segmentation.setter
    def segmentation(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self.node.SetNodeReferenceID(_SEGMENTATION, node.GetID() if node is not None else None)

    @property
    def result(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation whose results the panel shows; None for the newest one."""
        node: slicer.vtkMRMLSegmentationNode | None = self.node.GetNodeReference(_RESULT)
        return node

    @result.setter
    def result(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        self.node.SetNodeReferenceID(_RESULT, node.GetID() if node is not None else None)


def _probability(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
