"""`asa segment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asa.cli._heads import Jobs, Slurm, announced, remarks, run_at_once
from asa.errors import InputError, one_line
from asa.request import ALIGNMENTS, EXTRAS, REORIENTATIONS, parse_extras
from asa.tasks import TASKS, Modality, Task

if TYPE_CHECKING:
    from rich.console import Console

    from asa.cohort.batch import Case, Outcome
    from asa.jobs.segment import Finished
    from asa.program import Progress

_BY_MODALITY = "Images by modality (one case)"
_HOW = "Settings"


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise typer.BadParameter(f"'{value}' is not one of {', '.join(choices)}.")
        return value

    return check


def command(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="T1 images (for 'wmh': FLAIR), one per case, folders of such images, BIDS folders, or DICOM files or "
            "folders, one per case.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Result folder; with several cases, one subfolder each.")
    ],
    task: Annotated[
        str, typer.Option(help=f"What to segment: {', '.join(TASKS)}.", callback=_one_of(*TASKS))
    ] = "tissue",
    t1: Annotated[Path | None, typer.Option("--t1", help="T1.", rich_help_panel=_BY_MODALITY)] = None,
    t1gd: Annotated[
        Path | None, typer.Option("--t1gd", help="T1 with contrast agent.", rich_help_panel=_BY_MODALITY)
    ] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="T2.", rich_help_panel=_BY_MODALITY)] = None,
    flair: Annotated[Path | None, typer.Option("--flair", help="FLAIR.", rich_help_panel=_BY_MODALITY)] = None,
    model: Annotated[
        str | None, typer.Option(help="Name or folder of a model; see 'asa models'.", rich_help_panel=_HOW)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps.", rich_help_panel=_HOW)] = "auto",
    tta: Annotated[
        bool | None,
        typer.Option(
            "--tta/--no-tta",
            help="Test-time augmentation (left-right flip), which takes twice the time. Default: the model's setting.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    align: Annotated[
        str,
        typer.Option(
            help="auto: register the scan with the template; none: it is already in MNI152 space.",
            callback=_one_of(*ALIGNMENTS),
            rich_help_panel=_HOW,
        ),
    ] = "auto",
    reorient: Annotated[
        str,
        typer.Option(
            help="auto: if the header contradicts the image, trust the orientation found in the image; "
            "off: mark such a result as doubtful.",
            callback=_one_of(*REORIENTATIONS),
            rich_help_panel=_HOW,
        ),
    ] = "off",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse images that would give a doubtful result.", rich_help_panel=_HOW)
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Image whose grid the result is on: t1, t1gd, t2 or flair. Default: depends on the task.",
            rich_help_panel=_BY_MODALITY,
        ),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            "--series",
            metavar="[KEY=]WHICH",
            help="DICOM series to use if the tags are not conclusive: its number in the printed list, its UID, "
            "or part of its description; for one of several modalities: t1=2.",
            show_default=False,
            rich_help_panel=_BY_MODALITY,
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all by default.", rich_help_panel=_HOW)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Minimum probability (0 to 1) of a labelled voxel; lower values label more. Default: the model's.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    posterior: Annotated[bool, typer.Option("--posterior", help="Also write the class probabilities.")] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="WHAT",
            help=f"Further outputs, separated by commas: {', '.join(EXTRAS)}. 'dicom' identifies the patient.",
            show_default=False,
        ),
    ] = None,
    jobs: Jobs = 1,
    slurm: Slurm = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing results.")] = False,
) -> None:
    """Segment one scan or many.

    Images may include the skull or be skull-stripped. Those of one case may have different grids; they are
    co-registered. 'asa models' lists the modalities that each model needs.

    Writes a label map on the grid of the scan, segmentation.seg.nrrd for 3D Slicer, volumes in mL (csv, json), an
    overview image (overlay.png) and report.json; for several cases also summary.json and volumes.tsv. Existing results
    of the same images, model and settings are kept.

    Examples:

        asa segment t1.nii.gz -o result

        asa segment bids_folder -o results

        asa segment --task tumour --t1 a.nii --t1gd b.nii --t2 c.nii --flair d.nii -o result
    """
    from rich.console import Console

    from asa.cohort import batch
    from asa.jobs import segment as job
    from asa.models import find_model
    from asa.request import SegmentRequest

    request = SegmentRequest(
        images={},
        task=task,
        model=model,
        device=device,
        tta=tta,
        align=align,
        reorient=reorient,
        strict=strict,
        threads=threads,
        posterior=posterior,
        threshold=threshold,
        reference=reference,
        also=parse_extras(also or []),
    )
    what = TASKS[task]
    by_key = {modality.key: modality for modality in what.modalities}
    given = {"t1": t1, "t1gd": t1gd, "t2": t2, "flair": flair}
    by_modality = {key: path for key, path in given.items() if path is not None}
    if images and by_modality:
        raise InputError("Give either images or options such as --t1, not both: the options describe one case.")
    if not images and not by_modality:
        raise InputError("Give at least one image, a folder, or options such as --t1.")
    used = find_model(model, task)  # here, so that a missing model is reported once and not per head
    keys = sorted(used.modalities, key=lambda key: key not in used.required)
    choices = batch.parse_choices(series or [], keys)
    if by_modality:
        cases, single = [batch.Case("head", _chosen(by_modality, by_key, choices))], True
    else:
        taken = [replace(by_key[key], required=key in used.required) for key in used.modalities]
        cases = batch.find_cases(images or [], taken, choices)
        one_dicom = len(cases) == 1 and bool(cases[0].series or cases[0].problem)
        single = one_dicom or [path.is_dir() for path in images or []] == [False]

    folders = [output if single else output / case.name for case in cases]
    scans = [path for case in cases for path in case.images.values()]
    # One head's result must not replace another's scan.
    job.protect_images(scans, folders, task, posterior=posterior, others=request.extra_files)
    if not single:
        batch.protect_summary(output / batch.SUMMARY)

    if single and (jobs > 1 or slurm):
        raise InputError("--jobs and --slurm are for several cases; one was given.")

    def run(case: Case, progress: Progress | None = None) -> Finished:
        folder = output if single else output / case.name
        return job.run(replace(request, images=case.usable_images()), folder, overwrite=overwrite, progress=progress)

    console = Console(stderr=True)
    if missing := batch.omitted_subjects(images or [], cases):
        message = f"Skipped, because images that the model needs are missing: {', '.join(missing)}."
        console.print(message, markup=False, highlight=False, soft_wrap=True)
    for case in cases:
        for note in case.notes:
            console.print(f"{case.name}: {note}.", markup=False, highlight=False, soft_wrap=True)
    with _bar(console) as bar:
        if single:
            _report_one(console, run(cases[0], bar(cases[0].name)))
            failed = 0
        else:
            if jobs > 1 or slurm:
                each = partial(batch.segment_case, output=output, overwrite=overwrite)
                ended = run_at_once(cases, request, each, jobs, slurm, output, console)
            else:
                ended = batch.run_cases(cases, lambda case: run(case, bar(case.name)))
            outcomes = batch.in_order(announced(console, ended), cases)
            failed = sum(outcome.status == "failed" for outcome in outcomes)
    if not single:
        table = Console()
        table.print(_table(outcomes, what))
        for remark in remarks(outcomes):
            table.print(remark, markup=False, highlight=False)
        batch.write_summary(output / batch.SUMMARY, outcomes)  # last: it fails where the disk is full
    typer.echo(f"Results: {output.resolve()}")
    if failed:
        typer.echo(f"Error: {failed} of {len(cases)} cases failed; see the table.", err=True)
        raise typer.Exit(1)


def _chosen(
    images: Mapping[str, Path], modalities: Mapping[str, Modality], choices: Mapping[str, str]
) -> dict[str, Path]:
    """Return the images given by modality, of a DICOM folder the file that stands for the series."""
    if not any(path.is_dir() for path in images.values()):
        if choices:
            raise InputError("--series chooses among the DICOM series of a folder; no folder was given.")
        return dict(images)
    from asa.cohort.dicom_heads import find_image

    return {
        key: find_image(path, modalities[key], {key: choices[key]} if key in choices else {}) if path.is_dir() else path
        for key, path in images.items()
    }


class _bar:
    """A progress bar, on a terminal only. Called with the name of a case, it returns its progress function."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> _bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, name: str) -> Progress:
        self._progress.reset(self._task)

        def show(stage: str, fraction: float) -> None:
            self._progress.update(self._task, completed=fraction, description=f"{name}: {stage}")

        return show


