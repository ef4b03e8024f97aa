"""How many random patterns a dense associative memory can store, in theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from scipy.special import expit, logsumexp, ndtr, ndtri
from scipy.stats import binom
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..energies import get_energy

__all__ = [
    "alpha",
    "expected_bit_error",
    "max_memories",
    "max_memories_without_errors",
    "recovery_capacity",
]

Function = TypeVar("Function", bound=Callable[..., Any])

LARGE_NETWORK = 1e7
"""Neurons over n^2 above which the law for large N is exact to about 1e-7."""

MOST_TERMS = 2**16
"""Overlaps over which the noise is summed; beyond, each stands for its neighbours."""

LARGEST_TIES = 100
"""Even power beyond which the share of ties is that of its limit."""

CONSTRAINTS = {
    "n_neurons": [Interval(Integral, 2, 2**53, closed="both")],
    "n_memories": [Interval(Real, 1, None, closed="left")],
    "power": [Interval(Real, 1, 1e300, closed="both")],
    "bit_error": [Interval(Real, 0, 0.5, closed="neither")],
    "recovery": [Interval(Real, 0, 1, closed="neither")],
    "energy": [StrOptions({"polynomial", "rectified_polynomial"})],
    "asymptotic": ["boolean"],
}


def checked(constraints: dict) -> Callable[[Function], Function]:
    """Check the parameters of a function by a table of constraints."""

    def decorate(function: Function) -> Function:
        names = signature(function).parameters
        return validate_params(
            {name: constraints[name] for name in names},
            prefer_skip_nested_validation=True,
        )(function)

    return decorate


@checked(CONSTRAINTS)
def alpha(power: float, bit_error: float = 0.005, energy: str = "polynomial") -> float:
    """Return the coefficient of the capacity ``K_max = alpha_n N^(n - 1)``.

    Asymptotic: for N to infinity.

    Parameters
    ----------
    power : float
        n.
    bit_error : float, default=0.005
        Probability that one neuron of a stored pattern is unstable, in (0, 0.5).
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F. The rectified polynomial has twice the coefficient.

    Returns
    -------
    float
        ``alpha_n = 1 / ((2n - 3)!! Q^-1(bit_error)^2)``, twice that if rectified.

    Notes
    -----
    For n = 2 and an error of 0.5 % the tail Q of the Gaussian gives 0.151, its leading
    term as printed in the paper 0.146, and the paper rounds to 0.14.

    Examples
    --------
    >>> from skdam.capacity import alpha
    >>> round(alpha(2), 3)
    0.151
    >>> round(alpha(2, energy="rectified_polynomial"), 3)
    0.301
    """
    return float(_exp(_log_capacity_scale(1, power, energy)) / ndtri(bit_error) ** 2)


@checked(CONSTRAINTS)
def expected_bit_error(
    n_neurons: int,
    n_memories: float,
    power: float,
    energy: str = "polynomial",
    *,
    asymptotic: bool = False,
) -> float:
    """Return the probability that a neuron of a stored pattern is unstable.

    Parameters
    ----------
    n_neurons : int
        N.
    n_memories : float
        K.
    power : float
        n.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.
    asymptotic : bool, default=False
        Whether to take signal and noise for N to infinity, as the paper does.

    Returns
    -------
    float
        ``P_error = Q(<dE> / Sigma)``; the noise is taken as Gaussian. For whole K and n
        the probability of a tie, which is no error, is left out; it matters at n = 2.

    Examples
    --------
    >>> from skdam.capacity import expected_bit_error
    >>> round(expected_bit_error(100, 500, 3), 4)
    0.0052
    """
    if asymptotic:
        scale = _exp(_log_capacity_scale(n_neurons, power, energy))
        return float(ndtr(-math.sqrt(scale / n_memories)))
    if n_memories == 1:
        return 0.0
    ratio = _exp(_log_signal_to_noise(n_neurons, power, energy) / 2)
    ratio *= 1 + _tie_margin(n_neurons, n_memories, power, energy)
    return float(ndtr(-ratio / math.sqrt(n_memories - 1)))


@checked(CONSTRAINTS)
def max_memories(
    n_neurons: int,
    power: float,
    bit_error: float = 0.005,
    energy: str = "polynomial",
    *,
    asymptotic: bool = False,
) -> float:
    """Return the number of memories at which neurons err with a given probability.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    bit_error : float, default=0.005
        Probability that one neuron of a stored pattern is unstable, in (0, 0.5).
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.
    asymptotic : bool, default=False
        Whether to return ``alpha_n N^(n - 1)``.

    Returns
    -------
    float
        K_max, the inverse of :func:`expected_bit_error` except for ties; inf if it is
        too large for a float.

    Examples
    --------
    >>> from skdam.capacity import max_memories
    >>> round(max_memories(100, 3))
    496
    """
    log_square = 2 * math.log(-ndtri(bit_error))
    if asymptotic:
        return _exp(_log_capacity_scale(n_neurons, power, energy) - log_square)
    return 1 + _exp(_log_signal_to_noise(n_neurons, power, energy) - log_square)


@checked(CONSTRAINTS)
def max_memories_without_errors(
    n_neurons: int, power: float, energy: str = "polynomial"
) -> float:
    """Return the number of memories up to which a pattern has no unstable neuron.

    Asymptotic: for N to infinity, up to terms of order ln ln N / ln N.
    :func:`recovery_capacity` is the same for a finite network and a given probability.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F. The rectified polynomial has twice the capacity.

    Returns
    -------
    float
        ``K_max = N^(n - 1) / (2 (2n - 3)!! ln N)``.

    Examples
    --------
    >>> from skdam.capacity import max_memories_without_errors
    >>> round(max_memories_without_errors(100, 3))
    362
    """
    return _exp(_log_capacity_scale(n_neurons, power, energy)) / (
        2 * math.log(n_neurons)
    )


@checked(CONSTRAINTS)
def recovery_capacity(
    n_neurons: int,
    power: float,
    recovery: float = 0.5,
    energy: str = "polynomial",
) -> float:
    """Return the number of memories at which a share of patterns are fixed points.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    recovery : float, default=0.5
        Probability that all N neurons of a stored pattern are stable, in (0, 1). They
        are taken as independent: ``(1 - P_error)^N``.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.

    Returns
    -------
    float
        K. For a recovery of one half this is the theory of
        :func:`half_recall_capacity` without corruption. NaN if there is no such K: a
        neuron is stable at least every other time, and N of them with a probability of
        ``2^-N`` or more.

    Examples
    --------
    >>> from skdam.capacity import recovery_capacity
    >>> round(recovery_capacity(100, 3))
    542
    """
    bit_error = -math.expm1(math.log(recovery) / n_neurons)
    if bit_error >= 0.5:
        return math.nan
    return max_memories(n_neurons, power, bit_error, energy)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


def _log_capacity_scale(n_neurons: int, power: float, energy: str) -> float:
    """Return the logarithm of ``N^(n - 1) / c``, with ``4 n^2 c N^(n - 1) = <D^2>``.

    For large N, c = (2n - 3)!! is the moment of order 2n - 2 of a standard Gaussian,
    which also real powers have. Rectified, half of it remains.
    """
    kept = math.log(0.5 if get_energy(energy, power).rectified else 1)
    moment = math.lgamma(power - 0.5) - math.log(math.pi) / 2
    return (power - 1) * math.log(n_neurons / 2) - moment - kept


def _log_signal_to_noise(n_neurons: int, power: float, energy: str) -> float:
    """Return the logarithm of ``D(N - 1)^2 / <D^2>``, for one other memory.

    With M = N - 1, the terms of the mean are largest near ``r = M tanh y``, where
    ``y tanh y = (2n - 2) / M``. Only terms within 16 standard deviations of the largest
    one are summed, by their logarithms. Both powers and probabilities of r may be
    beyond the range of floats: the probability of r is taken for signs of mean tanh y,
    among which r is likely, and multiplied by ``cosh(y)^M e^(-r y)``. In very large
    networks the law for large N is as exact as the sum.
    """
    if math.sqrt(n_neurons / LARGE_NETWORK) > power:
        return _log_capacity_scale(n_neurons, power, energy)
    rectified = get_energy(energy, power).rectified
    M = int(n_neurons) - 1
    order = 2 * power - 2
    y = max(order / M, math.sqrt(order / M))
    for _ in range(20 if order else 0):  # Newton's method
        t = math.tanh(y)
        y -= (y * t - order / M) / (t + y * (1 - t * t))
    peak = M * math.tanh(y)
    spread = M * (1 - math.tanh(y) ** 2)
    width = math.sqrt(spread / (1 + order * spread / peak**2) if order else spread)
    reach = 16 * width + 60
    # r = M - 2 * down is positive; by symmetry the negative ones are the same.
    first = max(0, math.floor((M - peak - reach) / 2))
    last = min((M - 1) // 2, math.ceil((M - peak + reach) / 2))
    step = 1 + 2 * ((last - first) // (2 * MOST_TERMS))
    down = np.arange(last - step // 2, first - 1, -step)

    def log_D(r):
        rise = np.log(-np.expm1(power * np.log1p(-2 / (r + 1))))
        return power * np.log((r + 1) / n_neurons) + rise

    def log_terms(down, log_D):
        # The first form loses digits for large y, and the second for small y.
        if y < 1:
            lift = -M * math.log1p(-(math.tanh(y) ** 2)) / 2 - (M - 2 * down) * y
        else:
            lift = M * (math.log1p(math.exp(-2 * y)) - math.log(2)) + 2 * down * y
        return np.log(binom.pmf(down, M, expit(-2 * y))) + lift + 2 * log_D

    # r = 1 has an F(r - 1) of 0.
    with np.errstate(divide="ignore"):
        terms = log_terms(down, log_D(M - 2 * down)) + math.log(step)
        signal = float(log_D(M))
    if not rectified:
        terms += math.log(2)
    # D(0) is F(1), and twice that for odd powers.
    if M % 2 == 0 and (rectified or power % 2):
        log_D_0 = math.log(1 if rectified else 2) - power * math.log(n_neurons)
        terms = np.append(terms, log_terms(M // 2, log_D_0))
    return 2 * signal - float(logsumexp(terms))


def _tie_margin(n_neurons: int, n_memories: float, power: float, energy: str) -> float:
    """Return how much stronger the signal is for ties, in units of the signal.

    Sums of whole numbers lie on a lattice. The Gaussian is cut half way between the
    largest value below 0, which is an error, and the next, which is not.
    """
    if power != int(power) or n_memories != int(n_memories):
        return 0.0
    N, n = int(n_neurons), int(min(power, LARGEST_TIES - power % 2))
    rectified = get_energy(energy, power).rectified

    def D(r: int) -> int:
        up, down = r + 1, r - 1
        if rectified:
            up, down = max(up, 0), max(down, 0)
        return up**n - down**n

    # D is a polynomial of degree n - 1 on either side of 0: these r determine it.
    reach = min(N - 1, 2 * n + (N - 1 - 2 * n) % 2)
    lowest, highest = D(1 - N), D(N - 1)
    steps = [D(r) - lowest for r in range(-reach, reach + 1, 2)]
    spacing = math.gcd(*steps, 2 * lowest)
    least = (highest + int(n_memories - 1) * lowest) % spacing
    # A quotient of whole numbers, which may be too large for floats.
    return (spacing - 2 * least) / (2 * highest)
