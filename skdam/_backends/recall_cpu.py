"""Asynchronous recall of binary patterns, many states at a time.

The result is that of :mod:`skdam.recall`, unit for unit. All states are updated in the
same order of units, drawn anew for each sweep. For a window of units, one matrix
product gives the change of energy that flipping any of them would bring, exact until
the first flip. So each state flips the first unit of the window whose energy falls, its
overlaps change by +-2, and the rest of the window is computed again for the states that
flipped. Where rounding leaves a sign open, the sum of equation (3) decides. A sweep
without flips costs one product of (states x K) by (K x N); a flip costs a few passes
over the K overlaps of one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.utils import gen_batches

from .overlap_tables import OverlapTables
from .threads import WORTH_A_THREAD, thread_team

BLOCK_SIZE = 2**19
"""Overlaps of states with memories that each worker holds at once."""

BUSY_WINDOW, QUIET_WINDOW = 16, 64
"""Units whose fields are computed at once, with and without frequent flips."""

SMALL = 2**17
"""Overlaps times units below which a window is too small to be worth its calls."""

BUSY = 2
"""Flips per state in a sweep above which the next is expected to be busy."""

WINDOW_SIZE = 2**23
"""Most elements of memories that are held as floats at once."""


class RecallResult(NamedTuple):
    """States after recall.

    Attributes
    ----------
    states : int8 ndarray of shape (n_states, n_neurons)
        The states reached; all +-1 after one sweep, except for clamped zeros.
    n_sweeps : ndarray of shape (n_states,)
        Number of sweeps, including the last one, in which nothing flipped.
    converged : bool ndarray of shape (n_states,)
        Whether the last sweep flipped nothing.
    energies : ndarray of shape (n_states, max(n_sweeps) + 1)
        Energy before the first sweep and after each; empty unless asked for.
    """

    states: np.ndarray
    n_sweeps: np.ndarray
    converged: np.ndarray
    energies: np.ndarray


def sweep_orders(seed: int, n_neurons: int) -> Iterable[np.ndarray]:
    """Yield the order of the units in each sweep, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield rng.permutation(n_neurons)


