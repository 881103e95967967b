"""Silence the DICOM libraries, whose warnings and log quote names and numbers of patients. Standard library only."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("pydicom", "highdicom")


@contextmanager
def quiet_dicom() -> Iterator[None]:
    """Suppress the warnings of Python, and the log of pydicom and highdicom, within the block."""
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled
