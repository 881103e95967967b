"""`asa compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from asa.errors import InputError, one_line
from asa.tasks import TASKS, Modality

_IMAGES = "Images of both visits by modality"
Pair = tuple[Path, Path]


def command(
    visits: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Two visits, the earlier first: a T1 image each (for 'wmh': FLAIR), or the BIDS folder of a session.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Result folder.")],
    task: Annotated[str, typer.Option(help=f"What to compare: {', '.join(TASKS)}.")] = "tissue",
    t1: Annotated[Pair | None, typer.Option("--t1", help="T1 of both visits.", rich_help_panel=_IMAGES)] = None,
    t1gd: Annotated[
        Pair | None, typer.Option("--t1gd", help="T1 with contrast agent.", rich_help_panel=_IMAGES)
    ] = None,
    t2: Annotated[Pair | None, typer.Option("--t2", help="T2.", rich_help_panel=_IMAGES)] = None,
    flair: Annotated[Pair | None, typer.Option("--flair", help="FLAIR.", rich_help_panel=_IMAGES)] = None,
    model: Annotated[str | None, typer.Option(help="Name or folder of a model; see 'asa models'.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse visits whose comparison would be doubtful.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing result.")] = False,
) -> None:
    """Compare two visits of one patient.

    Both are resampled once, to the space half-way between them, and segmented in the same way. Writes the images and
    label maps of both in that space, changes.csv (each volume, its change, and the noise expected without any change),
    changes.png and report.json; for lesions also lesions.csv: new, enlarging, stable, shrinking, gone.

    Examples:

        asa compare visit1.nii.gz visit2.nii.gz -o change

        asa compare --task wmh --flair flair1.nii.gz flair2.nii.gz --t1 t1a.nii.gz t1b.nii.gz -o change
    """
    from asa.jobs.compare import CompareRequest, compare
    from asa.longitudinal.lesions import STATES
    from asa.longitudinal.tables import sentence
    from asa.longitudinal.volumes import Change
    from asa.models import find_model
    from asa.request import SegmentRequest

    if task not in TASKS:
        raise InputError(f"There is no task '{task}'; the tasks are {', '.join(TASKS)}.")
    given = {"t1": t1, "t1gd": t1gd, "t2": t2, "flair": flair}
    by_modality = {key: pair for key, pair in given.items() if pair is not None}
    if bool(visits) == bool(by_modality):
        raise InputError("Give either two visits, or options such as --t1 with two images each.")
    if visits:
        if len(visits) != 2:
            raise InputError(f"Give two visits, the earlier first; {len(visits)} given.")
        used = find_model(model, task)
        of_task = {modality.key: modality for modality in TASKS[task].modalities}
        wanted = [replace(of_task[key], required=key in used.required) for key in used.modalities]
        first, second = (_images(visit, wanted) for visit in visits)
        both = [key for key in first if key in second]
        first, second = ({key: images[key] for key in both} for images in (first, second))
    else:
        first, second = ({key: pair[n] for key, pair in by_modality.items()} for n in (0, 1))
    settings = SegmentRequest({}, task=task, model=model, device=device, threads=threads, strict=strict)
    finished = compare(CompareRequest(first, second, settings), output, overwrite=overwrite)
    for warning in finished.warnings:
        typer.echo(f"Warning: {one_line(warning)}", err=True)
    if finished.reused:
        typer.echo("A result of the same images and settings exists; use --overwrite to compare again.", err=True)
    for row in finished.report["changes"]:
        typer.echo(sentence(Change(**row)))
    if finished.report["lesions"]:
        counts = [(state, sum(one["state"] == state for one in finished.report["lesions"])) for state in STATES]
        typer.echo("Lesions: " + ", ".join(f"{count} {state}" for state, count in counts))
    typer.echo(f"Results: {output.resolve()}")


def _images(visit: Path, wanted: Sequence[Modality]) -> dict[str, Path]:
    """Return modality -> image of a visit: an image, or the folder of one session.

    Raises:
        InputError: there is no such image, or more than one session.
    """
    from asa.cohort.batch import find_cases

    cases = find_cases([visit], wanted)
    if len(cases) != 1:
        raise InputError(f"The folder {visit} holds {len(cases)} cases; give the folder of one session, or one image.")
    return cases[0].usable_images()