def _report_one(console: Console, finished: Finished) -> None:
    for warning in finished.warnings:
        console.print(f"Warning: {one_line(warning)}", markup=False, highlight=False, soft_wrap=True)
    if finished.reused:
        console.print("A result of the same images, model and settings exists; use --overwrite to segment again.")
    regions = [row for row in finished.report["volumes"] if row["kind"] != "label"]
    typer.echo("  ".join(f"{row['name']} {row['volume_ml']:.1f} mL" for row in regions))


def _table(outcomes: Sequence[Outcome], task: Task) -> object:
    """Volumes of each head; a terminal of 80 columns has room for them."""
    from rich.table import Table
    from rich.text import Text

    failed = sum(outcome.status == "failed" for outcome in outcomes)
    table = Table(title=f"{len(outcomes) - failed} of {len(outcomes)} segmented", title_justify="left")
    table.add_column("Head", overflow="fold")  # in a log of 80 columns, "sub-00…" identifies nobody
    table.add_column("Result", no_wrap=True)
    table.add_column("Time", justify="right", no_wrap=True)
    for region in task.regions:
        table.add_column(f"{region.name} (mL)", justify="right")
    style = {"done": "green", "reused": "cyan", "failed": "red"}
    for outcome in outcomes:
        rows = outcome.finished.report["volumes"] if outcome.finished else []
        volumes = {row["name"]: f"{row['volume_ml']:.1f}" for row in rows if row["kind"] == "region"}
        table.add_row(
            Text(outcome.case.name),
            Text(outcome.status, style=style[outcome.status]),
            f"{outcome.seconds:.1f} s",
            *(volumes.get(region.name, "–") for region in task.regions),
        )
    return table
