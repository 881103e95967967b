"""Volumes of DICOM files: frames in order of their position, checked to be even, complete and of one patient."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asa.errors import InputError
from asa.files import walk
from asa.volume.dicom.headers import Frame, Instance, is_dicom, read_instance, require_pydicom
from asa.volume.grid import LPS_TO_RAS, Affine

# Positions are written with few digits, and scanners round them.
_EVEN, _SAME_MM = 0.05, 1e-3  # of the distance between slices
_SAME_DIRECTION = 1e-3
_MISSING = 1.5  # a gap of this many usual distances means that slices are missing
_LEAST_SLICES = 5  # fewer are a localizer or left-overs, and span no brain


@dataclass(frozen=True)
class Stack:
    """The images of one series that form one volume.

    Attributes:
        instances: its files, in no order.
        frames: its image planes by their position along the normal of the slices; copies are left out.
        copies: how many files were left out because another holds the same image.
        strangers: how many images of the series are not slices of this volume.
    """

    instances: tuple[Instance, ...]
    frames: tuple[Frame, ...]
    copies: int = 0
    strangers: int = 0

    @property
    def first(self) -> Instance:
        """The instance that speaks for all."""
        return self.instances[0]

    @property
    def title(self) -> str:
        """What to call it in a message."""
        number, text = self.first.number, self.first.description
        name = f"DICOM series {number}" if number else "DICOM series"
        return f"{name} ({text})" if text else name

    @property
    def shape(self) -> str:
        """Number of slices and, where it is a volume, the size of its voxels."""
        slices = f"{len(self.frames)} slice{'s' * (len(self.frames) != 1)}"
        return slices if self.problem else f"{slices}, {' × '.join(f'{size:.3g}' for size in self.voxel)} mm"

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Distance between columns, rows and slices, mm; of a stack without a problem."""
        rows, columns = self.frames[0].spacing
        return columns, rows, float(np.linalg.norm(self._step))

    @cached_property
    def problem(self) -> str:
        """Why it is not a volume, as a clause; "" if it is one."""
        names = {frame.file.parent for frame in self.frames}
        if len(names) > 1:
            return "is spread over several folders; put its files into one"
        if len(self.frames) < _LEAST_SLICES:
            return f"has {len(self.frames)} slice{'s' * (len(self.frames) != 1)}, too few for a volume"
        return self._geometry_problem()

    def _geometry_problem(self) -> str:
        first = self.frames[0]
        numbers = (*first.orientation, *first.spacing, *(x for frame in self.frames for x in frame.position))
        if not np.isfinite(numbers).all() or min(first.spacing) <= 0 or min(first.size) < 1:
            return "has no valid position, orientation or pixel spacing"
        row, column = np.reshape(first.orientation, (2, 3))
        if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
            return "has no valid orientation"
        gaps = np.diff(self._depths)
        usual = float(np.median(gaps))
        if (gaps < max(_SAME_MM, _EVEN * usual)).any():
            return "has several images at one position; only one volume can be segmented"
        widest = int(np.argmax(gaps))
        if gaps[widest] > _MISSING * usual:
            where = f"{gaps[widest]:.3g} mm between slices {widest + 1} and {widest + 2}, {usual:.3g} mm elsewhere"
            return f"lacks slices ({where}); copy or export it again"
        even = np.asarray(first.position) + np.outer(np.arange(len(self.frames)), self._step)
        if np.abs(even - self._positions).max() > _EVEN * usual:
            return f"has slices at uneven distances ({gaps.min():.3g} to {gaps.max():.3g} mm) or displaced sideways"
        return ""

    @property
    def affine(self) -> Affine:
        """4×4, maps (column, row, slice, 1) to RAS mm; it may be sheared (gantry tilt)."""
        first = self.frames[0]
        row, column = np.reshape(first.orientation, (2, 3))
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = row * first.spacing[1], column * first.spacing[0], self._step
        matrix[:3, 3] = first.position
        affine: Affine = LPS_TO_RAS @ matrix
        return affine

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, as sentences without their subject."""
        left_out = {
            "a second copy of {} of its slices": self.copies,
            "{} further images of another size, orientation or kind": self.strangers,
        }
        return tuple(f"has {text.format(count)}, left out" for text, count in left_out.items() if count)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold its frames, in the order of the slices."""
        return tuple(dict.fromkeys(frame.file for frame in self.frames))

    @cached_property
    def _positions(self) -> npt.NDArray[np.float64]:
        return np.array([frame.position for frame in self.frames])

    @cached_property
    def _depths(self) -> npt.NDArray[np.float64]:
        return np.array([_depth(frame) for frame in self.frames])

    @property
    def _step(self) -> npt.NDArray[np.float64]:
        """From a slice to the next, LPS mm."""
        step: npt.NDArray[np.float64] = (self._positions[-1] - self._positions[0]) / (len(self.frames) - 1)
        return step


