"""Computing devices: selection, free memory, number formats, and memory allocation.

PyTorch is imported where it is needed: it takes a second, in which a head can be read and aligned.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from asa.errors import ResourceError
from asa.memory import available_memory
from asa.program import processors

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def choose_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto``: an NVIDIA GPU, otherwise the CPU.

    Raises:
        ResourceError: that GPU is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ResourceError(f"Unknown device '{name}'; use auto, cpu, cuda:0 or mps.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ResourceError(f"Device '{name}' is not available: PyTorch sees {count} GPU(s); use --device cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(f"Device '{name}' is not available: it needs a Mac with Apple silicon; use --device cpu.")
    return device


def choose_inference_device(name: str) -> torch.device:
    """Return the device of a name to segment on: ``auto`` takes the GPU of a Mac too, see :func:`choose_device`.

    Training does not, because nothing compares its operations with those of the processor.
    """
    import torch

    device = choose_device(name)
    mps = name == "auto" and device.type == "cpu" and torch.backends.mps.is_available()
    return torch.device("mps") if mps else device


def missing_kernels(device: torch.device) -> str:
    """Return why this PyTorch cannot compute on an NVIDIA GPU, as a sentence, or "" if it can.

    A GPU runs code that was built for its own generation (of the same major version), or that its driver translates.
    """
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    built = [name for name in torch.cuda.get_arch_list() if name.startswith(("sm_", "compute_"))]
    for name in built:
        kind, _, number = name.partition("_")
        digits = "".join(one for one in number if one.isdigit())
        of = (int(digits[:-1]), int(digits[-1]))
        if of <= (major, minor) and (kind == "compute" or of[0] == major):
            return ""
    if not built:
        return ""  # unknown: another kind of build, as for AMD
    return (
        f"This PyTorch has no kernels for the GPU {torch.cuda.get_device_name(device)} (compute capability "
        f"{major}.{minor}); install a PyTorch that has."
    )


def gpu_failure(error: BaseException) -> str:
    """Return a short reason if an error comes from a GPU that cannot do the work; otherwise ""."""
    import torch

    text = str(error)
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "out of memory" in text:
        return "its memory does not suffice"
    if isinstance(error, NotImplementedError):  # an operation that MPS lacks
        return "it lacks an operation of the network"
    marks = ("no kernel image", "CUDA error", "cuDNN", "CUBLAS", "MPS", "not compatible with the current PyTorch")
    if isinstance(error, RuntimeError) and any(mark in text for mark in marks):
        return text.strip().splitlines()[0].rstrip(".")[:120]
    return ""


def set_threads(threads: int | None) -> None:
    """Let PyTorch compute in so many threads, at most as many as this process may use processors.

    By itself PyTorch takes those of the computer, also in a container or a job that may use fewer.

    Args:
        threads: None keeps the number that PyTorch has.
    """
    import torch

    torch.set_num_threads(min(threads or torch.get_num_threads(), processors()))


def free_memory(device: torch.device) -> float:
    """Free bytes; unlimited where the system does not say."""
    if device.type == "cuda":
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def to_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a tensor on the CPU that shares the memory of an array.

    By DLPack, because builds of PyTorch before 2.3 cannot exchange arrays with NumPy 2 in their own way: among them is
    the last one for Intel Macs, and 3D Slicer comes with NumPy 2.
    """
    from torch.utils.dlpack import from_dlpack

    whole = np.ascontiguousarray(array)
    return from_dlpack(whole if whole.flags.writeable else whole.copy())


def to_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a writable array with the values of a tensor on the CPU; by DLPack, as :func:`to_tensor`."""
    array: npt.NDArray[Any] = np.from_dlpack(tensor.detach().contiguous())
    return array if array.flags.writeable else array.copy()


def native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on ``device`` (GPUs since Ampere; CPUs with AMX or AVX-512 BF16)."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # private, and not in every PyTorch
    return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks; True where that was possible.

    By default every block of 32 MiB or more (a crop of 128^3 with four channels, any full-resolution feature map) is
    requested from the system again and arrives page by page, zeroed: a crop of training data then costs several times
    what computing it takes, and a network's pass half as much again. Holds for the whole process, from the call on.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES - 1))


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of this process in bytes: of tensors on the GPU, otherwise in total; 0 if unknown."""
    if device.type == "cuda":
        import torch

        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) if sys.platform == "darwin" else 1024.0 * peak


def wants_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: on request, or if the hardware supports it natively."""
    if precision != "auto":
        return precision == "bf16"
    return native_bf16(device)
