"""The Python packages that the engine needs inside Slicer: what is missing, and installing it.

Nothing here runs at import, at start or in testing mode; packages are only looked up, never imported.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import slicer

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

    @property
    def megabytes(self) -> int:
        extra = _CUDA_MEGABYTES if self.gpu and any(package.module == TORCH for package in self.packages) else 0
        return sum(package.megabytes for package in self.packages) + extra

    def explanation(self) -> str:
        """What the one dialog says before anything is installed."""
        names = ", ".join(package.requirement for package in self.packages)
        size = f"{self.megabytes / 1000:.1f} GB" if self.megabytes >= 1000 else f"{self.megabytes} MB"
        origin = f"from the folder {self.wheels}" if self.wheels else "from the internet (PyPI, PyTorch)"
        gpu = "with support for the graphics card found here" if self.gpu else "for the processor"
        torch = f" PyTorch is installed {gpu}." if any(package.module == TORCH for package in self.packages) else ""
        return (
            f"Segmentation needs Python packages that this Slicer does not have yet: {names}.\n\n"
            f"They take about {size} and are installed {origin} into {self.destination}.{torch}\n\n"
            "This is done once. Install them now?"
        )


def missing(found: Callable[[str], bool] | None = None) -> tuple[Package, ...]:
    """The packages that are not installed. `found` says whether a module is."""
    found = found or (lambda module: importlib.util.find_spec(module) is not None)
    return tuple(package for package in PACKAGES if not found(package.module))


def gpu_present() -> bool:
    """Whether an NVIDIA driver is there; it brings this program."""
    return shutil.which("nvidia-smi") is not None


def gpu_unused() -> str:
    """A sentence when PyTorch is built for the processor on a machine with a GPU, else ""."""
    try:
        version = importlib.metadata.version(TORCH)
    except importlib.metadata.PackageNotFoundError:
        return ""
    if gpu_present() and version.endswith("+cpu"):
        return (
            f"This computer has an NVIDIA graphics card, but PyTorch {version} cannot use it. "
            "To change that, uninstall and reinstall PyTorch in the module PyTorch Utils."
        )
    return ""


def plan(wheels: Path | None) -> Plan:
    """What a first click would install. `wheels`: a folder of wheel files to install from, without internet."""
    return Plan(missing(), gpu_present(), wheels, str(Path(importlib.util.__file__).parents[1] / "site-packages"))


class SlicerInstaller:
    """Installs with what the application offers: PyTorch through its extension, the rest with its pip."""

    def install(self, packages: tuple[Package, ...], wheels: Path | None) -> None:
        for package in packages:
            try:
                if package.module == TORCH and wheels is None:
                    self._install_torch(package)
                else:
                    self._pip(package.requirement, wheels)
            except Exception as error:  # whatever pip, the network or the extension raise
                hint = "Is the wheel in that folder?" if wheels else "Is there an internet connection?"
                raise RuntimeError(f"{package.requirement} could not be installed. {hint}\n{error}") from error
        importlib.invalidate_caches()

    def _install_torch(self, package: Package) -> None:
        try:
            utilities: Any = importlib.import_module("PyTorchUtils")
        except ImportError:
            raise RuntimeError("Install the extension PyTorch in the Extensions Manager and restart Slicer.") from None
        if utilities.PyTorchUtilsLogic().installTorch(False) is None:
            raise RuntimeError("The extension PyTorch could not install it; its log says why.")

    def _pip(self, requirement: str, wheels: Path | None) -> None:
        arguments = [requirement] if wheels is None else ["--no-index", "--find-links", str(wheels), requirement]
        try:
            pip_install = importlib.import_module("slicer.packaging").pip_install  # Slicer 5.12
        except ImportError:
            pip_install = slicer.util.pip_install
        pip_install(arguments)
