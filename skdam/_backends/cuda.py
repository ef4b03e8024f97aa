"""Scoring and training for CuPy arrays: fused kernels, recorded as a graph.

A step is two matrix products and five small kernels (``training.cu``), whose arithmetic
is in ``arithmetic.h`` and in the energies. The order of the samples, the losses and the
hits stay on the device; the host waits for it once an epoch. From the second epoch on,
an epoch is recorded as one CUDA graph and replayed, which spares the host the launches.

Samples that are not followed get the weight 0 but stay in the products: every minibatch
has the same shape.

A step with B samples of N features, K memories and C classes takes ``4 B N K``
operations in its products and about ``8 B C K`` beside them. It reads and writes
``4 B N + 5 B K + 7 N K`` numbers:

=============  ===========================================  =====================
part           reads                                        writes
=============  ===========================================  =====================
gather         samples (B, N)                               inputs (B, N)
product        inputs (B, N), weights (N, K)                overlaps (B, K)
forward        overlaps (B, K)
loss_gradient
backward       overlaps (B, K)                              dC/dx (B, K)
product        inputs (B, N), dC/dx (B, K), velocity (N, K) velocity (N, K)
apply_update   velocity, twice, and weights (N, K)          weights (N, K)
=============  ===========================================  =====================
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import _gpu
from ..energies import Energy
from ..learning_rule import Scaled
from ..losses import MANY, LogLoss
from ..updates import EnergyDifference
from . import EpochMetrics, minibatches
from .inputs import POOL_SIZE, InputNoise, dense_rows, noise_pool

__all__ = ["CudaTrainer", "forward", "trainer", "working_bytes"]

Array = Any

THREADS, LANES = 512, 16
"""Threads of a block that goes along memories, and how many memories it has."""

FORWARD_THREADS, LOSS_THREADS = 256, 1024
CLASS_TILE = {"float32": 16, "float64": 8}
MAX_RECORDED_STEPS = 4096
MAX_DIRECT_POWER = 8

ALIGNMENT = 4
"""Rows of the inputs are padded to a multiple of this, as products like them."""

N_SETTINGS = 9


def source(energy: Energy) -> str:
    """Return the CUDA source of all kernels for an energy."""
    folder = Path(__file__).parent
    first, second, last = (
        (folder / name).read_text()
        for name in ("reductions.h", "arithmetic.h", "training.cu")
    )
    return first + second + energy.cuda_source + last


def compile_options(network: Any, largest: float | None = None) -> tuple[str, ...]:
    """Return the compiler's options that make the source one network's.

    Parameters
    ----------
    network : Network
        What is computed, in the precision of its memories.
    largest : float, optional
        What no overlap exceeds, in neurons; by default there is no bound.
    """
    energy, dtype = network.energy, np.dtype(network.weights.dtype)
    limits = np.finfo(dtype)
    settings = {
        "REAL": "double" if dtype == np.float64 else "float",
        "GROWTH": f"{energy.growth.upper()}_GROWTH",
        "POWER": float(getattr(energy, "power", 0)),
        "RECTIFIED": int(energy.rectified),
        "DIFFERENCE": int(isinstance(network.update, EnergyDifference)),
        "STEEP": int(_is_steep(network, largest)),
        "LOSS": int(isinstance(network.loss, LogLoss)),
        "CLASSES": network.n_classes,
        "CLASS_TILE": min(network.n_classes, CLASS_TILE[dtype.name]),
        "MANY": MANY,
        "POOL_SIZE": f"{POOL_SIZE}u",
        "THREADS": THREADS,
        "LANES": LANES,
        "LOG_MAX": math.log(limits.max),
        "TINY": float(limits.tiny),
    }
    return "--std=c++17", *(f"-D{name}={value}" for name, value in settings.items())


def _is_steep(network: Any, largest: float | None) -> bool:
    """Tell whether sums of F(x) may leave the range of the type, up or down."""
    energy = network.energy
    if energy.growth != "power" or energy.power <= 2:
        return energy.growth == "exponential"
    if energy.power > MAX_DIRECT_POWER or largest is None:
        return True
    room = 0.5 * math.log(np.finfo(network.weights.dtype).max)
    return (
        energy.power * abs(math.log(max(largest / network.temperature, 1e-300))) > room
    )


@cache
def _module(code: str, options: tuple[str, ...]) -> Any:
    return _gpu.cupy.RawModule(code=code, options=options)


@cache
def _parameters() -> dict[str, list[str]]:
    """Return the types of each kernel's parameters: "int", "real*", and so on."""
    text = (Path(__file__).parent / "training.cu").read_text()
    return {
        name: [re.sub(r"const |\s|\w+$", "", part) for part in parameters.split(",")]
        for name, parameters in re.findall(
            r"__global__[^{]*?(\w+)\(([^()]{9,})\) {", text
        )
    }


