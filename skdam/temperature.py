"""The temperature and bias that suit a network and its data, if the user names none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import gammaln
from sklearn.utils import gen_batches
from sklearn.utils.extmath import row_norms

from .devices import take, to_numpy
from .energies import Energy, Polynomial, RectifiedPolynomial

__all__ = [
    "SampleSizes",
    "auto_bias",
    "auto_temperature",
    "root_mean_square",
    "sample_sizes",
]

SPREAD = 3.5
"""Spread of a trained memory's overlaps, in units of a sample's Euclidean length."""

BEND = 0.7
"""Temperature of energies that are no power, in units of a sample's length."""

EDGE = 0.1
"""By how much the states of the bias neuron are rounded down, in powers of 2."""

ELEMENTS_AT_ONCE = 2**20
"""Elements of X that are looked at together."""

COOPERATION = 0.45
"""Share of the memories that act together on a classification unit, for one sample.

It falls with the root of the number of samples: the fewer they are, the more memories
must agree, or single samples are learned by heart.
"""


class SampleSizes(NamedTuple):
    """How large the overlaps of each sample can be.

    Attributes
    ----------
    reach : array of shape (n_samples,)
        Largest possible overlap, ``sum_i |v_i|``.
    length : array of shape (n_samples,)
        Euclidean length, ``(sum_i v_i^2)^(1/2)``.
    mean, variance : arrays of shape (n_features,)
        Weighted mean and variance of each feature.
    variance_along_mean : float
        Variance of the samples in the direction of their mean.
    """

    reach: np.ndarray
    length: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    variance_along_mean: float


def sample_sizes(X: Any, weights: np.ndarray | None = None) -> SampleSizes:
    """Return the sizes of the samples of a dense or sparse X, some at a time.

    Raises
    ------
    ValueError
        If squares of the features are too large for double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.temperature import sample_sizes
    >>> sizes = sample_sizes(np.array([[3.0, -4.0], [1.0, 0.0]]))
    >>> sizes.reach, sizes.length
    (array([7., 1.]), array([5., 1.]))
    >>> sizes.mean, sizes.variance
    (array([ 2., -2.]), array([1., 4.]))
    """
    reach, length = np.empty((2, X.shape[0]))
    shares = np.ones(X.shape[0]) if weights is None else weights
    shares = shares / shares.sum()
    mean, variance = np.zeros((2, X.shape[1]))
    along = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, samples in _slices(X):
            reach[rows] = np.asarray(abs(samples).sum(axis=1)).ravel()
            length[rows] = row_norms(samples)
            mean += samples.T @ shares[rows]
        # Around the mean, to which small variations would be lost.
        direction = mean / (np.linalg.norm(mean) or 1)
        for rows, samples in _slices(X):
            away = samples @ direction - mean @ direction
            along += float(shares[rows] @ away**2)
            if sparse.issparse(samples):
                variance += samples.power(2).T @ shares[rows]
            else:
                variance += shares[rows] @ (samples - mean) ** 2
        if sparse.issparse(X):
            variance = np.maximum(variance - mean**2, 0)
    if not np.isfinite(variance.sum() + (length**2).sum()):
        raise ValueError(
            "X holds numbers whose squares are too large for double precision; scale "
            "the features first."
        )
    return SampleSizes(reach, length, mean, variance, along)


def _slices(X: Any) -> Iterator[tuple[slice, Any]]:
    """Yield rows of X, on the host, in double precision; unknown features are 0."""
    stored = X.nnz // X.shape[0] if sparse.issparse(X) else X.shape[1]
    for rows in gen_batches(X.shape[0], max(1, ELEMENTS_AT_ONCE // max(1, stored))):
        samples = take(X, rows)
        if sparse.issparse(X):
            samples = samples.astype(np.float64, copy=True)
            samples.data[np.isnan(samples.data)] = 0
        else:
            samples = to_numpy(samples).astype(np.float64)
            samples[np.isnan(samples)] = 0
        yield rows, samples


def root_mean_square(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the root of the weighted mean of the squares.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.temperature import root_mean_square
    >>> root_mean_square(np.array([1.0, 7.0]), weights=np.array([1, 0]))
    1.0
    """
    return float(np.sqrt(np.average(values**2, weights=weights)))


def auto_bias(sizes: SampleSizes) -> float:
    """Return the state of the bias neuron that samples lack.

    Thresholds can be learned where what is the same in all samples is about as long as
    what varies. Their mean is such a constant too, as far as they vary in other
    directions than its own. With V the variance of the samples, and C this share of
    their mean's square, the state is ``V / (V + C)^(1/2)``: the standard deviation
    where they are centred, and less the more they have in common. It is rounded to a
    power of 2, so as to be the same for all folds of a cross-validation and all parts
    of the data.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.temperature import auto_bias, sample_sizes
    >>> corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> auto_bias(sample_sizes(corners)), auto_bias(sample_sizes(corners + 5))
    (1.0, 0.5)
    """
    total = float(sizes.variance.sum())
    if not total:
        return 0.0
    share = 1 - sizes.variance_along_mean / total
    common = share * float((sizes.mean**2).sum())
    # Shifted, so that standardised features are not at the edge between two powers.
    return 2.0 ** round(math.log2(total**2 / (total + common)) / 2 - EDGE)


def auto_temperature(
    energy: Energy,
    n_memories: int,
    n_samples: int,
    length: float,
    reach: float,
) -> float:
    """Return a temperature T at which trained units neither sleep nor saturate.

    With overlaps h, the memories drive a classification unit with about
    ``beta K a 2n E[h^(2(n-1))]^(1/2)``, for K memories of which a share ``a`` acts
    together; T is where this drive is 1. For Gaussian overlaps of spread s,
    ``E[h^(2(n-1))] = (2n-3)!! s^(2(n-1))``, the moment that also rules the capacity.
    The spread follows the Euclidean length of the samples, as that of a sum of
    independent terms does, and no overlap can be larger than ``sum_i |v_i|``.

    Parameters
    ----------
    energy : Energy
        Energy function F.
    n_memories : int
        Number of memories K.
    n_samples : int
        Number of samples to learn from.
    length : float
        Root mean square Euclidean length of the samples, ``(sum_i v_i^2)^(1/2)``.
    reach : float
        Mean largest possible overlap of the samples, ``sum_i |v_i|``.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.temperature import auto_temperature
    >>> round(auto_temperature(RectifiedPolynomial(3), 2000, 60000, 26.9, 741.0))
    70
    """
    spread = SPREAD * length
    if spread == 0:
        return 1.0
    if not isinstance(energy, Polynomial | RectifiedPolynomial):
        # F bends within a few units of 0: that bend must lie among the overlaps.
        return BEND * length
    n = energy.power
    together = COOPERATION / math.sqrt(n_samples) * n_memories
    log_drive = math.log(together * 2 * n)
    if n > 1:
        log_moment = (n - 1) * math.log(2) + gammaln(n - 0.5) - gammaln(0.5)
        log_overlap = math.log(spread) + log_moment / (2 * (n - 1))
        log_drive += (n - 1) * min(log_overlap, math.log(reach))
    return float(np.exp(log_drive / n))
