"""Model folders: weights (safetensors), model.json, CARD.md. Found without configuration in every kind of installation.

:mod:`asa.model_description` says what stands in a model.json. A task's default is the model that ships for it: another
one is used where its name is given, wherever it lies and whatever its scores. Of two models of one name, that in a
folder of ``$ASA_MODELS`` is taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from asa.errors import InputError, ModelError
from asa.files import sha256
from asa.model_description import ModelDescription, read_description

if TYPE_CHECKING:
    from asa.nn import Segmenter

WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "model.json", "CARD.md"
_REMEDY = "install the model again"
_LONGEST_HEADER = 100_000_000  # bytes, of safetensors itself


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk."""

    path: Path
    description: ModelDescription

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def task(self) -> str:
        return self.description.task

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modality keys in the order of the network's input channels."""
        return self.description.modalities

    @property
    def required(self) -> tuple[str, ...]:
        """Modalities it cannot do without; it was trained to do without the others, but not without all."""
        return tuple(m for m in self.modalities if m not in self.description.optional_modalities)

    @property
    def size(self) -> int:
        """Bytes of its files, as far as they may be looked at."""
        total = 0
        for file in self.path.iterdir():
            with contextlib.suppress(OSError):
                total += file.stat().st_size if file.is_file() else 0
        return total

    def channels(self, given: Collection[str]) -> tuple[str, ...]:
        """Of the modalities ``given``, those the network sees, in the order of its channels.

        Raises:
            InputError: one it needs is not among them, or none at all is.
        """
        seen = tuple(m for m in self.modalities if m in given)
        missing = [m for m in self.required if m not in seen]
        if missing or not seen:
            needed = ", ".join(missing) or f"one of {', '.join(self.modalities)}"
            raise InputError(f"Model '{self.name}' needs {needed}; given: {', '.join(given) or 'nothing'}.")
        return seen


@dataclass(frozen=True)
class HiddenModel:
    """A model that is not found by its name because another one of that name comes first."""

    model: ModelFolder
    by: ModelFolder


@dataclass(frozen=True)
class BrokenModel:
    """A folder on the search path whose model.json cannot be used; ``problem`` is a sentence that says why."""

    path: Path
    problem: str


def user_models() -> Path | None:
    """Where a user's own models are put and found without configuration; it need not exist.

    ``%LOCALAPPDATA%\\asa\\models`` on Windows, ``~/Library/Application Support/asa/models`` on macOS, else
    ``$XDG_DATA_HOME/asa/models``, which is ``~/.local/share/asa/models`` unless set. None where the system knows no
    home folder, as in a container that runs under the number of a user it does not have.
    """
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_DATA_HOME")
    within_home = {"win32": ("AppData", "Local"), "darwin": ("Library", "Application Support")}
    try:
        given = os.environ.get(variable)
        base = Path(given) if given else Path.home().joinpath(*within_home.get(sys.platform, (".local", "share")))
    except RuntimeError:
        return None
    return base / "asa" / "models"


def search_path() -> list[Path]:
    """Folders that may hold models, in order of precedence: $ASA_MODELS, those that ship, the user's own."""
    named = [Path(p) for p in os.environ.get("ASA_MODELS", "").split(os.pathsep) if p]
    own = user_models()
    return [*named, *_shipped(), *([] if own is None else [own])]


def _shipped() -> list[Path]:
    """Folders of the models that ship."""
    package = Path(__file__).resolve().parent
    # wheel: asa/Resources; Slicer package: asa lies beside Resources; checkout: Resources beside ASASegmentation/
    return [base / "Resources" / "Models" for base in (package, package.parent, package.parent.parent)]


def _ships(model: ModelFolder) -> bool:
    """Whether a model ships, or has the name of one that does and is taken in its place."""
    return any((place / model.name / DESCRIPTION).is_file() for place in _shipped())


def list_models(task: str | None = None) -> list[ModelFolder]:
    """Return every usable model on the search path, the first of each name.

    The first one of a task is its default: one that ships, if any does. :func:`hidden_models` and
    :func:`broken_models` have the others.
    """
    found: dict[str, ModelFolder] = {}
    for model in _survey():
        if isinstance(model, ModelFolder):
            found.setdefault(model.name, model)
    return sorted((model for model in found.values() if task in (None, model.task)), key=lambda one: not _ships(one))


def hidden_models() -> list[HiddenModel]:
    """Return every usable model whose name another one has that comes first."""
    first = {model.name: model for model in list_models()}
    usable = (model for model in _survey() if isinstance(model, ModelFolder))
    return [HiddenModel(model, first[model.name]) for model in usable if first[model.name].path != model.path]


def better_models(model: ModelFolder) -> list[ModelFolder]:
    """Return the other models for the task whose highest mean Dice, on any one data set, is higher than this one's.

    They are to be offered, not taken: their scores may be from other cases, or from cases that chose their weights.
    Nothing is compared with a model without scores.
    """
    own = _best_mean(model)
    return [other for other in list_models(model.task) if own > 0 and _best_mean(other) > own]


