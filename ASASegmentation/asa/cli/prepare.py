"""`asa prepare`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asa.errors import InputError
from asa.events import Progress, Reported, to_line

if TYPE_CHECKING:
    from asa.data.scan_store import Shape
    from asa.data.survey import SurveyedCase

_LABELLED = "Labelled cases (finetune)"
_STRIPPING = "Skull stripping (default: the tissue model)"


def command(
    what: Annotated[str, typer.Argument(help="Purpose: pretrain or finetune.")],
    *,
    bids: Annotated[
        Path | None, typer.Option(help="Tree of scans for pre-training: BIDS, ADNI, OASIS-1 or OASIS-3.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled data set: a folder or a CSV file.", rich_help_panel=_LABELLED)
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="Its name (brats2021, ibsr-tri, wmh2017, ...), or the task of your own cases.",
            rich_help_panel=_LABELLED,
        ),
    ] = "",
    modalities: Annotated[
        str, typer.Option(help="Channels, such as 't1,flair'; default: all.", rich_help_panel=_LABELLED)
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the store, unless --dry-run; finished cases are kept."),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Voxels to keep: 128 (the published cube), or frame (160x192x160, any adult head).")
    ] = "128",
    stripped: Annotated[
        bool,
        typer.Option(
            "--stripped",
            help="The scans are skull-stripped; labelled cases are z-scored within the brain, as for 'asa train'.",
            rich_help_panel=_STRIPPING,
        ),
    ] = False,
    bias_correction: Annotated[
        bool,
        typer.Option(
            "--bias-correction",
            help="Labelled cases, with --stripped: N4 before the z-score, as the recipes of 'asa train' require.",
            rich_help_panel=_LABELLED,
        ),
    ] = False,
    masks: Annotated[
        str,
        typer.Option(
            help="Existing brain masks, as a path with {folder}, {stem} and {name} of the scan.",
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
        str, typer.Option(help="Device of the tissue model: auto, cpu or cuda:N.", rich_help_panel=_STRIPPING)
    ] = "auto",
    align: Annotated[
        bool, typer.Option("--align/--aligned", help="Align to MNI152, or assume that the scans are aligned.")
    ] = True,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cases and any problems; write nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Emit progress as JSON lines.")] = False,
) -> None:
    """Align, skull-strip, crop and store T1-weighted scans for pre-training, or store labelled cases for fine-tuning.

    Labelled cases are not skull-stripped. Scans that fail are skipped and listed; quality/index.html in the store
    shows all others, the most questionable ones first. Re-run the same command to resume.

    Examples:

        asa prepare pretrain --bids ADNI_BIDS --dry-run

        asa prepare pretrain --bids ADNI_BIDS -o store --jobs 8

        asa prepare pretrain --bids stripped_tree --stripped --size frame -o store

        asa prepare finetune --data BraTS2021 --dataset brats2021 --size frame -o brats
    """
    from asa.data.prepare import Preparation, prepare
    from asa.data.quality import SHEET
    from asa.data.stripping import AlreadyStripped, Command, MaskFile, Stripper
    from asa.geometry import FRAME

    if what not in ("pretrain", "finetune"):
        raise typer.BadParameter(f"'{what}' is neither pretrain nor finetune.")
    shapes = {"128": (128, 128, 128), "frame": FRAME.shape}
    if size not in shapes:
        raise typer.BadParameter(f"'{size}' is not one of {', '.join(shapes)}.")
    reporter = _Reporter(json)
    if what == "finetune":
        if data is None:
            raise typer.BadParameter("finetune needs --data and --dataset.")
        if bias_correction and not stripped:
            raise typer.BadParameter("--bias-correction needs the brain: give stripped scans, and --stripped.")
        keys = [key.strip() for key in modalities.split(",") if key.strip()]
        if dry_run:
            from asa.data.datasets import dataset_by_name
            from asa.data.survey import survey_cases

            reporter.survey(survey_cases(dataset_by_name(dataset), data, keys))
        else:
            how = Intensities(stripped, bias_correction)
            _labelled(reporter, data, dataset, keys, _required(output), shapes[size], how, align=align)
        return
    if bids is None:
        raise typer.BadParameter("pretrain needs --bids.")
    if dry_run:
        from asa.data.survey import survey_scans

        reporter.survey(survey_scans(bids))
        return
    folder = _required(output)
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

        find_model(None, "tissue")  # a missing model is reported once, not for each scan
        stripper = TissueModel(device=device)

    preparation = Preparation(bids, folder, stripper, shapes[size], align)
    records, failed = prepare(preparation, jobs=jobs, progress=reporter.progress)
    doubted = sum(bool(record.warnings) for record in records)
    seconds = sum(record.seconds for record in records) / max(1, len(records))
    megabytes = math.prod(preparation.shape) / 1e6
    reporter.done(
        f"{len(records)} scans in {folder.resolve()} ({seconds:.1f} s and {megabytes:.1f} MB each), "
        f"{doubted} to review, {len(failed)} skipped; see {folder / 'quality' / SHEET}",
        sheet=str(folder.resolve() / "quality" / SHEET),
    )


def _required(output: Path | None) -> Path:
    """Return the folder of the store, which only a dry run does without.

    Raises:
        InputError: it is not given.
    """
    if output is None:
        raise InputError("--output is missing: name the folder of the store, or add --dry-run.")
    return output


@dataclasses.dataclass(frozen=True)
class Intensities:
    """Intensity normalisation applied to the scans."""

    stripped: bool
    corrected: bool


class _Reporter:
    """Progress output, as sentences for users or as JSON lines for programs."""

    def __init__(self, json: bool) -> None:
        self._json = json

    def progress(self, done: int, total: int, said: str) -> None:
        if self._json:
            typer.echo(to_line(Progress(said, done / max(1, total))))
        else:
            typer.echo(f"[{done}/{total}] {said}", err=True)

    def survey(self, cases: Iterable[SurveyedCase]) -> None:
        for case in cases:
            if self._json:
                typer.echo(to_line(Reported("found", dataclasses.asdict(case))))
            else:
                images = ", ".join((*case.modalities, *(["labels"] if case.labels else [])))
                typer.echo("; ".join((f"{case.name}: {images} ({case.grid or 'size unknown'})", *case.problems)))

    def done(self, said: str, **values: Any) -> None:
        if self._json:
            typer.echo(to_line(Reported("done", {"said": said, **values})))
        else:
            typer.echo(said)


def _labelled(
    reporter: _Reporter,
    data: Path,
    dataset: str,
    modalities: list[str],
    output: Path,
    shape: Shape,
    intensities: Intensities,
    *,
    align: bool,
) -> None:
    from asa.data.case_store import prepare_cases
    from asa.data.datasets import dataset_by_name

    store = prepare_cases(
        dataset_by_name(dataset),
        data,
        output,
        modalities=modalities,
        shape=shape,
        align=align,
        stripped=intensities.stripped,
        corrected=intensities.corrected,
        progress=reporter.progress,
    )
    doubted = ", ".join(case.name for case in store.cases if case.warnings or case.cut > 0.01)
    reporter.done(f"{len(store.cases)} cases in {output.resolve()}" + (f"; review {doubted}" if doubted else ""))
