"""Prefetch batches in threads (processes hang under Slicer's launcher; tensor operations release the GIL)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(make: Callable[[int], T], start: int, stop: int, ahead: int = 2, workers: int = 1) -> Iterator[T]:
    """Yield make(start), make(start + 1), ..., make(stop - 1), up to ``ahead`` of them computed in advance."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="asa-data")
    pending: deque[Future[T]] = deque()
    upcoming = iter(range(start, stop))
    try:
        for index in upcoming:
            pending.append(pool.submit(make, index))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
