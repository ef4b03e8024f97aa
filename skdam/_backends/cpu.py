"""NumPy arrays: a training step that holds arithmetic and nothing else.

A step on B samples costs 4 B N K operations in two matrix products, ``X W`` and
``X^T dC/dx``, for N visible units and K memories. All else is done in few passes:

- what does not depend on the memories (order, noise, dropout, temperature, intercept,
  signs of the targets) once for a chunk of minibatches;
- losses and predictions go to buffers, and are summed up once for a chunk;
- the velocity V is kept as ``U exp(log_scale + log_scales[mu])``: the scalar falls by
  log p in a step, so that decay costs no pass, and gradients are brought to this scale
  in the thin factors (n_classes, K). Both scales are renewed, exactly, when they leave
  the range of the type;
- a memory's step is normalised in the pass that moves it: the gradient is added to U
  (3 passes over N K numbers), the largest component found (1), and the memories moved
  and clipped (3), in tiles that stay in the cache;
- the overlaps (B, K) are rectified, raised and multiplied with the thin factors in
  tiles of rows that stay in the cache; samples without a gradient worth following are
  whole rows, and large steps leave them out of the second half.

Large steps divide the memories into shards, one for each thread: forward, a thread
multiplies the minibatch with its memories and sums its part of the scores; backward, it
moves its memories. Between the two stands the only barrier of a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from .._devices import to_numpy
from ..learning_rule import Scaled
from ..losses import MANY
from ..updates import Feedforward
from . import EpochMetrics, minibatches
from .cpu_energies import Units, choose_units
from .cpu_losses import loss_in_buffers
from .inputs import InputNoise, inputs, is_sparse
from .threads import WORTH_A_THREAD, Threads, thread_team

CHUNK_ELEMENTS = 2**20
"""Elements of the inputs that are prepared at once."""

MOST_PREPARED_BYTES = 2**30
"""Size of X up to which all samples are also kept as inputs."""

TILE_ELEMENTS = 2**17
"""Elements of the memories that are moved at once, so that they stay in the cache."""

MEMORIES_IN_SHARD = 1000
"""Most memories of a shard."""

COMPACT_ABOVE = 2**24
"""Multiplications in a step above which samples are left out by copying the others."""

maximum_of, minimum_of = np.maximum.reduce, np.minimum.reduce
"""``max`` and ``min`` without the overhead of the methods, which small arrays feel."""


class Shard:
    """Some of the memories, with the buffers that one thread works in."""

    def __init__(
        self, weights: np.ndarray, n_visible: int, columns: slice, batch_size: int
    ):
        self.columns = columns
        self.weights = weights[:, columns]
        self.visible = self.weights[:n_visible]
        self.connections = self.weights[n_visible:]
        self.n_memories = self.weights.shape[1]
        self.overlaps = np.empty((batch_size, self.n_memories), weights.dtype)

    def prepare(self) -> None:
        """Make what training needs: a velocity at rest, and buffers."""
        self.velocity = np.zeros(self.weights.shape, self.weights.dtype)
        self.slopes = np.empty_like(self.overlaps)
        self.gradient = np.empty_like(self.velocity)
        self.d_connections = self.gradient[len(self.visible) :]
        size = max(1, TILE_ELEMENTS // self.n_memories)
        self.change = np.empty_like(self.velocity[:size])
        self.tiles = [slice(i, i + size) for i in range(0, len(self.weights), size)]

    def scores(self, v: Any, offset: np.ndarray | None, units: Units) -> tuple:
        """Keep the overlaps of inputs, and return their part of the scores."""
        x = self.multiply(v)
        if offset is not None:
            x += offset[self.columns]
        self.x = x
        return units.scores(x, self.connections)

    def multiply(self, v: Any) -> np.ndarray:
        """Return the products of inputs with the memories."""
        if sparse.issparse(v):
            return v @ self.visible
        return np.matmul(v, self.visible, out=self.overlaps[: len(v)])

    def move(self, v: Any, slopes: np.ndarray, rate: np.floating, tiny: float) -> None:
        """Add the gradient to the velocity, and move the memories."""
        np.matmul(v.T, slopes, out=self.gradient[: len(self.visible)])
        peak = trough = None
        for tile in self.tiles:
            u = self.velocity[tile]
            u += self.gradient[tile]
            highest, lowest = maximum_of(u, axis=0), minimum_of(u, axis=0)
            if peak is None:
                peak, trough = highest, lowest
            else:
                np.maximum(peak, highest, out=peak)
                np.minimum(trough, lowest, out=trough)
        np.maximum(peak, np.negative(trough, out=trough), out=peak)
        np.maximum(peak, tiny, out=peak)
        np.divide(rate, peak, out=peak)
        for tile in self.tiles:
            weights = self.weights[tile]
            moved = np.multiply(
                self.velocity[tile], peak, out=self.change[: len(weights)]
            )
            moved += weights
            moved.clip(-1, 1, out=weights)

    def rest(self) -> None:
        """Set the memories at rest."""
        self.velocity[...] = 0

    def at_rest(self, some: np.ndarray) -> np.ndarray:
        """Tell which of some memories have no velocity."""
        return ~self.velocity[:, some].any(axis=0)

    def divide_velocity(self, divisor: np.ndarray, some: Any = slice(None)) -> None:
        """Divide the velocities of some memories, as their scales change."""
        self.velocity[:, some] /= divisor


class CpuScorer:
    """Scores of one network, with the buffers that they reuse."""

    shard_kind = Shard

    def __init__(self, network: Any, batch_size: int, threads: Threads):
        self.network = network
        self.threads = threads
        self.exact = not isinstance(network.update, Feedforward)
        n_memories, n_threads = network.n_memories, threads.count
        count = n_threads * -(-n_memories // (MEMORIES_IN_SHARD * n_threads))
        count = 1 if n_threads == 1 else min(count, n_memories)
        edges = [n_memories * i // count for i in range(count + 1)]
        self.shards = [
            self.shard_kind(network.weights, network.n_visible, slice(a, b), batch_size)
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]

    def forward(self, v: Any, units: Units) -> np.ndarray:
        """Return the scores of inputs; every shard keeps its overlaps."""
        offset = None
        if self.exact:
            offset = self.network.update.offset(self.network.recognition_connections)
        if len(self.shards) == 1:
            parts = [self.shards[0].scores(v, offset, units)]
        else:
            parts = self.threads.map(
                lambda shard: shard.scores(v, offset, units), self.shards
            )
        return _sum_scaled(parts, units.factor)


def _sum_scaled(parts: list[tuple], factor: float) -> np.ndarray:
    """Sum ``factor * s * exp(log_scale)`` over the shards.

    A scale beyond the range of the type is brought to its edge, which changes no order
    of the classes within a sample: s is then far beyond, or far below, what tanh
    distinguishes.
    """
    total, common = parts[0]
    if common is None:
        for s, _ in parts[1:]:
            total += s
        total *= factor
        return total
    common = np.max([log_scale for _, log_scale in parts], axis=0)
    common[np.isneginf(common)] = 0
    total = sum(s * np.exp(log_scale - common)[:, None] for s, log_scale in parts)
    room = 0.6 * np.log(np.finfo(total.dtype).max)
    return factor * total * np.exp(np.clip(common, -room, room))[:, None]


@contextmanager
def forward(network: Any, batch_size: int) -> Iterator[Callable]:
    """Open the scoring of a network."""
    dtype = network.weights.dtype
    work = network.weights.size * batch_size
    # A single small product is not worth a limit on BLAS.
    with thread_team(work if work > WORTH_A_THREAD else 0) as threads:
        scorer = CpuScorer(network, batch_size, threads)

        def function(X, rows: slice) -> np.ndarray:
            v = inputs(X, rows, dtype, network.unit, network.intercept)
            largest = float(np.max(abs(v).sum(axis=1), initial=0))
            largest = largest * network.temperature + 2 * network.n_classes
            units = choose_units(network.update, largest, dtype)
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                if not sparse.issparse(v):
                    return scorer.forward(v, units)
                # By rows: the products need the memories in one piece.
                of_rows = CpuScorer(network, 0, Threads())
                edges = np.linspace(0, v.shape[0], threads.count + 1).astype(int)
                parts = [v[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
                return np.concatenate(
                    threads.map(lambda part: of_rows.forward(part, units), parts)
                )

        yield function


@contextmanager
def trainer(network, samples, settings, velocity) -> Iterator[CpuTrainer]:
    """Open the trainer of a network, whose memories it moves in place."""
    kind = CpuTrainer
    if is_sparse(samples.X):
        from .cpu_sparse import SparseTrainer as kind
    with (
        thread_team(kind.work(network, samples.X, settings.batch_size)) as threads,
        # What is not finite is found by the loss, at the end of the epoch.
        np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"),
    ):
        yield kind(network, samples, settings, velocity, threads)


class CpuTrainer(CpuScorer):
    """Training steps of one network, as in :mod:`skdam._backends`."""

    @staticmethod
    def work(network: Any, X: Any, batch_size: int) -> float:
        """Return the number of multiplications in each product of a step."""
        return network.weights.size * batch_size

    def __init__(
        self,
        network: Any,
        samples: Any,
        settings: Any,
        velocity: Scaled | None = None,
        threads: Threads | None = None,
    ):
        batch_size = min(settings.batch_size, len(samples))
        super().__init__(network, batch_size, threads or Threads())
        self.samples = samples
        self.settings = settings
        weights = network.weights
        self.dtype = weights.dtype
        self.batches = minibatches(len(samples), batch_size)
        self.compact = self.work(network, samples.X, batch_size) > COMPACT_ABOVE
        self.loss = loss_in_buffers(network, samples)
        self._prepare_inputs(batch_size)
        for shard in self.shards:
            shard.prepare()
        self._set_velocity(velocity)
        tolerance = settings.gradient_tolerance
        self.log_tolerance = math.log(tolerance) if tolerance else -math.inf
        self.idle = np.zeros(weights.shape[1], bool)

    def epoch(
        self,
        number: int,
        order: np.ndarray | None,
        temperature: float,
        meanwhile: Callable[[], None] | None = None,
    ) -> EpochMetrics:
        settings, n_samples = self.settings, len(self.samples)
        update = settings.update(temperature)
        self.network = replace(self.network, update=update)
        units = choose_units(update, settings.largest_overlap, self.dtype)
        log_factor = math.log(units.factor)
        if not units.is_steep:
            if np.abs(self.log_scales).max() > self.range:
                # The velocities are from another backend, or another temperature.
                self._renew_scales(self.log_scale + self.log_scales.max())
            # Steep units change the scales of single memories.
            self._set_scale()
        noise = InputNoise.of_settings(settings, number)
        rate = self.dtype.type(settings.learning_rate.at(number))
        total = hits = 0.0
        for first in range(0, len(self.batches), self.batches_in_chunk):
            batches = self.batches[first : first + self.batches_in_chunk]
            start, stop = batches[0][0], batches[-1][1]
            rows = slice(start, stop) if order is None else order[start:stop]
            edges = [(a - start, b - start) for a, b in batches]
            parts = self._inputs(rows, edges, noise)
            self.loss.begin(rows, stop - start)
            for v, (a, b) in zip(parts, edges, strict=True):
                last = start + b == n_samples
                self._step(v, a, b, units, log_factor, rate, last)
            chunk_loss, chunk_hits = self.loss.end()
            total += chunk_loss
            hits += chunk_hits
        weights = self.samples.weights
        mass = n_samples if weights is None else weights.sum()
        return EpochMetrics(float(total / mass), hits / n_samples)

    def _prepare_inputs(self, batch_size: int) -> None:
        """Keep all samples as inputs, if they are dense, complete and not too many."""
        X, n_visible = self.samples.X, self.network.n_visible
        per_chunk = CHUNK_ELEMENTS // (
            batch_size * max(n_visible, self.network.n_classes)
        )
        self.batches_in_chunk = max(1, per_chunk)
        self.prepared, self.prepared_for = None, None
        if isinstance(X, np.ndarray) and X.nbytes <= MOST_PREPARED_BYTES:
            if not np.isnan(X.min(axis=0)).any():
                self.prepared = X
                size = self.settings.batch_size * self.batches_in_chunk
                self.chunk = np.empty((min(len(X), size), n_visible), X.dtype)

    def _inputs(self, rows, edges: list, noise: InputNoise | None) -> list:
        """Return the inputs of a chunk's minibatches, until the next chunk's."""
        v = self._inputs_of_chunk(rows, edges[-1][1], noise)
        return [v[a:b] for a, b in edges]

    def _inputs_of_chunk(self, rows, n_rows: int, noise: InputNoise | None) -> Any:
        network, X = self.network, self.samples.X
        unit = network.unit
        if self.prepared is None:
            hashes = None if noise is None else self.samples.hashes
            return inputs(X, rows, self.dtype, unit, network.intercept, noise, hashes)
        if self.prepared_for != unit:
            self.prepared = inputs(X, slice(None), self.dtype, unit, network.intercept)
            self.prepared_for = unit
        if noise is None and isinstance(rows, slice):
            return self.prepared[rows]
        v = self.chunk[:n_rows]
        if isinstance(rows, slice):
            v[...] = self.prepared[rows]
        else:
            self._gather(rows, v)
        if noise is not None:
            features = v[:, : network.n_features]
            noise.apply(features, self.samples.hashes[rows], unit)
        return v

    def _gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write some of the prepared inputs to ``out``, on every thread."""
        prepared, n_parts = self.prepared, self.threads.count
        edges = [len(rows) * i // n_parts for i in range(n_parts + 1)]

        def take(part: slice) -> None:
            np.take(prepared, rows[part], axis=0, out=out[part], mode="clip")

        self.threads.map(take, [*map(slice, edges[:-1], edges[1:])])

    def _step(self, v, a, b, units, log_factor, rate, last) -> None:
        """Descend one step on the inputs v of samples a to b of the chunk."""
        loss = self.loss
        scores = self.forward(v, units)
        log_scale = loss.evaluate(scores, a, b)
        rows = None
        if not scores.all():
            # Samples that no memory responds to have no gradient.
            silent = ~scores.any(axis=1)
            if not silent.all():
                log_scale[silent] = -np.inf
        largest = float(maximum_of(log_scale))
        if largest > -math.inf:
            worth = log_scale >= largest + self.log_tolerance
            if np.count_nonzero(worth) <= MANY * len(v):
                log_scale[~worth] = -np.inf
                if self.compact:
                    rows = worth.nonzero()[0]
        if loss.log_weights is not None:
            log_scale += loss.log_weights[a:b]
            largest = float(maximum_of(log_scale))
        self._keep_in_range(largest + log_factor)
        if units.is_steep:
            delta, log_weight = loss.gradient(a, b, log_scale, None)
            log_weight -= self.dtype.type(largest)
        else:
            # On the scale of the velocity.
            common = self.log_scale - log_factor
            delta, log_weight = loss.gradient(a, b, log_scale, common)
        if rows is not None:
            v = v.take(rows, axis=0)
            delta, log_weight = delta[:, rows], log_weight[rows]
        shift = largest + log_factor - self.log_scale

        def backward(shard):
            self._move(shard, v, delta, log_weight, rows, units, shift, rate, last)

        if len(self.shards) == 1:
            backward(self.shards[0])
        else:
            self.threads.map(backward, self.shards)

    def _move(
        self, shard, v, delta, log_weight, rows, units, shift, rate, last
    ) -> None:
        """Add the gradient of a shard to its velocity, and move its memories."""
        x = shard.x
        if rows is not None:
            x = x.take(rows, axis=0)
        slopes, d_connections = shard.slopes[: len(x)], shard.d_connections
        scale = None if self.scale is None else self.scale[shard.columns]
        log_scale = units.gradient(
            x, shard.connections, delta, log_weight, scale, slopes, d_connections
        )
        if log_scale is not None:
            factor = self._scale_of(shard, log_scale + shift)
            d_connections *= factor
            slopes *= factor
        if last:
            self.idle[shard.columns] = ~d_connections.any(axis=0)
        shard.move(v, slopes, rate, self.tiny)

    # The velocity, and its scales.

    def _set_velocity(self, velocity: Scaled | None) -> None:
        shape, dtype = self.network.weights.shape, self.dtype
        double = dtype == np.float64
        self.tiny = dtype.type(np.finfo(dtype).tiny * 2.0**20)
        self.range = 300.0 if double else 40.0
        self.floor = -150.0 if double else -20.0
        self.scale = None
        self.log_scales = np.zeros(shape[1])
        momentum = self.settings.momentum
        self.log_momentum = math.log(momentum) if momentum else -math.inf
        self.log_scale = -math.inf
        if velocity is None:
            return
        values = to_numpy(velocity.values)
        for shard in self.shards:
            shard.velocity[...] = values[:, shard.columns]
        log_scale = to_numpy(velocity.log_scale)
        finite = np.isfinite(log_scale)
        self.log_scales[finite] = log_scale[finite]
        self.log_scale = float(velocity.common)

    def velocity(self) -> Scaled:
        values = np.concatenate([shard.velocity for shard in self.shards], axis=1)
        return Scaled(values, self.log_scales.copy(), self.log_scale)

    def _keep_in_range(self, log_gradient: float) -> None:
        """Let the velocity decay, and keep its scale near that of the gradient."""
        if self.log_scale == -math.inf:
            # Nothing has moved yet.
            self.log_scale = log_gradient
        elif self.log_momentum == -math.inf:
            for shard in self.shards:
                shard.rest()
            self.log_scale = log_gradient
        else:
            self.log_scale += self.log_momentum
        if not abs(log_gradient - self.log_scale) < self.range:
            self._renew_scales(log_gradient)

    def _renew_scales(self, log_gradient: float) -> None:
        """Divide every velocity by its largest component, and take the scale apart."""
        for shard in self.shards:
            peak = np.abs(shard.velocity).max(axis=0)
            moves = peak > 0
            peak[~moves] = 1
            shard.divide_velocity(peak)
            log_scales = self.log_scales[shard.columns]
            log_scales += np.log(peak.astype(np.float64))
            log_scales += self.log_scale - log_gradient
            log_scales[~moves] = 0
        self.log_scale = log_gradient
        highest = self.log_scales.max()
        if highest > -self.floor:
            # Velocities far above the gradient.
            self.log_scale += highest
            self.log_scales -= highest
        low = self.log_scales < self.floor
        if low.any():
            # Gradients are not multiplied by more than the floor's inverse.
            divisor = np.exp(np.maximum(self.floor - self.log_scales, 0))
            for shard in self.shards:
                shard.divide_velocity(divisor[shard.columns].astype(self.dtype))
            self.log_scales[low] = self.floor
        self._set_scale()

    def _set_scale(self) -> None:
        self.scale = None
        if self.log_scales.any():
            self.scale = np.exp(-self.log_scales).astype(self.dtype)

    def _scale_of(self, shard: Shard, log_gradient: np.ndarray) -> np.ndarray:
        """Return the factors that bring gradients of a shard to its velocities' scales.

        Gradients of steep energies differ from memory to memory and from step to step.
        """
        log_scales = self.log_scales[shard.columns]
        log_factor = log_gradient - log_scales
        out_of_range = np.flatnonzero(np.abs(log_factor) > self.range)
        if out_of_range.size:
            log_new = log_factor[out_of_range]
            at_rest = shard.at_rest(out_of_range)
            renewed = (at_rest | (log_new > 0)) & np.isfinite(log_new)
            some, log_new = out_of_range[renewed], log_new[renewed]
            shard.divide_velocity(np.exp(np.maximum(log_new, 0)), some)
            log_scales[some] += log_new
            log_factor[some] = 0
        return np.exp(log_factor).astype(self.dtype)

    # Between epochs.

    def without_gradient(self) -> np.ndarray:
        return self.idle

    def reinitialise(self, memories: np.ndarray, columns: np.ndarray) -> None:
        self.network.weights[:, memories] = columns
        for shard in self.shards:
            first, last = shard.columns.start, shard.columns.stop
            own = memories[(memories >= first) & (memories < last)] - first
            shard.velocity[:, own] = 0
        self.log_scales[memories] = 0
