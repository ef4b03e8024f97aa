"""Asynchronous recall of binary patterns on a GPU: one block of threads for each state.

Unlike on the host, every unit is decided by a sum of its own over the memories
(``recall.cu``), without products that look ahead; there are as many blocks as states.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .._gpu import cupy
from .overlap_tables import OverlapTables
from .recall_cpu import RecallResult

SOURCES = ["reductions.h", "recall.cu"]
OPTIONS = ("--std=c++17",)
THREADS = 256

BLOCK_SIZE = 2**27
"""Overlaps of states with memories that a device holds at once."""


def source() -> str:
    """Return the CUDA source of recall."""
    return "".join((Path(__file__).parent / name).read_text() for name in SOURCES)


@cache
def _module() -> Any:
    return cupy.RawModule(code=source(), options=OPTIONS)


def _upload(array: np.ndarray, dtype: type) -> Any:
    """Return an array on the device as kernels read it: row by row, of one type."""
    return cupy.asarray(np.ascontiguousarray(array, dtype))


def recall(
    patterns: np.ndarray,
    states: np.ndarray,
    tables: OverlapTables,
    orders: Iterable[np.ndarray],
    *,
    free: np.ndarray | None = None,
    max_sweeps: int = 100,
    energy_of_overlap: np.ndarray | None = None,
) -> RecallResult:
    """Update each state unit by unit until a sweep flips nothing, on a GPU.

    Parameters and result are those of :func:`skdam._backends.recall_cpu.recall`.
    """
    n_neurons, n_memories = map(np.int32, patterns.shape)
    n_states = len(states)
    is_exact = n_memories <= tables.exact_memories
    # Bounds the error of a sum in any order, in units of the sum of magnitudes.
    epsilon = np.float64(0 if is_exact else np.finfo(float).eps * (n_memories + 4))
    patterns = _upload(patterns, np.int8)
    states = _upload(states, np.int8)
    steps = _upload(tables.step, np.float64)
    noise = _upload(tables.noise, np.float64)
    levels = _upload(tables.level, np.int32)
    free = np.intp(0) if free is None else _upload(free, np.uint8)
    index = cupy.empty((n_states, n_memories), np.int32)
    flips = _upload(np.ones(n_states), np.int32)

    def launch(name: str, *arguments: Any) -> None:
        _module().get_function(name)((n_states,), (THREADS,), arguments)

    trace = []
    if energy_of_overlap is not None:
        energy_of_overlap = _upload(energy_of_overlap, np.float64)
        energies = cupy.empty(n_states, np.float64)

    def record() -> None:
        if energy_of_overlap is not None:
            launch("energy", index, energy_of_overlap, n_memories, energies)
            trace.append(cupy.asnumpy(energies))

    launch("look_up", patterns, states, n_neurons, n_memories, index)
    record()
    n_sweeps = np.zeros(n_states, int)
    converged = np.zeros(n_states, bool)
    for order, _ in zip(orders, range(max_sweeps), strict=False):
        launch(
            *("sweep", patterns, steps, noise, levels, np.int32(len(tables.step))),
            *(_upload(order, np.int32), free, n_neurons, n_memories, epsilon),
            *(states, index, flips),
        )
        n_sweeps[~converged] += 1
        converged = cupy.asnumpy(flips) == 0
        record()
        if converged.all():
            break
    trace = np.array(trace).T if trace else np.empty((n_states, 0))
    return RecallResult(cupy.asnumpy(states), n_sweeps, converged, trace)
