"""`asa refine`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_IMAGES = "Images of the segmentation"


def command(
    result: Annotated[
        Path, typer.Argument(help="Result folder of 'asa segment', or a label map or .seg.nrrd.", show_default=False)
    ],
    *,
    marks: Annotated[Path, typer.Option(help="Marks in RAS mm, as JSON.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the corrected result.")],
    t1: Annotated[Path | None, typer.Option("--t1", help="T1.", rich_help_panel=_IMAGES)] = None,
    t1gd: Annotated[
        Path | None, typer.Option("--t1gd", help="T1 with contrast agent.", rich_help_panel=_IMAGES)
    ] = None,
    t2: Annotated[Path | None, typer.Option("--t2", help="T2.", rich_help_panel=_IMAGES)] = None,
    flair: Annotated[Path | None, typer.Option("--flair", help="FLAIR.", rich_help_panel=_IMAGES)] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of a segmentation that is not a result folder: tissue, tumour or wmh.")
    ] = None,
    edited: Annotated[
        Path | None,
        typer.Option(help="The segmentation with your manual edits; edited voxels change only where they are marked."),
    ] = None,
) -> None:
    """Correct a segmentation with marks: points, scribbles, boxes and lassos.

    Each mark changes its segment nearby, so that the result satisfies the mark and the new border follows the images.
    Fewer marks are needed if the result folder holds probabilities (asa segment --posterior). Writes the same files as
    asa segment, and marks.json.

    Examples:

        asa refine result --marks marks.json --flair flair.nii.gz --t1gd t1gd.nii.gz -o corrected

        asa refine lesions.seg.nrrd --task wmh --marks marks.json --flair flair.nii.gz -o corrected
    """
    from asa.jobs.refine import RefineRequest, refine

    given = {"t1": t1, "t1gd": t1gd, "t2": t2, "flair": flair}
    images = {key: path for key, path in given.items() if path is not None}
    finished = refine(RefineRequest(result, marks, images, task, edited), output)
    for warning in finished.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    rows = [row for row in finished.report["volumes"] if row["kind"] == "region"]
    typer.echo("  ".join(f"{row['name']} {row['volume_ml']:.1f} mL" for row in rows))
    typer.echo(f"Results: {output.resolve()}")
