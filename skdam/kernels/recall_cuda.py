"""Asynchronous recall of binary patterns on a GPU: one block of threads for each state.

Unlike on the host, every unit is decided by a sum of its own over the memories
(``recall.cu``): a block does in a sweep what one thread of the host would do without
the products that look ahead, and there are as many blocks as states.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..gpu import cupy
from ..overlap_tables import OverlapTables
from .recall import Relaxation, overlaps

__all__ = ["relax", "source"]

SOURCES = ["reductions.h", "recall.cu"]
OPTIONS = ("--std=c++17",)
THREADS = 256


def source() -> str:
    """Return the CUDA source of a sweep."""
    return "".join((Path(__file__).parent / name).read_text() for name in SOURCES)


@cache
def _module() -> Any:
    return cupy.RawModule(code=source(), options=OPTIONS)


def relax(
    patterns: np.ndarray,
    states: np.ndarray,
    tables: OverlapTables,
    orders: Iterable[np.ndarray],
    *,
    free: np.ndarray | None = None,
    max_sweeps: int = 100,
    energy_of_overlap: np.ndarray | None = None,
) -> Relaxation:
    """Update each state unit by unit until a sweep flips nothing, on a GPU.

    Parameters and result are those of :func:`skdam.kernels.recall.relax`.
    """
    n_states, n_memories = len(states), patterns.shape[1]
    is_exact = n_memories <= tables.exact_memories
    # Bounds the error of a sum in any order, in units of the sum of magnitudes.
    epsilon = 0.0 if is_exact else np.finfo(float).eps * (n_memories + 4)
    index = overlaps(patterns, states) + tables.centre
    # "flips" tells the kernel with a negative number which states have settled.
    d = {
        "patterns": cupy.asarray(patterns, np.int8),
        "steps": cupy.asarray(tables.step, np.float64),
        "noise": cupy.asarray(tables.noise, np.float64),
        "levels": cupy.asarray(tables.level, np.int32),
        "states": cupy.asarray(states, np.int8),
        "index": cupy.asarray(index, np.int32),
        "state_levels": cupy.asarray(tables.level[index].min(axis=1), np.int32),
        "flips": cupy.asarray(np.zeros(n_states), np.int32),
    }
    free = None if free is None else cupy.asarray(free, np.uint8)
    sweeps = np.zeros(n_states, int)
    settled = np.zeros(n_states, bool)
    trace = []

    def record():
        if energy_of_overlap is not None:
            trace.append(-energy_of_overlap[cupy.asnumpy(d["index"])].sum(axis=1))

    record()
    for order, _ in zip(orders, range(max_sweeps), strict=False):
        _module().get_function("sweep")(
            (n_states,),
            (THREADS,),
            (
                *(d["patterns"], d["steps"], d["noise"], d["levels"]),
                np.int32(len(tables.step)),
                cupy.asarray(order, np.int32),
                np.intp(0) if free is None else free,
                *(np.int32(len(patterns)), np.int32(n_memories), np.float64(epsilon)),
                *(d["states"], d["index"], d["state_levels"], d["flips"]),
            ),
        )
        flips = cupy.asnumpy(d["flips"])
        sweeps[~settled] += 1
        settled |= flips == 0
        record()
        if settled.all():
            break
        d["flips"] = cupy.asarray(np.where(settled, -1, 0), np.int32)
    energies = np.array(trace).T if trace else np.empty((n_states, 0))
    return Relaxation(cupy.asnumpy(d["states"]), sweeps, settled, energies)
