"""Cues: the states of the visible neurons while samples are shown.

A feature is the state of a neuron, in units of the temperature. One that is not known
(NaN) or hidden contributes nothing to the overlaps. The last neuron, if there is a
bias, is in the same state for all samples: what connects it to the memories are their
thresholds.

In training they may be disturbed: some features hidden, and noise added to the others.
Both follow from a hash of the epoch, the sample and the feature, so that they depend
neither on the order of the samples nor on the device, and equal samples are disturbed
alike. The same hash in C is in ``arithmetic.h``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from scipy import sparse
from sklearn.utils import gen_batches

from ..devices import take, to_numpy

__all__ = ["Disturbance", "cues", "cues_at", "dense_rows", "sample_keys"]

Array = Any

ELEMENTS_AT_ONCE = 2**20
"""Elements of X that are hashed together."""

STRIDE = 0x9E3779B9
"""The golden ratio's, which spreads consecutive numbers over all 32 bits."""


@dataclass(frozen=True)
class Disturbance:
    """What is done to the features of the samples at random, in one epoch.

    Attributes
    ----------
    masked : float
        Share of the features that is hidden, in [0, 1). The others are scaled up by
        1 / (1 - masked), so that overlaps keep their mean.
    noise : float
        Standard deviation of what is added to the others, evenly distributed.
    key : int
        32 bits that tell the epoch from all others.
    samples : array of uint32 of shape (n_samples,)
        What tells the samples apart: :func:`sample_keys`.
    """

    masked: float
    noise: float
    key: int
    samples: np.ndarray

    @property
    def limit(self) -> int:
        """The smallest hash of a feature that is shown."""
        return min(round(self.masked * 2**32), 2**32 - 1)

    @property
    def factor(self) -> float:
        """What the features that are shown are multiplied by."""
        return 1 / (1 - self.masked)

    @property
    def reach(self) -> float:
        """The largest noise there is."""
        return math.sqrt(3) * self.noise

    def draw(
        self, rows: slice | np.ndarray, n_features: int, dtype: Any
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return what to add to the features of some samples, and then multiply by.

        None is nothing.

        Examples
        --------
        >>> import numpy as np
        >>> from skdam.kernels.cues import Disturbance
        >>> samples = np.arange(1000, dtype=np.uint32)
        >>> disturbance = Disturbance(masked=0.5, noise=0.1, key=1, samples=samples)
        >>> noise, factors = disturbance.draw(slice(1000), 100, np.float64)
        >>> noise.shape, round(float(noise.std()), 2)
        ((1000, 100), 0.1)
        >>> np.unique(factors).tolist(), round(float(factors.mean()), 1)
        ([0.0, 2.0], 1.0)
        """
        keys = hashed(np.uint32(self.key) + hashed(self.samples[rows]))
        columns = np.arange(n_features, dtype=np.uint32) * np.uint32(STRIDE)
        bits = hashed(keys[:, None] + columns)
        factors = noise = None
        if self.masked:
            shown = hashed(bits) >= self.limit
            factors = np.multiply(shown, self.factor, dtype=dtype)
        if self.noise:
            noise = bits.astype(dtype)
            noise *= 2 * self.reach / 2**32
            noise -= self.reach
        return noise, factors


def hashed(numbers: np.ndarray) -> np.ndarray:
    """Return a hash of 32-bit numbers: xor-shifts and products, by turns."""
    numbers = numbers ^ (numbers >> np.uint32(16))
    numbers *= np.uint32(0x7FEB352D)
    numbers ^= numbers >> np.uint32(15)
    numbers *= np.uint32(0x846CA68B)
    numbers ^= numbers >> np.uint32(16)
    return numbers


def sample_keys(X: Any) -> np.ndarray:
    """Return 32 bits for each sample that follow from its features, on the host.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.kernels.cues import sample_keys
    >>> keys = sample_keys(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]))
    >>> bool(keys[0] == keys[1]), bool(keys[0] == keys[2])
    (False, True)
    """
    factors = hashed(np.arange(1, X.shape[1] + 1, dtype=np.uint32)) | np.uint32(1)
    keys = np.empty(X.shape[0], np.uint32)
    if sparse.issparse(X):
        # The hash of 0 is 0: what is not stored adds nothing.
        terms = _hashed_floats(X.data) * factors[X.indices]
        sums = np.append(np.uint32(0), np.cumsum(terms, dtype=np.uint32))
        return sums[X.indptr[1:]] - sums[X.indptr[:-1]]
    for rows in gen_batches(X.shape[0], max(1, ELEMENTS_AT_ONCE // X.shape[1])):
        terms = _hashed_floats(to_numpy(take(X, rows))) * factors
        keys[rows] = terms.sum(axis=1, dtype=np.uint32)
    return keys


def _hashed_floats(numbers: np.ndarray) -> np.ndarray:
    """Return the hash of numbers in single precision; NaN is as good as 0."""
    with np.errstate(over="ignore"):
        # Adding 0 makes -0 the same as 0.
        numbers = numbers.astype(np.float32) + np.float32(0)
    numbers[np.isnan(numbers)] = 0
    return hashed(numbers.view(np.uint32))


def dense_rows(X: Any, rows: slice | np.ndarray, dtype: Any) -> Array:
    """Return a dense copy of rows of X.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from skdam.kernels.cues import dense_rows
    >>> dense_rows(sparse.eye_array(3, format="csr"), slice(1, 3), np.float64).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if sparse.issparse(X):
        return X[rows].toarray().astype(dtype, copy=False)
    if not is_numpy_array(X):
        return array_namespace(X).astype(take(X, rows), dtype)
    if isinstance(rows, slice):
        return X[rows].astype(dtype)
    return X.take(rows, axis=0).astype(dtype, copy=False)


