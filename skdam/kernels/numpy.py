"""Kernels for NumPy arrays: blocked by memories, in place, on every core.

Each block of memories is one task for one thread. Forward, a task multiplies its
memories with the minibatch and sums its part of the scores; backward, it turns its
overlaps into dC/dx, multiplies them with the minibatch, and moves its memories while
their gradient is still in the cache. Between the two stands the only barrier of a step.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import row_norms

from ..formulations import Formulation
from .base import Kernel, Step
from .cues import Disturbance, cues_at
from .minibatch import Minibatch
from .signal import ErrorSignal
from .threads import Threads
from .tiles import choose_tiles

MEMORIES_PER_BLOCK = 512
"""Products of at least this many rows run within a few percent of the peak."""


class NumpyKernel(Kernel):
    """Scores and descent steps of one network, with the buffer they reuse.

    Parameters
    ----------
    formulation : Formulation
        Equations of the network, with its energy and temperature.
    reach : float, optional
        The largest overlap that can occur, in neurons: the largest sum of magnitudes
        of a sample's features. By default it is bounded anew for each minibatch.
    threads : Threads, optional
        Threads that share the blocks of memories.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    """

    def __init__(
        self,
        formulation: Formulation,
        reach: float | None = None,
        threads: Threads | None = None,
        bias: float = 0.0,
    ):
        super().__init__(formulation, bias)
        self.threads = threads or Threads()
        self.reach = reach
        self._overlaps = np.empty(0)

    def batch(
        self,
        X: np.ndarray | sparse.csr_array,
        rows: slice | np.ndarray,
        dtype: np.dtype,
        disturbance: Disturbance | None = None,
    ) -> Minibatch:
        temperature = self.formulation.temperature
        return Minibatch.of(
            cues_at(X, rows, dtype, temperature, self.bias, disturbance)
        )

    def forward(
        self, batch: Minibatch, memories: np.ndarray, connections: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        shape = len(memories), len(batch.samples)
        overlaps = self._overlap_buffer(shape, memories.dtype)
        offset = self.formulation.offset(connections)
        reach = self.reach
        if reach is None:
            reach = _bound_on_overlaps(batch, self.formulation, connections.shape[1])
        tiles = self._tiles(memories.dtype, reach)

        def block(rows):
            x = overlaps[rows]
            batch.overlaps(memories[rows], offset[rows], out=x)
            with np.errstate(under="ignore"):
                return tiles.scores(x, connections[rows])

        parts = self.threads.map(block, self._blocks(len(memories)))
        return overlaps, _sum_scaled(parts).T

    def descend(
        self, batch: Minibatch, overlaps: np.ndarray, signal: ErrorSignal, state
    ) -> None:
        dtype = overlaps.dtype
        delta, log_weight, samples = signal
        if samples is not None:
            batch = batch.only(samples)
            delta, log_weight = delta[samples], log_weight[samples]
        common = float(log_weight.max())
        delta = np.ascontiguousarray(delta.T, dtype)
        log_weight = (log_weight - common).astype(dtype)
        tiles = self._tiles(dtype, self.reach)

        def block(rows):
            x = overlaps[rows]
            if samples is not None:
                # Unlike x[:, samples], this is in C order, which tiles rely on.
                x = x.take(samples, axis=1)
            # Negative overlaps may leave the range where the positive ones are scaled
            # into it; rectified, both their ends are 0.
            with np.errstate(under="ignore", over="ignore"):
                d_connections, log_scale = tiles.gradient(
                    x, state.connections[rows], delta, log_weight
                )
            _move(
                state,
                rows,
                batch.gradient(x),
                d_connections,
                log_scale + common,
                self.step,
            )

        self.threads.map(block, self._blocks(len(state.memories)))

    def _tiles(self, dtype, reach):
        return choose_tiles(
            self.formulation, reach / self.formulation.temperature, dtype
        )

    def _blocks(self, n_memories: int) -> list[slice]:
        count = self.threads.count
        count *= -(-n_memories // (MEMORIES_PER_BLOCK * count))
        edges = [n_memories * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if a < b]

    def _overlap_buffer(self, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
        size = shape[0] * shape[1]
        if self._overlaps.size < size or self._overlaps.dtype != dtype:
            self._overlaps = np.empty(size, dtype)
        return self._overlaps[:size].reshape(shape)


def _bound_on_overlaps(batch, formulation, n_classes: int) -> float:
    """Return what no overlap of a minibatch exceeds, in neurons."""
    # sum_i |v_i| is at most N^(1/2) times the Euclidean length.
    bound = math.sqrt(batch.samples.shape[1]) * row_norms(batch.samples).max()
    if batch.states is not None:
        bound += np.abs(batch.states).sum()
    return float(bound) * formulation.temperature + 2 * n_classes


def _move(
    state,
    rows: slice,
    gradient: np.ndarray,
    d_connections: np.ndarray,
    log_scale: np.ndarray,
    step: Step,
) -> None:
    """Update the velocity of some memories and let them take one normalised step.

    ``gradient`` is overwritten.
    """
    velocity = state.velocity[rows]
    connection_velocity = state.connection_velocity[rows]
    with np.errstate(divide="ignore", under="ignore"):
        kept = state.log_scale[rows] + np.log(step.momentum)
        scale = np.maximum(kept, log_scale)
        # A memory that nothing has moved yet has no scale at all.
        scale[scale == -np.inf] = 0
        kept = np.exp(kept - scale).astype(velocity.dtype)[:, None]
        added = np.exp(log_scale - scale).astype(velocity.dtype)[:, None]
    velocity *= kept
    connection_velocity *= kept
    if (added != 1).any():
        gradient *= added
        d_connections *= added
    velocity -= gradient
    connection_velocity -= d_connections

    magnitude = np.abs(velocity, out=gradient)
    peak = np.maximum(magnitude.max(axis=1), np.abs(connection_velocity).max(axis=1))
    peak[peak == 0] = 1
    state.log_scale[rows] = scale + np.log(peak, dtype=np.float64)
    velocity /= peak[:, None]
    connection_velocity /= peak[:, None]

    for position, direction, change in (
        (state.memories[rows], velocity, gradient),
        (state.connections[rows], connection_velocity, d_connections),
    ):
        np.multiply(direction, step.learning_rate, out=change)
        position += change
        # np.clip takes several times as long on small arrays.
        np.minimum(position, 1, out=position)
        np.maximum(position, -1, out=position)


def _sum_scaled(parts: list[tuple]) -> np.ndarray:
    """Sum ``s * exp(log_scale)`` over the blocks.

    A scale beyond the range of the type is brought to its edge, which changes no order
    of the classes within a sample: s is then far beyond, or far below, what tanh
    distinguishes.
    """
    if parts[0][1] is None:
        return sum(s for s, _ in parts)
    common = np.max([log_scale for _, log_scale in parts], axis=0)
    total = sum(s * np.exp(log_scale - common) for s, log_scale in parts)
    room = 0.6 * np.log(np.finfo(total.dtype).max)
    return total * np.exp(np.clip(common, -room, room))
