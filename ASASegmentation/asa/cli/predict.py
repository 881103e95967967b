"""`asa predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of asa finetune; several form an ensemble.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for CASE.nii.gz, on the grids of the scans.")],
    store: Annotated[Path | None, typer.Option(help="Case store; default: the one used for training.")] = None,
    part: Annotated[str, typer.Option(help="Part of the split: test, validation, train; or all cases.")] = "test",
    tta: Annotated[bool, typer.Option("--tta/--no-tta", help="Test-time augmentation: as --mirror w.")] = False,
    mirror: Annotated[
        str,
        typer.Option(help="Average over mirror images along axes: none, w (left-right), thw (all eight)."),
    ] = "none",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses PyTorch's default.")] = 0,
) -> None:
    """Segment prepared cases with fine-tuned networks, for evaluation.

    Posteriors are calibrated with the temperature fitted on the validation cases, and averaged over the runs. The
    calibration error is written to prediction.json and reported by asa evaluate.

    Examples:

        asa predict runs/brats -o predicted

        asa predict runs/fold0 runs/fold1 runs/fold2 --store other_cases --part all -o predicted
    """
    from asa.data.splits import PARTS
    from asa.devices import choose_device, set_threads
    from asa.training.finetuning.prediction import mirror_axes, predict_cases

    if part not in (*PARTS, "all"):
        raise typer.BadParameter(f"'{part}' is not one of {', '.join(PARTS)}, all.")
    axes = mirror_axes(mirror)
    if threads:
        set_threads(threads)
    written = predict_cases(
        runs,
        output,
        choose_device(device),
        store=store,
        part=part,
        mirror=axes or ("w" if tta else ""),
        progress=lambda done, total, name: typer.echo(f"[{done}/{total}] {name}", err=True),
        warn=lambda text: typer.echo(f"Warning: {text}.", err=True),
    )
    typer.echo(f"{len(written)} cases in {output.resolve()}")
