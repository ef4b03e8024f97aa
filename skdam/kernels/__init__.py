"""The inner loops, one module for each kind of array.

A kernel holds a formulation and offers, in the order of a training step, ``batch``
(rows of the data), ``forward`` (overlaps and scores), ``error_signal`` (gradient of the
objective) and ``descend`` (the step of the memories).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from array_api_compat import is_numpy_array

from ..formulations import Formulation
from .numpy import NumpyKernel
from .reference import ReferenceKernel
from .threads import thread_team

__all__ = ["Kernel", "kernel_for"]

Kernel = NumpyKernel | ReferenceKernel


@contextmanager
def kernel_for(
    memories: Any,
    formulation: Formulation,
    batch_size: int,
    reach: float | None = None,
) -> Iterator[Kernel]:
    """Open the kernel for where the memories live.

    Parameters
    ----------
    memories : array of shape (n_memories, n_features)
        Memories of the network.
    formulation : Formulation
        Equations of the network.
    batch_size : int
        Largest number of samples in a minibatch.
    reach : float, optional
        The largest overlap that can occur, in neurons.
    """
    if is_numpy_array(memories):
        with thread_team(memories.size * batch_size) as threads:
            yield NumpyKernel(formulation, reach, threads)
    else:
        yield ReferenceKernel(formulation)
