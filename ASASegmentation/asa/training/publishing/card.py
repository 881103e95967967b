"""What a run says of the model that is made of it: model.json and the model card, from the run's own records."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from asa.errors import InputError, ModelError
from asa.models import user_models
from asa.runs.abilities import abilities
from asa.runs.folder import Run, read_events
from asa.tasks import TASKS, Task
from asa.training.finetuning.calibration import CALIBRATION
from asa.training.model_facts import facts_of
from asa.training.pretraining.pretrained import find_checkpoint
from asa.training.publishing.export import export_model

LIMITS = "Research use only; not for diagnosis or treatment. Measured on the validation cases of its own run only."


def publish(run: Path, name: str, folder: Path | None = None, notes: str = "") -> Path:
    """Make a model folder of a run whose network segments, and return it.

    Args:
        run: run folder; its best checkpoint is taken, or else its last.
        name: of the model.
        folder: model folder; in the user's models, where it is found without configuration, if not given.
        notes: what the card says beside what the run knows: data, licence, known failures.

    Raises:
        InputError: the name does not suit a folder, the run segments nothing, or its network is not ours.
        ModelError: there is no checkpoint, or another model has this folder.
        OutputError: no room or no permission.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(f"'{name}' is no name for a model: letters, digits, dots, hyphens and underscores only")
    folder = folder or user_models() / name
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder} exists already; choose another name, or remove it first")
    source = find_checkpoint(run)
    description = describe_run(run, name)
    try:
        export_model(source, folder, {**description, "notes": notes}, card_text(description, notes))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        raise
    return folder


def describe_run(run: Path, name: str) -> dict[str, Any]:
    """What model.json says beside format, network and steps.

    Raises:
        InputError: nothing that segments can be made of this run.
    """
    try:
        record = Run(run).describe()
        settings = record["settings"]
        if not abilities(record).segments:
            raise InputError(
                f"{run} cannot become a model, because its network does not segment; "
                "fine-tune from it, then publish that run."
            )
        if settings.get("network", "asa") != "asa":
            raise InputError(f"A model is made of network 'asa' only; {run} trained '{settings['network']}'.")
        facts = facts_of(record)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run} is not a run folder that this version knows ({error!r}).") from error
    task, trained_on = TASKS[facts["task"]], facts.pop("data")
    start = Path(str(settings.get("init") or "")).name
    described: dict[str, Any] = {
        "name": name,
        "version": "1",
        "title": task.title,
        **facts,
        "tta": True,
        **temperature(run),
        "training": {
            "recipe": recipe(settings),
            "data": trained_on,
            "initialised_from": start or "scratch",
            "versions": record.get("versions", {}),
        },
        "scores": scores(run, task),
        "limits": LIMITS,
    }
    return described


def temperature(run: Path) -> dict[str, float]:
    """What the run found its posterior to be too sure by, {} where it looked at no case."""
    try:
        return {"temperature": float(json.loads((run / CALIBRATION).read_text(encoding="utf-8"))["temperature"])}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def recipe(settings: dict[str, Any]) -> str:
    """One line on how it was trained."""
    o, crop = settings["optimisation"], "x".join(map(str, settings["crop"]))
    return f"{o['steps']} steps planned of {o['batch']} crops of {crop} mm, {o['optimiser']}, {o['schedule']} decay"


def scores(run: Path, task: Task) -> dict[str, dict[str, float]]:
    """Dice of each region in the best validation of the run, {} if there was none."""
    best: dict[str, Any] = {}
    path = Run(run).events_path
    for event in read_events(path) if path.is_file() else ():
        if event["event"] == "validation" and event.get("best"):
            best = event
    names = {region.name for region in task.regions} | {label.name for label in task.labels}
    found = {name: round(float(best[f"dice {name}"]), 4) for name in sorted(names) if f"dice {name}" in best}
    return {f"validation, step {best['step']}": found} if found else {}


def card_text(description: dict[str, Any], notes: str) -> str:
    """The model card, in Markdown."""
    optional = description["optional_modalities"]
    inputs = ", ".join(f"{key} (may be missing)" if key in optional else key for key in description["modalities"])
    training = description["training"]
    lines = [f"# {description['name']}", "", f"Segments: {description['title']}.", ""]
    lines += ["| | |", "|---|---|", f"| Inputs | {inputs} |", f"| Trained on | {training['data']} |"]
    lines += [f"| Training | {training['recipe']} |", f"| Started from | {training['initialised_from']} |", ""]
    lines += ["## Scores", "", *_table(description["scores"]), ""]
    lines += ["## Limits", "", description["limits"], ""]
    if notes.strip():
        lines += ["## Notes", "", notes.strip(), ""]
    return "\n".join(lines)


def _table(found: dict[str, dict[str, float]]) -> Iterable[str]:
    if not found:
        yield "None: the run validated nothing."
        return
    for where, values in found.items():
        yield f"Mean Dice ({where}):"
        yield ""
        yield "| " + " | ".join(values) + " |"
        yield "|" + "---|" * len(values)
        yield "| " + " | ".join(f"{value:.3f}" for value in values.values()) + " |"
