"""What can be asked of a segmentation: one object for the panel, the command line, the batch script and Python.

Needs the standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asa.entries import Entries, flag, mapping, number, text, whole
from asa.errors import InputError
from asa.tasks import TASKS

ALIGNMENTS = ("auto", "none")
REORIENTATIONS = ("off", "auto")


@dataclass(frozen=True)
class SegmentRequest:
    """What to segment, and how.

    Attributes:
        images: modality key -> file.
        task: a key of :data:`asa.tasks.TASKS`.
        model: folder or name; None takes the task's own.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        tta: test-time augmentation (left-right flip): average with what the network makes of the mirrored image;
            None takes the model's default.
        align: ``auto`` registers to the brain frame; ``none`` trusts the file's affine to be MNI152 already.
        reorient: ``auto`` takes the orientation found in the image for right where the header says another; ``off``
            calls such a result doubtful.
        strict: refuse what would otherwise be segmented with the verdict ``doubtful`` because of the images.
        threads: CPU threads; None leaves PyTorch's choice.
        posterior: keep the class probabilities in the scan's grid.
        threshold: probability, above 0 and below 1, from which on a voxel is labelled; None takes the likeliest class,
            or the model's own threshold of each region.
        reference: modality whose grid the result is on; None takes the one the task names first of those given.
    """

    images: Mapping[str, Path]
    task: str = "tissue"
    model: str | None = None
    device: str = "auto"
    tta: bool | None = None
    align: str = "auto"
    reorient: str = "off"
    strict: bool = False
    threads: int | None = None
    posterior: bool = False
    threshold: float | None = None
    reference: str | None = None

    @staticmethod
    def from_json(values: object, where: str) -> SegmentRequest:
        """Read a request that another program wrote with :meth:`to_json`.

        Args:
            values: the JSON value.
            where: what messages call it.

        Returns:
            The request; :meth:`check` has still to be called.

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
        )

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {**values, "images": {key: str(path) for key, path in self.images.items()}}

    def check(self) -> None:
        """Refuse what no model could do.

        Raises:
            InputError: the task, a modality or the alignment is unknown, an image is missing, or the threshold is no
                probability.
        """
        if (task := TASKS.get(self.task)) is None:
            raise InputError(f"There is no task '{self.task}'; the tasks are {', '.join(TASKS)}.")
        known = [modality.key for modality in task.modalities]
        for modality, path in self.images.items():
            if modality not in known:
                raise InputError(f"The task '{task.name}' takes {', '.join(known)} images, no '{modality}'.")
            if not Path(path).exists():  # of those too that the model will not look at
                raise InputError(f"The file {path} cannot be read: there is no such file.")
        if self.align not in ALIGNMENTS:
            raise InputError(f"The alignment '{self.align}' is unknown; choose from {', '.join(ALIGNMENTS)}.")
        if self.reorient not in REORIENTATIONS:
            raise InputError(f"'{self.reorient}' is no way to reorient; choose from {', '.join(REORIENTATIONS)}.")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InputError(f"The threshold must be a probability between 0 and 1, not {self.threshold}.")
        if self.reference is not None and self.reference not in self.images:
            given = ", ".join(self.images)
            raise InputError(f"The reference '{self.reference}' is not among the images given: {given}.")