def working_bytes(network: Any, batch_size: int) -> int:
    """Return what a training holds beside its samples and the memories."""
    n_units, n_memories = network.weights.shape
    of_sample = 2 * n_memories + 2 * network.n_features + 4 * network.n_classes
    elements = (n_units + network.n_classes) * n_memories + batch_size * of_sample
    elements += POOL_SIZE + network.n_features
    return network.weights.dtype.itemsize * elements + _gpu.WORKSPACE_BYTES


@contextmanager
def forward(network: Any, batch_size: int) -> Iterator[Callable]:
    """Open the scoring of a network, where its memories live."""
    with network.weights.device, _gpu.lease() as lease:
        scoring = _Scoring(network, batch_size, lease)
        scoring.take_settings()
        yield scoring.scores
        lease.stream.synchronize()


@contextmanager
def trainer(
    network: Any, samples: Any, settings: Any, velocity: Scaled | None
) -> Iterator[CudaTrainer]:
    """Open the trainer of a network, where its memories live."""
    with network.weights.device, _gpu.lease() as lease:
        yield CudaTrainer(network, samples, settings, velocity, lease)
        lease.stream.synchronize()


class _Scoring:
    """Scores of one network, with the buffers that they need.

    Parameters
    ----------
    network : Network
        What is computed.
    batch_size : int
        Largest number of samples at once.
    lease : Lease
        The stream, and what multiplies.
    largest : float, optional
        What no overlap exceeds, in neurons; by default there is no bound.
    n_bytes : int
        Size of what else is sent to the device.
    """

    def __init__(
        self,
        network: Any,
        batch_size: int,
        lease: _gpu.Lease,
        largest: float | None = None,
        n_bytes: int = 0,
    ):
        self.dtype = np.dtype(network.weights.dtype)
        self.network = replace(network, weights=self._plain(network.weights))
        self.lease = lease
        self._largest = largest
        self._options: tuple[str, ...] = ()
        self._noise = None, None, None
        self._n_inputs = network.n_visible
        if isinstance(network.update, EnergyDifference):
            # The classification units at -1 are inputs too.
            self._n_inputs += network.n_classes
        width = -(-self._n_inputs // ALIGNMENT) * ALIGNMENT
        self._inputs = self._empty((batch_size, width))
        self._staged = self._empty((batch_size, network.n_features))
        self._overlaps = self._empty((batch_size, network.n_memories))
        self._settings = self._empty((N_SETTINGS,), np.float64)
        n_bytes = max(n_bytes, self._staged.nbytes, self._settings.nbytes)
        self._sender = _gpu.Sender(n_bytes)

    def take_settings(
        self,
        learning_rate: float = 0.0,
        log_momentum: float = -math.inf,
        noise: tuple[float, float, float] = (0.0, -1.0, 1.0),
        log_tolerance: float = -math.inf,
    ) -> None:
        """Send what the kernels read, and compile them where it is time to."""
        network = self.network
        exponent = getattr(network.loss, "exponent", 1)
        settings = [1 / network.temperature, exponent, learning_rate, log_momentum]
        settings += [network.intercept, *noise, log_tolerance]
        self._sender.send(np.array(settings, np.float64), self._settings)
        options = compile_options(network, self._largest)
        if options != self._options:
            self._options = options
            module = _module(source(network.energy), options)
            self._kernels = {name: module.get_function(name) for name in _parameters()}

    def scores(self, X: Array, rows: slice) -> tuple[Array, Array]:
        """Return the overlaps, valid until the next call, and the scores of samples."""
        X = self._plain(X[rows]) if self._is_here(X) else self._stage(X, rows)
        self._gather(X, None, len(X), staged=True)
        scores = self._empty((len(X), self.network.n_classes))
        return self._forward(len(X), None, None, scores, None, None, None, None), scores

    def _stage(self, X: Any, rows: slice | np.ndarray) -> Array:
        """Send rows of X to the device."""
        host = dense_rows(X, rows, self.dtype)
        staged = self._staged[: len(host)]
        self._sender.send(host, staged)
        return staged

    def _gather(
        self, X: Array, rows: Array | None, n_samples: int, staged: bool
    ) -> None:
        width = self._inputs.shape[1]
        self._launch(
            *("gather", n_samples, _threads(width, FORWARD_THREADS), X, rows, staged),
            *(*self._noise, self._settings, self.network.n_features),
            *(self.network.n_visible, width, self._inputs),
        )

    def _forward(self, n_samples: int, *outputs: Array | None) -> Array:
        """Compute overlaps, which are returned, and what follows from them."""
        network, weights = self.network, self.network.weights
        overlaps = self._overlaps[:n_samples]
        inputs = self._inputs[:n_samples, : self._n_inputs]
        self.lease.matmul(inputs, weights[: self._n_inputs], overlaps)
        self._launch(
            *("forward", n_samples, _threads(network.n_memories, FORWARD_THREADS)),
            *(overlaps, weights[network.n_visible :], self._settings),
            *(network.n_memories, *outputs),
        )
        return overlaps

    def _launch(
        self, name: str, n_blocks: int, n_threads: int, *arguments: Any
    ) -> None:
        """Launch a kernel with whole numbers and arrays; None is a null pointer."""
        kinds = {"real*": self.dtype, "double*": np.float64}
        kinds |= {"int*": np.int32, "unsigned*": np.uint32}
        passed = []
        for kind, argument in zip(_parameters()[name], arguments, strict=True):
            if argument is None or kind == "int":
                argument = np.int32(argument) if kind == "int" else np.intp(0)
            elif argument.dtype != kinds[kind] or not argument.flags.c_contiguous:
                raise TypeError(f"{name} cannot read {argument.dtype} as {kind}.")
            passed.append(argument)
        self._kernels[name]((n_blocks,), (n_threads,), tuple(passed))

    def _empty(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        return _gpu.cupy.empty(shape, dtype or self.dtype)

    def _plain(self, array: Any, dtype: Any = None) -> Array:
        """Return an array on the device as the kernels read it."""
        array = _gpu.cupy.asarray(array)
        return _gpu.cupy.ascontiguousarray(array, dtype or self.dtype)

    def _is_here(self, X: Any) -> bool:
        return isinstance(X, _gpu.cupy.ndarray)


class CudaTrainer(_Scoring):
    """Training steps of one network, as in :mod:`skdam._backends`."""

    def __init__(
        self,
        network: Any,
        samples: Any,
        settings: Any,
        velocity: Scaled | None,
        lease: _gpu.Lease,
    ):
        self._batches = minibatches(len(samples), settings.batch_size)
        size = max(stop - start for start, stop in self._batches)
        largest, n_bytes = settings.largest_overlap, 4 * len(samples)
        super().__init__(network, size, lease, largest, n_bytes)
        self.settings = settings
        self._X = self._plain(samples.X) if self._is_here(samples.X) else samples.X
        self._is_recordable = self._is_here(samples.X)
        self._is_recordable &= len(self._batches) <= MAX_RECORDED_STEPS
        self._graph, self._n_epochs = None, 0
        self._codes = self._plain(samples.codes, np.int32)
        self._weights = None
        if samples.weights is not None:
            self._weights = self._plain(samples.weights, np.float64)
        self._order = self._empty((len(samples),), np.int32)
        if settings.noise or settings.dropout:
            self._noise = (
                self._plain(samples.hashes, np.uint32),
                self._empty((2,), np.uint32),
                self._plain(noise_pool(network.n_features, self.dtype.type)),
            )
        n_memories, n_classes = network.n_memories, network.n_classes
        self._d_overlaps = self._empty((size, n_memories))
        self._d_connections = self._empty((n_classes, n_memories))
        self._scores = self._empty((size, n_classes))
        self._delta = self._empty((size, n_classes))
        self._log_scales = self._empty((size,))
        self._losses = self._empty((size,), np.float64)
        self._marks = self._empty((size,), np.int32)
        self._sample_weights = self._empty((size,))
        self._common_scale = self._empty((1,), np.float64)
        self._totals = self._empty((3,), np.float64)
        self._idle = self._empty((n_memories,), np.int32)

        cupy = _gpu.cupy
        if velocity is None:
            at_rest = cupy.zeros(network.weights.shape), cupy.zeros(n_memories)
            velocity = Scaled(*at_rest)
        self._velocity = self._plain(cupy.array(velocity.values))
        self._peaks = cupy.abs(self._velocity).max(axis=0)
        log_scale = cupy.asarray(velocity.log_scale) + velocity.common
        self._velocity_scales = self._plain(log_scale, np.float64)

    def epoch(self, number: int, order: np.ndarray | None) -> EpochMetrics:
        settings = self.settings
        self.network = replace(self.network, update=settings.update(number))
        noise = InputNoise.of_epoch(
            settings.noise, settings.dropout, settings.seed, number
        )
        options = self._options
        self.take_settings(
            settings.learning_rate.at(number),
            _log(settings.momentum),
            (noise.amplitude, noise.threshold, noise.scale),
            _log(settings.gradient_tolerance),
        )
        if self._noise[0] is not None:
            self._sender.send(np.array(noise.shifts, np.uint32), self._noise[1])
        if order is None:
            order = np.arange(len(self._order))
        self._sender.send(order.astype(np.int32), self._order)
        self._totals.fill(0)
        if options != self._options:
            # The first epoch is launched: libraries load what they need.
            self._graph = None
        elif self._graph is None and self._is_recordable:
            self._graph = _record(self.lease.stream, lambda: self._steps(order))
            self._is_recordable = self._graph is not None
        if self._graph is None:
            self._steps(order)
        else:
            self._graph.launch()
        loss, weight, hits = _gpu.cupy.asnumpy(self._totals)
        return EpochMetrics(float(loss / weight), float(hits) / len(order))

    def _steps(self, order: np.ndarray) -> None:
        network, settings = self.network, self._settings
        n_memories, n_visible = network.n_memories, network.n_visible
        connections = network.weights[n_visible:]
        n_blocks = -(-n_memories // LANES)
        is_here = self._is_here(self._X)
        for start, stop in self._batches:
            n_samples, rows = stop - start, self._order[start:stop]
            X = self._X if is_here else self._stage(self._X, order[start:stop])
            self._gather(X, rows, n_samples, staged=not is_here)
            outputs = self._delta, self._log_scales, self._losses, self._marks
            overlaps = self._forward(
                n_samples, self._codes, rows, self._scores, *outputs
            )
            self._launch(
                *("loss_gradient", 1, _threads(n_samples, LOSS_THREADS)),
                *(self._log_scales, self._losses, self._marks, self._weights, rows),
                *(settings, n_samples, self._sample_weights, self._common_scale),
                self._totals,
            )
            self._launch(
                *("backward", n_blocks, THREADS, overlaps, connections, self._delta),
                *(self._sample_weights, self._common_scale, settings, n_samples),
                *(n_memories, n_visible, self._velocity, self._peaks),
                *(self._velocity_scales, self._d_overlaps, self._d_connections),
                self._idle,
            )
            inputs = self._inputs[:n_samples, :n_visible]
            d_overlaps = self._d_overlaps[:n_samples]
            self.lease.matmul(
                inputs.T, d_overlaps, self._velocity[:n_visible], add=True
            )
            self._launch(
                *("apply_update", n_blocks, THREADS, self._velocity, settings),
                *(n_memories, len(network.weights), self._peaks, network.weights),
            )

    def velocity(self) -> Scaled:
        return Scaled(self._velocity.copy(), self._velocity_scales.copy())

    def without_gradient(self) -> np.ndarray:
        return _gpu.cupy.asnumpy(self._idle) != 0

    def reinitialise(self, memories: np.ndarray, columns: np.ndarray) -> None:
        memories = _gpu.cupy.asarray(memories)
        self.network.weights[:, memories] = self._plain(columns)
        self._velocity[:, memories] = 0
        self._peaks[memories] = 0


def _threads(n_elements: int, most: int) -> int:
    """Return how many threads of a block share some elements: whole warps."""
    return min(most, -(-n_elements // 32) * 32)


def _log(x: float) -> float:
    return math.log(x) if x else -math.inf


def _record(stream: Any, work: Callable[[], None]) -> Any:
    """Return what work launches as a graph; None, with a warning, where that fails."""
    try:
        stream.begin_capture()
        try:
            work()
        finally:
            # A capture must end, even one that has become invalid.
            graph = stream.end_capture()
    except Exception as error:
        warnings.warn(
            f"Training goes on without a CUDA graph, a little slower: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return graph
