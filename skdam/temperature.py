"""The temperature that suits a network and its data, when the user names none."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from scipy import sparse
from scipy.special import gammaln
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from .devices import take, to_numpy
from .energies import Energy, Polynomial, RectifiedPolynomial

__all__ = ["SampleSizes", "auto_temperature", "sample_sizes"]

SPREAD = 3.5
"""Spread of a trained memory's overlaps, in units of a sample's Euclidean length."""

BEND = 0.7
"""Temperature of energies that are no power, in units of a sample's length."""

COOPERATION = 2e-4
"""Share of the memories that act together on one classification unit."""


class SampleSizes(NamedTuple):
    """How large the overlaps of each sample can be.

    Attributes
    ----------
    reach : array of shape (n_samples,)
        Largest possible overlap, ``sum_i |v_i|``.
    length : array of shape (n_samples,)
        Euclidean length, ``(sum_i v_i^2)^(1/2)``.
    """

    reach: np.ndarray
    length: np.ndarray


def sample_sizes(X: Any, batch_size: int = 1000) -> SampleSizes:
    """Return the sizes of the samples of a dense or sparse X, ``batch_size`` at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.temperature import sample_sizes
    >>> sample_sizes(np.array([[3.0, -4.0]]))
    SampleSizes(reach=array([7.]), length=array([5.]))
    """
    sizes = SampleSizes(np.empty(X.shape[0]), np.empty(X.shape[0]))
    for rows in gen_batches(X.shape[0], batch_size):
        magnitudes = abs(take(X, rows))
        if sparse.issparse(X):
            reach, length = magnitudes.sum(axis=1), row_norms(magnitudes)
        else:
            xp = array_namespace(magnitudes)
            reach = to_numpy(xp.sum(magnitudes, axis=1))
            length = to_numpy(xp.linalg.vector_norm(magnitudes, axis=1))
        sizes.reach[rows] = np.asarray(reach).ravel()
        sizes.length[rows] = length
    return sizes


def auto_temperature(
    energy: Energy,
    n_memories: int,
    length: float,
    reach: float,
    error_exponent: float = 1,
) -> float:
    """Return a temperature T at which trained units neither sleep nor saturate.

    With overlaps h, the memories drive a classification unit with about
    ``beta K a 2n E[h^(2(n-1))]^(1/2)``, for K memories of which a share ``a`` acts
    together; T is where this drive, times the steepness m of the objective, is 1. For
    Gaussian overlaps of spread s, ``E[h^(2(n-1))] = (2n-3)!! s^(2(n-1))``, the moment
    that also rules the capacity. The spread follows the Euclidean length of the
    samples, as that of a sum of independent terms does, and no overlap can be larger
    than ``sum_i |v_i|``.

    Parameters
    ----------
    energy : Energy
        Energy function F.
    n_memories : int
        Number of memories K.
    length : float
        Root mean square Euclidean length of the samples, ``(sum_i v_i^2)^(1/2)``.
    reach : float
        Mean largest possible overlap of the samples, ``sum_i |v_i|``.
    error_exponent : float, default=1
        m of the objective.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.temperature import auto_temperature
    >>> round(auto_temperature(RectifiedPolynomial(3), 2000, 26.9, 741.0, 10))
    78
    """
    spread = SPREAD * length
    if spread == 0:
        return 1.0
    if not isinstance(energy, Polynomial | RectifiedPolynomial):
        # F bends within a few units of 0: that bend must lie among the overlaps.
        return BEND * length
    n = energy.power
    log_drive = math.log(COOPERATION * (error_exponent + 3) * n_memories * 2 * n)
    if n > 1:
        log_moment = (n - 1) * math.log(2) + gammaln(n - 0.5) - gammaln(0.5)
        log_overlap = math.log(spread) + log_moment / (2 * (n - 1))
        log_drive += (n - 1) * min(log_overlap, math.log(reach))
    return float(np.exp(log_drive / n))
