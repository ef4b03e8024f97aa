"""Minibatches: what the NumPy kernels multiply."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .tiles import scratch

WORTH_A_LOOK = 2**14
"""Elements of a minibatch below which no neuron is left out."""

MAX_VARYING_SHARE = 0.9
"""Share of varying neurons up to which leaving out the others pays for the copies."""


@dataclass(frozen=True)
class Minibatch:
    """Samples, without the visible neurons that are in the same state in all of them.

    A neuron that does not vary adds the same to all overlaps of a memory, and its
    gradient is its state times the sum of all others': no product is needed for it. In
    a minibatch of 1000 images of MNIST that is a fifth of the pixels.

    Attributes
    ----------
    samples : array of shape (n_samples, n_varying)
        States of the neurons that vary.
    varying, constant : arrays of int, or None
        Which neurons vary, and which do not; None: all count as varying.
    states : array of shape (n_constant,) or None
        States of the neurons that do not vary.
    """

    samples: np.ndarray
    varying: np.ndarray | None = None
    constant: np.ndarray | None = None
    states: np.ndarray | None = None

    @classmethod
    def of(cls, X: np.ndarray) -> Minibatch:
        """Return the minibatch of dense samples.

        Examples
        --------
        >>> import numpy as np
        >>> from skdam.kernels.minibatch import Minibatch
        >>> X = np.ones((1000, 20))
        >>> X[:, 3] = np.arange(1000)
        >>> Minibatch.of(X).samples.shape
        (1000, 1)
        """
        if X.size < WORTH_A_LOOK:
            return cls(X)
        is_constant = (X == X[0]).all(axis=0)
        if is_constant.sum() < (1 - MAX_VARYING_SHARE) * X.shape[1]:
            return cls(X)
        varying, constant = np.flatnonzero(~is_constant), np.flatnonzero(is_constant)
        return cls(X.take(varying, axis=1), varying, constant, X[0, constant])

    def only(self, rows: np.ndarray) -> Minibatch:
        """Return the minibatch of some of the samples."""
        return Minibatch(self.samples[rows], self.varying, self.constant, self.states)

    def overlaps(self, memories: np.ndarray, offset: np.ndarray, out: np.ndarray):
        """Write ``memories @ X.T + offset``, (n_memories, n_samples), to ``out``."""
        if self.varying is not None:
            offset = offset + memories[:, self.constant] @ self.states
            memories = memories.take(self.varying, axis=1)
        np.matmul(memories, self.samples.T, out=out)
        if offset.any():
            out += offset[:, None]

    def gradient(self, d_overlaps: np.ndarray) -> np.ndarray:
        """Return ``d_overlaps @ X``, in scratch memory."""
        shape = len(d_overlaps), self.samples.shape[1]
        gradient = scratch(4, shape, d_overlaps.dtype)
        np.matmul(d_overlaps, self.samples, out=gradient)
        if self.varying is None:
            return gradient
        n_features = len(self.varying) + len(self.constant)
        whole = scratch(7, (len(d_overlaps), n_features), d_overlaps.dtype)
        whole[:, self.varying] = gradient
        whole[:, self.constant] = np.multiply.outer(d_overlaps.sum(axis=1), self.states)
        return whole
