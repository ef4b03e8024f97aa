"""CSR samples: a training step that costs what its minibatch stores.

The rule moves every memory in every component, at every step. A feature i that is
stored in no sample of a minibatch has no gradient there, though, and from one step that
stores it to the next its velocity only decays. In the units of the velocities U of
:mod:`skdam._backends.cpu`, which decay by themselves, it is constant, and the moves of
``xi_i`` are ``U_i`` times a factor that all features of a memory have in common::

    xi_i(t) = clip(xi_i(s) + U_i sum_{s <= r <= t} eps(r) / max_J |U_J(r)|, -1, 1)

All terms have the sign of ``U_i``, so that to clip at the end is to clip at each step:
to move a feature when it is stored again is exact. Two things are needed.

- The sums, for every step s that may have been a feature's last: a table ``pending`` of
  shape (steps, K), to whose rows each step adds its term. No digits are lost, as they
  would be by differences of running sums, whose terms grow as the velocities decay.
- The largest component of each velocity, over all features. The order of an epoch is
  known before it begins, and with it the next step that stores a feature. A table
  ``largest`` of shape (steps, K) holds, for each step to come, the largest ``|U_i|`` of
  the features that are not stored in it but were before: where a feature's velocity
  changes, it is entered for the steps until the feature is stored again. Features of a
  minibatch are sorted by that step, so that each step is entered by a running maximum
  over groups of them.

The tables hold the steps of a window. Before and after it all features are visited, to
enter their velocities and to move them. The classification units move in every step.

A step on a minibatch that stores S numbers, of m features, costs 4 S K operations in
two sparse products and about 10 m K to move the features and to find the largest. It
reads and writes memories and velocities of the m features once each, 16 m K bytes in
single precision, and 8 W K bytes of the tables of W steps. With M features that any
sample stores, its share of the visits is 16 M K / W bytes. A step on dense inputs of B
samples and N features costs 4 B N K operations and reads and writes 28 N K bytes. Only
the two arrays of memories and velocities grow with N times K.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from .cpu import CHUNK_ELEMENTS, TILE_ELEMENTS, CpuTrainer, Shard, maximum_of
from .inputs import InputNoise, sparse_inputs

MOST_STEPS = 64
"""Steps of a window: more of them make longer tables, fewer make more visits."""


class Groups:
    """Features in groups, by the next step in which they are stored.

    ``following`` holds that step, for features in descending order of it; ``step`` is
    the present one.
    """

    def __init__(self, following: np.ndarray, step: int, n_steps: int):
        starts = np.flatnonzero(np.diff(following, prepend=n_steps + 1))
        edges = [*starts.tolist(), len(following)]
        self.slices = [*map(slice, edges[:-1], edges[1:])]
        self.coming = slice(step + 1, n_steps)
        # Number of groups that a coming step does not store.
        steps = np.arange(step + 1, n_steps)
        self.resting = np.searchsorted(-following[starts], -steps)


@dataclass
class Minibatch:
    """Inputs of a minibatch, and the features that they store.

    Attributes
    ----------
    X : CSR array of shape (n_samples, n_stored_features)
        Inputs, features that are not stored left out.
    step : int
        Number of the step in its window.
    features : array of int of shape (n_stored_features,)
        Which features these are.
    groups : Groups
        The features by the next step that stores them.
    since : array of int of shape (n_stored_features,)
        Row of ``pending`` with what each feature is still to be moved by.
    """

    X: sparse.csr_array
    step: int
    features: np.ndarray
    groups: Groups
    since: np.ndarray = field(default_factory=lambda: np.empty(0, np.intp))

    def __len__(self) -> int:
        return self.X.shape[0]

    def take(self, rows: np.ndarray, axis: int) -> Minibatch:
        return replace(self, X=self.X[rows])


class SparseShard(Shard):
    """Some of the memories, each feature of them as it was when last stored."""

    def prepare(self) -> None:
        self.velocity = np.zeros(self.weights.shape, self.weights.dtype)
        self.slopes = np.empty_like(self.overlaps)
        self.d_connections = np.empty_like(self.connections)
        shape = MOST_STEPS + 1, self.n_memories
        self.pending, self.largest = np.zeros((2, *shape), self.weights.dtype)
        self.u = self.velocity[:0]
        self.tile_size = max(1, TILE_ELEMENTS // self.n_memories)

    def begin(self, openings: list[tuple[np.ndarray, Groups]]) -> None:
        """Begin a window: enter the velocities until the features are stored."""
        self.largest[...] = 0
        for features, groups in openings:
            self._enter(self.velocity.take(features, axis=0), groups)

    def _enter(self, u: np.ndarray, groups: Groups) -> np.ndarray:
        """Enter velocities for the steps to come; return their largest components."""
        np.abs(u, out=u)
        peaks = np.zeros((len(groups.slices) + 1, self.n_memories), u.dtype)
        for number, group in enumerate(groups.slices, start=1):
            maximum_of(u[group], axis=0, out=peaks[number])
        np.maximum.accumulate(peaks, axis=0, out=peaks)
        coming = self.largest[groups.coming]
        np.maximum(coming, peaks[groups.resting], out=coming)
        return peaks[-1]

    def catch_up(self, features: np.ndarray, since: np.ndarray) -> tuple:
        """Move features by what is pending; return them, and their velocities."""
        shape = 2, len(features), self.n_memories
        memories, velocities = np.empty(shape, self.velocity.dtype)
        for start in range(0, len(features), self.tile_size):
            tile = slice(start, start + self.tile_size)
            some, moved, u = features[tile], memories[tile], velocities[tile]
            self.velocity.take(some, axis=0, out=u, mode="clip")
            self.pending.take(since[tile], axis=0, out=moved, mode="clip")
            moved *= u
            moved += self.visible[some]
            np.clip(moved, -1, 1, out=moved)
            self.visible[some] = moved
        return memories, velocities

    def settle(self) -> None:
        """Move all features by what is pending."""
        if not self.pending.any():
            return
        for start in range(0, len(self.moving), self.tile_size):
            features = self.moving[start : start + self.tile_size]
            self.catch_up(features, self.since[features])
        self.pending[...] = 0

    def multiply(self, v: Minibatch) -> np.ndarray:
        memories, self.u = self.catch_up(v.features, v.since)
        self.v = v
        return v.X @ memories

    def move(self, v, slopes, rate, tiny) -> None:
        n_visible = len(self.visible)
        u = self.u
        u += v.X.T @ slopes
        self.velocity[v.features] = u
        peak = self._enter(u, v.groups)
        own = self.velocity[n_visible:]
        own += self.d_connections
        np.maximum(peak, self.largest[v.step], out=peak)
        np.maximum(peak, maximum_of(np.abs(own), axis=0), out=peak)
        np.maximum(peak, tiny, out=peak)
        np.divide(rate, peak, out=peak)
        self.pending[: v.step + 2] += peak
        np.clip(self.connections + own * peak, -1, 1, out=self.connections)

    def rest(self) -> None:
        # Without momentum only what the last step stored has a velocity.
        self.velocity[self.moving] = 0
        self.velocity[len(self.visible) :] = 0
        self.u[...] = self.largest[...] = 0
        self.moving = self.v.features

    def at_rest(self, some: np.ndarray) -> np.ndarray:
        moves = self.largest[self.v.step, some] > 0
        moves |= self.u[:, some].any(axis=0)
        moves |= self.velocity[len(self.visible) :, some].any(axis=0)
        return ~moves

    def divide_velocity(self, divisor, some=slice(None)) -> None:
        if not np.size(divisor):
            return
        self.settle()
        super().divide_velocity(divisor, some)
        self.u[:, some] /= divisor
        self.largest[:, some] /= divisor


class SparseTrainer(CpuTrainer):
    """Training steps on CSR samples."""

    shard_kind = SparseShard

    @staticmethod
    def work(network: Any, X: Any, batch_size: int) -> float:
        n_stored = X.nnz / X.shape[0] + bool(network.intercept)
        return network.n_memories * n_stored * batch_size

    def _prepare_inputs(self, batch_size: int) -> None:
        n_visible = self.network.n_visible
        n_stored = self.work(self.network, self.samples.X, batch_size)
        n_stored //= self.network.n_memories
        steps = CHUNK_ELEMENTS // max(1, n_stored)
        self.batches_in_chunk = int(max(1, min(steps, MOST_STEPS)))
        if not self.settings.momentum:
            self.batches_in_chunk = 1
        self.since, self.following = np.zeros((2, n_visible), np.intp)

    def _set_velocity(self, velocity: Any) -> None:
        super()._set_velocity(velocity)
        n_visible = self.network.n_visible
        moves = np.zeros(n_visible, bool)
        moves[self.samples.X.indices] = True
        moves[self.network.n_features :] = True
        if velocity is not None:
            for shard in self.shards:
                moves |= shard.velocity[:n_visible].any(axis=1)
        self.moving = np.flatnonzero(moves)
        for shard in self.shards:
            shard.moving, shard.since = self.moving, self.since

    def epoch(self, number, order, temperature, meanwhile=None):
        metrics = super().epoch(number, order, temperature, meanwhile)
        self._settle()
        return metrics

    def velocity(self):
        self._settle()
        return super().velocity()

    def _settle(self) -> None:
        self.threads.map(SparseShard.settle, self.shards)
        self.since[...] = 0

    def _inputs(self, rows, edges: list, noise: InputNoise | None) -> list[Minibatch]:
        """Return the inputs of a window's minibatches, and begin the window."""
        self._settle()
        network = self.network
        hashes = None if noise is None else self.samples.hashes
        X, unit = self.samples.X, network.unit
        v = sparse_inputs(X, rows, self.dtype, unit, network.intercept, noise, hashes)
        n_steps = len(edges)
        following = self.following
        following[...] = n_steps
        parts = []
        for step in reversed(range(n_steps)):
            ends = v.indptr[edges[step][0] : edges[step][1] + 1]
            stored = slice(ends[0], ends[-1])
            features, columns = np.unique(v.indices[stored], return_inverse=True)
            order = np.argsort(-following[features], kind="stable")
            place = np.empty(len(order), np.int32)
            place[order] = np.arange(len(order), dtype=np.int32)
            part = sparse.csr_array(
                (v.data[stored], place[columns], ends - ends[0]),
                shape=(len(ends) - 1, len(order)),
            )
            features = features[order]
            groups = Groups(following[features], step, n_steps)
            parts.append(Minibatch(part, step, features, groups))
            following[features] = step
        openings = []
        if self.settings.momentum:
            moving = self.moving[np.argsort(-following[self.moving], kind="stable")]
            size = self.shards[0].tile_size
            for start in range(0, len(moving), size):
                some = moving[start : start + size]
                openings.append((some, Groups(following[some], -1, n_steps)))
        self.threads.map(lambda shard: shard.begin(openings), self.shards)
        return parts[::-1]

    def _step(self, v: Minibatch, *arguments) -> None:
        v.since = self.since[v.features]
        self.since[v.features] = v.step + 1
        super()._step(v, *arguments)
