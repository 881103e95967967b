"""Create model.json and the model card from the records of a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from asa.errors import InputError, ModelError, OutputError
from asa.files import read_json
from asa.models import list_models, user_models
from asa.runs.abilities import abilities
from asa.runs.folder import Run, read_events
from asa.tasks import TASKS, TISSUE, Task
from asa.training.finetuning.calibration import CALIBRATION
from asa.training.model_facts import facts_of
from asa.training.pretraining.pretrained import find_checkpoint
from asa.training.publishing.export import export_model

LIMITS = "Research use only; not for diagnosis or treatment. Evaluated only on the validation cases of its run."


def publish(run: Path, name: str, folder: Path | None = None, notes: str = "") -> Path:
    """Make a model folder of a run whose network segments, and return it.

    Args:
        run: run folder; its best checkpoint is used, otherwise its last.
        name: of the model.
        folder: model folder; in the user's models, where it is found without configuration, if not given.
        notes: additional notes for the card: data, licence, known failures.

    Raises:
        InputError: the name does not suit a folder, the run segments nothing, or its network is not ours.
        ModelError: there is no checkpoint, or another model has this folder or this name.
        OutputError: no room or no permission.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(
            f"'{name}' is not a valid model name; use only letters, digits, dots, hyphens and underscores."
        )
    own = user_models()
    if folder is None and own is None:
        raise OutputError("There is no home folder for a user's own models; name a folder for the model with --output.")
    folder = folder or Path(own or "") / name
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder} already exists. Choose another name, or remove it first.")
    taken = next((model.path for model in list_models() if model.name == name), None)
    if taken is not None:  # it would hide, or be hidden by, the other one
        raise ModelError(f"The model in {taken} has the name '{name}'. Choose another name.")
    source = find_checkpoint(run)
    description = describe_run(run, name)
    try:
        export_model(source, folder, {**description, "notes": notes}, card_text(description, notes))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # it was not there before
        raise
    return folder


def describe_run(run: Path, name: str) -> dict[str, Any]:
    """Return the contents of model.json except format, network and steps.

    Raises:
        InputError: nothing that segments can be made of this run.
    """
    try:
        record = Run(run).describe()
        settings = record["settings"]
        if not abilities(record).segments:
            raise InputError(
                f"{run} cannot become a model, because its network does not segment. "
                "Fine-tune from it, then publish that run."
            )
        if settings.get("network", "asa") != "asa":
            raise InputError(f"Only runs of network 'asa' can become a model; {run} trained '{settings['network']}'.")
        facts = facts_of(record)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run} is not a run folder supported by this version ({error!r}).") from error
    task, trained_on = TASKS[facts["task"]], facts.pop("data")
    begun = [
        settings.get("init"),
        settings.get("encoder"),
    ]  # of the lesion models, whose init has a default, the latter
    start = Path(str(next(filter(None, begun if task is TISSUE else begun[::-1]), ""))).name
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
    """Return the calibration temperature fitted on the validation cases, {} without validation cases."""
    try:
        return {"temperature": float(read_json(run / CALIBRATION)["temperature"])}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def recipe(settings: dict[str, Any]) -> str:
    """Return one line on how it was trained."""
    o, crop = settings["optimisation"], "x".join(map(str, settings["crop"]))
    return f"{o['steps']} planned steps of {o['batch']} crops of {crop} mm, {o['optimiser']}, {o['schedule']} decay"


def scores(run: Path, task: Task) -> dict[str, dict[str, float]]:
    """Return the Dice of each region in the best validation of the run, {} if there was none."""
    best: dict[str, Any] = {}
    path = Run(run).events_path
    for event in read_events(path) if path.is_file() else ():
        if event["event"] == "validation" and event.get("best"):
            best = event
    names = {region.name for region in task.regions} | {label.name for label in task.labels}
    found = {name: round(float(best[f"dice {name}"]), 4) for name in sorted(names) if f"dice {name}" in best}
    return {f"validation, step {best['step']}": found} if found else {}


def card_text(description: dict[str, Any], notes: str) -> str:
    """Return the model card, in Markdown."""
    optional = description["optional_modalities"]
    inputs = ", ".join(f"{key} (optional)" if key in optional else key for key in description["modalities"])
    training = description["training"]
    lines = [f"# {description['name']}", "", f"Segments: {description['title']}.", ""]
    lines += ["| | |", "|---|---|", f"| Inputs | {inputs} |", f"| Trained on | {training['data']} |"]
    lines += [f"| Training | {training['recipe']} |", f"| Started from | {training['initialised_from']} |", ""]
    lines += ["## Scores", "", *_table(description["scores"]), ""]
    lines += ["## Limitations", "", description["limits"], ""]
    if notes.strip():
        lines += ["## Notes", "", notes.strip(), ""]
    return "\n".join(lines)


def _table(found: dict[str, dict[str, float]]) -> Iterable[str]:
    if not found:
        yield "None: the run was not validated."
        return
    for where, values in found.items():
        yield f"Mean Dice ({where}):"
        yield ""
        yield "| " + " | ".join(values) + " |"
        yield "|" + "---|" * len(values)
        yield "| " + " | ".join(f"{value:.3f}" for value in values.values()) + " |"
