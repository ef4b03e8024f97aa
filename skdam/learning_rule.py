"""The learning rule of Krotov & Hopfield 2016, as it is written.

For the velocity V and the memory xi, whose components I and J run over the visible and
the classification units (appendix on training)::

    V_I(t) = p V_I(t-1) - dC/dxi_I
    xi_I(t) = clip(xi_I(t-1) + eps(t) V_I(t) / max_J |V_J(t)|, -1, 1)

Only the direction of V counts, so that the rule does not change if all gradients have a
common factor. Gradients of high powers span more orders of magnitude than a float:
gradient and velocity therefore are :class:`Scaled`, with a logarithmic scale for each
memory. The fast backends are tested against this text.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace

__all__ = ["Scaled", "descend"]

Array = Any


class Scaled(NamedTuple):
    """Vectors, one for each memory, with a logarithmic scale of their own.

    Attributes
    ----------
    values : array of shape (n_units, n_memories)
        The vector of memory mu is ``values[:, mu] * exp(log_scale[mu] + common)``.
    log_scale : array of shape (n_memories,)
        Natural logarithm of the scale; may be -inf for a vector of zeros.
    common : float, default=0.0
        Logarithm of a factor of all vectors; may be -inf for vectors of zeros.
    """

    values: Array
    log_scale: Array
    common: float = 0.0

    @classmethod
    def normalised(cls, values: Array, log_scale: Array | float = 0.0) -> Scaled:
        """Return ``values * exp(log_scale)`` with the largest component of each 1."""
        xp = array_namespace(values)
        peak = xp.max(xp.abs(values), axis=0)
        moves = peak > 0
        peak = xp.where(moves, peak, xp.ones_like(peak))
        at_rest = xp.full_like(peak, -math.inf)
        log_scale = xp.where(moves, xp.log(peak) + log_scale, at_rest)
        return cls(values / peak, log_scale)

    def __add__(self, other: Scaled) -> Scaled:
        xp = array_namespace(self.values)
        common = xp.maximum(self.log_scale, other.log_scale)
        common = xp.where(common > -math.inf, common, xp.zeros_like(common))
        total = xp.exp(self.log_scale - common) * self.values
        total = total + xp.exp(other.log_scale - common) * other.values
        return Scaled.normalised(total, common)


def descend(
    memories: Array,
    velocity: Scaled,
    gradient: Scaled,
    *,
    learning_rate: float,
    momentum: float,
) -> tuple[Array, Scaled]:
    """Take one step of the rule.

    Parameters
    ----------
    memories : array of shape (n_units, n_memories)
        xi, within [-1, 1].
    velocity : Scaled
        V(t-1).
    gradient : Scaled
        dC/dxi.
    learning_rate : float
        eps(t), the largest change of a component.
    momentum : float
        p, in [0, 1).

    Returns
    -------
    memories : array of shape (n_units, n_memories)
    velocity : Scaled
        V(t).

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.learning_rule import Scaled, descend
    >>> xi = np.array([[0.5], [0.0]])
    >>> at_rest = Scaled.normalised(np.zeros((2, 1)))
    >>> gradient = Scaled.normalised(np.array([[-8.0], [4.0]]))
    >>> xi, _ = descend(xi, at_rest, gradient, learning_rate=0.1, momentum=0.9)
    >>> xi.ravel().tolist()
    [0.6, -0.05]
    """
    xp = array_namespace(memories)
    log_momentum = math.log(momentum) if momentum else -math.inf
    kept = Scaled(velocity.values, velocity.log_scale + log_momentum)
    velocity = kept + Scaled(-gradient.values, gradient.log_scale)
    # The largest component of the velocity is 1, or the memory is at rest.
    return xp.clip(memories + learning_rate * velocity.values, -1, 1), velocity
