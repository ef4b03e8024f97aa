"""The equations as they are written, for arrays of any Array API namespace.

Slower than the kernels made for one kind of array, and what these are tested against.
Element by element all is done in double precision where the device has it, so that no
power overflows; the matrix products are in the precision of the memories.
"""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace
from scipy import sparse

from ..devices import Place, take
from ..formulations import Formulation
from .base import Kernel
from .cues import Disturbance, cues
from .signal import ErrorSignal, widest_float

__all__ = ["ReferenceKernel"]

Array = Any


class ReferenceKernel(Kernel):
    """Scores and descent steps of one network, in any namespace.

    Parameters
    ----------
    formulation : Formulation
        Equations of the network, with its energy and temperature.
    place : Place, optional
        Where to compute; by default where the data is.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    """

    def __init__(
        self,
        formulation: Formulation,
        place: Place | None = None,
        bias: float = 0.0,
    ):
        super().__init__(formulation, bias)
        self.place = place

    def batch(
        self,
        X: Array,
        rows: slice | Array,
        dtype: Any,
        disturbance: Disturbance | None = None,
    ) -> Array:
        samples = take(X, rows)
        samples = samples.toarray() if sparse.issparse(samples) else samples
        place = self.place or Place.of_array(samples)
        samples = place.xp.astype(place.put(samples), dtype)
        drawn = []
        if disturbance is not None:
            drawn = [
                None if part is None else place.xp.astype(place.put(part), dtype)
                for part in disturbance.draw(rows, samples.shape[1], "float64")
            ]
        return cues(samples, self.formulation.temperature, self.bias, *drawn)

    def forward(
        self, batch: Array, memories: Array, connections: Array
    ) -> tuple[Array, Array]:
        xp = array_namespace(batch)
        overlaps = memories @ batch.T + self.formulation.offset(connections)[:, None]
        wide = widest_float(batch)
        scores = self.formulation.scores(
            xp.astype(overlaps, wide).T, xp.astype(connections, wide)
        )
        # Beyond the range of the type is far beyond what tanh distinguishes.
        most = xp.finfo(memories.dtype).max
        scores = xp.clip(scores, -most, most)
        return overlaps, xp.astype(scores, memories.dtype)

    def descend(
        self, batch: Array, overlaps: Array, signal: ErrorSignal, state
    ) -> None:
        xp = array_namespace(batch)
        delta, log_weight, samples = signal
        if samples is not None:
            batch = xp.take(batch, samples, axis=0)
            overlaps = xp.take(overlaps, samples, axis=1)
            delta = xp.take(delta, samples, axis=0)
            log_weight = xp.take(log_weight, samples, axis=0)
        wide, dtype = widest_float(batch), state.memories.dtype
        log_weight = xp.astype(log_weight, wide)
        common = xp.max(log_weight)
        delta = xp.astype(delta, wide) * xp.exp(log_weight - common)[:, None]
        d_overlaps, d_connections = self.formulation.gradient(
            xp.astype(overlaps, wide).T, xp.astype(state.connections, wide), delta
        )
        # In the range of the memories' type, each memory by a factor of its own.
        peak = xp.maximum(
            xp.max(xp.abs(d_overlaps), axis=0), xp.max(xp.abs(d_connections), axis=1)
        )
        moved = peak > 0
        peak = xp.where(moved, peak, xp.ones_like(peak))
        none = xp.full_like(peak, -math.inf)
        log_scale = xp.where(moved, common + xp.log(peak), none)
        gradient = xp.astype((d_overlaps / peak).T, dtype) @ batch
        gradient = xp.concat(
            [xp.astype(gradient, wide), d_connections / peak[:, None]], axis=1
        )

        # V(t) = p V(t-1) - dC/dxi, in units of the larger of the two.
        momentum = self.step.momentum
        log_momentum = math.log(momentum) if momentum else -math.inf
        kept = state.log_scale + log_momentum
        scale = xp.maximum(kept, log_scale)
        scale = xp.where(scale > -math.inf, scale, xp.zeros_like(scale))
        velocity = xp.concat([state.velocity, state.connection_velocity], axis=1)
        velocity = xp.exp(kept - scale)[:, None] * xp.astype(velocity, wide)
        velocity = velocity - xp.exp(log_scale - scale)[:, None] * gradient
        peak = xp.max(xp.abs(velocity), axis=1)
        peak = xp.where(peak > 0, peak, xp.ones_like(peak))
        velocity = velocity / peak[:, None]
        state.log_scale = scale + xp.log(peak)

        memories = xp.concat([state.memories, state.connections], axis=1)
        memories = xp.astype(memories, wide) + self.step.learning_rate * velocity
        memories = xp.astype(xp.clip(memories, -1, 1), dtype)
        velocity = xp.astype(velocity, dtype)
        n_features = state.memories.shape[1]
        state.memories = memories[:, :n_features]
        state.connections = memories[:, n_features:]
        state.velocity = velocity[:, :n_features]
        state.connection_velocity = velocity[:, n_features:]
