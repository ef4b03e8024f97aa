"""Threads for the NumPy kernels: one for each block of memories, one BLAS thread each.

A matrix product split into blocks of memories runs as fast as one that BLAS splits
itself, and the element-by-element work on each block then runs in parallel too, while
the block is in the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["Threads", "thread_team"]


class Threads:
    """A team of ``count`` threads; a team of one works in the calling thread."""

    def __init__(self, executor: ThreadPoolExecutor | None = None, count: int = 1):
        self.executor = executor
        self.count = count

    def map(self, function: Callable[[Any], Any], items: Sequence) -> list:
        """Return ``[function(item) for item in items]``, in order.

        Whatever interrupts the wait, all items are done before it is raised, so that
        no thread is left writing to shared arrays.
        """
        if self.executor is None or len(items) == 1:
            return [function(item) for item in items]
        futures = [self.executor.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        finally:
            wait(futures)


@contextmanager
def thread_team(work: float) -> Iterator[Threads]:
    """Provide threads for tasks of ``work`` multiplications each.

    The team is as large as BLAS's own, so it follows ``OMP_NUM_THREADS``,
    ``threadpoolctl.threadpool_limits`` and joblib's share for a worker process. Small
    work is not worth a thread, and BLAS is left as it is.
    """
    count = _blas_threads() if work > 2**22 else 1
    if count == 1:
        yield Threads()
        return
    with (
        _single_threaded_blas(),
        ThreadPoolExecutor(count, thread_name_prefix="skdam") as executor,
    ):
        yield Threads(executor, count)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _blas_threads() -> int:
    return min((library["num_threads"] for library in _controller().info()), default=1)


_limit_lock = threading.Lock()
_limit_users = 0
_limiter: Any = None


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread until the last concurrent user is done.

    The limit is one for the whole process: two fits that each restored what they had
    found could leave it in place for ever.
    """
    global _limit_users, _limiter
    with _limit_lock:
        if _limit_users == 0:
            _limiter = _controller().limit(limits=1)
        _limit_users += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_users -= 1
            if _limit_users == 0:
                _limiter.restore_original_limits()
                _limiter = None