@dataclass(frozen=True)
class Contents:
    """The DICOM files of a folder.

    Attributes:
        stacks: by study, series number and description.
        others: files that hold no image of a volume, with the reason in ``problem``.
    """

    stacks: tuple[Stack, ...]
    others: tuple[Instance, ...]

    @property
    def volumes(self) -> list[Stack]:
        """The stacks that can be read."""
        return [stack for stack in self.stacks if not stack.problem]

    def check_one_patient(self) -> None:
        """Check that no two files are of different patients.

        Raises:
            InputError: two are.
        """
        first: dict[str, str] = {}
        for instance in itertools.chain.from_iterable(stack.instances for stack in self.stacks):
            for tag, value in instance.identity.items():
                if first.setdefault(tag, value) != value:
                    raise InputError(
                        "The DICOM files are from different patients according to their tags; use one folder each."
                    )

    def nothing_usable(self) -> str:
        """The sentence that says why no volume is among the files."""
        reasons = Counter(f"{stack.title} {stack.problem}" for stack in self.stacks if stack.problem)
        reasons += Counter(f"a file {instance.problem}" for instance in self.others)
        (reason, count), *rest = reasons.most_common()
        more = f" ({count} files)" if count > 1 else ""
        more += f" and {len(rest)} more" if rest else ""
        return f"The DICOM files hold no MR volume: {reason}{more}."


def contents_of(folder: Path, *, deep: bool = True) -> Contents:
    """Return what the DICOM files of a folder hold.

    Args:
        folder: the folder.
        deep: whether its subfolders are searched too.

    Raises:
        DependencyError: there are DICOM files, and pydicom is not installed.
    """
    trees = walk(folder) if deep else [(folder, [], [path.name for path in folder.iterdir() if path.is_file()])]
    files = [place / name for place, _, names in trees for name in names if not name.startswith(".")]
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in sorted(files) if is_dicom(path))
    return _contents(stamp)


def stack_at(path: Path) -> Stack:
    """Return the volume that a path stands for: of a file, its series in its folder; of a folder, its only volume.

    Raises:
        InputError: there is no such volume, or there are several.
        DependencyError: pydicom is not installed.
    """
    if path.is_dir():
        contents = contents_of(path)
        if not contents.stacks and not contents.others:
            raise InputError(f"{path} is a folder, not an image, and holds no DICOM files.")
        contents.check_one_patient()
        if len(contents.volumes) > 1:
            titles = ", ".join(stack.title for stack in contents.volumes)
            raise InputError(f"The folder holds several DICOM volumes: {titles}. Give one file of the one to use.")
        if not contents.volumes:
            raise InputError(contents.nothing_usable())
        return contents.volumes[0]
    contents = contents_of(path.parent, deep=False)
    known = {instance.path: instance for stack in contents.stacks for instance in stack.instances}
    if (instance := known.get(path)) is None:
        reason = next((one.problem for one in contents.others if one.path == path), "is not DICOM")
        raise InputError(f"The DICOM file {path.name} {reason}.")
    of_series = [stack for stack in contents.stacks if instance in stack.instances]
    if sum(not stack.problem for stack in of_series) > 1:
        raise InputError(f"The DICOM file {path.name} holds several volumes (echoes or times); export one of them.")
    stack = next((stack for stack in of_series if not stack.problem), of_series[0])
    if stack.problem:
        raise InputError(f"{stack.title} {stack.problem}.")
    Contents((stack,), ()).check_one_patient()
    return stack


def source_files(path: Path) -> tuple[Path, ...]:
    """Return the files of the volume that a path stands for (:func:`stack_at`), in the order of the slices.

    Raises:
        InputError: there is no such volume, or there are several.
        DependencyError: pydicom is not installed.
    """
    return stack_at(path).files


@lru_cache(maxsize=8)
def _contents(files: tuple[tuple[str, int], ...]) -> Contents:
    """Return the contents of files; each comes with the time of its last change: a changed one is read again."""
    if not files:
        return Contents((), ())
    require_pydicom()
    instances = [read_instance(Path(name)) for name, _ in files]
    series: dict[str, list[Instance]] = {}
    for instance in instances:
        if instance.frames:
            series.setdefault(instance.series, []).append(instance)
    stacks = [stack for members in series.values() for stack in _stacks(members)]
    stacks.sort(key=_order)
    return Contents(tuple(stacks), tuple(instance for instance in instances if not instance.frames))


def _stacks(series: Sequence[Instance]) -> Iterable[Stack]:
    """Split the files of a series into volumes: frames of one orientation, size, spacing and kind."""
    unique: dict[str, Instance] = {}
    for instance in series:
        unique.setdefault(instance.uid or str(instance.path), instance)
    groups: list[list[tuple[Instance, Frame]]] = []
    for instance in unique.values():
        for frame in instance.frames:
            group = next((one for one in groups if _alike(one[0][1], frame)), None)
            if group is None:
                groups.append(group := [])
            group.append((instance, frame))
    total = sum(map(len, groups))
    for group in groups:
        members = tuple({instance.path: instance for instance, _ in group}.values())
        frames = tuple(sorted((frame for _, frame in group), key=_depth))
        yield Stack(members, frames, len(series) - len(unique), total - len(group))


def _alike(one: Frame, other: Frame) -> bool:
    """Whether two frames can be slices of one volume."""
    return (
        (one.size, one.kind) == (other.size, other.kind)
        and np.allclose(one.orientation, other.orientation, atol=_SAME_DIRECTION)
        and np.allclose(one.spacing, other.spacing, rtol=1e-3)
    )


def _depth(frame: Frame) -> float:
    """Distance of a frame from the origin along the normal of the slices, mm."""
    row, column = np.reshape(frame.orientation, (2, 3))
    return float(np.cross(row, column) @ frame.position)


def _order(stack: Stack) -> tuple[object, ...]:
    """By study, series number as a number, and what tells the volumes of one series apart."""
    first = stack.first
    number = int(first.number) if first.number.isdecimal() else 1 << 31
    return first.study, number, first.number, first.series, stack.frames[0].kind
