"""Request of a segmentation, shared by the panel, the command line, the batch script and Python.

Standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asa.entries import Entries, distinct, flag, mapping, number, text, whole
from asa.errors import InputError
from asa.files import read_json
from asa.tasks import TASKS

_T = TypeVar("_T")

ALIGNMENTS = ("auto", "none")
REORIENTATIONS = ("off", "auto")
# What is written on request, and the files of each.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "brain": ("brain_mask.nii.gz",),
    "transform": ("to_mni.tfm", "to_mni.mat"),
    "mgz": ("segmentation.mgz",),
    "luts": ("freesurfer_lut.txt", "itksnap_labels.txt"),
    "lesions": ("lesions.csv",),
    "html": ("report.html",),
    "dicom": ("segmentation.dcm", "measurements.dcm"),
}


def parse_extras(words: Sequence[str]) -> tuple[str, ...]:
    """Read the values of ``--also``: keys of :data:`EXTRAS`, separated by commas.

    Raises:
        InputError: one is unknown.
    """
    keys = [key.strip() for word in words for key in word.split(",") if key.strip()]
    if unknown := next((key for key in keys if key not in EXTRAS), ""):
        raise InputError(f"Unknown output '{unknown}'; choose from {', '.join(EXTRAS)}.")
    return tuple(dict.fromkeys(keys))


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment, and how.

    Attributes:
        images: modality key -> file.
        task: a key of :data:`asa.tasks.TASKS`.
        model: folder or name; None takes the default of the task.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        tta: test-time augmentation: average with the prediction for the image flipped left to right; None takes the
            model's default.
        align: ``auto`` registers the head with the brain frame; ``none`` assumes that it is in MNI152 space.
        threads: CPU threads; None for PyTorch's default.
        posterior: whether to keep the class probabilities on the grid of the scan.
        threshold: minimum probability, between 0 and 1, for a voxel to be labelled; None takes the most likely class,
            or the model's threshold of each region.
        reference: modality whose grid the result is on; None takes the first given one that the task prefers.
        reorient: ``auto`` accepts the orientation found in the image where the header contradicts it; ``off`` calls
            such a result doubtful.
        strict: whether to refuse images that would give a doubtful result.
        also: keys of :data:`EXTRAS`: what to write besides the usual files.
    """

    images: Mapping[str, Path]
    task: str = "tissue"
    model: str | None = None
    device: str = "auto"
    tta: bool | None = None
    align: str = "auto"
    threads: int | None = None
    posterior: bool = False
    threshold: float | None = None
    reference: str | None = None
    reorient: str = "off"
    strict: bool = False
    also: tuple[str, ...] = ()

    @property
    def extra_files(self) -> tuple[str, ...]:
        """Names of the files that are written on request."""
        return tuple(name for key in self.also for name in EXTRAS[key])

    @staticmethod
    def from_json(values: object, where: str) -> SegmentRequest:
        """Read a request that another process wrote with :meth:`to_json`.

        Args:
            values: the JSON value.
            where: name of the source in messages.

        Returns:
            The request; it is not yet checked (:meth:`check`).

        Raises:
            InputError: an entry is missing, unknown or of the wrong type.
        """
        given = {key: one for key, one in values.items() if one is not None} if isinstance(values, dict) else values
        entries = Entries(given, where, InputError, "write it as this version of ASA does")
        default = SegmentRequest({})
        entries.only(("images",), [one.name for one in dataclasses.fields(SegmentRequest) if one.name != "images"])
        return SegmentRequest(
            images=entries.take(
                "images", lambda v: mapping(v, None, lambda one: Path(text(one))), "an object of files", default.images
            ),
            task=entries.take("task", text, "a text", default.task),
            model=entries.take("model", text, "a text", default.model),
            device=entries.take("device", text, "a text", default.device),
            tta=entries.take("tta", flag, "true or false", default.tta),
            align=entries.take("align", text, "a text", default.align),
            reorient=entries.take("reorient", text, "a text", default.reorient),
            strict=entries.take("strict", flag, "true or false", default.strict),
            threads=entries.take("threads", lambda v: whole(v, 1), "a whole number from 1", default.threads),
            posterior=entries.take("posterior", flag, "true or false", default.posterior),
            threshold=entries.take("threshold", number, "a number", default.threshold),
            reference=entries.take("reference", text, "a text", default.reference),
            also=entries.take("also", lambda v: distinct(v, EXTRAS), f"a list of {', '.join(EXTRAS)}", default.also),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {**values, "also": [*self.also], "images": {key: str(path) for key, path in self.images.items()}}

    def check(self) -> None:
        """Reject a request that no model can fulfil.

        Raises:
            InputError: the task, a modality, the alignment or an output is unknown, an image does not exist, or the
                threshold is not a probability.
        """
        if (task := TASKS.get(self.task)) is None:
            raise InputError(f"There is no task '{self.task}'; the tasks are {', '.join(TASKS)}.")
        known = [modality.key for modality in task.modalities]
        for modality, path in self.images.items():
            if modality not in known:
                raise InputError(f"The task '{task.name}' takes {', '.join(known)} images, not '{modality}'.")
            if not Path(path).exists():  # even if the model does not use it
                raise InputError(f"The file {path} does not exist.")
        if self.align not in ALIGNMENTS:
            raise InputError(f"The alignment '{self.align}' is unknown; choose from {', '.join(ALIGNMENTS)}.")
        if self.reorient not in REORIENTATIONS:
            raise InputError(f"Unknown reorientation '{self.reorient}'; choose from {', '.join(REORIENTATIONS)}.")
        parse_extras(self.also)
        if "lesions" in self.also and not task.lesions:
            raise InputError(f"The task '{task.name}' has no lesions to list one by one; leave out 'lesions'.")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InputError(f"The threshold must be a probability between 0 and 1, not {self.threshold}.")
        if self.reference is not None and self.reference not in self.images:
            given = ", ".join(self.images)
            raise InputError(f"The reference '{self.reference}' is not among the images given: {given}.")


def read_request(path: Path, take: Callable[[dict[str, Any]], _T]) -> tuple[SegmentRequest, _T]:
    """Read a request that another process wrote into a file.

    Args:
        path: the file.
        take: removes from its fields, and returns, what a :class:`SegmentRequest` does not have.

    Raises:
        InputError: the file cannot be read, or an entry is missing, unknown or of the wrong type.
    """
    try:
        fields = read_json(path)
        taken = take(fields)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"The request {path} cannot be read: {error}.") from error
    return SegmentRequest.from_json(fields, f"the request {path}"), taken
