"""Inputs: the states of the visible neurons, with the noise of training.

A feature is the state of a neuron, in units of the temperature. An unknown one (NaN)
or one that is dropped out contributes nothing to the overlaps. The last neuron, if
there is an intercept, has the same state for all samples: its connections to the
memories are their thresholds.

Noise and dropout are read from one pool of random numbers, at a place that follows from
a hash of the sample and a shift of the epoch. They depend neither on the order of the
samples nor on the device, and equal samples get equal noise. On the host, features that
are 0 in sparse samples get no noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from scipy import sparse
from sklearn.utils import gen_batches

from .._devices import take_rows, to_numpy

DENSE_SPEED, DENSE_START = 20, 10
"""How many features of a dense step take the time of a stored one in a sparse step, and
how many more stored ones the overhead of a sample amounts to."""

POOL_SIZE = 2**20
"""Random numbers in the pool; a power of 2."""

ELEMENTS_AT_ONCE = 2**16
"""Elements of X that are hashed together."""


def noise_pool(n_features: int, dtype: Any = np.float32) -> np.ndarray:
    """Return random numbers between -1 and 1, the same ones in every process.

    The first ``n_features`` follow once more behind the last one, so that
    ``pool[place : place + n_features]`` exists for every place below ``POOL_SIZE``.
    """
    # Networks of an ensemble with nearly as many features share a pool.
    n_repeated = 1 << max(10, (n_features - 1).bit_length())
    return _drawn_pool(n_repeated, dtype)[: POOL_SIZE + n_features]


@lru_cache(maxsize=2)
def _drawn_pool(n_repeated: int, dtype: Any) -> np.ndarray:
    rng = np.random.Generator(np.random.SFC64(12345))
    pool = 2 * rng.random(POOL_SIZE, dtype=np.float32) - 1
    return np.resize(pool, POOL_SIZE + n_repeated).astype(dtype, copy=False)


@dataclass(frozen=True)
class InputNoise:
    """Noise on the features and dropout of features, in one epoch.

    Attributes
    ----------
    std : float
        Standard deviation of the noise, which is uniform.
    dropout : float
        Share of the features that are dropped out, in [0, 1). The others are scaled up
        by ``1 / (1 - dropout)``, so that overlaps keep their mean.
    shifts : tuple of int
        Shifts of the epoch in the pool, for noise and for dropout.
    """

    std: float
    dropout: float
    shifts: tuple[int, int]

    @classmethod
    def of_epoch(cls, std: float, dropout: float, seed: int, epoch: int) -> InputNoise:
        """Return the noise of an epoch."""
        shifts = np.random.SeedSequence([seed, epoch]).generate_state(2)
        return cls(std, dropout, (int(shifts[0]), int(shifts[1])))

    @classmethod
    def of_settings(cls, settings: Any, epoch: int) -> InputNoise | None:
        """Return the noise of an epoch of a training, or None without any."""
        std, dropout = settings.noise, settings.dropout
        if std or dropout:
            return cls.of_epoch(std, dropout, settings.seed, epoch)
        return None

    @property
    def amplitude(self) -> float:
        """The largest noise there is."""
        return math.sqrt(3) * self.std

    @property
    def scale(self) -> float:
        """Factor of the features that are kept."""
        return 1 / (1 - self.dropout)

    @property
    def threshold(self) -> float:
        """Numbers of the pool below the threshold drop their feature out."""
        return 2 * self.dropout - 1

    def places(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the pool the noise and the dropout of samples begin."""
        noise = hashes + np.uint32(self.shifts[0])
        # Another order of the samples, so that noise says nothing about dropout.
        dropout = hashes * np.uint32(0x9E3779B1) + np.uint32(self.shifts[1])
        return noise % np.uint32(POOL_SIZE), dropout % np.uint32(POOL_SIZE)

    def apply(self, samples: np.ndarray, hashes: np.ndarray, unit: float = 1.0) -> None:
        """Change samples on the host, in units of ``unit``, in place."""
        n_features = samples.shape[1]
        pool = noise_pool(n_features, samples.dtype.type)
        windows = np.lib.stride_tricks.as_strided(
            pool, (POOL_SIZE, n_features), 2 * pool.strides, writeable=False
        )
        noise, dropout = self.places(hashes)
        if self.std:
            drawn = windows[noise]
            drawn *= samples.dtype.type(self.amplitude / unit)
            samples += drawn
        if self.dropout:
            keep = windows[dropout] >= self.threshold
            samples *= np.multiply(keep, self.scale, dtype=samples.dtype)

    def apply_to_stored(self, samples: sparse.csr_array, hashes: np.ndarray) -> None:
        """Change the features of CSR samples that are not 0, in place.

        They get the numbers that they would get in dense samples.
        """
        values, n_stored = samples.data, np.diff(samples.indptr)
        pool = noise_pool(samples.shape[1], values.dtype.type)
        noise, dropout = self.places(hashes)
        if self.std:
            drawn = pool[np.repeat(noise, n_stored) + samples.indices]
            drawn *= values.dtype.type(self.amplitude)
            values += np.where(values != 0, drawn, 0)
        if self.dropout:
            keep = pool[np.repeat(dropout, n_stored) + samples.indices]
            keep = keep >= self.threshold
            values *= np.multiply(keep, self.scale, dtype=values.dtype)


def is_sparse(X: Any) -> bool:
    """Tell whether X is sparse, and so few features are stored that this is faster."""
    if not sparse.issparse(X):
        return False
    n_samples, n_features = X.shape
    return DENSE_SPEED * (X.nnz + DENSE_START * n_samples) <= n_samples * n_features


