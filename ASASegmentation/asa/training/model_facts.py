"""Facts that a run records for a later model.json: task, channels, output, data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asa.data.datasets import dataset_by_name
from asa.model_description import Normalisation, ZScore
from asa.tasks import TASKS, TISSUE, Task

Facts = dict[str, Any]


def finetuned_facts(settings: Mapping[str, Any], data: Mapping[str, Any]) -> Facts:
    """Of a run of fine-tuning: its settings, and the fingerprint of its store with the sizes of the split."""
    dataset = dataset_by_name(data["dataset"])
    zscore = ZScore.FOREGROUND
    if data.get("stripped"):
        zscore = ZScore.CORRECTED_BRAIN if data.get("corrected") else ZScore.BRAIN
    return _facts(
        TASKS[dataset.task],
        list(data["modalities"]),
        optional=float(settings.get("modality_dropout", 0)) > 0,
        output=str(settings.get("output", "classes")),
        normalisation=Normalisation(zscore, bool(data.get("standardised"))),
        trained_on=f"{data['split']['train']} of {data['cases']} cases of {dataset.title}",
    )


def tissue_facts(data: Mapping[str, Any]) -> Facts:
    """Of a run that trains on synthetic heads, with the number of label maps they are made from."""
    trained_on = f"{data['heads']} label maps, as synthetic heads"
    how = Normalisation(ZScore.FOREGROUND, bool(data.get("standardised")))
    return _facts(TISSUE, ["t1"], optional=False, output="classes", normalisation=how, trained_on=trained_on)


def lesion_facts(task: Task, settings: Mapping[str, Any], data: Mapping[str, Any]) -> Facts:
    """Of a run that trains on synthetic heads with a disease, and on real cases where there are some.

    Before ``data`` recorded whether these were bias-corrected, the recipes required it.
    """
    real, healthy = data.get("real cases", 0), data.get("healthy cases", 0)
    parts = [f"{data['heads']} label maps, as synthetic heads with the disease"]
    parts += [f"{real} real cases"] if real else []
    parts += [f"{healthy} cases of healthy tissue"] if healthy else []
    zscore = ZScore.CORRECTED_BRAIN if data.get("corrected", bool(real)) else ZScore.BRAIN
    return _facts(
        task,
        [modality.key for modality in task.modalities],
        optional=float(settings.get("missing", 0)) > 0,
        output="regions",
        normalisation=Normalisation(zscore, bool(data.get("standardised"))),
        trained_on=", ".join(parts),
    )


def facts_of(record: Mapping[str, Any]) -> Facts:
    """What run.yaml says of the model; of a run of an older version, what follows from its kind.

    Raises:
        KeyError: it says nothing.
    """
    if record.get("model"):
        return dict(record["model"])
    kind, settings, data = record["kind"], record["settings"], record["data"]
    if kind == "finetuning":
        return finetuned_facts(settings, data)
    return tissue_facts(data) if kind == TISSUE.name else lesion_facts(TASKS[kind], settings, data)


def _facts(
    task: Task, modalities: Sequence[str], *, optional: bool, output: str, normalisation: Normalisation, trained_on: str
) -> Facts:
    described: Facts = {
        "task": task.name,
        "modalities": list(modalities),
        "optional_modalities": list(modalities) if optional and len(modalities) > 1 else [],
        "output": output,
        "data": trained_on,
    }
    return described | ({"normalisation": str(normalisation)} if normalisation != Normalisation() else {})
