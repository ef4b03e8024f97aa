"""The inner loops, one module for each kind of array.

What a kernel does is said in :mod:`skdam.kernels.base`; ``reference`` says it in
equations, for any namespace; the other modules say it fast, for arrays of one kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from array_api_compat import is_numpy_array

from ..formulations import Formulation
from .base import Kernel, Step
from .numpy import NumpyKernel
from .reference import ReferenceKernel
from .threads import thread_team

__all__ = ["Kernel", "Step", "kernel_for"]


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
