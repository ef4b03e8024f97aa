"""Which stored patterns recall leaves as they are, and the power that this takes.

A stored pattern is a fixed point if no flip of a single neuron lowers the energy. One
product of matrices tells it for many patterns, at the cost of one quiet sweep.
"""

from __future__ import annotations

import numpy as np

from ._backends.overlap_tables import quick_tables
from ._backends.recall_cpu import unstable
from ._backends.threads import WORTH_A_THREAD, thread_team
from .energies import Energy, get_energy

POWERS = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
"""Powers among which one is chosen."""

MOST_PATTERNS = 200
"""Stored patterns that are looked at."""

MOST_WORK = 2**28
"""Multiplications of the product that tells which neurons are unstable."""

WORK_OF_ELEMENT = 128
"""What one overlap, and one neuron, takes beside, in multiplications."""


def sample_memories(memories: np.ndarray, n_most: int) -> np.ndarray:
    """Return at most ``n_most`` of the memories, so few that looking at them is cheap.

    The same memories give the same sample.
    """
    n_memories, n_neurons = memories.shape
    work = max(n_memories, WORK_OF_ELEMENT) * max(n_neurons, WORK_OF_ELEMENT)
    size = min(n_memories, n_most, MOST_PATTERNS, max(1, MOST_WORK // work))
    rows = np.random.default_rng(0).choice(n_memories, size, replace=False)
    return memories[np.sort(rows)]


def count_unstable(
    memories: np.ndarray, sample: np.ndarray, energy: Energy, temperature: float
) -> int:
    """Return how many of a sample of the memories are not fixed points.

    An energy and temperature with which there is no recall are an error.
    """
    tables = quick_tables(energy, memories.shape[1], temperature)
    patterns = np.ascontiguousarray(memories.T)
    # As in recall, BLAS's own threads would wait longer than they work.
    with thread_team(WORTH_A_THREAD):
        return np.count_nonzero(unstable(patterns, sample, tables).any(axis=1))


def choose_power(
    memories: np.ndarray, sample: np.ndarray, energy: str
) -> tuple[int, int]:
    """Return the smallest power with the fewest unstable patterns, and their number.

    Powers are tried in order, up to the first at which the whole sample is stable.
    """
    n_unstable = {}
    for power in POWERS:
        try:
            n = count_unstable(memories, sample, get_energy(energy, power), 1.0)
        except ValueError:  # The tables of large powers of many neurons are too large.
            break
        n_unstable[power] = n
        if n == 0:
            break
    best = min(n_unstable, key=n_unstable.get)
    return best, n_unstable[best]
