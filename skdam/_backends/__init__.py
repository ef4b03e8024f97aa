"""The inner loops of training and recall, one file for each kind of array.

``array_api`` says them in the equations of the package, for any namespace, and is what
the others are tested against; ``cpu`` and ``cuda`` compute the same fast.

A trainer descends one step for every minibatch of an epoch. It offers

- ``epoch(number, order, temperature, meanwhile)``: train for one epoch; return its
  :class:`EpochMetrics`. A trainer whose device works by itself calls ``meanwhile()``
  while it waits, which returns the order of the next epoch, or None;
- ``network``: the network as it is now, at the temperature of the epoch;
- ``velocity()``: the velocities of the memories, a
  :class:`~skdam.learning_rule.Scaled`; from them and the network, another trainer of
  the same kind goes on with the same bits;
- ``without_gradient()``: on the host, which memories had no gradient in the last
  minibatch;
- ``reinitialise(memories, columns)``: replace some memories, given by their numbers,
  and set them at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from array_api_compat import is_cupy_array, is_numpy_array


class EpochMetrics(NamedTuple):
    """Weighted mean loss and share of correct predictions, each before its step."""

    loss: float
    accuracy: float


def minibatches(n_samples: int, batch_size: int) -> list[tuple[int, int]]:
    """Return first and last place of each minibatch, the last one excluded.

    They differ by one sample at most, so that none is left nearly empty.
    """
    n_batches = -(-n_samples // batch_size)
    edges = [n_samples * i // n_batches for i in range(n_batches + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def forward(network: Any, batch_size: int) -> AbstractContextManager[Callable]:
    """Open the scoring of a network, where its memories live.

    The callable takes X and a slice of its rows; it returns the scores, of shape
    (n_rows, n_classes), in an array of their own.
    """
    return _module(network).forward(network, batch_size)


def trainer(
    network: Any, samples: Any, settings: Any, velocity: Any = None
) -> AbstractContextManager:
    """Open the trainer of a network, where its memories live."""
    return _module(network).trainer(network, samples, settings, velocity)


def working_bytes(network: Any, batch_size: int) -> int:
    """Return about what a step holds on a GPU beside the data."""
    from . import cuda

    return cuda.working_bytes(network, batch_size)


def _module(network: Any) -> Any:
    if is_numpy_array(network.weights):
        from . import cpu as kind
    elif is_cupy_array(network.weights) and getattr(
        network.energy, "cuda_source", None
    ):
        from . import cuda as kind
    else:
        from . import array_api as kind
    return kind
