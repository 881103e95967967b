"""Heads in folders of DICOM files: the series are listed, and matched to the modalities of a task by their tags.

Of several series of one modality the first by these rules is taken: the highest resolution (the smallest longest side
of a voxel, then the smallest volume, to a tenth of a millimetre), the most slices, the last series.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asa.cohort.bids import Case
from asa.errors import InputError
from asa.modalities.matching import Candidate, identified_modality, propose
from asa.tasks import TITLES, Modality
from asa.volume.dicom.headers import digest, without_identity
from asa.volume.dicom.stacks import Contents, Stack, contents_of

_FEWEST = 3  # characters of a text that is looked for in the description of a series


def find_head(
    folder: Path, modalities: Sequence[Modality], choices: Mapping[str, str], files: Collection[Path] = ()
) -> Case | None:
    """Find the head in a folder of DICOM files.

    Args:
        folder: the folder; its subfolders are searched too.
        modalities: those of the model.
        choices: modality key -> series, by its number in the list, its UID or a part of its description.
        files: where given, only the series that these files belong to.

    Returns:
        The case, with a list of the series as notes, and its problem; None if there are no DICOM files.

    Raises:
        DependencyError: there are DICOM files, and pydicom is not installed.
    """
    contents = contents_of(folder)
    if files:
        wanted = {path.resolve() for path in files}
        stacks = [one for one in contents.stacks if wanted & {i.path.resolve() for i in one.instances}]
        contents = Contents(tuple(stacks), tuple(one for one in contents.others if one.path.resolve() in wanted))
    if not contents.stacks and not contents.others:
        return None
    name = _name(folder, contents)
    try:
        contents.check_one_patient()
        if not contents.volumes:
            raise InputError(contents.nothing_usable())
        chosen = _choose(contents, modalities, choices)
    except InputError as error:
        return Case(name, {}, _listing(contents, {}), problem=str(error))
    images = {key: stack.files[0] for key, stack in chosen.items()}
    return Case(name, images, _listing(contents, chosen), {key: stack.title for key, stack in chosen.items()})


def find_image(path: Path, modality: Modality, choices: Mapping[str, str]) -> Path:
    """Return the file that stands for the series of a modality in a folder of DICOM files.

    Raises:
        InputError: there is none, or it is no volume.
        DependencyError: pydicom is not installed.
    """
    head = find_head(path, [replace(modality, required=True)], choices)
    if head is None:
        raise InputError(f"{path} is a folder, not an image, and holds no DICOM files.")
    return head.usable_images()[modality.key]


def _choose(contents: Contents, modalities: Sequence[Modality], choices: Mapping[str, str]) -> dict[str, Stack]:
    """Return modality key -> stack. Raises InputError where there is none, or no way to tell which."""
    fixed = {key: _named(contents, which) for key, which in choices.items()}
    studies = {stack.first.study for stack in fixed.values()}
    if len(studies) > 1:
        raise InputError("The series of --series are from different examinations; choose those of one.")
    rest = [modality for modality in modalities if modality.key not in fixed]
    found = []
    for study in studies or dict.fromkeys(stack.first.study for stack in contents.volumes):
        free = [one for one in contents.volumes if one.first.study == study and one not in fixed.values()]
        chosen = fixed | _proposed(free, rest)
        if chosen and all(modality.key in chosen for modality in modalities if modality.required):
            found.append({modality.key: chosen[modality.key] for modality in modalities if modality.key in chosen})
    if not found:
        titles = [modality.title for modality in modalities if modality.required and modality.key not in fixed]
        raise InputError(
            f"Among the {len(contents.volumes)} DICOM volumes none was identified as {' and '.join(titles)}; "
            f"choose with --series: {_volumes(contents)}."
        )
    if len(found) > 1:
        raise InputError(
            f"The DICOM files are from {len(found)} examinations that could be used; "
            f"choose with --series: {_volumes(contents)}."
        )
    return found[0]


def _proposed(stacks: Sequence[Stack], modalities: Sequence[Modality]) -> dict[str, Stack]:
    """Return the stacks that tags suggest, the best of each modality."""
    ranked = sorted(stacks, key=_rank)
    candidates = [Candidate(str(number), "", stack.first.tags) for number, stack in enumerate(ranked)]
    required = [modality.key for modality in modalities if modality.required]
    if not modalities or not candidates:
        return {}
    chosen = propose(candidates, [modality.key for modality in modalities], required)
    return {key: ranked[int(number)] for key, number in chosen.items()}


def _rank(stack: Stack) -> tuple[float, ...]:
    """What is smallest for the stack to take; see the rules at the top."""
    number = int(stack.first.number) if stack.first.number.isdecimal() else 0
    return round(max(stack.voxel), 1), round(math.prod(stack.voxel), 1), -len(stack.frames), -number


def _named(contents: Contents, which: str) -> Stack:
    """Return the volume that ``which`` names. Raises InputError unless there is exactly one."""
    if which.isdecimal() and 1 <= int(which) <= len(contents.stacks):
        found = [contents.stacks[int(which) - 1]]
    else:
        text = which.lower()
        found = [
            stack
            for stack in contents.stacks
            if stack.first.series == which
            or (len(text) >= _FEWEST and text in stack.first.tags.get("SeriesDescription", "").lower())
        ]
    usable = [stack for stack in found if not stack.problem]
    if len(usable) == 1:
        return usable[0]
    if len(found) == 1:
        raise InputError(f"{found[0].title} {found[0].problem}.")
    many = "several DICOM volumes" if usable else "no DICOM volume"
    raise InputError(f"--series {which!r} names {many}; there are {_volumes(contents)}.")


def _volumes(contents: Contents) -> str:
    return ", ".join(
        f"{number} {stack.first.description or stack.title}"
        for number, stack in enumerate(contents.stacks, 1)
        if not stack.problem
    )


def _listing(contents: Contents, chosen: Mapping[str, Stack]) -> tuple[str, ...]:
    """Return a line for each series, where there is more than one, and one for the files that hold none."""
    lines = []
    for number, stack in enumerate(contents.stacks, 1):
        use = next((TITLES[key] for key, one in chosen.items() if one is stack), "")
        if not use:
            known = identified_modality(Candidate("", "", stack.first.tags))
            use = stack.problem or (f"not used ({TITLES[known]})" if known in TITLES else "not used")
        lines.append(f"{number} {stack.title}, {stack.shape}: {use}")
    if len(lines) < 2 and not contents.others:
        return ()
    if contents.others:
        count = len(contents.others)
        lines.append(f"{count} DICOM file{'s' * (count != 1)} without an MR image left out")
    return tuple(lines)


def _name(folder: Path, contents: Contents) -> str:
    """Return the name of the folder, unless it contains what identifies the patient."""
    name = folder.resolve().name
    instances = [instance for stack in contents.stacks for instance in stack.instances[:1]]
    if any(without_identity(name, instance.identity) != name for instance in (*instances, *contents.others)):
        return f"head_{_code(contents)}"
    return name


def longer_name(name: str, folder: Path) -> str:
    """Return a name with eight characters that stand for the examination, for folders that share their name."""
    return f"{name}_{_code(contents_of(folder))}"


def _code(contents: Contents) -> str:
    studies = {one.study for one in (*(stack.first for stack in contents.stacks), *contents.others)}
    return digest("".join(sorted(studies)))
