"""`asa bids`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from asa.cli._heads import Jobs, Slurm, announced, remarks, run_at_once
from asa.errors import InputError
from asa.tasks import TASKS

_HOW = "Settings"
_LEVELS = ("participant", "group")


def command(
    bids_dir: Annotated[Path, typer.Argument(help="BIDS data set.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="Folder for the derivatives.", show_default=False)],
    level: Annotated[str, typer.Argument(help="participant: segment; group: tabulate all scans.", show_default=False)],
    more_labels: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    *,
    participant_label: Annotated[
        list[str] | None,
        typer.Option(
            "--participant-label",
            "--participant_label",
            help="Participants, with or without 'sub-'; several after one another.",
            show_default=False,
        ),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option("--session-label", "--session_label", help="Session, with or without 'ses-'.", show_default=False),
    ] = None,
    task: Annotated[str, typer.Option(help=f"What to segment: {', '.join(TASKS)}.")] = "tissue",
    probseg: Annotated[bool, typer.Option("--probseg", help="Also write the probability of each label.")] = False,
    mni: Annotated[
        bool, typer.Option("--mni", help="Also write images, labels and the transform in MNI space.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="Name or folder of a model.", rich_help_panel=_HOW)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 or mps.", rich_help_panel=_HOW)] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", "--n_cpus", min=1, help="CPU threads; all by default.", rich_help_panel=_HOW),
    ] = None,
    jobs: Jobs = 1,
    slurm: Slurm = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse images that would give a doubtful result.", rich_help_panel=_HOW)
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite existing results.")] = False,
    skip_bids_validator: Annotated[
        bool, typer.Option("--skip-bids-validator", "--skip_bids_validator", hidden=True)
    ] = False,
) -> None:
    """Segment a BIDS data set into BIDS derivatives (a BIDS App).

    The participant level writes, for each session, a label map, a brain mask and their sidecars, and keeps what
    'asa segment' writes in the folder asa. The group level writes one table with a row per scan. Existing results are
    kept, so that the same command continues a run that was interrupted.

    Examples:

        asa bids data data/derivatives/asa participant --participant-label 01 02

        asa bids data data/derivatives/asa group
    """
    from rich.console import Console

    from asa.cohort import batch, bids_app, bids_group
    from asa.models import find_model
    from asa.request import SegmentRequest

    if level not in _LEVELS:
        raise InputError(f"'{level}' is not a level of analysis; give {' or '.join(_LEVELS)}.")
    if task not in TASKS:
        raise InputError(f"There is no task '{task}'; the tasks are {', '.join(TASKS)}.")
    if more_labels and not participant_label:
        raise InputError(f"'{more_labels[0]}' is an unexpected argument; list participants after --participant-label.")
    bids_app.check_tree(bids_dir, output)
    if level == "group":
        typer.echo(f"Table: {bids_group.group(output).resolve()}")
        return
    console = Console(stderr=True)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    used = find_model(model, task)
    of_task = {modality.key: modality for modality in TASKS[task].modalities}
    wanted = [replace(of_task[key], required=key in used.required) for key in used.modalities]
    found = [case for case in batch.find_cases([bids_dir], wanted) if bids_app.label_of(case.name, "sub")]
    cases = bids_app.select(found, [*(participant_label or []), *(more_labels or [])], session_label or [], bids_dir)
    for sentence in (*bids_app.faults(bids_dir, cases), *bids_app.misspelt(bids_dir, wanted)):
        say(f"Warning: {sentence}")
    if len(cases) == len(found) and (missing := batch.omitted_subjects([bids_dir], cases)):
        say(f"Skipped, because images that the model needs are missing: {', '.join(missing)}.")
    for case in cases:
        for note in case.notes:
            say(f"{case.name}: {note}.")
    batch.protect_summary(output / batch.SUMMARY)
    bids_app.begin(output, bids_dir, TASKS[task])

    request = SegmentRequest(
        {}, task=task, model=model, device=device, threads=threads, posterior=probseg, strict=strict
    )
    each = partial(bids_app.segment_session, output=output, tree=bids_dir, standard=mni, overwrite=overwrite)
    if jobs > 1 or slurm:
        ended = run_at_once(cases, request, each, jobs, slurm, output, console)
    else:
        ended = batch.run_cases(cases, partial(each, request=request))
    outcomes = batch.in_order(announced(console, ended), cases)
    for remark in remarks(outcomes):
        typer.echo(remark)
    batch.write_summary(output / batch.SUMMARY, outcomes)  # last: it fails where the disk is full
    typer.echo(f"Derivatives: {output.resolve()}")
    if failed := sum(outcome.status == "failed" for outcome in outcomes):
        typer.echo(f"Error: {failed} of {len(cases)} sessions failed; see above.", err=True)
        raise typer.Exit(1)