def _best_mean(model: ModelFolder) -> float:
    """Highest mean Dice over the structures of one data set; 0 where the model has no scores."""
    return max((mean(scores.values()) for scores in model.description.scores.values() if scores), default=0.0)


def broken_models() -> list[BrokenModel]:
    """Return every folder on the search path that was meant as a model and cannot be used, with the reason."""
    return [model for model in _survey() if isinstance(model, BrokenModel)]


def _survey() -> Iterator[ModelFolder | BrokenModel]:
    """Yield every folder on the search path that holds a model.json."""
    for place in search_path():
        for file in sorted(place.glob(f"*/{DESCRIPTION}")):
            try:
                model = _usable(file.parent, _stamp(file), _stamp(file.with_name(WEIGHTS)))
            except ModelError as error:
                yield BrokenModel(file.parent, str(error))
            except OSError as error:
                yield BrokenModel(file.parent, f"{file.parent} cannot be read: {error.strerror or error}.")
            else:
                yield model


def check_complete(weights: Path) -> None:
    """Look at the beginning of a safetensors file, which says how long it is; :func:`load_network` reads the rest.

    Raises:
        ModelError: the file is missing, or is not as long as it says.
        OSError: it cannot be read.
    """
    if not weights.is_file():
        raise ModelError(f"{weights} is missing; {_REMEDY}.")
    size = weights.stat().st_size
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        text = stream.read(length) if length < min(size, _LONGEST_HEADER) else b""
    try:
        tensors = [value for name, value in json.loads(text).items() if name != "__metadata__"]
        complete = size == 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        complete = False
    if not complete:
        raise ModelError(f"{weights} is incomplete or damaged; {_REMEDY}.")


def open_model(path: Path) -> ModelFolder:
    """Read model.json of one folder.

    Raises:
        ModelError: it is missing or unreadable, was written by a newer version, or an entry is wrong.
    """
    if not (path / DESCRIPTION).is_file():
        raise ModelError(f"{path} is not a model folder: it has no {DESCRIPTION}.")
    return ModelFolder(path, read_description(path / DESCRIPTION))


@lru_cache(maxsize=256)
def _usable(folder: Path, *_stamps: tuple[int, int] | None) -> ModelFolder:
    """A complete model; looked at again only once its files have changed: the panels list models with each click."""
    model = open_model(folder)
    check_complete(folder / WEIGHTS)
    return model


def _stamp(file: Path) -> tuple[int, int] | None:
    """Time of the last change and size of a file; None if there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def find_model(name: str | Path | None, task: str | None = None) -> ModelFolder:
    """Return a model by folder, by name, or (None) the default for ``task``: the first of :func:`list_models`.

    Raises:
        ModelError: there is none, its model.json cannot be used, or it is for another task.
    """
    if name is not None and (Path(name) / DESCRIPTION).is_file():
        model = open_model(Path(name))
    else:
        models = list_models(task if name is None else None)
        named = [m for m in models if name in (None, m.name)]
        if not named:
            for broken in broken_models():
                if broken.path.name == name:
                    raise ModelError(broken.problem)
            wanted = f"model '{name}'" if name is not None else f"model for task '{task}'"
            known = ", ".join(sorted(m.name for m in list_models())) or "none"
            raise ModelError(f"No {wanted} found; installed: {known}. Set ASA_MODELS to a folder with further models.")
        model = named[0]
    if task is not None and model.task != task:
        raise ModelError(f"Model '{model.name}' is for task '{model.task}', not '{task}'.")
    return model


def check_digest(model: ModelFolder) -> None:
    """Compare the SHA-256 of the weights with the one in model.json, where it has one.

    Raises:
        ModelError: the weights are not those that the description was written for, or cannot be read.
    """
    path, described = model.path / WEIGHTS, model.description.weights_sha256
    try:
        same = not described or sha256(path) == described
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not same:
        raise ModelError(
            f"Model '{model.name}': {WEIGHTS} is not the file that {DESCRIPTION} was written for, because its SHA-256 "
            "differs from 'weights_sha256'; install the model again."
        )


def load_network(model: ModelFolder) -> Segmenter:
    """Return the network in evaluation mode with the folder's weights, float32 on the CPU.

    Raises:
        ModelError: weights missing, damaged, other than those described, of another architecture, or not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from asa.nn import SegmenterConfig, build_segmenter
    from asa.nn.weights import check_weights

    path = model.path / WEIGHTS
    if not path.is_file():
        raise ModelError(f"Model '{model.name}' has no weights: {path} is missing; install the model again.")
    check_digest(model)
    try:
        with torch.device("meta"):
            network = build_segmenter(SegmenterConfig.from_dict(dict(model.description.network)))
        weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, TypeError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"Model '{model.name}': the weights do not match {DESCRIPTION} ({reason}).") from error
    check_weights(weights, f"model '{model.name}'")
    return network.eval()