def cues_at(
    X: Any,
    rows: slice | np.ndarray,
    dtype: Any,
    temperature: float,
    bias: float = 0.0,
    disturbance: Disturbance | None = None,
) -> Array:
    """Return the :func:`cues` of rows of X; to be disturbed, X must be on the host.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.kernels.cues import cues_at
    >>> X = np.array([[1.0, np.nan], [2.0, 4.0]])
    >>> cues_at(X, slice(1, 2), np.float64, temperature=2.0, bias=3.0).tolist()
    [[1.0, 2.0, 1.5]]
    """
    drawn = () if disturbance is None else disturbance.draw(rows, X.shape[1], dtype)
    return cues(dense_rows(X, rows, dtype), temperature, bias, *drawn)


def cues(
    samples: Array,
    temperature: float,
    bias: float = 0.0,
    noise: Array | None = None,
    factors: Array | None = None,
) -> Array:
    """Return the states of the visible neurons, in units of the temperature.

    Parameters
    ----------
    samples : array of shape (n_samples, n_features)
        Dense samples; they may be overwritten.
    temperature : float
        T.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    noise, factors : arrays of shape (n_samples, n_features), optional
        What to add to the features, and then to multiply them by: 0 hides one.

    Returns
    -------
    array of shape (n_samples, n_features), or (n_samples, n_features + 1) with a bias

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.kernels.cues import cues
    >>> cues(np.array([[1.0, np.nan]]), temperature=2.0, bias=3.0).tolist()
    [[0.5, 0.0, 1.5]]
    """
    xp = array_namespace(samples)
    if noise is not None:
        samples += noise
    # The smallest element is NaN if any is, and found in one pass.
    if samples.shape[0] and xp.any(xp.isnan(xp.min(samples, axis=0))):
        samples = xp.where(xp.isnan(samples), xp.zeros_like(samples), samples)
    if factors is not None:
        samples *= factors
    samples *= 1 / temperature
    if not bias:
        return samples
    column = xp.full(
        (samples.shape[0], 1),
        bias / temperature,
        dtype=samples.dtype,
        device=device(samples),
    )
    return xp.concat([samples, column], axis=1)
