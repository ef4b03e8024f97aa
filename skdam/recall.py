"""Asynchronous recall of binary patterns, as the paper writes it.

Krotov & Hopfield 2016, section 2. With K memories ``xi^mu`` and a state ``sigma`` of N
units, all +-1, the energy is::

    E = - sum_mu F( sum_i xi_i^mu sigma_i )                                        (2)

which for F(x) = x^2 is that of the Hopfield network, equation (1), up to a factor. With
all others held, unit i takes the state of lower energy::

    sigma_i <- sign sum_mu [ F( +xi_i^mu + sum_{j != i} xi_j^mu sigma_j )
                           - F( -xi_i^mu + sum_{j != i} xi_j^mu sigma_j ) ]        (3)

The paper leaves open what happens where the sum is 0: here a unit keeps its state, and
an unknown unit, at 0 until its first update, takes +1. Overlaps are divided by a
temperature T, which the paper leaves out. The fast backends are tested against this
text.

All functions take one state, of shape (N,), or some, of shape (n_states, N).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .energies import Energy

__all__ = ["energy", "recall", "update"]


def energy(
    F: Energy, memories: np.ndarray, state: np.ndarray, temperature: float = 1.0
) -> np.ndarray:
    """Return the energy E of equation (2).

    Parameters
    ----------
    F : Energy
        Energy function.
    memories : array of shape (n_memories, n_units)
        xi.
    state : array of shape (n_units,) or (n_states, n_units)
        sigma, of -1, 0 (unknown) and 1.
    temperature : float, default=1.0
        T.

    Returns
    -------
    array of shape () or (n_states,)

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Polynomial
    >>> from skdam.recall import energy
    >>> float(energy(Polynomial(3), np.array([[1, 1, 1], [1, -1, 1]]), np.ones(3)))
    -28.0
    """
    return -F.value(_overlaps(memories, state) / temperature).sum(axis=-1)


def update(
    F: Energy,
    memories: np.ndarray,
    state: np.ndarray,
    unit: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """Return the state that a unit takes, by equation (3).

    Parameters
    ----------
    F : Energy
        Energy function.
    memories : array of shape (n_memories, n_units)
        xi.
    state : array of shape (n_units,) or (n_states, n_units)
        sigma, of -1, 0 (unknown) and 1.
    unit : int
        i.
    temperature : float, default=1.0
        T.

    Returns
    -------
    array of shape () or (n_states,)
        sigma_i, -1 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Polynomial
    >>> from skdam.recall import update
    >>> xor = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    >>> int(update(Polynomial(3), xor, np.array([1, 1, 0]), unit=2))
    -1
    """
    xi, old = memories[:, unit], state[..., unit]
    others = np.array(state)
    others[..., unit] = 0
    others = _overlaps(memories, others)
    up = F.value((others + xi) / temperature)
    down = F.value((others - xi) / temperature)
    field = (up - down).sum(axis=-1)
    # A sum below what rounding may amount to counts as 0.
    rounding = np.finfo(float).eps * (len(xi) + 4) * (abs(up) + abs(down)).sum(axis=-1)
    return np.where(abs(field) > rounding, np.sign(field), np.where(old == 0, 1, old))


def recall(
    F: Energy,
    memories: np.ndarray,
    state: np.ndarray,
    orders: Iterable[np.ndarray],
    *,
    free: np.ndarray | bool = True,
    temperature: float = 1.0,
) -> tuple[np.ndarray, int]:
    """Update one unit after another until a sweep over all units changes nothing.

    Parameters
    ----------
    F : Energy
        Energy function.
    memories : array of shape (n_memories, n_units)
        xi.
    state : array of shape (n_units,) or (n_states, n_units)
        sigma to start from, of -1, 0 (unknown) and 1.
    orders : iterable of arrays of shape (n_units,)
        Order of the units in each sweep; as many as sweeps may be made.
    free : bool array of the shape of ``state``, default=True
        Units that may change; the others are clamped.
    temperature : float, default=1.0
        T.

    Returns
    -------
    state : array of the shape of ``state``
        State after the last sweep.
    n_sweeps : int
        Number of sweeps, including the last one, which changed nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.recall import recall
    >>> memories = np.array([[1, 1, 1, 1], [1, -1, 1, -1]])
    >>> cue = np.array([0, -1, 1, 1])
    >>> orders = [[0, 1, 2, 3]] * 10
    >>> recalled, n_sweeps = recall(RectifiedPolynomial(3), memories, cue, orders)
    >>> recalled.tolist(), n_sweeps
    ([1, 1, 1, 1], 2)
    """
    state = np.array(state)
    free = np.broadcast_to(free, state.shape)
    n_sweeps = 0
    for order in orders:
        before = state.copy()
        for i in order:
            updated = update(F, memories, state, i, temperature)
            state[..., i] = np.where(free[..., i], updated, state[..., i])
        n_sweeps += 1
        if (state == before).all():
            break
    return state, n_sweeps


def _overlaps(memories: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return ``sum_i xi_i^mu sigma_i``, in floats, as sums of small integers wrap."""
    return np.asarray(state, float) @ np.asarray(memories, float).T
