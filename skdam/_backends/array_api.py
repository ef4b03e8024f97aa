"""The equations of the package as they are written, for any Array API namespace.

Slow and literal: the scores are those of :mod:`skdam.updates`, the loss that of
:mod:`skdam.losses`, the step that of :mod:`skdam.learning_rule`. The fast backends are
tested against this one. Element by element all is done in double precision where the
device has it, so that no power overflows; the matrix products are in the precision of
the memories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from .._devices import Device, take_rows, to_numpy, widest_float
from ..learning_rule import Scaled, descend
from ..losses import followed, is_right, targets_of
from . import EpochMetrics, minibatches
from .inputs import InputNoise, dense_rows, inputs

Array = Any


@contextmanager
def forward(network: Any, batch_size: int) -> Iterator[Callable]:
    """Open the scoring of a network."""
    device = Device.of_array(network.weights)

    def function(X: Array, rows: slice) -> Array:
        samples = device.asarray(dense_rows(X, rows, network.weights.dtype))
        v = inputs(
            samples, slice(None), network.weights.dtype, network.unit, network.intercept
        )
        return _scores(network, v)[1]

    yield function


@contextmanager
def trainer(network, samples, settings, velocity) -> Iterator[ArrayApiTrainer]:
    """Open the trainer of a network."""
    yield ArrayApiTrainer(network, samples, settings, velocity)


class ArrayApiTrainer:
    """Training steps of one network, as in :mod:`skdam._backends`."""

    def __init__(
        self, network: Any, samples: Any, settings: Any, velocity: Scaled | None = None
    ):
        self.network = network
        self.samples = samples
        self.settings = settings
        self.device = Device.of_array(network.weights)
        self.wide = widest_float(network.weights)
        xp = self.device.xp
        if velocity is None:
            self._velocity = Scaled.normalised(
                xp.zeros_like(network.weights, dtype=self.wide)
            )
        else:
            values = xp.astype(self.device.asarray(velocity.values), self.wide)
            log_scale = self.device.asarray(velocity.log_scale) + velocity.common
            self._velocity = Scaled.normalised(values, log_scale)

    def epoch(
        self,
        number: int,
        order: np.ndarray | None,
        temperature: float,
        meanwhile: Callable[[], None] | None = None,
    ) -> EpochMetrics:
        settings, samples = self.settings, self.samples
        self.network = replace(self.network, update=settings.update(temperature))
        noise = InputNoise.of_settings(settings, number)
        if order is None:
            order = np.arange(len(samples))
        loss = weight = hits = 0.0
        for start, stop in minibatches(len(samples), settings.batch_size):
            rows = order[start:stop]
            codes = take_rows(samples.codes, rows)
            weights = None
            if samples.weights is not None:
                weights = take_rows(samples.weights, rows)
            losses, scores = self._step(rows, codes, weights, number, noise)
            xp = self.device.xp
            if weights is None:
                weights = xp.ones_like(losses)
            hits += float(xp.count_nonzero(is_right(scores, codes)))
            loss += float(xp.sum(losses * weights))
            weight += float(xp.sum(weights))
        return EpochMetrics(loss / weight, hits / len(samples))

    def _step(self, rows, codes, weights, number, noise) -> tuple[Array, Array]:
        """Descend one step; return losses and scores, before it."""
        network, settings, xp = self.network, self.settings, self.device.xp
        dtype, wide = network.weights.dtype, self.wide
        samples = self.device.asarray(dense_rows(self.samples.X, rows, dtype))
        if noise is not None:
            samples = to_numpy(samples)
            noise.apply(samples, self.samples.hashes[rows])
            samples = self.device.asarray(samples)
        v = inputs(samples, slice(None), dtype, network.unit, network.intercept)
        x, scores = _scores(network, v)
        losses, delta, log_scale = network.loss.evaluate(
            scores, targets_of(codes, scores)
        )
        worth = followed(log_scale, scores, settings.gradient_tolerance)
        log_scale = xp.astype(log_scale, wide)
        if weights is not None:
            log_scale = log_scale + xp.log(xp.astype(weights, wide))
        log_scale = xp.where(worth, log_scale, xp.full_like(log_scale, -xp.inf))
        common = xp.max(log_scale)
        delta = xp.astype(delta, wide) * xp.exp(log_scale - common)[:, None]
        d_overlaps, d_connections = network.update.gradient(
            xp.astype(x, wide), xp.astype(network.recognition_connections, wide), delta
        )
        # dC/dxi_i = sum over samples of dC/dx v_i, in the range of the memories' type.
        peak = xp.max(xp.abs(d_overlaps), axis=0)
        peak = xp.maximum(peak, xp.max(xp.abs(d_connections), axis=1))
        peak = xp.where(peak > 0, peak, xp.ones_like(peak))
        d_visible = xp.astype(v.T @ xp.astype(d_overlaps / peak, dtype), wide)
        gradient = xp.concat([d_visible, d_connections.T / peak], axis=0)
        self._idle = ~xp.any(d_connections != 0, axis=1)
        weights, self._velocity = descend(
            xp.astype(network.weights, wide),
            self._velocity,
            Scaled.normalised(gradient, xp.log(peak) + common),
            learning_rate=settings.learning_rate.at(number),
            momentum=settings.momentum,
        )
        self.network = replace(network, weights=xp.astype(weights, dtype))
        return xp.astype(losses, wide), xp.astype(scores, wide)

    def velocity(self) -> Scaled:
        return self._velocity

    def without_gradient(self) -> np.ndarray:
        return to_numpy(self._idle)

    def reinitialise(self, memories: np.ndarray, columns: np.ndarray) -> None:
        parts = []
        for array, new in (
            (self.network.weights, columns),
            (self._velocity.values, 0.0),
            (self._velocity.log_scale, -np.inf),
        ):
            changed = np.array(to_numpy(array))
            changed[..., memories] = new
            parts.append(self.device.asarray(changed))
        self.network = replace(self.network, weights=parts[0])
        self._velocity = Scaled(*parts[1:])


def _scores(network: Any, v: Array) -> tuple[Array, Array]:
    """Return overlaps and scores of inputs, in the precision of the memories."""
    xp = array_namespace(v)
    connections = network.recognition_connections
    x = v @ network.weights[: network.n_visible, :]
    x = x + network.update.offset(connections)
    wide = widest_float(v)
    scores = network.update.scores(xp.astype(x, wide), xp.astype(connections, wide))
    # Beyond the range of the type is far beyond what tanh distinguishes.
    most = xp.finfo(v.dtype).max
    return x, xp.astype(xp.clip(scores, -most, most), v.dtype)
