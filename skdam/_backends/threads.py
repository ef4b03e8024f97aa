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

WORTH_A_LIMIT = 2**16
"""Multiplications above which BLAS's own threads wait longer than they work."""

WORTH_A_THREAD = 2**22
"""Multiplications above which a team of threads pays."""


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
    """Provide threads for tasks of ``work`` multiplications in all.

    The team is as large as BLAS's own, so it follows ``OMP_NUM_THREADS``,
    ``threadpoolctl.threadpool_limits`` and joblib's share for a worker process. Small
    work is done in the calling thread; what is smaller still leaves BLAS alone.
    """
    available = _blas_threads()
    if available == 1 or work <= WORTH_A_LIMIT:
        yield Threads()
    elif work <= WORTH_A_THREAD:
        with _single_threaded_blas():
            yield Threads()
    else:
        with (
            _single_threaded_blas(),
            ThreadPoolExecutor(
                available, "skdam", initializer=_limit_blas_of_this_thread
            ) as executor,
        ):
            yield Threads(executor, available)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _blas_threads() -> int:
    return min((library["num_threads"] for library in _controller().info()), default=1)


def _limit_blas_of_this_thread() -> None:
    """Limit those BLAS libraries that keep a number of threads for each caller."""
    _controller().limit(limits=1)


_users_lock = threading.Lock()
_users = 0
_last_user_left = threading.Event()
_keeper: threading.Thread | None = None


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread until the last concurrent user is done.

    The limit is one for the whole process: two fits that each restored what they had
    found could leave it in place for ever. And it has to be lifted by the thread that
    set it, which therefore is a thread of its own.
    """
    global _users, _keeper
    with _users_lock:
        if _users == 0:
            limited = threading.Event()
            _last_user_left.clear()
            _keeper = threading.Thread(target=_keep_limit, args=[limited], daemon=True)
            _keeper.start()
            limited.wait()
        _users += 1
    try:
        yield
    finally:
        with _users_lock:
            _users -= 1
            if _users == 0:
                _last_user_left.set()
                _keeper.join()


def _keep_limit(limited: threading.Event) -> None:
    with _controller().limit(limits=1):
        limited.set()
        _last_user_left.wait()
