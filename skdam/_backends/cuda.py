"""Scoring and training for CuPy arrays: fused kernels, recorded as a graph.

A step is two matrix products and three small kernels (``training.cu``), whose
arithmetic is in ``arithmetic.h`` and in the energies. The order of the samples, the
losses and the hits stay on the device; the host waits for it once an epoch. From the
second epoch on, an epoch is recorded as CUDA graphs and replayed, which spares the host
the launches: while one is executed, the next one is prepared. Samples that are not
followed get the weight 0 but stay in the products: every minibatch has the same shape.

A step with B samples of N features, K memories and C classes takes ``4 B N K``
operations in its products and about ``6 B C K`` beside them. It reads and writes
``5 B N + 5 B K + 7 N K`` numbers:

- gather, at the same time as apply_update of the step before, reads the samples and
  writes the inputs in both orders, 3 B N;
- a product reads the inputs and the memories, and writes the overlaps: B N + N K + B K;
- forward reads the overlaps, backward also writes the gradient there, 3 B K;
- a product reads the inputs and this gradient, and adds to the velocity, which has
  decayed by its scale alone: B N + B K + 2 N K;
- apply_update reads the velocity, for its largest component and once more, and moves
  the memories, 4 N K.
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
from ..losses import MANY, BinaryLogLoss, LogLoss, PowerError
from ..updates import EnergyDifference
from . import EpochMetrics, minibatches
from .cpu_energies import is_steep
from .inputs import POOL_SIZE, InputNoise, dense_rows, noise_pool

Array = Any

THREADS, UPDATE_THREADS = {"float32": 1024, "float64": 512}, 512
"""Threads of a block of backward, and of apply_update."""

LANES, BLOCKS = (4, 8, 16, 32), 132
"""How many memories it may have, and about how many blocks run at the same time."""

FORWARD_THREADS, SAMPLES = 256, 2
"""Threads of a block of forward, and how many samples it has."""

TILE = 32
"""Samples and inputs of a block that gathers."""

CLASS_TILE = {"float32": 12, "float64": 8}
"""Classes at once, whose sums are in registers."""

COLUMNS = 4
"""Numbers that are kept of the gradient of a sample."""

MAX_STEPS = 4096
STEPS = 8
"""Steps of a graph."""

RECORDINGS = 3
"""Attempts to record an epoch, which other threads may spoil."""

NO_NOISE = InputNoise(0.0, 0.0, (0, 0))

OPTIONAL = """rows next_rows hashes shifts pool transposed codes weights delta
gradients losses""".split()
"""Arrays that may be missing, in the arguments of kernels."""

ALIGNMENT = 4
"""The inner size of products is padded with zeros to a multiple of this, for speed."""


def source(energy: Energy) -> str:
    """Return the CUDA source of all kernels for an energy."""
    names = "reductions.h", "arithmetic.h", "training.cu"
    parts = [(Path(__file__).parent / name).read_text() for name in names]
    return "".join([*parts[:2], energy.cuda_source, parts[2]])


def compile_options(network: Any, largest: float = math.inf) -> tuple[str, ...]:
    """Return the compiler's options that make the source one network's.

    No overlap exceeds ``largest``, in neurons; by default there is no bound.
    """
    energy, dtype = network.energy, np.dtype(network.weights.dtype)
    limits = np.finfo(dtype)
    settings = {
        "REAL": "double" if dtype == np.float64 else "float",
        "GROWTH": f"{energy.growth.upper()}_GROWTH",
        "POWER": float(getattr(energy, "power", 0)),
        "RECTIFIED": int(energy.rectified),
        "DIFFERENCE": int(isinstance(network.update, EnergyDifference)),
        "STEEP": int(is_steep(energy, largest / network.temperature, dtype)),
        "LOSS": (PowerError, LogLoss, BinaryLogLoss).index(type(network.loss)),
        "MULTILABEL": int(network.loss.multilabel),
        "CLASSES": network.n_classes,
        "CLASS_TILE": _class_tile(network.n_classes, dtype),
        "MANY": MANY,
        "POOL_SIZE": f"{POOL_SIZE}u",
        "THREADS": THREADS[dtype.name],
        "UPDATE_THREADS": UPDATE_THREADS,
        "LANES": _lanes(network.n_memories),
        "SAMPLES": _n_together(network),
        "TILE": TILE,
        "COLUMNS": COLUMNS,
        "LOG_MAX": math.log(limits.max),
        "TINY": float(limits.tiny),
    }
    return "--std=c++17", *(f"-D{name}={value}" for name, value in settings.items())


@cache
def _module(code: str, options: tuple[str, ...]) -> Any:
    return _gpu.cupy.RawModule(code=code, options=options)


@cache
def _parameters() -> dict[str, dict[str, str]]:
    """Return the parameters of each kernel, and their types."""
    text = (Path(__file__).parent / "training.cu").read_text()
    kernels = re.findall(r"__global__[^{]*?(\w+)\(([^()]*,[^()]*)\) {", text)
    found = {name: re.findall(r"(\w+) \*?(\w+)(?:,|$)", part) for name, part in kernels}
    return {name: {k: kind for kind, k in found[name]} for name in found}


def working_bytes(network: Any, batch_size: int) -> int:
    """Return what a training holds beside its samples and the memories."""
    n_units, n_memories = network.weights.shape
    of_sample = 2 * n_memories + 3 * network.n_features + 4 * network.n_classes
    elements = 2 * (n_units + network.n_classes) * n_memories + batch_size * of_sample
    elements += POOL_SIZE + network.n_features
    itemsize = 8 if "64" in str(network.weights.dtype) else 4
    return itemsize * elements + _gpu.WORKSPACE_BYTES


@contextmanager
def forward(network: Any, batch_size: int) -> Iterator[Callable]:
    """Open the scoring of a network, where its memories live."""
    with network.weights.device, _gpu.lease() as lease:
        scoring = _Scoring(network, batch_size, lease)
        scoring.take_settings()
        yield scoring.scores


@contextmanager
def trainer(
    network: Any, samples: Any, settings: Any, velocity: Scaled | None = None
) -> Iterator[CudaTrainer]:
    """Open the trainer of a network, where its memories live."""
    with network.weights.device, _gpu.lease() as lease:
        yield CudaTrainer(network, samples, settings, velocity, lease)


class _Scoring:
    """Scores of one network, and the arguments of all kernels by their names."""

    def __init__(
        self,
        network: Any,
        batch_size: int,
        lease: _gpu.Lease,
        largest: float = math.inf,
        n_bytes: int = 0,
    ):
        self.lease = lease
        self._largest = largest
        self._options: tuple[str, ...] = ()
        self._dtype = np.dtype(network.weights.dtype)
        types = {"real": self._dtype, "double": np.float64}
        types |= {"int": np.int32, "unsigned": np.uint32}
        parameters = [item for own in _parameters().values() for item in own.items()]
        # What a name stands for is the same in every kernel.
        self._types = {name: types[kind] for name, kind in parameters}
        # In the exact update, the classification units at -1 are inputs too.
        exact = isinstance(network.update, EnergyDifference)
        n_inputs = network.n_visible + network.n_classes * exact
        self._n_together = _n_together(network)
        self._arguments = dict.fromkeys(OPTIONAL, np.intp(0)) | {
            "n_features": np.int32(network.n_features),
            "n_visible": np.int32(network.n_visible),
            "n_memories": np.int32(network.n_memories),
            "n_units": np.int32(network.weights.shape[0]),
            "width": np.int32(_aligned(n_inputs)),
            "stride": np.int32(_aligned(batch_size)),
        }
        n_units, width = len(network.weights), int(self._arguments["width"])
        # Behind the memories are zeros, as in the inputs.
        padded = _gpu.cupy.zeros((max(n_units, width), network.n_memories), self._dtype)
        padded[:n_units] = _gpu.cupy.asarray(network.weights)
        weights = self._put("memories", padded[:n_units])
        self._factor = padded[:width]
        self.network = replace(network, weights=weights)
        self._arguments["connections"] = weights[network.n_visible :]
        self._empty("inputs", batch_size, width)
        self._empty("x", int(self._arguments["stride"]), network.n_memories)
        self._empty("settings", 10)
        self._staged = self._empty("X", batch_size, network.n_features)
        self._sender = _gpu.Sender(max(n_bytes, self._staged.nbytes, 10 * 8))

    def take_settings(
        self,
        learning_rate: float = 0.0,
        momentum: float = 0.0,
        noise: InputNoise = NO_NOISE,
        tolerance: float = 0.0,
    ) -> None:
        """Send what the kernels read, and compile them where it is time to."""
        network = self.network
        settings = [
            1 / network.temperature,
            getattr(network.loss, "exponent", 1),
            learning_rate,
            math.log(momentum) if momentum else -math.inf,
            network.intercept,
            noise.amplitude,
            noise.threshold,
            noise.scale,
            math.log(tolerance) if tolerance else -math.inf,
            1 / network.unit,
        ]
        self._send("settings", settings)
        options = compile_options(network, self._largest)
        if options != self._options:
            self._options = options
            module = _module(source(network.energy), options)
            self._kernels = {name: module.get_function(name) for name in _parameters()}

    def scores(self, X: Array, rows: slice) -> Array:
        """Return the scores of some samples."""
        n_samples = self._stage(X, rows)
        scores = self._empty("scores", n_samples, self.network.n_classes)
        self._gather(n_samples, staged=True)
        self._forward(n_samples)
        return scores

    def _stage(self, X: Any, rows: slice | np.ndarray) -> int:
        """Let the kernels read some rows of X; return how many there are."""
        if self._is_here(X):
            return len(self._put("X", X[rows]))
        host = dense_rows(X, rows, self._dtype)
        staged = self._arguments["X"] = self._staged[: len(host)]
        self._sender.send(host, staged)
        return len(host)

    def _gather(self, n_samples: int, staged: bool) -> None:
        """Make the inputs of the rows of X, or of the samples staged there."""
        self._arguments["staged"] = np.int32(staged)
        self._arguments["n_samples"] = np.int32(n_samples)
        self._launch("gather", self._n_tiles(n_samples), FORWARD_THREADS)

    def _n_tiles(self, n_samples: int) -> int:
        return -(-n_samples // TILE) * -(-int(self._arguments["width"]) // TILE)

    def _forward(self, n_samples: int) -> None:
        """Compute scores, and what follows from them."""
        arguments = self._arguments
        arguments["n_samples"] = np.int32(n_samples)
        inputs, x = arguments["inputs"][:n_samples], arguments["x"][:n_samples]
        self.lease.matmul(inputs, self._factor, x)
        n_threads = min(FORWARD_THREADS, -(-self.network.n_memories // 32) * 32)
        n_blocks = -(-n_samples // self._n_together)
        self._launch("forward", n_blocks, n_threads)

    def _launch(self, kernel: str, n_blocks: int, n_threads: int) -> None:
        arguments = tuple(self._arguments[name] for name in _parameters()[kernel])
        self._kernels[kernel]((n_blocks,), (n_threads,), arguments)

    # All arrays of the kernels are made here, in C order and of the declared type.

    def _empty(self, name: str, *shape: int) -> Array:
        return self._put(name, _gpu.cupy.empty(shape, self._types[name]))

    def _put(self, name: str, array: Any) -> Array:
        array = _gpu.cupy.asarray(array)
        array = _gpu.cupy.ascontiguousarray(array, self._types[name])
        self._arguments[name] = array
        return array

    def _send(self, name: str, values: Any) -> None:
        self._sender.send(np.array(values, self._types[name]), self._arguments[name])

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
        n_samples = len(samples)
        self.settings = settings
        self._batches = minibatches(n_samples, settings.batch_size)
        size = max(stop - start for start, stop in self._batches)
        super().__init__(network, size, lease, settings.largest_overlap, 4 * n_samples)
        n_memories, n_classes = network.n_memories, network.n_classes
        self._put("codes", samples.codes)
        if samples.weights is not None:
            self._put("weights", samples.weights)
        if settings.noise or settings.dropout:
            self._put("hashes", samples.hashes)
            self._put("pool", noise_pool(network.n_features, self._dtype.type))
            self._empty("shifts", 2)
        self._empty("scores", size, n_classes)
        tile = _class_tile(n_classes, self._dtype)
        self._empty("delta", size, -(-n_classes // tile) * tile)
        self._empty("gradients", size, COLUMNS)
        self._empty("losses", size)
        stride = int(self._arguments["stride"])
        self._empty("transposed", int(self._arguments["width"]), stride)
        # What padding is multiplied with must be finite.
        self._arguments["x"].fill(0)
        self._arguments["d_overlaps"] = self._arguments["x"]
        if n_classes > tile:
            # The overlaps are needed again, for the next tile of classes.
            self._empty("d_overlaps", stride, n_memories).fill(0)
        self._empty("d_connections", n_classes, n_memories)
        self._empty("idle", n_memories)
        self._order = self._empty("rows", n_samples)
        self._sent_order: np.ndarray | None = None
        self._totals = self._empty("totals", 3)
        if velocity is None:
            velocity = Scaled(np.zeros(network.weights.shape), np.zeros(n_memories))
        values = self._put("velocity", _gpu.cupy.array(velocity.values))
        peaks = _gpu.cupy.asnumpy(abs(values).max(axis=0))
        # As the kernels have it: below the range of the type, a memory is at rest.
        peaks[peaks < np.finfo(self._dtype).tiny] = 0
        self._put("peaks", peaks)
        self._put("velocity_scales", velocity.log_scale + velocity.common)
        self._X = None if self._is_here(samples.X) else samples.X
        if self._X is None:
            self._put("X", samples.X)
        is_recordable = self._X is None and len(self._batches) <= MAX_STEPS
        self._recordings_left = RECORDINGS if is_recordable else 0
        self._graphs: list[Any] = []

    def epoch(
        self,
        number: int,
        order: np.ndarray | None,
        temperature: float,
        meanwhile: Callable[[], np.ndarray | None] | None = None,
    ) -> EpochMetrics:
        settings = self.settings
        self.network = replace(self.network, update=settings.update(temperature))
        noise = InputNoise.of_settings(settings, number) or NO_NOISE
        options, rate = self._options, settings.learning_rate.at(number)
        tolerance = settings.gradient_tolerance
        self.take_settings(rate, settings.momentum, noise, tolerance)
        if noise is not NO_NOISE:
            self._send("shifts", noise.shifts)
        if order is None:
            order = np.arange(len(self._order))
        if order is not self._sent_order:
            self._send_order(order)
        self._totals.fill(0)
        if options != self._options:
            # The first epoch is launched: libraries load what they need.
            self._graphs = []
        elif not self._graphs and self._recordings_left:
            self._recordings_left -= 1
            self._graphs = self._record(order)
        if not self._graphs:
            self._steps(order, 0, len(self._batches))
        for graph in self._graphs:
            graph.launch()
        if meanwhile is not None and (next_order := meanwhile()) is not None:
            # The device takes it when this epoch no longer needs its own.
            self._send_order(next_order)
        loss, weight, hits = _gpu.cupy.asnumpy(self._totals).tolist()
        return EpochMetrics(loss / weight, hits / len(order))

    def _send_order(self, order: np.ndarray) -> None:
        self._sent_order = order
        self._sender.send(order.astype(np.int32), self._order)

    def _record(self, order: np.ndarray) -> list[Any]:
        """Return what an epoch launches as graphs; none where that fails."""
        stream, graphs, n_batches = self.lease.stream, [], len(self._batches)
        try:
            for first in range(0, n_batches, STEPS):
                stream.begin_capture()
                try:
                    self._steps(order, first, min(first + STEPS, n_batches))
                finally:
                    # A capture must end, even one that has become invalid.
                    graphs.append(stream.end_capture())
        except Exception as error:
            if not self._recordings_left:
                warnings.warn(
                    f"Training goes on without a CUDA graph, a little slower: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return []
        return graphs

    def _steps(self, order: np.ndarray, first: int, end: int) -> None:
        arguments, n_visible = self._arguments, self.network.n_visible
        velocity = arguments["velocity"][:n_visible]
        n_memories = self.network.n_memories
        n_blocks = -(-n_memories // _lanes(n_memories))
        staged = self._X is not None
        for number in range(first, end):
            start, stop = self._batches[number]
            n_samples = stop - start
            arguments["rows"] = self._order[start:stop]
            if staged:
                self._stage(self._X, order[start:stop])
            if staged or number == 0:
                self._gather(n_samples, staged)
            self._forward(n_samples)
            self._launch("backward", n_blocks, THREADS[self._dtype.name])
            count = _aligned(n_samples)
            inputs = arguments["transposed"][:n_visible, :count]
            d_overlaps = arguments["d_overlaps"][:count]
            self.lease.matmul(inputs, d_overlaps, velocity, add=True)
            n_next = 0
            if not staged and number + 1 < len(self._batches):
                start, stop = self._batches[number + 1]
                arguments["next_rows"] = self._order[start:stop]
                n_next = stop - start
            arguments["n_next"] = np.int32(n_next)
            n_others = 1 + self._n_tiles(n_next)
            self._launch("apply_update", n_blocks + n_others, UPDATE_THREADS)

    def velocity(self) -> Scaled:
        scales = self._arguments["velocity_scales"]
        return Scaled(self._arguments["velocity"].copy(), scales.copy())

    def without_gradient(self) -> np.ndarray:
        return _gpu.cupy.asnumpy(self._arguments["idle"]) != 0

    def reinitialise(self, memories: np.ndarray, columns: np.ndarray) -> None:
        memories = _gpu.cupy.asarray(memories)
        columns = _gpu.cupy.asarray(columns, self._dtype)
        self._arguments["memories"][:, memories] = columns
        self._arguments["velocity"][:, memories] = 0
        self._arguments["peaks"][memories] = 0


def _aligned(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def _n_together(network: Any) -> int:
    """Return how many samples a block of forward has."""
    # The exact update takes much code for each sample.
    return 1 if isinstance(network.update, EnergyDifference) else SAMPLES


def _class_tile(n_classes: int, dtype: np.dtype) -> int:
    """Return how many classes are held in registers: whole loads of 16 bytes."""
    return min(_aligned(n_classes), CLASS_TILE[dtype.name])


def _lanes(n_memories: int) -> int:
    """Return how many memories a block has, so that all blocks have some."""
    enough = (lanes for lanes in LANES if n_memories <= lanes * BLOCKS)
    return next(enough, LANES[-1])
