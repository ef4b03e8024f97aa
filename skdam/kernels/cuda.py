"""Kernels for CuPy arrays: fused, on one stream, and recorded as a graph.

A step is two matrix products and seven small kernels (``memory.cu``), whose arithmetic
is in ``arithmetic.h``. Order of samples, losses and hits stay on the device; the host
waits for it once an epoch. From the second epoch on, an epoch is recorded as one CUDA
graph and replayed, which spares the host the launches.

Samples whose gradient is below ``gradient_tolerance`` get the weight 0 but stay in the
products: every minibatch has the same shape.
"""

from __future__ import annotations

import ctypes
import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..energies import (
    Energy,
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from ..formulations import Feedforward, Formulation
from ..gpu import cupy
from ..objectives import PowerError
from .base import Kernel, Step
from .cues import Disturbance, cues_at
from .signal import MANY, ErrorSignal, Tally

__all__ = ["CudaKernel", "compile_options", "has_kernel", "source"]

Array = Any

SOURCES = ["reductions.h", "arithmetic.h", "memory.cu"]

ENERGIES = [RectifiedPolynomial, Polynomial, LogCosh, Softplus, Exponential]
"""In the order of their numbers in ``arithmetic.h``."""

THREADS, MOST_THREADS = 256, 1024
CLASS_TILE = 16
MEMORIES_PER_CHUNK = 32
MAX_CHUNKS = 64
MAX_RECORDED_STEPS = 4096

MAX_DIRECT_POWER = 8

CUDA_R_32F, CUDA_R_64F = 0, 1
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70
GEMM_DEFAULT = -1
WORKSPACE_BYTES = 2**25
"""What cuBLAS recommends for the largest devices."""


def has_kernel(energy: Energy) -> bool:
    """Tell whether the CUDA source knows an energy."""
    return type(energy) in ENERGIES


def source() -> str:
    """Return the CUDA source of all kernels."""
    return "".join((Path(__file__).parent / name).read_text() for name in SOURCES)


def compile_options(
    formulation: Formulation,
    n_classes: int,
    dtype: Any,
    log_loss: bool = False,
    reach: float | None = None,
) -> tuple[str, ...]:
    """Return the compiler's options that make the source one network's.

    Parameters
    ----------
    formulation : Formulation
        Equations of the network.
    n_classes : int
        Number of classes.
    dtype : dtype
        float32 or float64.
    log_loss : bool
        Whether the objective is the cross-entropy.
    reach : float, optional
        The largest overlap that can occur, in neurons; by default any.
    """
    energy = formulation.energy
    scale = None if reach is None else reach / formulation.temperature
    settings = {
        "REAL": "double" if dtype == np.float64 else "float",
        "ENERGY": ENERGIES.index(type(energy)),
        "POWER": repr(float(getattr(energy, "power", 0))),
        "DIFFERENCE": int(not isinstance(formulation, Feedforward)),
        "STEEP": int(_is_steep(energy, scale, dtype)),
        "LOSS": int(log_loss),
        "CLASSES": n_classes,
        "CLASS_TILE": min(n_classes, CLASS_TILE),
        "MANY": MANY,
    }
    return "--std=c++17", *(f"-D{name}={value}" for name, value in settings.items())


def _is_steep(energy: Energy, reach: float | None, dtype: Any) -> bool:
    """Tell whether sums of F(x) may leave the range of the type, up or down."""
    if isinstance(energy, Exponential):
        return True
    power = getattr(energy, "power", 0)
    if power <= 2:
        return False
    if power > MAX_DIRECT_POWER or reach is None:
        return True
    room = 0.5 * math.log(np.finfo(dtype).max)
    return power * abs(math.log(max(reach, 1e-300))) > room


@cache
def _module(options: tuple[str, ...]) -> Any:
    return cupy.RawModule(code=source(), options=options)


class CudaKernel(Kernel):
    """Scores and descent steps of one network on a GPU, with the buffers they reuse.

    Parameters
    ----------
    formulation : Formulation
        Equations of the network, with its energy and temperature.
    n_classes : int
        Number of classes.
    dtype : dtype
        float32 or float64.
    reach : float, optional
        The largest overlap that can occur, in neurons; by default any.
    precision : {"full", "tf32"}, default="full"
        Of the factors in matrix products of single precision.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    """

    step: Step | None = None

    def __init__(
        self,
        formulation: Formulation,
        n_classes: int,
        dtype: Any,
        reach: float | None = None,
        precision: str = "full",
        bias: float = 0.0,
    ):
        super().__init__(formulation, bias)
        self.n_classes = n_classes
        self.dtype = np.dtype(dtype)
        self.reach = reach
        self.precision = precision
        self._buffers: dict[tuple, Array] = {}
        self._options: tuple[str, ...] = ()
        self._graph = None
        self._epochs_as_now = 0
        self._known_samples = None
        self._multiply = cupy.cuda.cublas.gemmEx
        self._take_settings()

    # What surrounds the steps of an epoch.

    def begin_epoch(
        self, formulation: Formulation, step: Step, X: Array, order: np.ndarray | None
    ) -> Array | None:
        super().begin_epoch(formulation, step, X, order)
        self._take_settings()
        is_resident = isinstance(X, cupy.ndarray)
        self._is_recordable = is_resident and self._is_plain(X)
        if order is None or not is_resident:
            return order
        on_device = self._buffer("order", (len(order),), np.int32)
        _send(order.astype(np.int32), on_device)
        return on_device

    def tally(self, memories: Array) -> Tally:
        self._sums.fill(0)
        return Tally(*(self._sums[i, ...] for i in range(3)))

    def run(self, steps: Callable[[], None]) -> None:
        """Run the steps of an epoch: launch by launch at first, then as one graph."""
        # The first epoch makes all buffers: nothing may be allocated while recording.
        if self._epochs_as_now == 1 and self._is_recordable and not self._is_long:
            self._graph = self._record(steps)
        self._epochs_as_now += 1
        if self._graph is None:
            self._steps = 0
            steps()
            self._is_long = self._steps > MAX_RECORDED_STEPS
        else:
            self._graph.launch()

    def _record(self, steps: Callable[[], None]) -> Any:
        """Return the steps as a graph; None, with a warning, where that fails."""
        stream = cupy.cuda.get_current_stream()
        try:
            # CuPy makes no cuBLAS calls while it records: they are made directly.
            self._multiply = _recordable_gemm(
                stream, self._buffer("workspace", (WORKSPACE_BYTES,), np.uint8)
            )
            try:
                stream.begin_capture()
                steps()
            finally:
                graph = stream.end_capture() if stream.is_capturing() else None
        except Exception as error:
            warnings.warn(
                f"Training goes on without a CUDA graph, a little slower: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            graph = None
        finally:
            self._multiply = cupy.cuda.cublas.gemmEx
        return graph

    # The parts of a step.

    def batch(
        self,
        X: Array,
        rows: slice | Array,
        dtype: Any,
        disturbance: Disturbance | None = None,
    ) -> Array:
        if not isinstance(X, cupy.ndarray):
            temperature = self.formulation.temperature
            host = cues_at(X, rows, self.dtype, temperature, self.bias, disturbance)
            batch = self._buffer("batch", host.shape)
            _send(host, batch)
            return batch
        numbers = self._rows(rows, len(X))
        samples = np.intp(0) if disturbance is None else self._samples(len(X))
        if not self._is_plain(X):
            X, rows = cupy.ascontiguousarray(X[rows], dtype=self.dtype), slice(None)
        batch = self._buffer("batch", (len(numbers), X.shape[1] + bool(self.bias)))
        self._launch(
            "gather",
            -(-batch.size // THREADS),
            *(X, self._rows(rows, len(X)), self._settings, self._key_and_limit),
            *(samples, numbers, X.shape[1], batch.shape[1], len(numbers), batch),
        )
        return batch

    def forward(
        self, batch: Array, memories: Array, connections: Array
    ) -> tuple[Array, Array]:
        n_samples, n_features = batch.shape
        n_memories, n_classes = connections.shape
        memories = cupy.ascontiguousarray(memories)
        connections = cupy.ascontiguousarray(connections)
        overlaps = self._buffer("overlaps", (n_memories, n_samples))
        # As BLAS has it, column after column: overlaps^T = batch . memories^T.
        self.gemm(True, n_samples, n_memories, n_features, batch, memories, overlaps)
        if not isinstance(self.formulation, Feedforward):
            self._launch(
                "add_offset",
                n_memories,
                *(connections, self._settings, n_samples, overlaps),
            )
        chunk = max(MEMORIES_PER_CHUNK, -(-n_memories // MAX_CHUNKS))
        n_chunks = -(-n_memories // chunk)
        blocks = -(-n_samples // THREADS)
        parts = self._buffer("parts", (n_chunks, n_classes, n_samples))
        scales = self._buffer("scales", (n_chunks, n_samples))
        scores = self._buffer("scores", (n_samples, n_classes))
        self._launch(
            "respond",
            (blocks, n_chunks, -(-n_classes // CLASS_TILE)),
            *(overlaps, connections, self._settings, n_memories, n_samples),
            *(chunk, parts, scales),
        )
        room = self.dtype.type(0.6 * math.log(np.finfo(self.dtype).max))
        self._launch(
            "combine",
            (blocks, n_classes),
            *(parts, scales, n_chunks, n_samples, room, scores),
        )
        return overlaps, scores

    def error_signal(
        self,
        scores: Array,
        codes: Array,
        weights: Array | None,
        rows: slice | Array,
        tally: Tally,
    ) -> ErrorSignal:
        n_samples, n_classes = scores.shape
        delta = self._buffer("delta", (n_classes, n_samples))
        log_weight = self._buffer("log_weight", (n_samples,))
        self._launch(
            "judge",
            1,
            *(scores, codes, np.intp(0) if weights is None else weights),
            *(self._rows(rows, len(codes)), self._settings, n_samples),
            *(delta, log_weight, self._common_scale, self._sums),
        )
        return ErrorSignal(delta, log_weight)

    def descend(
        self, batch: Array, overlaps: Array, signal: ErrorSignal, state
    ) -> None:
        n_samples, n_features = batch.shape
        n_memories = len(state.memories)
        slopes = self._buffer("slopes", overlaps.shape)
        d_connections = self._buffer("d_connections", state.connections.shape)
        log_scales = self._buffer("log_scales", (n_memories,))
        self._launch(
            "differentiate",
            n_memories,
            *(overlaps, state.connections, signal.delta, signal.log_weight),
            *(self._settings, n_samples, slopes, d_connections, log_scales),
        )
        self._steps += 1
        gradient = self._buffer("gradient", (n_memories, n_features))
        # As BLAS has it, column after column: gradient^T = batch^T . slopes^T.
        self.gemm(False, n_features, n_memories, n_samples, batch, slopes, gradient)
        self._launch(
            "move",
            n_memories,
            *(gradient, d_connections, log_scales, self._common_scale),
            *(self._settings, n_features, state.memories, state.connections),
            *(state.velocity, state.connection_velocity, state.log_scale),
        )

    # The device.

    def _take_settings(self) -> None:
        """Send what the kernels read in an epoch, and note how to compile them."""
        step = self.step
        momentum = step.momentum if step else 0
        disturbance = step.disturbance if step else None
        if disturbance:
            bits = np.array([disturbance.key, disturbance.limit], np.uint32)
            _send(bits, self._key_and_limit)
            if self._known_samples is not disturbance.samples:
                self._known_samples = disturbance.samples
                _send(disturbance.samples, self._samples(len(disturbance.samples)))
        settings = [
            1 / self.formulation.temperature,
            getattr(step.objective, "exponent", 1) if step else 1,
            step.learning_rate if step else 0,
            math.log(momentum) if momentum else -math.inf,
            self.bias,
            disturbance.factor if disturbance else 1,
            disturbance.reach if disturbance else 0,
            math.log(step.tolerance) if step and step.tolerance else -math.inf,
        ]
        _send(np.array(settings, self.dtype), self._settings)
        log_loss = step is not None and not isinstance(step.objective, PowerError)
        options = compile_options(
            self.formulation, self.n_classes, self.dtype, log_loss, self.reach
        )
        if options != self._options:
            self._options = options
            self._graph = None
            self._epochs_as_now = 0

    @property
    def _settings(self) -> Array:
        return self._buffer("settings", (8,))

    @property
    def _key_and_limit(self) -> Array:
        """What tells which features are hidden in an epoch."""
        return self._buffer("key_and_limit", (2,), np.uint32)

    def _samples(self, n_samples: int) -> Array:
        """What tells samples apart."""
        return self._buffer("samples", (n_samples,), np.uint32)

    @property
    def _sums(self) -> Array:
        """Loss, weight and hits of an epoch."""
        return self._buffer("sums", (3,), np.float64)

    @property
    def _common_scale(self) -> Array:
        return self._buffer("common_scale", (1,), np.float64)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Return the array of a name and shape, always the same one.

        A recorded graph holds its address.
        """
        key = name, shape
        if key not in self._buffers:
            self._buffers[key] = cupy.empty(shape, dtype or self.dtype)
        return self._buffers[key]

    def _is_plain(self, X: Array) -> bool:
        """Tell whether the kernels can read X as it is."""
        return X.dtype == self.dtype and X.flags.c_contiguous

    def _rows(self, rows: slice | Array, n_samples: int) -> Array:
        """Return the numbers of samples, on the device."""
        if isinstance(rows, slice):
            key = "all rows", (n_samples,)
            if key not in self._buffers:
                self._buffers[key] = cupy.arange(n_samples, dtype=np.int32)
            return self._buffers[key][rows]
        return cupy.asarray(rows, dtype=np.int32)

    def _launch(self, name: str, blocks: int | tuple, *arguments: Any) -> None:
        """Launch a kernel; whole numbers among the arguments are C's int."""
        _module(self._options).get_function(name)(
            blocks if isinstance(blocks, tuple) else (blocks,),
            # A kernel of a single block has a whole multiprocessor to itself.
            (MOST_THREADS if name == "judge" else THREADS,),
            tuple(np.int32(a) if isinstance(a, int) else a for a in arguments),
        )

    def gemm(
        self, transpose: bool, m: int, n: int, k: int, a: Array, b: Array, out: Array
    ) -> None:
        """Multiply, column after column: out (m, n) = a or a^T, by b (k, n)."""
        double = self.dtype == np.float64
        kind = CUDA_R_64F if double else CUDA_R_32F
        compute = COMPUTE_64F if double else COMPUTE_32F
        if not double and self.precision == "tf32":
            compute = COMPUTE_32F_FAST_TF32
        one, zero = np.ones(1, self.dtype), np.zeros(1, self.dtype)
        self._multiply(
            *(cupy.cuda.device.get_cublas_handle(), int(transpose), 0, m, n, k),
            *(one.ctypes.data, a.data.ptr, kind, k if transpose else m),
            *(b.data.ptr, kind, k, zero.ctypes.data, out.data.ptr, kind, m),
            *(compute, GEMM_DEFAULT),
        )


def _send(host: np.ndarray, device: Array) -> None:
    """Copy to the device, after what the current stream has to do."""
    device.set(host, stream=cupy.cuda.get_current_stream())


def _recordable_gemm(stream: Any, workspace: Array) -> Callable:
    """Return cuBLAS's GemmEx, called directly, on a stream."""
    # CuPy's own module is linked to the library, and its symbols are found through it.
    library = ctypes.CDLL(cupy.cuda.cublas.__file__)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    signature = [pointer] + 5 * [number] + 2 * [pointer] + 2 * [number] + [pointer]
    signature += 2 * [number] + 2 * [pointer] + 4 * [number]

    def checked(name: str, *arguments: Any) -> None:
        status = getattr(library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} returned status {status}.")

    handle = pointer(cupy.cuda.device.get_cublas_handle())
    checked("cublasSetStream_v2", handle, pointer(stream.ptr))
    # One that cuBLAS allocated itself would be part of the graph.
    size = ctypes.c_size_t(workspace.nbytes)
    checked("cublasSetWorkspace_v2", handle, pointer(workspace.data.ptr), size)
    library.cublasGemmEx.argtypes = signature
    return lambda *arguments: checked("cublasGemmEx", *arguments)
