"""`asa inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[
        list[Path],
        typer.Argument(help="Pre-training run, one or several of its checkpoints, or a model exported from it."),
    ],
    *,
    image: Annotated[Path, typer.Option(help="T1-weighted scan.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("inspect"),
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan is already skull-stripped.")] = False,
    align: Annotated[
        bool, typer.Option("--align/--aligned", help="Align to MNI152, or assume that the scan is aligned.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random mask.")] = 0,
    ratio: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Share of patches to hide; default: as in training.")
    ] = None,
    brain_only: Annotated[
        bool | None,
        typer.Option("--brain-only/--anywhere", help="Hide only brain patches, or any; default: as in training."),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Label map in the scan's space: hide exactly the marked patches.")
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Also write the encoder's attention to attention.npy.")
    ] = False,
    kept: Annotated[Path | None, typer.Option(help="Folder in which the aligned, stripped scan is cached.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Emit progress as JSON lines, uncompressed .nii files and no image.")
    ] = False,
) -> None:
    """Show which parts of a scan a pre-trained auto-encoder considers important, and its reconstruction.

    Writes inspect.png (input, VHOG importance, what was hidden, reconstruction and error in three planes),
    inspect.json, and each of these as NIfTI in the scan's own grid. With several checkpoints, the
    reconstruction and error of each are in a folder named by its step.
    """
    from asa.events import Reported
    from asa.program import Reporter, reported

    def look(reporter: Reporter | None) -> None:
        from asa.data.stripping import AlreadyStripped, Stripper
        from asa.inference.stripping import TissueModel
        from asa.inspection.inspect import PICTURE, Inspection, inspect

        stripper: Stripper = AlreadyStripped() if stripped else TissueModel()
        request = Inspection(
            models=tuple(model),
            image=image,
            stripper=stripper,
            seed=seed,
            align=align,
            ratio=ratio,
            brain_only=brain_only,
            mask=mask,
            attention=attention,
            kept=kept,
            compressed=not as_json,
            pictures=not as_json,
        )
        if reporter is None:
            inspect(request, output)
            where = output if len(model) > 1 else output / PICTURE
            typer.echo(f"{'Results' if len(model) > 1 else 'Picture'}: {where.resolve()}")
            return
        inspect(
            request,
            output,
            reporter.progress,
            lambda folder, steps: reporter.send(Reported("inspected", {"folder": str(folder), "steps": steps})),
        )
        reporter.send(Reported("done", {"folder": str(output)}))

    if as_json:
        raise typer.Exit(reported(look))
    look(None)
