"""CUDA devices, as CuPy sees them: which one to take, its streams, and its memory."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from multiprocessing import current_process
from typing import Any

import numpy as np
from scipy import sparse

try:
    import cupy
except ImportError:
    cupy = None

Array = Any

CHUNK_BYTES = 2**26
"""What is copied to the device at once."""

SPARE_SHARE = 0.2
"""Share of the free memory that data must leave free."""

WORKSPACE_BYTES = 2**25
"""What cuBLAS recommends for the largest devices."""

COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70
GEMM_DEFAULT = -1

OUT_OF_MEMORY = {"CUDARuntimeError": [2], "CUDADriverError": [2], "CUBLASError": [1, 3]}
"""Statuses of errors for too little memory; cuBLAS also says NOT_INITIALIZED."""

_lock = threading.Lock()
_turn = count()
_of_thread = threading.local()
_residents: list[_Resident] = []
_free_leases: defaultdict[int, list[Lease]] = defaultdict(list)
_n_leased: Counter[int] = Counter()


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


class Lease:
    """A stream, and a cuBLAS handle with its memory, for one thread at a time.

    They are kept for the next one and never destroyed: that would disturb what another
    thread records.
    """

    def __init__(self) -> None:
        self.stream = cupy.cuda.Stream(non_blocking=True)

    @cached_property
    def _gemm(self) -> Callable:
        """cublasGemmEx, on the stream."""
        # CuPy refuses cuBLAS calls while it records, so they are made directly.
        library, handle = _cublas(), ctypes.c_void_p(cupy.cuda.cublas.create())
        pointer, number = ctypes.c_void_p, ctypes.c_int
        signature = [pointer] + 5 * [number] + 2 * [pointer] + 2 * [number] + [pointer]
        signature += 2 * [number] + 2 * [pointer] + 4 * [number]
        library.cublasGemmEx.argtypes = signature

        def checked(name: str, *arguments: Any) -> None:
            if status := getattr(library, name)(handle, *arguments):
                raise cupy.cuda.cublas.CUBLASError(status)

        checked("cublasSetStream_v2", pointer(self.stream.ptr))
        # A workspace that cuBLAS allocated itself would be part of a recorded graph.
        self._workspace = cupy.empty(WORKSPACE_BYTES, np.uint8)
        address = pointer(self._workspace.data.ptr)
        checked("cublasSetWorkspace_v2", address, ctypes.c_size_t(WORKSPACE_BYTES))
        return partial(checked, "cublasGemmEx")

    def matmul(self, a: Array, b: Array, out: Array, *, add: bool = False) -> None:
        """Let ``out`` become ``a @ b``, or ``out + a @ b``.

        The rows of all matrices are contiguous.
        """
        kind, compute, real = 1, COMPUTE_64F, ctypes.c_double
        if out.dtype == np.float32:
            tf32 = int(os.environ.get("CUPY_TF32", "0")) > 0
            compute = COMPUTE_32F_FAST_TF32 if tf32 else COMPUTE_32F
            kind, real = 0, ctypes.c_float
        # To BLAS, rows are columns: out^T = b^T . a^T.
        (m, n), k = out.shape[::-1], b.shape[0]
        lda, ldb, ldc = (array.strides[0] // array.itemsize for array in (b, a, out))
        self._gemm(
            *(0, 0, m, n, k, ctypes.byref(real(1)), b.data.ptr, kind, lda),
            *(a.data.ptr, kind, ldb, ctypes.byref(real(add)), out.data.ptr, kind, ldc),
            *(compute, GEMM_DEFAULT),
        )


def _cublas() -> Any:
    """Return the library, whose symbols are found through CuPy's module."""
    return ctypes.CDLL(cupy.cuda.cublas.__file__)


@contextmanager
def lease() -> Iterator[Lease]:
    """Work on a stream of one's own on the current device.

    The calling thread has one at most on each device: inside the context, the same one
    is yielded again.
    """
    number, given = cupy.cuda.Device().id, cupy.cuda.get_current_stream()
    own = vars(_of_thread).setdefault("leases", {})
    outer = taken = own.get(number)
    if outer is None:
        with _lock:
            free = _free_leases[number]
            taken = own[number] = free.pop() if free else Lease()
            _n_leased[number] += 1
    try:
        taken.stream.wait_event(given.record())
        with taken.stream:
            yield taken
    finally:
        try:
            taken.stream.synchronize()
        finally:
            if outer is None:
                with _lock:
                    free.append(own.pop(number))
                    _n_leased[number] -= 1
                    if not _n_leased[number]:
                        # The pool keeps memory by stream; other threads cannot use it.
                        cupy.get_default_memory_pool().free_all_blocks()


