"""CUDA devices, as CuPy sees them: which one to take, its streams, and its memory."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import current_process
from typing import Any

import numpy as np
from scipy import sparse

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["Resident", "count_devices", "device_named", "hold", "session"]

Array = Any

CHUNK_BYTES = 2**26
"""What is copied to the device at once."""

SPARE_SHARE = 0.2
"""Share of the free memory that data leaves to others."""

_lock = threading.Lock()
_turn = count()
_streams = threading.local()
_residents: weakref.WeakSet = weakref.WeakSet()


def count_devices() -> int:
    """Return the number of CUDA devices that CuPy can use; 0 without CuPy."""
    if cupy is None:
        return 0
    try:
        return cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def device_named(name: str) -> Any:
    """Return the device "cuda:1", or with "cuda" the next one in turn.

    The fits of one process take turns by threads, those of several by processes.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    n_devices = count_devices()
    if n_devices == 0:
        missing = "CuPy is not installed" if cupy is None else "CuPy sees none"
        raise ValueError(f"device={name!r} needs a CUDA device, but {missing}.")
    _, _, number = name.partition(":")
    if number and int(number) >= n_devices:
        raise ValueError(
            f"device={name!r} is not there; CuPy sees {n_devices}, from 'cuda:0' on."
        )
    if number:
        return cupy.cuda.Device(int(number))
    # joblib's workers are numbered from 1 on: LokyProcess-1, ...
    worker = re.search(r"-(\d+)", current_process().name)
    own = int(worker[1]) - 1 if worker else next(_turn)
    return cupy.cuda.Device(own % n_devices)


@contextmanager
def session(device: Any, advice: str) -> Iterator[None]:
    """Work on a device, on a stream of the calling thread.

    Parameters
    ----------
    device : cupy.cuda.Device
        Where to work.
    advice : str
        What to do if the device's memory does not suffice.

    Raises
    ------
    MemoryError
        If the device's memory does not suffice.
    """
    with device:
        given = cupy.cuda.get_current_stream().record()
        streams = vars(_streams)
        if device.id not in streams:
            streams[device.id] = cupy.cuda.Stream(non_blocking=True)
        stream = streams[device.id]
        stream.wait_event(given)
        try:
            with stream:
                yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            free, total = device.mem_info
            raise MemoryError(
                f"The memory of CUDA device {device.id} does not suffice: {error} "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free. {advice}"
            ) from error
        finally:
            stream.synchronize()


class Resident:
    """Data that fits on a device share while any of them needs it."""

    def __init__(self, host: np.ndarray, array: Array):
        self.host = host
        self.array = array

    def is_copy_of(self, X: np.ndarray) -> bool:
        return (
            self.array.device == cupy.cuda.Device()
            and (self.host.shape, self.host.dtype) == (X.shape, X.dtype)
            and (self.host is X or np.array_equal(self.host, X))
        )


def hold(X: Any, working_bytes: int) -> Resident | None:
    """Return X on the current device, shared with whoever holds the same data there.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        Data on the host.
    working_bytes : int
        What the training takes beside the data.

    Returns
    -------
    Resident or None
        None if the data does not fit: it is then to be sent by minibatch.
    """
    if sparse.issparse(X):
        # Rows become dense in minibatches, and only there.
        return None
    with _lock:
        for resident in list(_residents):
            if resident.is_copy_of(X):
                return resident
        free = cupy.cuda.Device().mem_info[0]
        free += cupy.get_default_memory_pool().free_bytes()
        if X.nbytes + working_bytes > (1 - SPARE_SHARE) * free:
            return None
        try:
            resident = Resident(X, _upload(X))
        except cupy.cuda.memory.OutOfMemoryError:
            # Another process was faster.
            return None
        _residents.add(resident)
        return resident


def _upload(X: np.ndarray) -> Array:
    """Copy to the device through page-locked memory, which is as fast as the bus."""
    array = cupy.empty(X.shape, X.dtype)
    stream = cupy.cuda.get_current_stream()
    rows = max(1, min(len(X), CHUNK_BYTES // max(1, X[0].nbytes)))
    buffers = [_pinned((rows, *X.shape[1:]), X.dtype) for _ in range(2)]
    sent = [None, None]
    for number, start in enumerate(range(0, len(X), rows)):
        which = number % 2
        if sent[which] is not None:
            sent[which].synchronize()
        chunk = buffers[which][: len(X) - start]
        chunk[...] = X[start : start + rows]
        array[start : start + rows].set(chunk, stream=stream)
        sent[which] = stream.record()
    stream.synchronize()
    return array


def _pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = cupy.cuda.alloc_pinned_memory(n_bytes)
    return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)
