"""Completion: a trained classifier as an associative memory, by descent of its energy.

The network that classifies has one energy for the states v of its visible units and x
of its classification units, both formulations alike (Krotov & Hopfield 2016)::

    E(v, x) = - sum_mu F( sum_i xi_i^mu v_i / T + sum_alpha xi_alpha^mu x_alpha / T )

Whatever is known is clamped, and the rest descends: with its labels clamped, the
network completes a sample of a class, or makes one up from its label alone; with its
pixels clamped, it classifies.

In each step, every free unit moves towards the end of its range to which the field
``-dE/dsigma`` points, by at most a share of that range. For the convex F of this
package, E is concave: along any direction of descent it never rises, however long the
step. Only odd polynomials and energies of the user's own can make it rise. A step that
does is not taken, and the state goes on by halves of it. The same holds where rounding
errors are larger than what is left to gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from .energies import Energy, NamedEnergy

__all__ = ["Completion", "Descent", "descend", "field"]

Array = Any

LEAST_SHARE = 2.0**-20
"""Share of a step below which a state has converged."""


@dataclass(frozen=True, eq=False)
class Completion:
    """What :meth:`~skdam.DenseAssociativeMemoryClassifier.recall` returns.

    Attributes
    ----------
    X : array of shape (n_samples, n_features)
        Completed samples; what was known is unchanged.
    y : array of shape (n_samples,) or (n_samples, n_labels)
        Labels: those that were given, and otherwise the class whose unit has the
        largest field. With several labels a sample, an indicator matrix of the units
        whose states are above 0.
    states : array of shape (n_samples, n_classes)
        States of the classification units, in [-1, 1].
    energies : array of shape (n_samples, n_steps + 1)
        Energy at the start and after each step, in double precision; it never rises.
        Samples that converged early keep theirs.
    converged : array of bool of shape (n_samples,)
        Whether the last step changed nothing.
    trajectory : array of shape (n_samples, n_steps + 1, n_features) or None
        Samples at the start and after each step, if they were asked for.
    """

    X: Array
    y: Array
    states: Array
    energies: Array
    converged: Array
    trajectory: Array | None = None


@dataclass(frozen=True, eq=False)
class Descent:
    """States after a descent.

    Attributes
    ----------
    state : array of shape (n_states, n_units)
        The states reached.
    energies : list of arrays of shape (n_states,)
        Energies at the start and after each step.
    converged : array of bool of shape (n_states,)
        Whether the last step changed nothing.
    trajectory : list of arrays of shape (n_states, n_kept)
        The first units at the start and after each step.
    """

    state: Array
    energies: list[Array]
    converged: Array
    trajectory: list[Array]


def field(F: Energy, couplings: Array, overlaps: Array) -> Array:
    """Return ``-dE/dsigma``, each row up to a positive factor.

    Parameters
    ----------
    F : Energy
        Energy function.
    couplings : array of shape (n_units, n_memories)
        What a unit at 1 adds to the overlaps: the memories over the temperature.
    overlaps : array of shape (n_states, n_memories)
        Overlaps in units of the temperature, ``sigma @ couplings``.

    Returns
    -------
    array of shape (n_states, n_units)
    """
    if isinstance(F, NamedEnergy):
        overlaps = F.scaled(overlaps)
    return F.activation(overlaps) @ couplings.T


def descend(
    F: Energy,
    couplings: Array,
    state: Array,
    free: Array,
    low: Array,
    high: Array,
    *,
    step: float,
    max_iter: int,
    n_kept: int = 0,
) -> Descent:
    """Lower the energy of states, each for itself, until nothing moves.

    Parameters
    ----------
    F : Energy
        Energy function.
    couplings : array of shape (n_units, n_memories)
        What a unit at 1 adds to the overlaps: the memories over the temperature.
    state : array of shape (n_states, n_units)
        States to start from; those of free units within their ranges.
    free : array of bool of shape (n_states, n_units)
        Units that move; the others are clamped.
    low, high : array of shape (n_units,)
        Ranges of the units.
    step : float
        Largest share of its range that a unit moves in a step.
    max_iter : int
        Largest number of steps.
    n_kept : int, default=0
        Number of units, from the first on, whose states are kept after each step.

    Returns
    -------
    Descent

    Examples
    --------
    The memory of two units at 1 lifts the second one, if the first one is clamped:

    >>> import numpy as np
    >>> from skdam.completion import descend
    >>> from skdam.energies import RectifiedPolynomial
    >>> found = descend(
    ...     RectifiedPolynomial(3), np.ones((2, 1)), np.array([[0.5, 0.0]]),
    ...     np.array([[False, True]]), -np.ones(2), np.ones(2), step=0.5, max_iter=9,
    ... )
    >>> found.state.tolist(), [float(E[0]) for E in found.energies]
    ([[0.5, 1.0]], [-0.125, -3.375, -3.375])
    """
    xp = array_namespace(couplings)

    def overlaps_and_energies(state: Array) -> tuple[Array, Array]:
        overlaps = state @ couplings
        return overlaps, -xp.sum(F.value(overlaps), axis=1)

    reach = xp.where(free, high - low, xp.zeros_like(state))
    share = xp.full_like(state[:, :1], step)
    overlaps, E = overlaps_and_energies(state)
    energies, trajectory = [E], [state[:, :n_kept]]
    converged = xp.zeros_like(E, dtype=xp.bool)
    for _ in range(max_iter):
        force = field(F, couplings, overlaps)
        target = xp.where(force > 0, high, xp.where(force < 0, low, state))
        nearest = xp.minimum(target, state + share * reach)
        moved = xp.maximum(nearest, state - share * reach)
        moves = xp.any(moved != state, axis=1) & ~converged
        new_overlaps, new_E = overlaps_and_energies(moved)
        falls = moves & (new_E <= E)
        state = xp.where(falls[:, None], moved, state)
        overlaps = xp.where(falls[:, None], new_overlaps, overlaps)
        E = xp.where(falls, new_E, E)
        share = xp.where((moves & ~falls)[:, None], share / 2, share)
        converged = ~moves | (share[:, 0] < LEAST_SHARE)
        energies.append(E)
        if n_kept:
            trajectory.append(state[:, :n_kept])
        if xp.all(converged):
            break
    return Descent(state, energies, converged, trajectory)