def overlaps(patterns: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return the overlap of each state with each memory, (n_states, n_memories)."""
    n_neurons, n_memories = patterns.shape
    total = np.zeros((len(states), n_memories), np.int32)
    width = max(1, WINDOW_SIZE // n_memories)
    for start in range(0, n_neurons, width):
        units = slice(start, start + width)
        # Single precision is exact up to 2^24.
        part = states[:, units].astype(np.float32) @ patterns[units].astype(np.float32)
        total += part.astype(np.int32)
    return total


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
    """Update each state unit by unit until a sweep flips nothing.

    A unit takes the sign of the difference of energy between its two states. If that
    is zero, or below the rounding error of the sum over the memories, the unit keeps
    its state; an unknown unit takes +1.

    Parameters
    ----------
    patterns : int8 ndarray of shape (n_neurons, n_memories)
        Memories xi of +-1, one in a column.
    states : int8 ndarray of shape (n_states, n_neurons)
        States to start from: -1 and 1, and 0 for unknown units.
    tables : OverlapTables
        Steps of the energy function.
    orders : iterable of ndarray of shape (n_neurons,)
        Order of the units in each sweep.
    free : bool ndarray of shape (n_states, n_neurons), default=None
        Units that may change; None: all.
    max_sweeps : int, default=100
        Largest number of sweeps.
    energy_of_overlap : ndarray of shape (2 * n_neurons + 1,), default=None
        F of the overlaps from -n_neurons to n_neurons, to record energies with.

    Returns
    -------
    RecallResult
    """
    active = _Block(patterns, states.copy(), tables, free)
    n_states = len(states)
    final = active.states.copy()
    n_sweeps = np.zeros(n_states, int)
    converged = np.zeros(n_states, bool)
    numbers = np.arange(n_states)
    trace = [] if energy_of_overlap is None else [active.energies(energy_of_overlap)]
    width = BUSY_WINDOW
    for order, _ in zip(orders, range(max_sweeps), strict=False):
        flips = active.sweep(order, width)
        width = BUSY_WINDOW if flips.mean() > BUSY else QUIET_WINDOW
        n_sweeps[numbers] += 1
        if energy_of_overlap is not None:
            energies = trace[-1].copy()
            energies[numbers] = active.energies(energy_of_overlap)
            trace.append(energies)
        final[numbers] = active.states
        quiet = flips == 0
        converged[numbers] = quiet
        if quiet.all():
            break
        if quiet.any():
            numbers = numbers[~quiet]
            active.keep(~quiet)
    energies = np.array(trace).T if trace else np.empty((n_states, 0))
    return RecallResult(final, n_sweeps, converged, energies)


def recall_in_blocks(
    recall: Callable,
    patterns: np.ndarray,
    states: np.ndarray,
    seed: int,
    *,
    clamped: bool,
    size: int,
    n_jobs: int | None,
    **options: Any,
) -> RecallResult:
    """Recall as many states at a time as ``size`` allows, all in the same orders.

    ``recall`` is that of a backend, which is also given the ``options``; if
    ``clamped``, only unknown units may change.
    """
    task = delayed(partial(_recall_block, recall, patterns, seed, clamped, options))
    pieces = blocks(len(states), patterns.shape[1], size, effective_n_jobs(n_jobs))
    results = Parallel(n_jobs=n_jobs)(task(states[rows]) for rows in pieces)
    *columns, traces = zip(*results, strict=True)
    longest = max(trace.shape[1] for trace in traces)
    # A state keeps the energy at which it converged.
    traces = [np.pad(t, [(0, 0), (0, longest - t.shape[1])], "edge") for t in traces]
    return RecallResult(*map(np.concatenate, columns), np.concatenate(traces))


def _recall_block(recall, patterns, seed, clamped, options, states) -> RecallResult:
    orders = sweep_orders(seed, len(patterns))
    free = states == 0 if clamped else None
    # In products this small, more BLAS threads wait longer than they work.
    with thread_team(WORTH_A_THREAD):
        return recall(patterns, states, orders=orders, free=free, **options)


def blocks(
    n_states: int, n_memories: int, size: int, n_workers: int = 1
) -> list[slice]:
    """Return pieces of the states; each worker holds one at a time."""
    share = -(-n_states // n_workers)
    fitting = max(1, size // max(n_memories, QUIET_WINDOW))
    return list(gen_batches(n_states, min(share, fitting)))


def unstable(
    patterns: np.ndarray, states: np.ndarray, tables: OverlapTables
) -> np.ndarray:
    """Return which units of each state would flip if they were updated first."""
    block = _Block(patterns, states, tables, None)
    width = max(1, WINDOW_SIZE // patterns.shape[1])
    rises = [
        block.rises(slice(None), units, patterns[units].astype(np.float64))
        for units in np.split(
            np.arange(len(patterns)), range(width, len(patterns), width)
        )
    ]
    rise = np.concatenate(rises, axis=1)
    flips = rise < -block.tolerance[:, None]
    unsure = np.transpose(np.nonzero(~flips & (rise < block.tolerance[:, None])))
    n_together = max(1, BLOCK_SIZE // patterns.shape[1])
    for start in range(0, len(unsure), n_together):
        rows, units = unsure[start : start + n_together].T
        flips[rows, units] = block.decide(rows, units) != states[rows, units]
    return flips


class _Block:
    """States that are updated together, with all that follows from their overlaps."""

    def __init__(self, patterns, states, tables: OverlapTables, free):
        self.patterns = patterns
        self.tables = tables
        self.states = states
        self.free = free
        n_memories = patterns.shape[1]
        self.exact = n_memories <= tables.exact_memories
        # Bounds the error of a sum in any order, in units of the sum of magnitudes.
        self.epsilon = np.finfo(float).eps * (n_memories + 4)
        size = np.abs(tables.pull) + np.abs(tables.rest)
        self.error = self.epsilon * size + tables.noise
        # As wide as NumPy's own indices, which spares each look-up a conversion.
        self.index = np.add(overlaps(patterns, states), tables.centre, dtype=np.intp)
        self.level = np.zeros(len(states), int)
        self.pull = np.empty(self.index.shape)
        self.rest = np.empty(len(states))
        self.tolerance = np.zeros(len(states))
        self._look_up(np.arange(len(states)))

    def keep(self, rows: np.ndarray) -> None:
        """Drop all states but some."""
        for name in ("states", "index", "level", "pull", "rest", "tolerance"):
            setattr(self, name, getattr(self, name)[rows])
        if self.free is not None:
            self.free = self.free[rows]

    def energies(self, energy_of_overlap: np.ndarray) -> np.ndarray:
        """Return the energy of each state."""
        return -energy_of_overlap[self.index].sum(axis=1)

    def rises(self, rows, units: np.ndarray, xi: np.ndarray) -> np.ndarray:
        """Return twice the energy that flips would add, of shape (rows, units)."""
        sigma = self.states[rows][:, units]
        return sigma * (self.pull[rows] @ xi.T) + self.rest[rows, None]

    def sweep(self, order: np.ndarray, width: int) -> np.ndarray:
        """Update all units in order; return the number of changes in each state."""
        flips = np.zeros(len(self.states), int)
        width = max(width, SMALL // self.index.size)
        width = max(1, min(width, WINDOW_SIZE // self.patterns.shape[1]))
        for start in range(0, len(order), width):
            flips += self._pass(order[start : start + width])
        return flips

    def _pass(self, units: np.ndarray) -> np.ndarray:
        """Update a window of units in order."""
        xi = self.patterns[units].astype(np.float64)
        rows = np.arange(len(self.states))
        done = np.zeros(len(rows), int)
        flips = np.zeros(len(rows), int)
        free = None if self.free is None else self.free[:, units]
        everywhere = np.arange(len(units))
        while len(rows):
            begin = done[rows].min()
            some = slice(None) if len(rows) == len(self.states) else rows
            rise = self.rises(some, units[begin:], xi[begin:])
            unknown = self.states[some][:, units[begin:]] == 0
            candidates = unknown | (rise < self.tolerance[rows, None])
            if free is not None:
                candidates &= free[rows, begin:]
            candidates &= everywhere[begin:] >= done[rows, None]
            first = candidates.argmax(axis=1)
            each = np.arange(len(rows))
            found = candidates[each, first]
            sure = rise[each, first] < -self.tolerance[rows]
            rows, first, sure = rows[found], first[found] + begin, sure[found]
            flips[rows] += self._update(rows, units[first], sure)
            done[rows] = first + 1
            rows = rows[first + 1 < len(units)]
        return flips

    def _update(
        self, rows: np.ndarray, units: np.ndarray, sure: np.ndarray
    ) -> np.ndarray:
        """Update one unit of each of some states; return which of them changed.

        Units that are not ``sure`` to flip are decided by their own sums.
        """
        old = self.states[rows, units]
        new = -old
        unsure = ~(sure & (old != 0))
        if unsure.any():
            new[unsure] = self.decide(rows[unsure], units[unsure])
        changed = new != old
        rows, units, new, old = (a[changed] for a in (rows, units, new, old))
        if len(rows):
            self.states[rows, units] = new
            self.index[rows] += (new - old)[:, None] * self.patterns[units]
            self._look_up(rows)
        return changed

    def decide(self, rows: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Return the states that units take, by ``sum_mu xi D(h - xi s)``.

        In contrast to the product for all units, this sum has only terms of its own.
        """
        tables = self.tables
        old = self.states[rows, units]
        xi = self.patterns[units]
        without = self.index[rows] - xi * old[:, None]
        steps = tables.step[self.level[rows, None], without]
        fields = np.einsum("rk,rk->r", steps, xi.astype(np.float64))
        error = 0.0
        if not self.exact:
            error = self.epsilon * np.abs(steps).sum(axis=1)
            error += tables.noise[without].sum(axis=1)
        tie = np.where(old == 0, 1, old)
        return np.where(fields > error, 1, np.where(fields < -error, -1, tie))

    def _look_up(self, rows: np.ndarray) -> None:
        """Bring all that follows from the overlaps of some states up to date."""
        tables = self.tables
        index = self.index[rows] if len(rows) < len(self.index) else self.index
        n_levels, size = tables.pull.shape
        if n_levels > 1:
            level = tables.level.take(index).min(axis=1)
            self.level[rows] = level
            index = index + size * level[:, None]
        self.pull[rows] = tables.pull.take(index)
        self.rest[rows] = tables.rest.take(index).sum(axis=1)
        if not self.exact:
            self.tolerance[rows] = self.error.take(index).sum(axis=1)
