"""CUDA devices, as CuPy sees them: which one to take, its streams, and its memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing import current_process
from typing import Any

import numpy as np
from scipy import sparse

try:
    import cupy
except ImportError:
    cupy = None

__all__ = ["count_devices", "device_named", "hold", "session"]

Array = Any

CHUNK_BYTES = 2**26
"""What is copied to the device at once."""

SPARE_SHARE = 0.2
"""Share of the free memory that data leaves to others."""

_lock = threading.Lock()
_turn = count()
_of_thread = threading.local()
_residents: list[_Resident] = []


def count_devices() -> int:
    """Return the number of CUDA devices that CuPy can use; 0 without CuPy."""
    if cupy is None:
        return 0
    try:
        return cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def device_named(name: str) -> Any:
    """Return the device "cuda:1", or with "cuda" that of the calling thread.

    Threads take the devices in turn, and so do joblib's worker processes.

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
    if not hasattr(_of_thread, "turn"):
        _of_thread.turn = int(worker[1]) - 1 if worker else next(_turn)
    return cupy.cuda.Device(_of_thread.turn % n_devices)


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
        streams = vars(_of_thread).setdefault("streams", {})
        if device.id not in streams:
            streams[device.id] = cupy.cuda.Stream(non_blocking=True)
        stream = streams[device.id]
        stream.wait_event(given)
        try:
            with stream:
                yield
        except Exception as error:
            if not _is_want_of_memory(error):
                raise
            free, total = device.mem_info
            raise MemoryError(
                f"The memory of CUDA device {device.id} does not suffice: {error} "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free. {advice}"
            ) from error
        finally:
            stream.synchronize()


def _is_want_of_memory(error: Exception) -> bool:
    """Tell whether a device could not allocate, in the pool or beside it."""
    if isinstance(error, cupy.cuda.memory.OutOfMemoryError):
        return True
    if isinstance(error, cupy.cuda.cublas.CUBLASError):
        return "ALLOC_FAILED" in str(error)
    return (
        isinstance(error, cupy.cuda.runtime.CUDARuntimeError)
        and error.status == cupy.cuda.runtime.errorMemoryAllocation
    )


@dataclass(eq=False)
class _Resident:
    """Data on a device, and how many hold it."""

    host: np.ndarray
    array: Array
    holders: int = 0

    def is_copy_of(self, X: np.ndarray) -> bool:
        return (
            self.array.device == cupy.cuda.Device()
            and (self.host.shape, self.host.dtype) == (X.shape, X.dtype)
            and np.array_equal(self.host, X)
        )


@contextmanager
def hold(X: Any, working_bytes: int) -> Iterator[Any]:
    """Hold X on the current device, shared with whoever holds the same data there.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        Data on the host; not to be changed meanwhile.
    working_bytes : int
        What the training takes beside the data.

    Yields
    ------
    array or CSR array
        X on the device; or X itself where it does not fit, to be sent by minibatch.
    """
    resident = None if sparse.issparse(X) else _take_hold(X, working_bytes)
    if resident is None:
        yield X
        return
    try:
        yield resident.array
    finally:
        with _lock:
            resident.holders -= 1
            if not resident.holders:
                _residents.remove(resident)


def _take_hold(X: np.ndarray, working_bytes: int) -> _Resident | None:
    with _lock:
        for resident in _residents:
            if resident.is_copy_of(X):
                resident.holders += 1
                return resident
        free = cupy.cuda.Device().mem_info[0]
        free += cupy.get_default_memory_pool().free_bytes()
        if X.nbytes + working_bytes > (1 - SPARE_SHARE) * free:
            return None
        try:
            resident = _Resident(X, _upload(X), holders=1)
        except Exception as error:
            # Another process may have been faster.
            if not _is_want_of_memory(error):
                raise
            return None
        _residents.append(resident)
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
