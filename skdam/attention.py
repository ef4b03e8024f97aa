"""Stored real vectors, and recall by steps of attention, in any Array API namespace.

:mod:`skdam.continuous_energies` has the equations, and why no step raises the energy.
Similarities and means are two products with one matrix: the vectors with two more
columns, so that neither squared lengths nor the sum of the weights takes another pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from scipy import sparse

from ._backends.threads import thread_team
from ._devices import Device, take_rows, to_numpy
from .continuous_energies import ContinuousEnergy

__all__ = ["Recalled", "StoredVectors", "store"]

Array = Any

LEAST_BLOCK_SIZE, BLOCK_SIZE = 1_000_000, 12_000_000
"""Similarities that a thread computes at a time, at least; and all threads together."""

CACHE_SIZE = 2**20
"""Similarities whose weights are computed at a time."""

SPARSE = 1 / 32
"""Share of weights other than 0 up to which a sparse product is faster."""

WIDE = 128
"""Length of vectors above which to look for weights of 0 pays."""

MOST_VECTORS = 1000
"""Stored vectors whose separation from the others is looked at."""

LARGEST_BETA = 1e30
"""Beta beyond which, and below whose inverse, it makes no difference any more."""


class Recalled(NamedTuple):
    """States, whether each has settled, and energies after each step, on the host."""

    states: Array
    settled: np.ndarray
    energies: np.ndarray


@dataclass(frozen=True)
class StoredVectors:
    """Vectors, centred for distances, and of root mean square length 1.

    Parameters
    ----------
    energy : ContinuousEnergy
        Q.
    distances : bool
        Whether similarities are negative squared distances, or dot products.
    beta : float
        Inverse temperature, in units of the scale.
    centre : array of shape (n_features,)
        Origin.
    scale : float
        Unit of length.
    matrix : array of shape (n_memories, n_features + 2)
        Vectors xi, ``-|xi|^2 / 2`` for distances and otherwise 0, and 1.
    """

    energy: ContinuousEnergy
    distances: bool
    beta: float
    centre: Array
    scale: float
    matrix: Array

    def at(self, place: Device) -> StoredVectors:
        """Return the same vectors on another device."""
        if Device.of_array(self.matrix) == place:
            return self
        matrix, centre = place.asarray(self.matrix), place.asarray(self.centre)
        return replace(self, matrix=matrix, centre=centre)

    def similarities(self, states: Array) -> Array:
        """Return beta s, of shape (n_states, n_memories)."""
        return _similarities(self.matrix, states, self.beta)

    def step(self, states: Array) -> Array:
        """Return the means of the vectors, weighted by the slopes of Q."""
        return self._means(self.similarities(states))

    def start(self, states: Array, known: Array) -> Array:
        """Return states with what is unknown filled in, from the step of the rest."""
        xp = array_namespace(states)
        if xp.all(known):
            return states
        states = xp.where(known, states, xp.zeros_like(states))
        x = states @ self.vectors.T
        x -= _half_square(states)
        if self.distances:
            x -= xp.astype(known, x.dtype) @ (self.vectors.T**2 / 2)
        n_known = xp.sum(xp.astype(known, x.dtype), axis=1, keepdims=True)
        x *= self.beta * states.shape[1] / xp.clip(n_known, min=1)
        return xp.where(known, states, self._means(x))

    def energies(self, states: Array) -> Array:
        """Return the energy of states, in the data's unit."""
        x = self.similarities(states)
        values = [self.energy.value(x[rows, :]) for rows in _in_cache(x)]
        value = array_namespace(x).concat(values)
        return -value * (self.scale / self.beta) * self.scale

    def recall(
        self,
        states: Array,
        known: Array,
        free: Array,
        *,
        max_steps: int,
        tol: float,
        track: bool,
    ) -> Recalled:
        """Find starts for what is unknown, and descend, some states at a time."""

        def recall(rows: slice) -> Recalled:
            start = self.start(states[rows, :], known[rows, :])
            return self.descend(start, free[rows, :], max_steps, tol, track)

        ends, settled, energies = zip(
            *in_blocks(recall, states.shape[0], self.matrix), strict=True
        )
        longest = max(block.shape[1] for block in energies)
        energies = [
            np.pad(block, ((0, 0), (0, longest - block.shape[1])), mode="edge")
            for block in energies
        ]
        ends = array_namespace(states).concat(ends)
        return Recalled(ends, np.concatenate(settled), np.concatenate(energies))

    def descend(
        self, states: Array, free: Array, max_steps: int, tol: float, track: bool
    ) -> Recalled:
        """Move the free components until no step is longer than ``tol``."""
        xp = array_namespace(states)
        rows = np.arange(states.shape[0])
        ends, order = [], []
        energies = [to_numpy(self.energies(states))] if track else []
        for _ in range(max_steps):
            new = xp.where(free, self.step(states), states)
            moving = to_numpy(xp.sum((new - states) ** 2, axis=1)) ** 0.5 > tol
            states = new
            if track:
                energies.append(energies[-1].copy())
                energies[-1][rows] = to_numpy(self.energies(states))
            if not moving.all():
                still = np.flatnonzero(~moving)
                ends.append(take_rows(states, still))
                order.append(rows[still])
                if not moving.any():
                    rows = rows[:0]
                    break
                kept = np.flatnonzero(moving)
                states, free = take_rows(states, kept), take_rows(free, kept)
                rows = rows[kept]
        if len(rows):
            ends.append(states)
            order.append(rows)
        place = np.argsort(np.concatenate(order))
        settled = np.ones(len(place), bool)
        settled[rows] = False
        energies = np.stack(energies, axis=1) if track else np.empty((len(place), 0))
        return Recalled(take_rows(xp.concat(ends), place), settled, energies)

    @property
    def vectors(self) -> Array:
        return self.matrix[:, :-2]

    def _means(self, x: Array) -> Array:
        totals = _weighted_sums(self.energy, x, self.matrix)
        return totals[:, :-2] / totals[:, -1:]


