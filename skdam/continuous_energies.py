r"""Energies of a memory of real vectors: one function of the similarities each.

A state :math:`\sigma` is compared with every stored vector :math:`\xi^\mu`,

.. math::

   s_\mu(\sigma) = -\tfrac12 |\sigma - \xi^\mu|^2 \quad \text{or} \quad
   s_\mu(\sigma) = \xi^\mu \cdot \sigma - \tfrac12 |\sigma|^2,

and its energy is :math:`E(\sigma) = -Q(\beta s) / \beta`. The energies differ in Q:

===================  =====================================  ============================
energy               Q(x)                                   weights of the memories
===================  =====================================  ============================
LogSumExp            ln sum exp(x)                          softmax: all memories
LogSumPower          ln sum max(1 + x, 0)^n                 those with 1 + x > 0
Entmax               max_p [p.x - Omega(p)], p a            entmax, for alpha = 2
                     distribution                           sparsemax: the nearest few
===================  =====================================  ============================

**Why no step raises the energy.** Each Q rises with a function f of the similarities
that is convex, and has slopes :math:`w = \partial f / \partial x \ge 0`. So

.. math::

   f(\beta s(\sigma')) \ge f(\beta s(\sigma)) + \beta \sum_\mu w_\mu
   \bigl[ s_\mu(\sigma') - s_\mu(\sigma) \bigr].

With either similarity, the sum on the right is a parabola in each component of
:math:`\sigma'`, whose top is at the mean of the memories,

.. math::

   \sigma' = \frac{\sum_\mu w_\mu \xi^\mu}{\sum_\mu w_\mu}.

There the sum is at least its value at :math:`\sigma' = \sigma`, which is 0: f does not
fall, and the energy does not rise. Components may be held, since each has a parabola of
its own. Of LogSumExp and the dot product, this is the concave-convex procedure, and one
step is softmax attention. Of the distances, it is mean shift.

To use an energy of your own, pass any object with the three methods of
:class:`ContinuousEnergy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from array_api_compat import array_namespace
from sklearn.utils._param_validation import HasMethods, StrOptions

from .energies import Exponential, RectifiedPolynomial

__all__ = [
    "ContinuousEnergy",
    "Entmax",
    "LogSumExp",
    "LogSumPower",
    "get_continuous_energy",
]

Array = Any

SHARE = 0.01
"""Weight of all other memories together at which one is told apart from them."""

GROUP_SIZE = 16
"""Memories of which the largest similarity helps to find the threshold of all."""

FEW = 0.25
"""Share of the memories up to which it pays to compute with the nearest alone."""


@runtime_checkable
class ContinuousEnergy(Protocol):
    """What an energy has to offer: Q, its gradient, and the margin of retrieval.

    The argument x is an array of shape (n_states, n_memories) of similarities times
    beta, in any Array API namespace. Q has to be a nondecreasing function of a convex
    function that does not fall with any of the similarities.
    """

    def value(self, x: Array) -> Array:
        """Return Q(x) of each state."""

    def gradient(self, x: Array) -> Array:
        """Return dQ/dx, or a positive multiple of it for each state; never all 0."""

    def margin(self, n_memories: int) -> float:
        """Return how far above all others x of one memory must be to be told apart."""


@dataclass(frozen=True)
class LogSumExp:
    """Q(x) = ln sum_mu exp(x_mu); the weights are softmax(x).

    The energy of Krotov & Hopfield (2020), "Large Associative Memory Problem in
    Neurobiology and Machine Learning", and of Ramsauer et al. (2020), "Hopfield
    Networks is All You Need". With distances, it is the negative log-density of a
    mixture of Gaussians around the memories.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.continuous_energies import LogSumExp
    >>> x = np.array([[0.0, 0.0, -1000.0]])
    >>> LogSumExp().value(x).round(4).tolist()
    [0.6931]
    >>> LogSumExp().gradient(x).round(4).tolist()
    [[1.0, 1.0, 0.0]]
    """

    def value(self, x: Array) -> Array:
        xp = array_namespace(x)
        largest = xp.max(x, axis=1)
        return largest + xp.log(xp.sum(self.gradient(x), axis=1))

    def gradient(self, x: Array) -> Array:
        xp = array_namespace(x)
        below = x - xp.max(x, axis=1, keepdims=True)
        # What is smaller than rounding errors is 0. Exponentials and products take up
        # to a hundred times as long with numbers below the least normal one.
        least = 2 * math.log(xp.finfo(x.dtype).eps)
        counts = below > least
        if xp.all(counts):
            return xp.exp(below)
        weights = xp.exp(xp.clip(below, min=least))
        weights *= xp.astype(counts, x.dtype)
        return weights

    def margin(self, n_memories: int) -> float:
        return math.log(max(n_memories - 1, 1) / SHARE)


@dataclass(frozen=True)
class LogSumPower:
    """Q(x) = ln sum_mu F(1 + x_mu) with F(x) = max(x, 0)^n, a rectified polynomial.

    With n = 1 and distances this is log-sum-ReLU, the energy of the Epanechnikov kernel
    (Hoover et al. 2025, "Dense Associative Memory with Epanechnikov Energy"). A memory
    has no effect farther than sqrt(2 / beta) away: one that has no other within this
    distance is recalled exactly, and where kernels overlap, new minima emerge. With
    n = 2 it is the biweight kernel.

    Where no memory has an effect, Q is minus infinity, and the nearest one attracts.

    Parameters
    ----------
    power : float, default=1
        Power n, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.continuous_energies import LogSumPower
    >>> x = np.array([[0.0, -0.5, -2.0], [-3.0, -2.0, -4.0]])
    >>> LogSumPower().value(x).round(4).tolist()
    [0.4055, -inf]
    >>> LogSumPower().gradient(x).tolist()
    [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """

    power: float = 1

    def __post_init__(self) -> None:
        RectifiedPolynomial(self.power)  # which checks the power

    def value(self, x: Array) -> Array:
        xp = array_namespace(x)
        ratio, largest = self._over_largest(x)
        total = xp.sum(RectifiedPolynomial(self.power).value(ratio), axis=1)
        reached = total > 0
        one = xp.ones_like(total)
        log = xp.log(xp.where(reached, total, one)) + self.power * xp.log(
            xp.where(reached, largest[:, 0], one)
        )
        return xp.where(reached, log, -math.inf * one)

    def gradient(self, x: Array) -> Array:
        xp = array_namespace(x)
        if self.power == 1:
            largest = 1 + xp.max(x, axis=1, keepdims=True)
            slope = xp.astype(x > -1, x.dtype)
        else:
            # f / n, which is at most 1; see LogSumExp for the least numbers.
            ratio, largest = self._over_largest(x)
            least = xp.finfo(x.dtype).eps ** (2 / (self.power - 1))
            counts = ratio > least
            if not xp.all(counts):
                ratio = xp.where(counts, ratio, xp.zeros_like(ratio))
            slope = ratio ** (self.power - 1)
        reached = largest > 0
        if xp.all(reached):
            return slope
        nearest = x == xp.max(x, axis=1, keepdims=True)
        return xp.where(reached, slope, xp.astype(nearest, x.dtype))

    def margin(self, n_memories: int) -> float:
        if self.power < 3:
            # Kernels as wide as half the distance do not overlap. Wider ones of a small
            # power gain weight faster than a state comes near: two memories merge.
            return 4.0
        return 1 - (SHARE / max(n_memories - 1, 1)) ** (1 / (self.power - 1))

    @staticmethod
    def _over_largest(x: Array) -> tuple[Array, Array]:
        """Return 1 + x over its largest, so that no power is too large, and that."""
        xp = array_namespace(x)
        largest = 1 + xp.max(x, axis=1, keepdims=True)
        ratio = 1 + x
        ratio /= xp.where(largest > 0, largest, xp.ones_like(largest))
        return ratio, largest


@dataclass(frozen=True)
class Entmax:
    """Q(x) = max over distributions p of p.x + H(p), with the entropy of Tsallis.

    H(p) = sum_mu (p_mu - p_mu^alpha) / (alpha (alpha - 1)), and the weights are the
    maximiser, p = entmax(x): max((alpha - 1) x - tau, 0)^(1 / (alpha - 1)), with the
    threshold tau at which their sum is 1. Alpha = 2 is sparsemax. A memory whose x is
    1 / (alpha - 1) above that of all others has all the weight. Hu et al. (2023), "On
    Sparse Modern Hopfield Model", and Santos et al. (2024), "Sparse and Structured
    Hopfield Networks".

    Parameters
    ----------
    alpha : float, default=1.5
        Alpha, above 1 and at most 2; 1 would be LogSumExp.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.continuous_energies import Entmax
    >>> x = np.array([[0.0, -0.5, -2.0]])
    >>> Entmax(2).gradient(x).tolist()
    [[0.75, 0.25, 0.0]]
    >>> Entmax(2).value(x).tolist()
    [0.0625]
    """

    alpha: float = 1.5

    def __post_init__(self) -> None:
        if not 1 < self.alpha <= 2:
            raise ValueError(f"alpha={self.alpha!r} must be above 1 and at most 2.")

    def value(self, x: Array) -> Array:
        xp = array_namespace(x)
        p = self.gradient(x)
        a = self.alpha
        return xp.sum(p * x, axis=1) + xp.sum(p - p**a, axis=1) / (a * (a - 1))

    def gradient(self, x: Array) -> Array:
        xp = array_namespace(x)
        groups = _of_groups(x)
        largest = xp.max(groups, axis=1, keepdims=True)
        least = self._threshold((self.alpha - 1) * (groups - largest))
        if isinstance(x, np.ndarray):
            near = x >= largest + least / (self.alpha - 1)
            if np.count_nonzero(near) < FEW * x.size:
                return self._of_few(x, near, largest, least)
        z = x - largest
        z *= self.alpha - 1
        return self._weights(z, least)[0]

    def _of_few(
        self, x: np.ndarray, near: np.ndarray, largest: np.ndarray, least: np.ndarray
    ) -> np.ndarray:
        """Return the gradient, of which only some of each row can have a weight."""
        place = np.flatnonzero(near)
        rows = np.arange(len(x) + 1) * x.shape[1]
        n_near = np.diff(np.searchsorted(place, rows))[:, None]
        inside = np.arange(n_near.max()) < n_near
        z = np.full(inside.shape, -np.inf, x.dtype)
        z[inside] = x.reshape(-1)[place]
        p, _ = self._weights((self.alpha - 1) * (z - largest), least)
        gradient = np.zeros(x.shape, x.dtype)
        gradient.reshape(-1)[place] = p[inside]
        return gradient

    def _threshold(self, z: Array) -> Array:
        """Return tau of each row, from z = (alpha - 1) x, whose largest may be 0."""
        xp = array_namespace(z)
        if z.shape[1] > GROUP_SIZE:
            # That of some of the memories is at most that of all.
            tau = self._threshold(_of_groups(z))
        else:
            # As is that of the largest alone, and of equal z that have the same mean.
            tau = xp.mean(z, axis=1, keepdims=True) - z.shape[1] ** (1 - self.alpha)
            tau = xp.clip(tau, min=-1)
        return self._weights(z, tau)[1]

    def _weights(self, z: Array, tau: Array) -> tuple[Array, Array]:
        """Return p and tau, from one that is not too high."""
        xp = array_namespace(z)
        n = 1 / (self.alpha - 1)
        precision = 4 * xp.finfo(z.dtype).eps
        while True:
            # Newton's step to where the n-norm of max(z - tau, 0) is 1. The norm is
            # convex, so that no step goes too far, and nearly straight.
            above = xp.maximum(z, tau)
            above -= tau
            slope = above
            if n != 2:
                slope = xp.astype(above > 0, z.dtype) if n == 1 else above ** (n - 1)
            total = xp.vecdot(slope, above)[:, None]
            step = total - total ** (1 - 1 / n)
            step /= xp.sum(slope, axis=1, keepdims=True)
            if not xp.any(step > -precision * tau):
                above *= slope
                above /= total
                return above, tau
            tau = tau + xp.clip(step, min=0)

    def margin(self, n_memories: int) -> float:
        return (1 + SHARE) / (self.alpha - 1)


def _of_groups(x: Array) -> Array:
    """Return the largest of each group of columns; the last few are one group each."""
    xp = array_namespace(x)
    n_groups = x.shape[1] // GROUP_SIZE
    end = n_groups * GROUP_SIZE
    groups = xp.reshape(x[:, :end], (x.shape[0], GROUP_SIZE, n_groups))
    return xp.concat([xp.max(groups, axis=1), x[:, end:]], axis=1)


NAMES = {
    "log_sum_exp": LogSumExp,
    "log_sum_relu": LogSumPower,
    "rectified_polynomial": LogSumPower,
    "entmax": Entmax,
    "sparsemax": Entmax,
}
"""The energies that are known by name."""

CONTINUOUS_ENERGY_CONSTRAINT = [
    StrOptions(set(NAMES)),
    HasMethods(["value", "gradient", "margin"]),
    RectifiedPolynomial,
    Exponential,
]
"""What the parameter ``energy`` may be."""


def get_continuous_energy(
    energy: str | ContinuousEnergy | RectifiedPolynomial | Exponential,
    power: float = 3,
) -> ContinuousEnergy:
    """Return the energy of a name or of an energy of a binary memory, or the object.

    Parameters
    ----------
    energy : str, ContinuousEnergy, RectifiedPolynomial or Exponential
        "log_sum_exp", "log_sum_relu", "rectified_polynomial", "entmax", "sparsemax", an
        object with the methods ``value``, ``gradient`` and ``margin``, or an energy of
        :mod:`skdam.energies`, of which the logarithm of the sum is taken.
    power : float, default=3
        Power n, for "rectified_polynomial".

    Returns
    -------
    ContinuousEnergy

    Raises
    ------
    ValueError
        If the name is unknown, or the power is not allowed.
    TypeError
        If an object lacks one of the three methods.

    Examples
    --------
    >>> from skdam.continuous_energies import get_continuous_energy
    >>> get_continuous_energy("sparsemax")
    Entmax(alpha=2)
    >>> get_continuous_energy("rectified_polynomial", power=5)
    LogSumPower(power=5.0)
    """
    if isinstance(energy, RectifiedPolynomial):
        return LogSumPower(energy.power)
    if isinstance(energy, Exponential):
        return LogSumExp()
    if isinstance(energy, str):
        if energy not in NAMES:
            raise ValueError(f"energy={energy!r} is unknown; known: {sorted(NAMES)}.")
        if energy == "rectified_polynomial":
            return LogSumPower(float(power))
        return Entmax(2) if energy == "sparsemax" else NAMES[energy]()
    if not isinstance(energy, ContinuousEnergy) or isinstance(energy, type):
        raise TypeError(
            f"energy={energy!r} must be a name in {sorted(NAMES)}, an object with the "
            "methods value, gradient and margin, RectifiedPolynomial or Exponential."
        )
    return energy
