"""`asa prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_LABELLED = "Labelled cases (finetune)"
_STRIPPING = "Finding the brain (our tissue model if nothing is given)"


def command(
    what: Annotated[str, typer.Argument(help="What to prepare for: pretrain or finetune.")],
    *,
    bids: Annotated[
        Path | None, typer.Option(help="Tree of scans to pre-train on: BIDS, ADNI, OASIS-1 or OASIS-3.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled data set: its folder, or a CSV.", rich_help_panel=_LABELLED)
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="Its name: brats2021, ibsr-tri, wmh2017, ...; or the task of one's own cases.",
            rich_help_panel=_LABELLED,
        ),
    ] = "",
    modalities: Annotated[
        str, typer.Option(help="Channels, if not all: 't1,flair'.", rich_help_panel=_LABELLED)
    ] = "",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the store; what is done stays.")],
    size: Annotated[
        str, typer.Option(help="Voxels kept: 128 (the paper's cube), or frame (160x192x160, every adult head).")
    ] = "128",
    stripped: Annotated[
        bool, typer.Option("--stripped", help="The scans are stripped already.", rich_help_panel=_STRIPPING)
    ] = False,
    masks: Annotated[
        str,
        typer.Option(
            help="Brain masks made before, as a path with {folder}, {stem} and {name} of the scan.",
            rich_help_panel=_STRIPPING,
        ),
    ] = "",
    tool: Annotated[
        str,
        typer.Option(
            help="Another program, as a command with {input} and {mask}: 'mri_synthstrip -i {input} -m {mask}'.",
            rich_help_panel=_STRIPPING,
        ),
    ] = "",
    device: Annotated[
        str, typer.Option(help="Device of our model: auto, cpu or cuda:N.", rich_help_panel=_STRIPPING)
    ] = "auto",
    align: Annotated[bool, typer.Option("--align/--aligned", help="Align to MNI152, or trust that they are.")] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Align, strip, crop and store the T1-weighted scans of a tree for pre-training, or labelled cases (not stripped).

    Scans that fail are left out and listed; quality/index.html in the store shows every other one, the doubtful ones
    first. Called again, it goes on where it was stopped.

    Examples:

        asa prepare pretrain --bids ADNI_BIDS -o store --jobs 8

        asa prepare pretrain --bids stripped_tree --stripped --size frame -o store

        asa prepare finetune --data BraTS2021 --dataset brats2021 --size frame -o brats
    """
    from rich.console import Console

    from asa.data.prepare import Preparation, prepare
    from asa.data.quality import SHEET
    from asa.data.stripping import AlreadyStripped, Command, MaskFile, Stripper
    from asa.geometry import FRAME

    if what not in ("pretrain", "finetune"):
        raise typer.BadParameter(f"'{what}' is neither pretrain nor finetune.")
    shapes = {"128": (128, 128, 128), "frame": FRAME.shape}
    if size not in shapes:
        raise typer.BadParameter(f"'{size}' is not one of {', '.join(shapes)}.")
    if what == "finetune":
        _labelled(data, dataset, modalities, output, shapes[size], align=align)
        return
    if bids is None:
        raise typer.BadParameter("pretrain needs --bids.")
    if sum((stripped, bool(masks), bool(tool))) > 1:
        raise typer.BadParameter("choose one of --stripped, --masks and --tool.")
    stripper: Stripper
    if stripped:
        stripper = AlreadyStripped()
    elif masks:
        stripper = MaskFile(masks)
    elif tool:
        stripper = Command(tool)
    else:
        from asa.inference.stripping import TissueModel
        from asa.models import find_model

        find_model(None, "tissue")  # a missing model is said once, not for each scan
        stripper = TissueModel(device=device)

    console = Console(stderr=True)
    records, failed = prepare(
        Preparation(bids, output, stripper, shapes[size], align),
        jobs=jobs,
        progress=lambda done, total, said: console.print(f"[{done}/{total}] {said}", markup=False, highlight=False),
    )
    doubted = sum(bool(record.warnings) for record in records)
    seconds = sum(record.seconds for record in records) / max(1, len(records))
    typer.echo(
        f"{len(records)} scans in {output.resolve()} ({seconds:.1f} s each), {doubted} to look at, "
        f"{len(failed)} left out; see {output / 'quality' / SHEET}"
    )


def _labelled(
    data: Path | None, dataset: str, modalities: str, output: Path, shape: tuple[int, int, int], *, align: bool
) -> None:
    from asa.data.case_store import prepare_cases
    from asa.data.datasets import dataset_by_name
    from asa.inference.normalise import zscore

    if data is None:
        raise typer.BadParameter("finetune needs --data and --dataset.")
    store = prepare_cases(
        dataset_by_name(dataset),
        data,
        output,
        zscore,
        modalities=[key.strip() for key in modalities.split(",") if key.strip()],
        shape=shape,
        align=align,
        progress=lambda done, total, said: typer.echo(f"[{done}/{total}] {said}", err=True),
    )
    doubted = ", ".join(case.name for case in store.cases if case.warnings or case.cut > 0.01)
    typer.echo(f"{len(store.cases)} cases in {output.resolve()}" + (f"; look at {doubted}" if doubted else ""))
