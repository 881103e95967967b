"""`asa evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from asa.errors import InputError

_SCORING = "Scoring"


def command(
    prediction: Annotated[Path, typer.Argument(help="Predicted label map, or a folder of them.")],
    reference: Annotated[Path, typer.Argument(help="Manual label map, a folder of them, or a data set.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for cases.csv, summary.json and summary.md.")
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="Label values of the reference: those of a task (tissue, tumour, wmh) or a data set (brats2021)."
        ),
    ] = "tissue",
    name: Annotated[str, typer.Option(help="Name of the system that made the predictions.")] = "ASA",
    against: Annotated[
        list[str] | None,
        typer.Option(help="Another system on the same cases, as NAME=FOLDER; repeatable.", metavar="NAME=FOLDER"),
    ] = None,
    prediction_values: Annotated[
        str,
        typer.Option(
            help="Data set whose label values the predictions use; default: the task's.",
            rich_help_panel=_SCORING,
        ),
    ] = "",
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Tolerance of the surface Dice in mm.", rich_help_panel=_SCORING)
    ] = 1.0,
    lesionwise: Annotated[
        bool,
        typer.Option(
            "--lesionwise",
            help="Also score each lesion, as BraTS 2023 does, but without a minimum lesion size.",
            rich_help_panel=_SCORING,
        ),
    ] = False,
    hausdorff: Annotated[
        str,
        typer.Option(
            help="HD95 that systems are compared by: maximum of two percentiles, or pooled. Tables show both.",
            rich_help_panel=_SCORING,
        ),
    ] = "maximum",
    partial: Annotated[
        bool, typer.Option("--partial", help="Skip cases without a prediction.", rich_help_panel=_SCORING)
    ] = False,
) -> None:
    """Score predicted label maps: Dice, HD95 in mm, surface Dice, volume error, lesion-wise.

    Files are paired by name (CASE.nii.gz or CASE/segmentation.nii.gz). All problems are
    reported in one error.

    Examples:

        asa evaluate predicted.nii.gz manual.nii.gz

        asa evaluate results BraTS2021 --dataset brats2021 --partial --against unetr=results_unetr -o scores
    """
    from asa.data.datasets import dataset_by_name
    from asa.evaluation.evaluate import Hausdorff, Protocol, evaluate

    if hausdorff not in ("maximum", "pooled"):
        raise typer.BadParameter(f"'{hausdorff}' is not one of maximum, pooled.")
    from asa.evaluation.tables import (
        markdown,
        protect_evaluation,
        read_calibration,
        summary,
        write_evaluation,
    )

    protocol = Protocol(
        dataset_by_name(dataset),
        dataset_by_name(prediction_values) if prediction_values else None,
        tolerance,
        lesionwise,
        partial,
        cast(Hausdorff, hausdorff),
    )
    systems = {name: prediction}
    for item in against or []:
        other, equals, folder = item.partition("=")
        if not (other and equals and folder):
            raise InputError(f"--against takes NAME=FOLDER, not '{item}'.")
        if other in systems:
            raise InputError(f"Two systems are called '{other}'.")
        systems[other] = Path(folder)
    if output is not None:
        protect_evaluation(output, [reference, *systems.values()])
    scores = evaluate(systems, reference, protocol, lambda case: typer.echo(case, err=True))
    calibration = {system: said for system, path in systems.items() if (said := read_calibration(path)) is not None}
    found = summary(scores, protocol, calibration)
    typer.echo(markdown(found))
    if output is not None:
        write_evaluation(output, scores, found)
        typer.echo(f"Results: {output.resolve()}")
