"""Detect and install the Python packages that the engine needs inside Slicer.

Nothing here runs at import, at start-up or in testing mode; packages are looked up, never imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import slicer
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from ASASlicerLib.dialogs import Dialogs

TORCH = "torch"
_EXTENSION = "PyTorchUtils"  # the module of the extension PyTorch


@dataclass(frozen=True)
class Package:
    """A package: its import name, its pip requirement, and its approximate size on disk."""

    module: str
    requirement: str
    megabytes: int


# Without upper bounds: the application determines the versions of numpy, scipy and SimpleITK.
PACKAGES = (
    Package(TORCH, "torch>=2.2", 1000),
    Package("nibabel", "nibabel>=5.2", 10),
    Package("safetensors", "safetensors>=0.4.3", 2),
    Package("scipy", "scipy>=1.11", 120),
    Package("SimpleITK", "SimpleITK>=2.3", 180),
    Package("PIL", "pillow>=10", 15),
)
# Additional packages for training.
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
    """Installs packages, from the internet or from a folder of wheels."""

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        """Install packages.

        Args:
            packages: what to install.
            wheels: folder of wheel files; None installs from the internet.

        Raises:
            RuntimeError: a package could not be installed; the message is for the user.
        """


@dataclass(frozen=True)
class Plan:
    """Packages to install, their approximate size, and the destination."""

    packages: tuple[Package, ...]
    gpu: bool
    wheels: Path | None
    destination: str
    purpose: str = "Segmentation"
    extension: bool = True  # whether Slicer's extension PyTorch is there, which installs it

    @property
    def obstacle(self) -> str:
        """Why nothing can be installed, as a sentence, or ""."""
        if self.extension or self.wheels is not None or all(package.module != TORCH for package in self.packages):
            return ""
        text = _(
            "{purpose} needs PyTorch, which the extension PyTorch installs. Install that extension in the Extensions "
            "Manager (View menu), restart Slicer, and try again. Without internet, choose a folder with the packages "
            "under Advanced."
        )
        return text.format(purpose=self.purpose)

    @property
    def megabytes(self) -> int:
        """Required disk space in MB, including CUDA where PyTorch is installed for a GPU."""
        extra = _CUDA_MEGABYTES if self.gpu and any(package.module == TORCH for package in self.packages) else 0
        return sum(package.megabytes for package in self.packages) + extra

    def explanation(self) -> str:
        """Return the text of the confirmation dialog."""
        size = f"{self.megabytes / 1000:.1f} GB" if self.megabytes >= 1000 else f"{self.megabytes} MB"
        origin = _("from the internet (PyPI, PyTorch)")
        if self.wheels:
            origin = _("from the folder {folder}").format(folder=self.wheels)
        parts = [
            _("{purpose} needs Python packages that are not installed in this Slicer: {packages}.").format(
                purpose=self.purpose, packages=", ".join(package.requirement for package in self.packages)
            ),
            _("They need about {size} of disk space and will be installed {origin} into {destination}.").format(
                size=size, origin=origin, destination=self.destination
            ),
        ]
        if any(package.module == TORCH for package in self.packages):
            graphics = _("PyTorch will be installed with support for the graphics card of this computer.")
            parts.append(
                graphics if self.gpu else _("No NVIDIA graphics card was found, so PyTorch will run on the CPU.")
            )
        parts.append(
            _("This is needed once and takes a few minutes; Slicer is unresponsive meanwhile. Install them now?")
        )
        return "\n\n".join(parts)


def missing(
    found: Callable[[Package], bool] | None = None, packages: tuple[Package, ...] = PACKAGES
) -> tuple[Package, ...]:
    """Return the packages that are missing or too old. `found` tests whether one is installed."""
    found = found or installed
    return tuple(package for package in packages if not found(package))


def installed(package: Package) -> bool:
    """Return whether a package is installed in a sufficient version, without importing it."""
    if importlib.util.find_spec(package.module) is None:
        return False
    name, _at_least, wanted = package.requirement.partition(">=")
    try:
        return _numbers(importlib.metadata.version(name)) >= _numbers(wanted)
    except importlib.metadata.PackageNotFoundError:  # part of the application, without package metadata
        return True


def _numbers(version: str) -> tuple[int, ...]:
    """2.4.1+cu121 -> (2, 4, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def gpu_present() -> bool:
    """Return whether an NVIDIA driver is installed, which includes this program."""
    return shutil.which("nvidia-smi") is not None


@lru_cache(maxsize=1)
def gpu_unused() -> str:
    """Return a message if PyTorch is a CPU build on a machine with a GPU, otherwise ""."""
    spec = importlib.util.find_spec(TORCH)
    if spec is None or spec.origin is None or not gpu_present():
        return ""
    try:  # read the file, because importing PyTorch takes seconds and PyPI builds do not encode CUDA in their version
        source = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    if re.search(r"^(cuda|hip)\b[^=]*=\s*['\"]", source, re.MULTILINE):
        return ""
    return _(
        "This computer has an NVIDIA graphics card, but the installed PyTorch cannot use it, so segmentation takes "
        "longer. To change that, uninstall PyTorch in the module PyTorch Utils, restart Slicer, and install it again."
    )


def plan(wheels: Path | None) -> Plan:
    """Return what segmentation would install. `wheels`: folder of wheel files for an offline installation."""
    return Plan(missing(), gpu_present(), wheels, _destination(), extension=_extension_present())


def training_plan(wheels: Path | None) -> Plan:
    """Return what training would install."""
    packages = missing(packages=TRAINING_PACKAGES)
    return Plan(packages, gpu_present(), wheels, _destination(), "Training", _extension_present())


def provide(plan: Plan, dialogs: Dialogs, installer: Installer) -> str:
    """Install what is missing once the user agrees; return why not, as a sentence, or "" if all is there."""
    if not plan.packages:
        return ""
    if plan.obstacle:
        return plan.obstacle
    if not dialogs.ask(plan.explanation()):
        return _("Required Python packages are not installed.")
    try:
        with dialogs.busy():
            installer.install(plan.packages, plan.wheels)
    except RuntimeError as error:
        return str(error)
    return ""


def _extension_present() -> bool:
    return _EXTENSION in sys.modules or importlib.util.find_spec(_EXTENSION) is not None


def _destination() -> str:
    return str(Path(importlib.util.__file__).parents[1] / "site-packages")


class SlicerInstaller:
    """Installs PyTorch through its Slicer extension and other packages with Slicer's pip."""

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        """Install PyTorch with the extension PyTorch, or from wheel files, and all other packages with pip.

        Raises:
            RuntimeError: a package could not be installed; the message is for the user.
        """
        others = [package for package in packages if package.module != TORCH or wheels is not None]
        torch = next((package for package in packages if package not in others), None)
        if torch is not None:
            self._try([torch], wheels, lambda: self._install_torch(torch))
        if others:
            self._try(others, wheels, lambda: self._pip([package.requirement for package in others], wheels))
        importlib.invalidate_caches()

    def _try(self, packages: Sequence[Package], wheels: Path | None, install: Callable[[], None]) -> None:
        """Call `install`. Raises RuntimeError with a hint if it fails."""
        try:
            install()
        except Exception as error:  # whatever pip, the network or the extension raises
            hint = (
                _("Check the internet connection.")
                if wheels is None
                else _("Check that the folder contains the wheel files.")
            )
            text = _("{packages} could not be installed. {hint}").format(
                packages=", ".join(package.requirement for package in packages), hint=hint
            )
            raise RuntimeError(f"{text}\n{error}") from error

    def _install_torch(self, package: Package) -> None:
        try:
            utilities: Any = importlib.import_module(_EXTENSION)
        except ImportError:
            raise RuntimeError(
                _("Install the extension PyTorch in the Extensions Manager and restart Slicer.")
            ) from None
        # Without asking again, for the hardware detected on this computer: the user has already agreed.
        if utilities.PyTorchUtilsLogic().installTorch(False, None, package.requirement.removeprefix(TORCH)) is None:
            raise RuntimeError(_("The extension PyTorch could not install it; see its log for details."))

    def _pip(self, requirements: list[str], wheels: Path | None) -> None:
        options = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
        try:
            pip_install = importlib.import_module("slicer.packaging").pip_install  # Slicer 5.12
        except ImportError:
            pip_install = slicer.util.pip_install
        pip_install([*options, *requirements])
