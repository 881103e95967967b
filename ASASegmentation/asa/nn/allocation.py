"""Memory that the C library keeps instead of giving it back to the system."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc reuse large blocks; True where that was possible.

    By default every block of 32 MiB or more (a crop of 128^3 with four channels, any full-resolution feature map) is
    asked of the system anew and comes page by page, zeroed: a crop of training data then costs several times what
    computing it takes, and a network's pass half as much again. Holds for the whole process, from the call on.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * KEPT_BYTES - 1))
