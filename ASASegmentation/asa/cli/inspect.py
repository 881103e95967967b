"""`asa inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[
        list[Path],
        typer.Argument(help="Pre-training run, one of its checkpoints, or a model made of it; or several checkpoints."),
    ],
    *,
    image: Annotated[Path, typer.Option(help="T1-weighted scan.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("inspect"),
    stripped: Annotated[bool, typer.Option("--stripped", help="The scan is stripped already.")] = False,
    align: Annotated[bool, typer.Option("--align/--aligned", help="Align to MNI152, or trust that it is.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is hidden.")] = 0,
    ratio: Annotated[
        float | None, typer.Option(min=0.01, max=0.99, help="Share of patches to hide; as in training unless given.")
    ] = None,
    brain_only: Annotated[
        bool | None, typer.Option("--brain-only/--anywhere", help="Which patches may be hidden; as in training.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Label map in the scan's space: hide the patches that it marks, no others.")
    ] = None,
    attention: Annotated[bool, typer.Option("--attention", help="Also write attention.npy of the encoder.")] = False,
    kept: Annotated[
        Path | None, typer.Option(help="Folder to keep the aligned, stripped scan in for the next look at it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: progress as JSON lines, .nii without compression, no picture.")
    ] = False,
) -> None:
    """Show what a pre-trained auto-encoder holds important in a scan, and how it fills in what is hidden from it.

    Writes inspect.png (input, VHOG importance, what was hidden, reconstruction and error in three planes),
    inspect.json, and each of these as NIfTI in the scan's own grid. Of several checkpoints each has a folder of its
    own, named by its steps, for its reconstruction and error.
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