def sample_hashes(X: Any) -> np.ndarray:
    """Return 32 bits for each sample that follow from its features, on the host."""
    factors = _hashed(np.arange(1, X.shape[1] + 1, dtype=np.uint32)) | np.uint32(1)
    hashes = np.empty(X.shape[0], np.uint32)
    if sparse.issparse(X):
        # The hash of 0 is 0: what is not stored adds nothing.
        terms = _hashed_floats(X.data) * factors[X.indices]
        sums = np.append(np.uint32(0), np.cumsum(terms, dtype=np.uint32))
        return _hashed(sums[X.indptr[1:]] - sums[X.indptr[:-1]])
    for rows in gen_batches(X.shape[0], max(1, ELEMENTS_AT_ONCE // X.shape[1])):
        terms = _hashed_floats(to_numpy(take_rows(X, rows)))
        hashes[rows] = (terms * factors).sum(axis=1, dtype=np.uint32)
    return _hashed(hashes)


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """Return a hash of 32-bit numbers: xor-shifts and products, by turns."""
    numbers = numbers ^ (numbers >> np.uint32(16))
    numbers *= np.uint32(0x7FEB352D)
    numbers ^= numbers >> np.uint32(15)
    numbers *= np.uint32(0x846CA68B)
    numbers ^= numbers >> np.uint32(16)
    return numbers


def _hashed_floats(numbers: np.ndarray) -> np.ndarray:
    """Return the hash of numbers in single precision; NaN is as good as 0."""
    with np.errstate(over="ignore"):
        # Adding 0 makes -0 the same as 0.
        numbers = numbers.astype(np.float32) + np.float32(0)
    numbers[np.isnan(numbers)] = 0
    return _hashed(numbers.view(np.uint32))


def dense_rows(X: Any, rows: slice | np.ndarray, dtype: Any) -> Any:
    """Return a dense copy of rows of X."""
    if sparse.issparse(X) or is_numpy_array(X):
        # The type may be one of another namespace.
        dtype = np.dtype("float32" if "float32" in str(dtype) else "float64")
    if sparse.issparse(X):
        return X[rows].toarray().astype(dtype, copy=False)
    if not is_numpy_array(X):
        return array_namespace(X).astype(take_rows(X, rows), dtype)
    if isinstance(rows, slice):
        return X[rows].astype(dtype)
    return X.take(rows, axis=0).astype(dtype, copy=False)


def inputs(
    X: Any,
    rows: slice | np.ndarray,
    dtype: Any,
    temperature: float,
    intercept: float = 0.0,
    noise: InputNoise | None = None,
    hashes: np.ndarray | None = None,
) -> Any:
    """Return the states of the visible neurons, in units of the temperature.

    An intercept other than 0 is that of one more neuron. The noise is for samples on
    the host, and needs the hashes of all samples. The result is a CSR array where X is
    one of which few features are stored.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam._backends.inputs import inputs
    >>> X = np.array([[1.0, np.nan], [2.0, 4.0]])
    >>> inputs(X, slice(1), np.float64, temperature=2.0, intercept=3.0).tolist()
    [[0.5, 0.0, 1.5]]
    """
    if sparse.issparse(X):
        v = sparse_inputs(X, rows, dtype, temperature, intercept, noise, hashes)
        return v if is_sparse(X) else v.toarray()
    untouched = noise is None and isinstance(rows, slice) and is_numpy_array(X)
    if untouched and X.dtype == np.dtype(dtype):
        samples = X[rows]
    else:
        samples = dense_rows(X, rows, dtype)
    if noise is not None:
        noise.apply(samples, hashes[rows])
    if type(samples) is np.ndarray:
        n_rows, n_features = samples.shape
        v = np.empty((n_rows, n_features + bool(intercept)), samples.dtype)
        states = v[:, :n_features]
        np.multiply(samples, samples.dtype.type(1 / temperature), out=states)
        # The smallest element is NaN if any is, and found in one pass.
        if states.size and np.isnan(states.min()):
            np.copyto(states, 0, where=np.isnan(states))
        v[:, n_features:] = intercept / temperature
        return v
    xp = array_namespace(samples)
    if samples.shape[0] and xp.isnan(xp.min(samples)):
        samples = xp.where(xp.isnan(samples), xp.zeros_like(samples), samples)
    samples *= 1 / temperature
    if not intercept:
        return samples
    column = xp.full(
        (samples.shape[0], 1),
        intercept / temperature,
        dtype=samples.dtype,
        device=device(samples),
    )
    return xp.concat([samples, column], axis=1)


def sparse_inputs(
    X, rows, dtype, temperature, intercept, noise, hashes
) -> sparse.csr_array:
    """Return inputs of CSR samples; the intercept's neuron is stored in every row."""
    rows_of_X = sparse.csr_array(X[rows])
    dtype = np.dtype("float32" if "float32" in str(dtype) else "float64")
    samples = rows_of_X.astype(dtype, copy=True)
    if noise is not None:
        noise.apply_to_stored(samples, hashes[rows])
    values, columns, edges = samples.data, samples.indices, samples.indptr
    values[np.isnan(values)] = 0
    values *= dtype.type(1 / temperature)
    if not intercept:
        return samples
    n_rows, n_features = samples.shape
    ends = edges[1:]
    return sparse.csr_array(
        (
            np.insert(values, ends, intercept / temperature),
            np.insert(columns, ends, n_features),
            edges + np.arange(n_rows + 1, dtype=edges.dtype),
        ),
        shape=(n_rows, n_features + 1),
    )
