"""The training data: placed once, and described in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

from ._backends.inputs import sample_hashes
from ._devices import take_rows, to_numpy

Array = Any

ELEMENTS_AT_ONCE = 2**16
"""Elements of X that are looked at together."""


@dataclass
class Samples:
    """Samples with their labels and weights.

    Attributes
    ----------
    X : array or CSR array of shape (n_samples, n_features)
        Features, where they are trained on; or on the host, to be sent by minibatches.
    codes : array of shape (n_samples,) or (n_samples, n_labels)
        Number of each sample's class; or 1 for each label that a sample has, and 0.
    weights : array of shape (n_samples,) or None
        Positive weights, with those of the classes; None: all are 1.
    sample_weights : array of shape (n_samples,) or None
        The weights without those of the classes.
    """

    X: Array
    codes: Array
    weights: Array | None = None
    sample_weights: Array | None = None

    def __len__(self) -> int:
        return self.X.shape[0]

    def take(self, rows: np.ndarray) -> Samples:
        """Return some of the samples, given by their numbers on the host."""
        return Samples(
            take_rows(self.X, rows),
            self.codes[rows],
            None if self.weights is None else self.weights[rows],
            None if self.sample_weights is None else self.sample_weights[rows],
        )

    @cached_property
    def hashes(self) -> np.ndarray:
        """Hashes that tell the samples apart, on the host."""
        return sample_hashes(self.X)


class Statistics(NamedTuple):
    """How large samples are, and what varies among them.

    Attributes
    ----------
    n_samples : float
        Number of samples; with weights, the effective number (Kish).
    l2_norm : float
        Root mean square of the samples' Euclidean lengths ``(sum_i v_i^2)^(1/2)``.
    mean_l1_norm, max_l1_norm : float
        Mean and maximum of ``sum_i |v_i|``, which no overlap exceeds.
    std : array of shape (n_features,)
        Standard deviation of each feature.
    mean_length : float
        Euclidean length of the samples' mean.
    std_along_mean : float
        Standard deviation of the samples in the direction of their mean.
    l1_norm_of_mean, sum_of_mean : float
        Sums of the magnitudes of the samples' mean, and of its values.
    low, high : array of shape (n_features,)
        Smallest and largest value of each feature; NaN where none is known.
    """

    n_samples: float
    l2_norm: float
    mean_l1_norm: float
    max_l1_norm: float
    std: np.ndarray
    mean_length: float
    std_along_mean: float
    l1_norm_of_mean: float = 0.0
    sum_of_mean: float = 0.0
    low: np.ndarray = np.zeros(0)
    high: np.ndarray = np.zeros(0)

    def averaged(self, other: Statistics, n: int, n_other: int) -> Statistics:
        """Return the statistics of n samples and n_other more, put together.

        The means of both are taken to be about the same.
        """
        share = n_other / (n + n_other)

        def mean(one: Any, two: Any) -> Any:
            return one + share * (two - one)

        def root_mean_square(one: Any, two: Any) -> Any:
            # As ratios to the larger one, so that no square overflows.
            largest = np.maximum(one, two)
            base = np.where(largest > 0, largest, 1.0)
            first, second = (one / base) ** 2, (two / base) ** 2
            return base * np.sqrt(first + share * (second - first))

        return Statistics(
            max(self.n_samples, other.n_samples),
            float(root_mean_square(self.l2_norm, other.l2_norm)),
            mean(self.mean_l1_norm, other.mean_l1_norm),
            max(self.max_l1_norm, other.max_l1_norm),
            root_mean_square(self.std, other.std),
            mean(self.mean_length, other.mean_length),
            float(root_mean_square(self.std_along_mean, other.std_along_mean)),
            mean(self.l1_norm_of_mean, other.l1_norm_of_mean),
            mean(self.sum_of_mean, other.sum_of_mean),
            np.fmin(self.low, other.low),
            np.fmax(self.high, other.high),
        )

    @property
    def unit(self) -> float:
        """Root mean square of a feature; 1 where all are 0."""
        return self.l2_norm / float(np.sqrt(len(self.std))) or 1.0

    def divided_by(self, unit: float) -> Statistics:
        """Return the statistics of the samples in another unit."""
        n_samples, *lengths = self
        return Statistics(n_samples, *(length / unit for length in lengths))

    @property
    def total_std(self) -> float:
        """Root of the features' summed variances."""
        largest = float(self.std.max(initial=0.0))
        # Ratios are squared, and neither overflow nor underflow.
        return largest * float(np.linalg.norm(self.std / (largest or 1)))


