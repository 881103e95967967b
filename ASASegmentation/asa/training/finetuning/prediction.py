"""Predict prepared cases with fine-tuned runs, on the grids of their scans; several runs form an ensemble."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from asa.data.case_store import CaseStore
from asa.data.datasets import dataset_by_name
from asa.data.splits import read_case_split
from asa.errors import InputError, ModelError
from asa.files import protect_inputs, protect_others, read_json, sha256, write_json
from asa.geometry import FRAME, centre_box, from_frame
from asa.inference.labelling import label_classes
from asa.nn import SegmenterConfig, build_segmenter
from asa.nn.baselines import Network, NetworkSpec, build_network
from asa.nn.position import Grid3
from asa.runs.folder import Run
from asa.tasks import TASKS, Task
from asa.training import checkpoint
from asa.training.finetuning.calibration import CALIBRATION, Calibration, Posterior, temper
from asa.training.finetuning.settings import KIND, FinetuneSettings
from asa.training.finetuning.split import choose_split
from asa.training.finetuning.whole_volume import activation, predict
from asa.training.pretraining.pretrained import find_checkpoint
from asa.volume import read_volume, write_volume

DESCRIPTION = "prediction.json"


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned network, ready to segment cases of a store.

    Attributes:
        run: its folder.
        frame: patch grid its position codes know.
        data: what run.yaml says about the cases it was trained on.
        temperature: of its posterior, fitted to the validation cases; 1 where there were none.
    """

    run: Path
    settings: FinetuneSettings
    data: Mapping[str, Any]
    network: Network
    frame: Grid3
    device: torch.device
    temperature: float

    @staticmethod
    def open(run: Path, device: torch.device) -> Tuned:
        """Return the network of a run with its best weights (otherwise the last), averaged ones if there are any.

        Raises:
            ModelError: no checkpoint, or a damaged one.
            InputError: not a folder of a fine-tuning run.
        """
        source = find_checkpoint(run)
        tensors, record = checkpoint.load(source)
        try:
            description = Run(run).describe()
            if description["kind"] != KIND:
                raise InputError(f"{run} contains a run of kind '{description['kind']}', not a fine-tuning run.")
            settings = FinetuneSettings.model_validate(description["settings"])
            network, frame = rebuild(record["network"])
        except (OSError, KeyError, TypeError, ValidationError) as error:
            raise ModelError(f"{run} is not a fine-tuning run supported by this version ({error}).") from error
        checkpoint.load_weights(network, tensors, checkpoint.weights_prefix(tensors), str(source))
        calibration = run / CALIBRATION
        try:
            temperature = float(read_json(calibration)["temperature"]) if calibration.is_file() else 1.0
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(f"{calibration} is damaged ({error}); fine-tune again, or remove the file.") from error
        return Tuned(run, settings, description["data"], network.to(device).eval(), frame, device, temperature)

    @property
    def by_region(self) -> bool:
        """Whether the posterior is one of regions, which overlap, instead of classes."""
        return self.settings.output == "regions"

    @torch.inference_mode()
    def posterior(self, image: npt.NDArray[Any], *, mirror: str = "") -> Posterior:
        """Return the probabilities (K, T, H, W) of a stored image (C, T, H, W).

        ``mirror``: test-time augmentation: the mean over mirror images along every combination of these axes of
        ``thw``, each mirrored back.

        Raises:
            ModelError: a probability is not a finite number.
        """
        picture = torch.from_numpy(image.astype(np.float32))
        found = torch.zeros(())
        turns = combinations(mirror)
        for axes in turns:
            found = found + self._once(picture.flip(axes)).flip(axes) / len(turns)
        if not bool(torch.isfinite(found).all()):
            raise ModelError(f"The network of {self.run} computed values that are not finite numbers; train it again.")
        return temper(found.numpy(), self.temperature, by_region=self.by_region)

    def _once(self, picture: Tensor) -> Tensor:
        s = self.settings
        return predict(self.network, picture, s.crop, self.frame, activation(s.output), self.device, s.overlap)


def combinations(mirror: str) -> list[list[int]]:
    """Every combination of axes among those named in ``mirror``, as dimensions of an array (..., T, H, W)."""
    axes = ["thw".index(name) - 3 for name in mirror]
    return [list(chosen) for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]


