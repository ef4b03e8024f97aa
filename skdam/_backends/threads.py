"""Threads for the CPU backend: one for each shard of memories, one BLAS thread each.

A matrix product split into shards of memories runs as fast as one that BLAS splits
itself, and the element-by-element work on each shard then runs in parallel too, while
the shard is in the cache.

Ctrl-C may interrupt the main thread between any two of its instructions, inside of the
standard library's locks, events and executors as well, which then stay locked. What
the main thread does here is therefore done by single calls that cannot be torn apart,
and everything else by other threads, which are never interrupted.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

WORTH_A_LIMIT = 2**16
"""Multiplications above which BLAS's own threads wait longer than they work."""

WORTH_A_THREAD = 2**22
"""Multiplications above which a team of threads pays."""

POLL_SECONDS = 1e-5, 0.05
"""Intervals of polling: of threads that wait, and of the one that keeps the limit."""


class Threads:
    """A team of ``count`` threads, the calling one among them."""

    def __init__(self, count: int = 1, lease: Any = None):
        self.count = count
        self.tasks: SimpleQueue = SimpleQueue()
        self.running: set[int] = set()
        if lease is not None:
            for number in range(1, count):
                self.running.add(number)
                _thread.start_new_thread(
                    _work, (number, self.running, self.tasks, weakref.ref(self), lease)
                )

    def map(self, function: Callable[[Any], Any], items: Sequence) -> list:
        """Return ``[function(item) for item in items]``, in order.

        Whatever interrupts the wait, no thread is left writing to shared arrays.
        """
        if not self.running or len(items) == 1:
            return [function(item) for item in items]
        done: SimpleQueue = SimpleQueue()
        results: list = [None] * len(items)
        try:
            for task in list(enumerate(items))[1:]:
                self.tasks.put((function, task, results, done))
            results[0] = function(items[0])
            errors = [error for _ in items[1:] if (error := done.get()) is not None]
        except BaseException:
            self.close()
            raise
        if errors:
            raise errors[0]
        return results

    def close(self) -> None:
        """End the threads when they have done their tasks, and wait for them."""
        for _ in range(self.count):
            self.tasks.put(None)
        while self.running:
            time.sleep(POLL_SECONDS[0])


def _work(
    number: int, running: set[int], tasks: SimpleQueue, team: Any, lease: Any
) -> None:
    """Do tasks until there is a None, or the team is no more."""
    # Some BLAS libraries keep a number of threads for each caller. For the others this
    # does nothing, since the limit is in force.
    _controller().limit(limits=1)
    np.seterr(over="ignore", under="ignore", divide="ignore", invalid="ignore")
    while team() is not None:
        try:
            task = tasks.get(timeout=POLL_SECONDS[1])
        except Empty:
            continue
        if task is None:
            break
        function, (place, item), results, done = task
        error = None
        try:
            results[place] = function(item)
        except BaseException as raised:
            error = raised
        done.put(error)
        del task, function, item, results, done, error
    running.discard(number)


@contextmanager
def thread_team(work: float) -> Iterator[Threads]:
    """Provide threads for tasks of ``work`` multiplications in all.

    The team is as large as BLAS's own, so it follows ``OMP_NUM_THREADS``,
    ``threadpoolctl.threadpool_limits`` and joblib's share for a worker process. Small
    work is done in the calling thread; what is smaller still leaves BLAS alone.
    """
    available = _blas_threads() if work > WORTH_A_LIMIT else 1
    if available == 1:
        yield Threads()
        return
    lease = _limit_blas()
    team = None
    try:
        # The threads hold the lease too: none is left when the limit is lifted.
        team = Threads(available, lease) if work > WORTH_A_THREAD else Threads()
        yield team
    finally:
        if team is not None:
            team.close()
        del lease, team
        _given_back.put(None)
        while _limiter is not None and not _is_leased():
            time.sleep(POLL_SECONDS[0])


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _blas_threads() -> int:
    return min((library["num_threads"] for library in _controller().info()), default=1)


class _Lease:
    """Keeps BLAS at one thread as long as it is alive."""


_leases: set[weakref.ref[_Lease]] = set()
_given_back: SimpleQueue = SimpleQueue()
_is_limited = False
_limiter: Any = None
_keeping = threading.Lock()
"""Held by the one thread that keeps the limit."""


def _limit_blas() -> _Lease:
    """Limit BLAS to one thread until the last concurrent lease is given back.

    The limit is one for the whole process: two fits that each restored what they had
    found could leave it in place for ever. It is set and lifted by a thread of its own,
    which also looks for leases that were lost to an interrupt.
    """
    lease = _Lease()
    _leases.add(weakref.ref(lease))
    if not _is_limited:
        _thread.start_new_thread(_start_keeper, ())
        while not _is_limited:
            time.sleep(POLL_SECONDS[0])
    return lease


def _is_leased() -> bool:
    return any(lease() is not None for lease in list(_leases))


def _start_keeper() -> None:
    # A thread that threading knows: threadpoolctl asks whether it is still alive.
    threading.Thread(target=_keep_limit, daemon=True).start()


def _keep_limit() -> None:
    global _is_limited, _limiter
    with _keeping:
        if not _is_leased():
            return
        with _controller().limit(limits=1) as _limiter:
            _is_limited = True
            while _is_limited:
                try:
                    _given_back.get(timeout=POLL_SECONDS[1])
                except Empty:
                    _leases.difference_update(
                        [lease for lease in list(_leases) if lease() is None]
                    )
                # In this order: a lease that comes now either counts, or waits for the
                # next keeper, which must find the original number of threads.
                _is_limited = False
                _is_limited = _is_leased()
        _limiter = None


def _forget_in_child() -> None:
    """Lift the limit in a forked process, in which no other thread lives on."""
    global _is_limited, _limiter, _keeping, _given_back
    _keeping, _given_back = threading.Lock(), SimpleQueue()
    _leases.clear()
    if _limiter is not None:
        # Not only restored: later limits must not wait for a thread that is no more.
        _limiter.__exit__(None, None, None)
    _is_limited, _limiter = False, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