@contextmanager
def session(device: Any, advice: str) -> Iterator[Lease]:
    """Work on a device, on a stream of the calling thread.

    If the device's memory does not suffice, a MemoryError ends with the advice.
    """
    with device:
        try:
            with lease() as own:
                yield own
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            free, total = device.mem_info
            raise MemoryError(
                f"The memory of CUDA device {device.id} does not suffice: {error} "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free. {advice}"
            ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether a device could not allocate, in CuPy's pool or beside it."""
    statuses = OUT_OF_MEMORY.get(type(error).__name__, [])
    return (
        isinstance(error, cupy.cuda.memory.OutOfMemoryError)
        or getattr(error, "status", None) in statuses
    )


class Sender:
    """Copies arrays of up to ``n_bytes`` to the device.

    Of two page-locked buffers, one is filled while the other is copied from.
    """

    def __init__(self, n_bytes: int):
        self._buffers = [cupy.cuda.alloc_pinned_memory(n_bytes) for _ in range(2)]
        self._sent = [None, None]

    def send(self, host: np.ndarray, array: Array) -> None:
        """Copy an array, after what the current stream has to do."""
        stream = cupy.cuda.get_current_stream()
        if self._sent[0] is not None:
            self._sent[0].synchronize()
        buffer = np.frombuffer(self._buffers[0], host.dtype, host.size)
        buffer = buffer.reshape(host.shape)
        buffer[...] = host
        array.set(buffer, stream=stream)
        self._sent[0] = stream.record()
        self._buffers.reverse()
        self._sent.reverse()


@dataclass(eq=False)
class _Resident:
    """Data on a device, and how many hold it."""

    host: np.ndarray
    device: int
    array: Array = None
    holders: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def kind(self) -> tuple:
        return self.device, self.host.shape, self.host.dtype

    def is_copy_of(self, X: np.ndarray) -> bool:
        # Bit by bit: NaN is the same as NaN.
        bits = f"u{X.itemsize}"
        return self.host is X or np.array_equal(self.host.view(bits), X.view(bits))


@contextmanager
def hold(X: Any, working_bytes: int) -> Iterator[Any]:
    """Hold X on the current device, shared with whoever holds the same data there.

    X is not to be changed meanwhile. Where it does not fit beside the ``working_bytes``
    of the training, or is sparse, X itself is yielded, to be sent by minibatches.
    """
    if sparse.issparse(X):
        yield X
        return
    own = _Resident(X, cupy.cuda.Device().id)
    with _lock:
        others = [resident for resident in _residents if resident.kind == own.kind]
        for resident in others:
            resident.holders += 1
        _residents.append(own)
    held = [*others, own]
    try:
        # Whole arrays are compared while others go on.
        same = next(resident for resident in held if resident.is_copy_of(X))
        _release(resident for resident in held if resident is not same)
        held = [same]
        with same.lock:
            if same.array is None:
                same.array = _upload_if_it_fits(X, working_bytes)
        try:
            yield X if same.array is None else same.array
        finally:
            cupy.cuda.get_current_stream().synchronize()
    finally:
        _release(held)


def _release(residents: Iterable[_Resident]) -> None:
    with _lock:
        for resident in residents:
            resident.holders -= 1
            if not resident.holders:
                _residents.remove(resident)


def _upload_if_it_fits(X: np.ndarray, working_bytes: int) -> Array | None:
    free = cupy.cuda.Device().mem_info[0]
    free += cupy.get_default_memory_pool().free_bytes()
    if X.nbytes + working_bytes > (1 - SPARE_SHARE) * free:
        return None
    try:
        array = cupy.empty(X.shape, X.dtype)
        rows = max(1, min(len(X), CHUNK_BYTES // max(1, X[0].nbytes)))
        sender = Sender(rows * X[0].nbytes)
        for start in range(0, len(X), rows):
            sender.send(X[start : start + rows], array[start : start + rows])
        cupy.cuda.get_current_stream().synchronize()
    except Exception as error:
        # Another process may have taken the memory meanwhile.
        if not _is_out_of_memory(error):
            raise
        return None
    return array
