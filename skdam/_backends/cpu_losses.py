"""Losses of the CPU backend: in buffers, and summed up once for a chunk of minibatches.

They compute what :mod:`skdam.losses` defines, the power of the error in place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..losses import PowerError, is_right, targets_of

SCORE_LIMIT = 80.0
"""Margins beyond which ln(1 + e^z) is z in every digit of double precision."""


def loss_in_buffers(network: Any, samples: Any) -> BufferedLoss:
    """Return the loss of a network on samples."""
    is_power = isinstance(network.loss, PowerError)
    return (BufferedPowerError if is_power else BufferedLoss)(network, samples)


class BufferedLoss:
    """The loss of a chunk's minibatches, and its gradient; any loss."""

    def __init__(self, network: Any, samples: Any):
        self.loss, self.samples = network.loss, samples
        like = np.empty((1, network.n_classes), network.weights.dtype)
        self.all_signs = np.ascontiguousarray(targets_of(samples.codes, like).T)
        if samples.weights is not None:
            self.all_log_weights = np.log(samples.weights).astype(like.dtype)

    def begin(self, rows: slice | np.ndarray, n_samples: int) -> None:
        """Take the labels and weights of the chunk's samples."""
        self.signs = self.all_signs[:, rows]
        self.log_weights = self.weights = None
        if self.samples.weights is not None:
            self.weights = self.samples.weights[rows]
            self.log_weights = self.all_log_weights[rows]
        self.make_buffers(n_samples)

    def make_buffers(self, n_samples: int) -> None:
        self.losses = np.empty(n_samples)
        self.hits = 0

    def evaluate(self, scores: np.ndarray, a: int, b: int) -> np.ndarray:
        """Return the logarithm of the size of each sample's gradient."""
        signs = self.signs[:, a:b].T
        losses, self.delta, log_scale = self.loss.evaluate(scores, signs)
        self.losses[a:b] = losses
        if self.loss.multilabel:
            right = is_right(scores, signs)
        else:
            right = signs[np.arange(b - a), scores.argmax(axis=1)] > 0
        self.hits += int(np.count_nonzero(right))
        return log_scale

    def gradient(
        self, a: int, b: int, log_scale: np.ndarray, common: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return -dC/ds of shape (n_classes, n_samples), and its log-scale.

        Over ``exp(log_scale)``; or times that over ``exp(common)``, if given.
        """
        delta = -self.delta.T
        if common is not None:
            delta = delta * np.exp(log_scale - delta.dtype.type(common))
        return np.ascontiguousarray(delta), log_scale

    def end(self) -> tuple[float, int]:
        """Return the weighted sum of the losses, and the number of hits."""
        if self.weights is not None:
            self.losses *= self.weights
        return float(self.losses.sum()), self.hits


class BufferedPowerError(BufferedLoss):
    """The power of the error in margin form, with z = 2 t s.

    Loss and gradient need ln(1 + e^z) alone: ``C = e^(-2m ln(1 + e^z))`` and
    ``ln |dC/ds| = ln 4m + z - (2m + 1) ln(1 + e^z)``.
    """

    def make_buffers(self, n_samples: int) -> None:
        shape = self.signs.shape
        dtype = self.signs.dtype
        self.z, self.softplus = np.empty(shape, dtype), np.empty(shape, dtype)
        self.double_signs = self.signs * dtype.type(2)
        self.m = dtype.type(self.loss.exponent)
        self.log_4m = dtype.type(math.log(4 * self.loss.exponent))

    def evaluate(self, scores, a, b):
        z, softplus = self.z[:, a:b], self.softplus[:, a:b]
        np.multiply(scores.T, self.double_signs[:, a:b], out=z)
        np.minimum(z, SCORE_LIMIT, out=softplus)
        np.exp(softplus, out=softplus)
        softplus += 1
        np.log(softplus, out=softplus)
        np.maximum(softplus, z, out=softplus)
        log_delta = np.multiply(softplus, -(2 * self.m + 1))
        log_delta += z
        self.log_delta = log_delta
        return np.maximum.reduce(log_delta, axis=0) + self.log_4m

    def gradient(self, a, b, log_scale, common):
        delta = self.log_delta
        if common is None:
            delta -= delta.max(axis=0)
        else:
            delta -= delta.dtype.type(common) - self.log_4m
            if self.log_weights is not None:
                delta += self.log_weights[a:b]
            if np.maximum.reduce(-log_scale) == np.inf:
                delta[:, np.isneginf(log_scale)] = -np.inf
        np.exp(delta, out=delta)
        return np.copysign(delta, self.signs[:, a:b], out=delta), log_scale

    def end(self):
        losses = np.exp(self.softplus * (-2 * self.m))
        scores = self.z * self.signs
        if self.loss.multilabel:
            hits = is_right(scores.T, self.signs.T)
        else:
            # The class with the largest score is the true one if its margin says so.
            best = scores.argmax(axis=0)
            hits = np.take_along_axis(self.signs, best[None], axis=0) > 0
        if self.weights is not None:
            losses = losses * self.weights
        return float(losses.sum(dtype=np.float64)), int(np.count_nonzero(hits))
