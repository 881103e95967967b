"""Raw data of nnU-Net (versions 1 and 2): imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz and dataset.json.

The channels are identified by their names in dataset.json. Label values are those of the task; what dataset.json
calls them must not contradict that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asa.data.cases import Dataset, LabelledCase, raise_problems
from asa.errors import InputError
from asa.image_names import image_stem, is_image_name
from asa.tasks import TASKS, Task

DESCRIPTION, IMAGES, LABELS = "dataset.json", "imagesTr", "labelsTr"
# Names of modalities, in lower case and without what is no letter or digit.
MODALITY_NAMES = {
    **dict.fromkeys(("t1", "t1w", "t1n", "t1mri", "mrit1"), "t1"),
    **dict.fromkeys(("t1gd", "t1ce", "t1c", "t1post", "t1wgd", "t1km", "t1contrast"), "t1gd"),
    **dict.fromkeys(("t2", "t2w"), "t2"),
    **dict.fromkeys(("flair", "t2f", "t2flair", "t2wflair"), "flair"),
}


def plain(text: Any) -> str:
    """Return a name in lower case without characters other than letters and digits."""
    return re.sub(r"[\W_]", "", str(text).lower())


def read_description(root: Path) -> dict[str, Any]:
    """Return dataset.json.

    Raises:
        InputError: missing, no JSON, or no JSON object.
    """
    path = root / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else f"it is not valid JSON ({error})"
        raise InputError(f"{path} cannot be read: {reason}; raw nnU-Net data need it.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} contains no JSON object with channel_names and labels.")
    return found


def channels_of(description: Mapping[str, Any], path: Path) -> list[str]:
    """Return the modality key of each channel, in the order of their numbers.

    Raises:
        InputError: no channels, numbers with gaps, or names that are not a modality or are repeated.
    """
    named = description.get("channel_names", description.get("modality"))
    if not isinstance(named, dict) or not named:
        raise InputError(f"{path} names no channels: 'channel_names' (nnU-Net 2) or 'modality' (1) is missing.")
    if set(named) != {str(number) for number in range(len(named))}:
        numbers = ", ".join(map(str, named))
        raise InputError(f"{path} numbers its channels {numbers}; they must be 0 to {len(named) - 1}.")
    names = [named[str(number)] for number in range(len(named))]
    if unknown := [str(name) for name in names if plain(name) not in MODALITY_NAMES]:
        raise InputError(
            f"{path} has channels that are not a known modality: {', '.join(unknown)}; name them T1, T1Gd, T2 or FLAIR."
        )
    keys = [MODALITY_NAMES[plain(name)] for name in names]
    if len(set(keys)) < len(keys):
        raise InputError(f"{path} has two channels of one modality: {', '.join(map(str, names))}.")
    return keys


def check_labels(description: Mapping[str, Any], task: Task, path: Path) -> None:
    """Compare the labels of dataset.json with those of the task.

    Raises:
        InputError: no labels; values that are not integers, or that the task does not define or names differently.
    """
    named = description.get("labels")
    if not isinstance(named, dict) or not named:
        raise InputError(f"{path} names no labels: 'labels' is missing.")
    version1 = all(str(key).isdecimal() for key in named)
    pairs = [(value, key) if version1 else (key, value) for key, value in named.items()]
    wrong = [f"{name}: {json.dumps(value)}" for name, value in pairs if not re.fullmatch(r"\d+", str(value))]
    if wrong:
        raise InputError(f"{path} has labels that are not integers: {', '.join(wrong)}; regions are not supported.")
    meanings = {label.value: label for label in task.labels}
    own = {plain(text): label.value for label in task.labels for text in (label.name, label.title)}
    expected = ", ".join(f"{label.value} {label.title}" for label in task.labels)
    strange = [
        f"{value} {name}"
        for name, value in ((str(name), int(value)) for name, value in pairs)
        if value and (value not in meanings or own.get(plain(name), value) != value)
    ]
    if strange:
        raise InputError(
            f"{path} has the labels {', '.join(strange)}; task '{task.name}' has {expected}: convert the label maps."
        )


def find_nnunet(root: Path, task: Task) -> list[LabelledCase]:
    """Return the training cases of a folder.

    Raises:
        InputError: dataset.json is broken, or channels and label maps are not paired; all of the latter at once.
    """
    description = read_description(root)
    channels = channels_of(description, root / DESCRIPTION)
    check_labels(description, task, root / DESCRIPTION)
    images: dict[str, dict[str, Path]] = {}
    problems: list[str] = []
    for path in files(root / IMAGES):
        match = re.fullmatch(r"(.+)_(\d{4})", image_stem(path))
        if match is None or int(match[2]) >= len(channels):
            problems.append(f"{IMAGES}/{path.name}: not CASE_0000 to CASE_{len(channels) - 1:04d}")
        else:
            images.setdefault(match[1], {})[channels[int(match[2])]] = path
    labels = {image_stem(path): path for path in files(root / LABELS)}
    for name in sorted(images.keys() | labels.keys()):
        missing = [
            f"{name}_{number:04d} ({key})" for number, key in enumerate(channels) if key not in images.get(name, {})
        ]
        if missing:
            problems.append(f"{name}: no image {', '.join(missing)} in {IMAGES}")
        if name not in labels:
            problems.append(f"{name}: no label map in {LABELS}")
    raise_problems(problems, str(root))
    return [LabelledCase(name, name, found, labels[name]) for name, found in sorted(images.items())]


def files(folder: Path) -> list[Path]:
    """Images of a folder.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; nnU-Net's raw data have the folders {IMAGES} and {LABELS}.")
    return sorted(path for path in folder.iterdir() if is_image_name(path))


def nnunet(name: str) -> Dataset:
    """Raw data of nnU-Net for the task called ``name``."""
    task = TASKS[name]
    return Dataset(
        name=f"nnunet-{name}",
        title=f"raw nnU-Net data for task '{name}'",
        task=name,
        modalities=tuple(m.key for m in task.modalities if m.required),
        optional=tuple(m.key for m in task.modalities if not m.required),
        values={label.value: label.value for label in task.labels},
        find=lambda root: find_nnunet(root, task),
    )