def in_blocks(
    function: Callable, n_rows: int, stored: Array, n_arrays: int = 1
) -> list:
    """Return the function's results for slices of rows that are not too large.

    ``n_arrays`` is how many arrays of similarities the function holds at once.
    """
    n_memories, width = stored.shape
    # Threads of our own pay for NumPy alone.
    on_host = isinstance(stored, np.ndarray)
    with thread_team(n_rows * n_memories * width if on_host else 0) as team:
        # Together, the blocks of all threads are as large; but products want rows.
        block_size = max(BLOCK_SIZE // team.count // n_arrays, LEAST_BLOCK_SIZE)
        size = max(1, min(block_size // n_memories, -(-n_rows // team.count)))
        rows = [slice(a, min(a + size, n_rows)) for a in range(0, n_rows, size)]

        def quietly(block: slice):
            with np.errstate(all="ignore"):
                return function(block)

        return team.map(quietly, rows)


def store(
    X: Array, energy: ContinuousEnergy, distances: bool, beta: float | None
) -> tuple[StoredVectors, Array]:
    """Return vectors ready for recall, and with what is unknown in them completed.

    Parameters
    ----------
    X : array of shape (n_memories, n_features)
        Vectors, with NaN where unknown; something is known of each and of each feature.
    energy, distances
        See :class:`StoredVectors`.
    beta : float or None
        Inverse temperature in the unit of X; None: "auto".

    Returns
    -------
    stored : StoredVectors
    X : array of shape (n_memories, n_features)
    """
    xp = array_namespace(X)
    known = ~xp.isnan(X)
    zero = xp.zeros_like(X)
    share = xp.mean(xp.astype(known, X.dtype), axis=0)
    mean = xp.sum(xp.where(known, X, zero) / X.shape[0], axis=0) / share
    centre = mean if distances else xp.zeros_like(mean)
    vectors = xp.where(known, X - centre, zero)
    largest = float(xp.max(xp.abs(vectors))) or 1.0
    square = float(xp.sum((vectors / largest) ** 2)) / X.shape[0]
    scale = largest * (square**0.5 or 1.0)
    if not np.isfinite(scale):
        raise ValueError(f"X holds values too large for {X.dtype}.")
    vectors = vectors / scale
    stored = StoredVectors(energy, distances, 1.0, centre, scale, vectors)
    if beta is not None:
        stored = replace(stored, beta=_within(beta * scale * scale))
    if not xp.all(known):
        filled = _completed(stored, known, (mean - centre) / scale, beta is None)
        vectors = xp.where(known, vectors, filled)
        X = xp.where(known, X, vectors * scale + centre)
    bias = -_half_square(vectors) if distances else 0 * vectors[:, :1]
    matrix = xp.concat([vectors, bias, xp.ones_like(bias)], axis=1)
    stored = replace(stored, matrix=matrix)
    if beta is None:
        stored = replace(
            stored, beta=_automatic(energy, X.shape[0], _separations(stored))
        )
    return stored, X


def _completed(
    stored: StoredVectors, known: Array, mean: Array, is_automatic: bool
) -> Array:
    """Return vectors of which each unknown component is a mean of the others'.

    Two vectors are compared by the components that both have.
    """
    vectors = stored.matrix
    xp = array_namespace(vectors)
    n_memories, n_features = vectors.shape
    has = xp.astype(known, vectors.dtype)
    rows = np.flatnonzero(~to_numpy(xp.all(known, axis=1)))
    numbers = xp.arange(n_memories, device=Device.of_array(vectors).device)

    def similarities(block: slice) -> Array:
        mine, mine_has = (take_rows(a, rows[block]) for a in (vectors, has))
        s = mine @ vectors.T - mine**2 @ has.T / 2
        if stored.distances:
            s -= mine_has @ (vectors.T**2 / 2)
        n_common = mine_has @ has.T
        s *= n_features / xp.clip(n_common, min=1)
        itself = take_rows(numbers, rows[block])[:, None] == numbers
        return xp.where((n_common == 0) | itself, -xp.inf * xp.ones_like(s), s)

    beta = stored.beta
    if is_automatic:

        def separations(block: slice) -> np.ndarray:
            return -to_numpy(xp.max(similarities(block), axis=1))

        found = np.concatenate(in_blocks(separations, len(rows), vectors, 3))
        beta = _automatic(stored.energy, n_memories, found)

    def complete(block: slice) -> Array:
        s = similarities(block)
        compared = s > -xp.inf
        least = xp.min(xp.where(compared, s, xp.zeros_like(s)))
        weights = stored.energy.gradient(beta * xp.where(compared, s, least - 1))
        weights = xp.where(compared, weights, xp.zeros_like(s))
        total = weights @ has
        means = weights @ vectors / xp.where(total > 0, total, xp.ones_like(total))
        return xp.where(total > 0, means, mean)

    filled = xp.concat(in_blocks(complete, len(rows), vectors, 3))
    place = np.zeros(n_memories, int)
    place[rows] = np.arange(len(rows))
    return take_rows(filled, place)


def _separations(stored: StoredVectors) -> np.ndarray:
    """Return how far above all others some vectors' similarities to themselves are."""
    matrix, vectors = stored.matrix, stored.vectors
    xp = array_namespace(matrix)
    n_memories = matrix.shape[0]
    size = min(n_memories, MOST_VECTORS)
    rows = np.sort(np.random.default_rng(0).choice(n_memories, size, replace=False))
    half_squares = _half_square(vectors)

    def separations(block: slice) -> np.ndarray:
        states, half = (take_rows(a, rows[block]) for a in (vectors, half_squares))
        s = _similarities(matrix, states)
        distance = -s if stored.distances else half_squares[:, 0] - s
        rounding = 32 * xp.finfo(s.dtype).eps * (half + half_squares[:, 0])
        others = xp.where(distance > rounding, s, -xp.inf * xp.ones_like(s))
        own = 0 if stored.distances else half[:, 0]
        found = own - xp.max(others, axis=1)
        return to_numpy(xp.where(found > rounding[:, 0], found, 0 * found))

    return np.concatenate(in_blocks(separations, size, matrix, 3))


def _automatic(
    energy: ContinuousEnergy, n_memories: int, separations: np.ndarray
) -> float:
    """Return the beta at which all vectors are told apart from the others."""
    separations = separations[(separations > 0) & np.isfinite(separations)]
    separation = separations.min() if len(separations) else 1.0
    return _within(energy.margin(n_memories) / separation)


def _within(beta: float) -> float:
    return float(min(max(beta, 1 / LARGEST_BETA), LARGEST_BETA))


def _similarities(matrix: Array, states: Array, beta: float = 1.0) -> Array:
    xp = array_namespace(states)
    one = xp.ones_like(states[:, :1])
    states = xp.concat([states, one, -_half_square(states)], axis=1)
    return (beta * states) @ matrix.T


def _weighted_sums(energy: ContinuousEnergy, x: Array, vectors: Array) -> Array:
    """Return the sums of vectors weighted by the slopes of Q, which replace x."""
    if not isinstance(x, np.ndarray):
        return energy.gradient(x) @ vectors
    is_wide, n_weights = vectors.shape[1] > WIDE, 0
    for rows in _in_cache(x):
        weights = np.asarray(energy.gradient(x[rows]))
        if weights.shape != x[rows].shape:
            raise ValueError(
                f"The gradient of energy={energy!r} has the shape {weights.shape}, but "
                f"must have that of the similarities, {x[rows].shape}."
            )
        if weights.dtype != x.dtype:
            # As they are, they may be too large or too small for the type of x.
            weights = weights / weights.max(axis=1, keepdims=True)
        x[rows] = weights
        n_weights += np.count_nonzero(weights != 0) if is_wide else 0
    if not is_wide or n_weights > SPARSE * x.size:
        return x @ vectors
    n_rows, n_vectors = x.shape
    place = np.flatnonzero(x != 0)
    begins = np.searchsorted(place, np.arange(n_rows + 1) * n_vectors)
    few = x.reshape(-1)[place], place % n_vectors, begins
    return sparse.csr_array(few, x.shape) @ vectors


def _in_cache(x: Array) -> list[slice]:
    """Return slices of rows of which a CPU's cache holds what is computed."""
    n_rows, n_columns = x.shape
    size = CACHE_SIZE // n_columns if isinstance(x, np.ndarray) else n_rows
    size = max(1, size)
    return [slice(begin, begin + size) for begin in range(0, n_rows, size)]


def _half_square(vectors: Array) -> Array:
    return array_namespace(vectors).sum(vectors**2, axis=1, keepdims=True) / 2
