"""The Python packages that the engine needs inside Slicer: what is missing, and installing it.

Nothing here runs at import, at start or in testing mode; packages are only looked up, never imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

TORCH = "torch"


@dataclass(frozen=True)
class Package:
    """A package by the name it is imported and the one it is installed with; `megabytes` is about its size on disk."""

    module: str
    requirement: str
    megabytes: int


# Without upper bounds: the application decides which numpy, scipy and SimpleITK there are.
PACKAGES = (
    Package(TORCH, "torch>=2.4", 1000),
    Package("nibabel", "nibabel>=5.2", 10),
    Package("safetensors", "safetensors>=0.4.3", 2),
    Package("scipy", "scipy>=1.11", 120),
    Package("SimpleITK", "SimpleITK>=2.3", 180),
    Package("PIL", "pillow>=10", 15),
)
# What training needs beside.
TRAINING_PACKAGES = (
    *PACKAGES,
    Package("pydantic", "pydantic>=2.7", 10),
    Package("yaml", "pyyaml>=6", 2),
    Package("typer", "typer>=0.12", 2),
    Package("rich", "rich>=13", 5),
    Package("tensorboard", "tensorboard>=2.16", 60),
)
_CUDA_MEGABYTES = 5000


class Installer(Protocol):
    """Installs packages, from the internet or from a folder of wheels. Raises RuntimeError with a sentence."""

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What would be installed, about how large that is, and where it would go."""

    packages: tuple[Package, ...]
    gpu: bool
    wheels: Path | None
    destination: str
    purpose: str = "Segmentation"

    @property
    def megabytes(self) -> int:
        extra = _CUDA_MEGABYTES if self.gpu and any(package.module == TORCH for package in self.packages) else 0
        return sum(package.megabytes for package in self.packages) + extra

    def explanation(self) -> str:
        """What the one dialog says before anything is installed."""
        size = f"{self.megabytes / 1000:.1f} GB" if self.megabytes >= 1000 else f"{self.megabytes} MB"
        origin = _("from the internet (PyPI, PyTorch)")
        if self.wheels:
            origin = _("from the folder {folder}").format(folder=self.wheels)
        parts = [
            _("{purpose} needs Python packages that this Slicer does not have yet: {packages}.").format(
                purpose=self.purpose, packages=", ".join(package.requirement for package in self.packages)
            ),
            _("They take about {size} and are installed {origin} into {destination}.").format(
                size=size, origin=origin, destination=self.destination
            ),
        ]
        if any(package.module == TORCH for package in self.packages):
            graphics = _("PyTorch is installed with support for the graphics card of this computer.")
            parts.append(graphics if self.gpu else _("PyTorch is installed for the processor: no NVIDIA card is here."))
        parts.append(_("This is done once and takes some minutes, in which Slicer waits. Install them now?"))
        return "\n\n".join(parts)


def missing(
    found: Callable[[Package], bool] | None = None, packages: tuple[Package, ...] = PACKAGES
) -> tuple[Package, ...]:
    """Those of the packages that are not installed, or too old. `found` says whether one is there."""
    found = found or installed
    return tuple(package for package in packages if not found(package))


def installed(package: Package) -> bool:
    """Whether a package is there in a version that will do; it is not imported."""
    if importlib.util.find_spec(package.module) is None:
        return False
    name, _at_least, wanted = package.requirement.partition(">=")
    try:
        return _numbers(importlib.metadata.version(name)) >= _numbers(wanted)
    except importlib.metadata.PackageNotFoundError:  # part of the application, without a record of its own
        return True


def _numbers(version: str) -> tuple[int, ...]:
    """2.4.1+cu121 -> (2, 4, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def gpu_present() -> bool:
    """Whether an NVIDIA driver is there: it brings this program."""
    return shutil.which("nvidia-smi") is not None


@lru_cache(maxsize=1)
def gpu_unused() -> str:
    """A sentence when PyTorch is built for the processor on a machine with a GPU, else ""."""
    spec = importlib.util.find_spec(TORCH)
    if spec is None or spec.origin is None or not gpu_present():
        return ""
    try:  # read, because importing PyTorch takes seconds; builds for PyPI do not say it in their version
        said = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    if re.search(r"^(cuda|hip)\b[^=]*=\s*['\"]", said, re.MULTILINE):
        return ""
    return _(
        "This computer has an NVIDIA graphics card, but the installed PyTorch cannot use it, so that segmenting takes "
        "longer. To change that, uninstall PyTorch in the module PyTorch Utils, restart Slicer, and install it again."
    )


def plan(wheels: Path | None) -> Plan:
    """What a first click would install. `wheels`: a folder of wheel files to install from, without internet."""
    return Plan(missing(), gpu_present(), wheels, _destination())


def training_plan(wheels: Path | None) -> Plan:
    """What training would install beside."""
    return Plan(missing(packages=TRAINING_PACKAGES), gpu_present(), wheels, _destination(), "Training")


def _destination() -> str:
    return str(Path(importlib.util.__file__).parents[1] / "site-packages")


class SlicerInstaller:
    """Installs with what the application offers: PyTorch through its extension, the rest with its pip."""

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        others = [package for package in packages if package.module != TORCH or wheels is not None]
        torch = next((package for package in packages if package not in others), None)
        if torch is not None:
            self._try([torch], wheels, lambda: self._install_torch(torch))
        if others:
            self._try(others, wheels, lambda: self._pip([package.requirement for package in others], wheels))
        importlib.invalidate_caches()

    def _try(self, packages: Sequence[Package], wheels: Path | None, install: Callable[[], None]) -> None:
        """Raises RuntimeError with what to do when `install` fails."""
        try:
            install()
        except Exception as error:  # whatever pip, the network or the extension raise
            hint = _("Is there an internet connection?") if wheels is None else _("Are the wheels in that folder?")
            text = _("{packages} could not be installed. {hint}").format(
                packages=", ".join(package.requirement for package in packages), hint=hint
            )
            raise RuntimeError(f"{text}\n{error}") from error

    def _install_torch(self, package: Package) -> None:
        try:
            utilities: Any = importlib.import_module("PyTorchUtils")
        except ImportError:
            raise RuntimeError(
                _("Install the extension PyTorch in the Extensions Manager and restart Slicer.")
            ) from None
        # Without asking, for what it detects on this computer: the user has agreed already.
        if utilities.PyTorchUtilsLogic().installTorch(False, None, package.requirement.removeprefix(TORCH)) is None:
            raise RuntimeError(_("The extension PyTorch could not install it; its log says why."))

    def _pip(self, requirements: list[str], wheels: Path | None) -> None:
        options = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
        try:
            pip_install = importlib.import_module("slicer.packaging").pip_install  # Slicer 5.12
        except ImportError:
            pip_install = slicer.util.pip_install
        pip_install([*options, *requirements])