def mirror_axes(text: str) -> str:
    """Return axes of ``thw`` as an option names them; ``none`` for no axis.

    Raises:
        InputError: a letter that names no axis, or one twice.
    """
    axes = "" if text == "none" else text
    if set(axes) - set("thw") or len(set(axes)) != len(axes):
        raise InputError(f"Mirroring takes none, w (left-right) or several axes of thw, each once; not '{text}'.")
    return axes


def rebuild(description: dict[str, Any]) -> tuple[Network, Grid3]:
    """Return the network and frame grid from what its checkpoint says; weights are fresh."""
    if "encoder" in description:
        config = SegmenterConfig.from_dict(description)
        return build_segmenter(config), config.encoder.frame
    spec = NetworkSpec.from_dict(description)
    return build_network(spec), spec.frame


def predict_cases(
    runs: Sequence[Path],
    output: Path,
    device: torch.device,
    *,
    store: Path | None = None,
    part: str = "test",
    mirror: str = "",
    progress: Callable[[int, int, str], None] = lambda *_: None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Segment the cases of one part of the split and write CASE.nii.gz with the values of the task, on their own grids.

    Several runs are an ensemble: their (tempered) posteriors are averaged. ``part`` then must mean the same to all;
    ``all`` takes every case of the store, whose grids must be there; those among them that a network was trained on
    are named in prediction.json (``trained_on``), and ``warn`` is called with their number. prediction.json also
    names the files with their SHA-256 (``outputs``): only these are replaced when a folder is predicted into again.

    Raises:
        InputError: runs that do not belong together, no case in this part, or a store that cannot be used or was
            prepared otherwise than the one trained on.
        ModelError: a run without a usable checkpoint.
        OutputError: no room or no permission, or a file that no prediction wrote is in the way.
    """
    members = [Tuned.open(run, device) for run in runs]
    opened = CaseStore.open(store or Path(members[0].settings.store))
    for member in members:
        check_store(member, opened)
    names = chosen_cases(members, opened, part)
    known = trained_on(members, opened, names)
    if known and part != "train":
        warn(
            f"{len(known)} of these {len(names)} cases were used for training: their scores do not "
            f"generalise to other heads"
        )
    task, by_region = TASKS[opened.dataset.task], members[0].by_region
    outputs = {f"{name}.nii.gz": "" for name in names}
    protect_files(opened, output, list(outputs))
    write_json(output / DESCRIPTION, {"outputs": outputs})  # whose they are, should this be interrupted
    calibration, written = Calibration(task, by_region), []
    for done, (number, name) in enumerate(zip(opened.numbers(names), names, strict=True), start=1):
        image, labels = opened.read(number)
        posterior: Posterior = np.mean([m.posterior(image, mirror=mirror) for m in members], axis=0, dtype=np.float32)
        calibration.add(name, posterior, labels)
        written.append(output / f"{name}.nii.gz")
        write_labels(written[-1], posterior, opened, number, task, by_region=by_region)
        outputs[written[-1].name] = sha256(written[-1])
        progress(done, len(names), name)
    temperatures = [member.temperature for member in members]
    about = {**calibration.to_json(sum(temperatures) / len(members)), "members": len(members), "mirror": mirror}
    about |= {"trained_on": known, "outputs": outputs}
    write_json(output / DESCRIPTION, about)
    return written


def protect_files(store: CaseStore, folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder in which predictions would replace a scan, a label map, or a file that no prediction wrote.

    Raises:
        OutputError: a file is in the way.
    """
    description = folder / DESCRIPTION
    protect_inputs(store.sources(), [folder / name for name in (*names, DESCRIPTION)])
    try:
        before = read_json(description)
        # older versions named the cases, without checksums
        recorded = before["outputs"] if "outputs" in before else {f"{case}.nii.gz": "" for case in before["cases"]}
    except (OSError, ValueError, LookupError, TypeError):
        protect_others([description])
        recorded = {}
    there = [name for name in names if (folder / name).is_file()]
    same = {name for name in there if name in recorded and recorded[name] in ("", sha256(folder / name))}
    protect_others(folder / name for name in there if name not in same)


def check_store(member: Tuned, store: CaseStore) -> None:
    """Images must be what the network was trained on; of another order or preparation they would give nonsense.

    Raises:
        InputError: another task, other modalities or another order of them, other intensities, or too small a volume.
    """
    trained, found = member.data, store.fingerprint()
    pairs = [
        ("task", dataset_by_name(trained["dataset"]).task, store.dataset.task),
        ("modalities", ", ".join(trained["modalities"]), ", ".join(found["modalities"])),
        # runs older than these notes had neither
        ("stripped scans", trained.get("stripped", False), found["stripped"]),
        ("bias correction", trained.get("corrected", False), found["corrected"]),
        ("standardised intensities", trained.get("standardised", False), found["standardised"]),
    ]
    words = {True: "yes", False: "no"}
    problems = [f"{what}: {words.get(a, a)} there, {words.get(b, b)} here" for what, a, b in pairs if a != b]
    if any(c > n for c, n in zip(member.settings.crop, store.shape, strict=True)):
        problems.append(f"windows of {member.settings.crop} voxels there, volumes of {store.shape} here")
    if problems:
        raise InputError(f"{store.folder} was not prepared like the cases of {member.run}: {'; '.join(problems)}.")


def chosen_cases(members: Sequence[Tuned], store: CaseStore, part: str) -> list[str]:
    """Return the names of the cases to segment.

    Raises:
        InputError: the runs see other cases or other outputs, or there is no case.
    """
    lists = []
    for member in members:
        if (member.settings.output, member.settings.store) != (members[0].settings.output, members[0].settings.store):
            raise InputError(f"{member.run} was trained on a different store or output than {members[0].run}.")
        if part == "all":
            lists.append([case.name for case in store.cases])
            continue
        known = member.settings.model_copy(update={"split": str(split_of(member, store))})
        lists.append(choose_split(known, store)[part])
    if any(names != lists[0] for names in lists):
        raise InputError(f"The runs have different {part} cases. To average folds, use --part all on a new store.")
    if not lists[0]:
        raise InputError(f"The split of {members[0].run} has no {part} cases.")
    return lists[0]


def split_of(member: Tuned, store: CaseStore) -> Path:
    """Return the split a run was trained on; a newly drawn one could test on training cases.

    Raises:
        InputError: it is missing.
    """
    settings = member.settings
    first = Path(settings.split) if settings.split else Path(settings.store) / "split.json"
    for path in (first, store.folder / "split.json"):  # the second: of a store that was moved
        if path.is_file():
            return path
    raise InputError(
        f"{first}, the split used to train {member.run}, is missing. Use --part all, which needs no split."
    )


def trained_on(members: Sequence[Tuned], store: CaseStore, names: Sequence[str]) -> list[str]:
    """Return those of the cases that one of the networks was trained on, by the split of its run."""
    known: set[str] = set()
    for member in members:
        try:
            folds = read_case_split(split_of(member, store))["folds"]
        except InputError:  # missing: nothing is known
            continue
        known.update(*(fold["train"] for fold in folds[member.settings.fold :][:1]))
    return [name for name in names if name in known]


def write_labels(
    path: Path, posterior: Posterior, store: CaseStore, number: int, task: Task, *, by_region: bool
) -> None:
    """Bring a posterior of a stored case back to its scan's grid and write the labels there."""
    scan = read_volume(store.cases[number].source)
    alignment = store.alignment(number)
    framed = in_frame(posterior, by_region=by_region)
    if by_region:
        shown = [from_frame(one, alignment, scan.grid).array > 0.5 for one in framed]
        labels = labels_of_regions(np.stack(shown), task)
    else:
        labels, _ = label_classes(framed, alignment, scan.grid)
    write_volume(scan.with_array(labels), path)


def in_frame(posterior: Posterior, *, by_region: bool) -> Posterior:
    """A posterior of the middle of the brain frame in the whole of it: background where nothing was looked at."""
    whole = np.zeros((len(posterior), *FRAME.shape), np.float32)
    if not by_region:
        whole[0] = 1
    _, t, h, w = posterior.shape
    whole[(slice(None), *centre_box((t, h, w)))] = posterior
    return whole


def labels_of_regions(shown: npt.NDArray[np.bool_], task: Task) -> npt.NDArray[np.uint8]:
    """Masks of regions (R, T, H, W) -> labels: larger regions first, each with the value that is in no smaller one."""
    labels = np.zeros(shown.shape[1:], np.uint8)
    order = sorted(range(len(task.regions)), key=lambda row: -len(task.regions[row].values))
    for place, row in enumerate(order):
        smaller = {value for other in order[place + 1 :] for value in task.regions[other].values}
        own = [value for value in task.regions[row].values if value not in smaller]
        if own:
            labels[shown[row]] = own[0]
    return labels
