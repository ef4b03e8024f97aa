"""Scoring samples, a few at a time: memory grows with the batch, not with the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .devices import Place, take, to_numpy
from .formulations import EnergyDifference
from .kernels import Kernel
from .kernels.cues import cues_at
from .kernels.signal import widest_float
from .objectives import Objective
from .training import minibatches

__all__ = ["SAMPLES_AT_ONCE", "energies", "mean_loss_and_accuracy", "scores_by_batch"]

Array = Any

SAMPLES_AT_ONCE = 2000
"""Samples whose overlaps are held at once."""


def scores_by_batch(
    kernel: Kernel, X: Array, memories: Array, connections: Array
) -> Iterator[tuple[slice, Array, Array]]:
    """Yield rows of X, their overlaps (n_memories, n_samples) and their scores.

    The overlaps stay valid until the next rows.
    """
    for rows in minibatches(X.shape[0], SAMPLES_AT_ONCE, None):
        batch = kernel.batch(X, rows, memories.dtype)
        yield rows, *kernel.forward(batch, memories, connections)


def mean_loss_and_accuracy(
    kernel: Kernel,
    network: tuple[Array, Array],
    objective: Objective,
    X: Array,
    codes: np.ndarray,
    weights: np.ndarray | None,
) -> tuple[float, float]:
    """Return mean loss and accuracy of memories and connections on validation data."""
    place = Place.of_array(network[0])
    xp = place.xp
    signs = xp.astype(place.put(2 * np.eye(network[1].shape[1]) - 1), network[1].dtype)
    losses, hits = [], []
    for rows, _, scores in scores_by_batch(kernel, X, *network):
        labels = place.put(codes[rows])
        evaluation = objective.evaluate(scores, xp.take(signs, labels, axis=0))
        losses.append(evaluation.loss)
        hits.append(xp.argmax(scores, axis=1) == labels)
    values = [to_numpy(xp.concat(parts)).astype(np.float64) for parts in (losses, hits)]
    loss, accuracy = np.average(values, axis=1, weights=weights)
    return float(loss), float(accuracy)


def energies(
    network: EnergyDifference,
    X: Array,
    memories: Array,
    connections: Array,
    states: np.ndarray,
    bias: float = 0.0,
) -> Array:
    """Return the energy of each sample with its classification units at ``states``.

    In double precision, where the device has it.
    """
    place = Place.of_array(memories)
    xp, wide = place.xp, widest_float(memories)
    memories, connections = xp.astype(memories, wide), xp.astype(connections, wide)
    states = xp.astype(place.put(states), wide)
    offset = network.offset(connections)
    parts = []
    for rows in minibatches(X.shape[0], SAMPLES_AT_ONCE, None):
        batch = cues_at(X, rows, wide, network.temperature, bias)
        x = batch @ memories.T + offset
        parts.append(network.energies(x, connections, take(states, rows)))
    return xp.concat(parts)
