"""The inner loops, one module for each kind of array.

What a kernel does is said in :mod:`skdam.kernels.base`; ``reference`` says it in
equations, for any namespace; the other modules say it fast, for arrays of one kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from array_api_compat import is_cupy_array, is_numpy_array

from ..devices import Place
from ..formulations import Formulation
from .base import Kernel, Step
from .cuda import CudaKernel, has_kernel
from .cues import Disturbance
from .numpy import NumpyKernel
from .reference import ReferenceKernel
from .threads import thread_team

__all__ = ["Disturbance", "Kernel", "Step", "kernel_for"]


@contextmanager
def kernel_for(
    memories: Any,
    connections: Any,
    formulation: Formulation,
    batch_size: int,
    reach: float | None = None,
    precision: str = "full",
    bias: float = 0.0,
) -> Iterator[Kernel]:
    """Open the kernel for where the memories live.

    Parameters
    ----------
    memories : array of shape (n_memories, n_neurons)
        Memories of the network, with their elements at the bias neuron if there is one.
    connections : array of shape (n_memories, n_classes)
        Recognition connections.
    formulation : Formulation
        Equations of the network.
    batch_size : int
        Largest number of samples in a minibatch.
    reach : float, optional
        The largest overlap that can occur, in neurons.
    precision : {"full", "tf32"}, default="full"
        Of matrix products on a GPU.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    """
    if is_numpy_array(memories):
        with thread_team(memories.size * batch_size) as threads:
            yield NumpyKernel(formulation, reach, threads, bias)
    elif is_cupy_array(memories) and has_kernel(formulation.energy):
        n_classes = connections.shape[1]
        yield CudaKernel(formulation, n_classes, memories.dtype, reach, precision, bias)
    else:
        yield ReferenceKernel(formulation, Place.of_array(memories), bias)
