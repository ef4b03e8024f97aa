"""Silent memories: found, and drawn anew.

With a rectified energy, a memory that has a positive overlap with no sample contributes
nothing and has no gradient, so that the rule of training never brings it back. Many
fall silent in the first steps, in which all memories move along what the samples have
in common. Drawn anew when the others have learned that, most of them stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_numpy_array
from sklearn.utils import gen_batches

from .devices import Place, to_numpy
from .formulations import Feedforward
from .kernels import Kernel

__all__ = ["Revival"]

SAMPLES = 2000
"""Samples, evenly spread over the data, that tell whether a memory is silent."""


@dataclass(frozen=True)
class Revival:
    """The rule by which silent memories are drawn anew.

    Parameters
    ----------
    n_epochs : int
        Epochs, from the first on, after each of which it is applied.
    std : float
        Standard deviation of the new memories; their mean is 0.
    seed : int
        Seed of the draws, which do not depend on anything else that is random.
    """

    n_epochs: int
    std: float
    seed: int

    def apply(
        self, kernel: Kernel, state: Any, X: Any, batch_size: int, epoch: int
    ) -> int:
        """Draw the silent memories of ``state`` anew, at rest; return their number."""
        if epoch >= self.n_epochs:
            return 0
        silent = silent_memories(kernel, state, X, batch_size)
        if not silent.any():
            return 0
        shape = int(silent.sum()), state.memories.shape[1] + state.connections.shape[1]
        rng = np.random.RandomState([self.seed, epoch])
        drawn = rng.normal(0, self.std, shape).clip(-1, 1)
        memories, connections = np.split(drawn, [state.memories.shape[1]], axis=1)
        for part, rows in [
            (state.memories, memories),
            (state.connections, connections),
            (state.velocity, 0),
            (state.connection_velocity, 0),
            (state.log_scale, -np.inf),
        ]:
            _replace(part, silent, rows)
        return shape[0]


def silent_memories(kernel: Kernel, state: Any, X: Any, batch_size: int) -> np.ndarray:
    """Return which memories respond to none of some samples of X."""
    rows = np.arange(0, X.shape[0], -(-X.shape[0] // SAMPLES))
    largest = np.full(state.memories.shape[0], -np.inf)
    for some in gen_batches(len(rows), batch_size):
        batch = kernel.batch(X, rows[some], state.memories.dtype)
        overlaps, _ = kernel.forward(batch, state.memories, state.connections)
        found = Place.of_array(overlaps).xp.max(overlaps, axis=1)
        largest = np.maximum(largest, to_numpy(found))
    if not isinstance(kernel.formulation, Feedforward):
        # As far as flipping a classification unit can lift an overlap.
        largest = largest + 2 / kernel.formulation.temperature
    return largest <= 0


def _replace(part: Any, which: np.ndarray, rows: Any) -> None:
    """Write rows in the place of some rows of an array that lives anywhere."""
    if is_numpy_array(part):
        part[which] = rows
        return
    new = np.zeros(part.shape)
    new[which] = rows
    mask = which.reshape(-1, *[1] * (part.ndim - 1))
    place = Place.of_array(part)
    xp = place.xp
    # In place: a recorded graph of a GPU holds the address.
    part[...] = xp.where(place.put(mask), xp.astype(place.put(new), part.dtype), part)