def describe(X: Array, weights: np.ndarray | None = None) -> Statistics:
    """Return the statistics of dense or sparse samples, some at a time.

    Each feature is divided by its largest magnitude before anything is squared, and
    sums of squares are taken around the mean, so that no scale and no offset of the
    features loses digits.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam._samples import describe
    >>> statistics = describe(np.array([[3.0, -4.0], [1.0, 0.0]]))
    >>> statistics.mean_l1_norm, statistics.max_l1_norm
    (4.0, 7.0)
    >>> statistics.std
    array([1., 2.])
    """
    n_samples, n_features = X.shape
    shares = np.full(n_samples, 1 / n_samples)
    effective = float(n_samples)
    if weights is not None:
        shares = weights / weights.max()
        effective = float(shares.sum() ** 2 / (shares**2).sum())
        shares = shares / shares.sum()
    low, high = np.full((2, n_features), np.nan)
    mean, variance, unstored = np.zeros((3, n_features))
    for rows, part in _slices(X, keep_unknown=True):
        if sparse.issparse(part):
            ends = part.nanmin(axis=0).toarray(), part.nanmax(axis=0).toarray()
        else:
            ends = np.fmin.reduce(part, axis=0), np.fmax.reduce(part, axis=0)
        low, high = np.fmin(low, ends[0].ravel()), np.fmax(high, ends[1].ravel())
        values = part.data if sparse.issparse(part) else part
        values[np.isnan(values)] = 0
        mean += part.T @ shares[rows]
    largest = np.nan_to_num(np.maximum(abs(low), abs(high)))
    if not largest.any():
        return Statistics(
            effective, 0.0, 0.0, 0.0, np.zeros(n_features), 0.0, 0.0, low=low, high=high
        )
    # Powers of 2 round nothing.
    units = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    unit = float(units[largest.argmax()])
    units[largest == 0] = unit
    ratios = units / unit
    mean /= units
    length = float(np.linalg.norm(ratios * mean))
    direction = ratios * mean / (length or 1)
    l1, squares = np.empty((2, n_samples))
    along = 0.0
    for rows, part in _slices(X, units):
        share = shares[rows]
        l1[rows] = abs(part) @ ratios
        squares[rows] = _squares(part) @ ratios**2
        along += float(share @ (part @ (ratios * direction) - length) ** 2)
        if sparse.issparse(part):
            # Stored values around the mean; the others add the mean's square, below.
            unstored += share.sum() - part.astype(bool).T @ share
            part.data -= mean[part.indices]
        else:
            part -= mean
        variance += _squares(part).T @ share
    # What is 0 but for rounding would weigh more than the variance of large numbers.
    unstored[unstored < n_samples * np.finfo(float).eps] = 0
    if sparse.issparse(X):
        variance += unstored * mean**2
    # Constant but for rounding, of numbers between 1 and 2.
    rounding = 64 * n_samples * np.finfo(float).eps ** 2
    variance[variance < rounding] = 0
    if along < rounding * length**2:
        along = 0.0
    return Statistics(
        effective,
        unit * float(np.sqrt(shares @ squares)),
        unit * float(shares @ l1),
        unit * float(l1.max()),
        units * np.sqrt(variance),
        unit * length,
        unit * float(np.sqrt(along)),
        unit * float(np.abs(ratios * mean).sum()),
        unit * float(ratios @ mean),
        low,
        high,
    )


def _squares(part: Any) -> Any:
    return part.power(2) if sparse.issparse(part) else np.square(part)


def _slices(
    X: Array, units: np.ndarray | None = None, keep_unknown: bool = False
) -> Iterator[tuple[slice, Any]]:
    """Yield rows of X on the host in double precision; unknown features are 0.

    Features are divided by their units.
    """
    stored = X.nnz // X.shape[0] if sparse.issparse(X) else X.shape[1]
    for rows in gen_batches(X.shape[0], max(1, ELEMENTS_AT_ONCE // max(1, stored))):
        part = take_rows(X, rows)
        if sparse.issparse(X):
            part = part.astype(np.float64, copy=True)
            values = part.data
        else:
            part = values = np.array(to_numpy(part), np.float64)
        if not keep_unknown:
            values[np.isnan(values)] = 0
        if sparse.issparse(X):
            # Stored zeros, too, count as values that are not stored.
            part.eliminate_zeros()
            values = part.data
        if units is not None:
            values /= units[part.indices] if sparse.issparse(X) else units
        yield rows, part
