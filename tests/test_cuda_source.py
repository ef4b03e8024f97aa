"""The CUDA backend: on a GPU, and as far as a machine without one can tell.

Without a GPU its source is compiled by the host's compiler, and whole trainings are run
as on a device; NVRTC compiles it where CuPy is installed.
"""

import re
import threading
import warnings
from dataclasses import replace

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain_settings import PLAIN
from scipy import sparse

from skdam import _gpu
from skdam._backends import array_api, cuda
from skdam._resolve import LearningRate, TemperatureRamp
from skdam._samples import Samples
from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.learning_rule import Scaled
from skdam.losses import BinaryLogLoss, LogLoss, PowerError
from skdam.network import Network
from skdam.updates import get_update

ENERGIES = [
    *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 3, 5, 20, 100)),
    *(Polynomial(n) for n in (1, 4, 31)),
    LogCosh(),
    Softplus(),
    Exponential(),
]


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Return CuPy, or what lets the host take the place of a GPU."""
    if request.param == "gpu":
        yield _gpu.cupy
        return
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("no C++ compiler for the host")
    cupy = cuda_on_cpu.make_cupy()
    monkeypatch.setattr(_gpu, "cupy", cupy)
    monkeypatch.setattr(_gpu, "_cublas", lambda: cupy.cuda.cublas.library)
    monkeypatch.setattr(_gpu, "_of_thread", threading.local())
    _gpu._free_leases.clear()
    cuda._module.cache_clear()
    # Small, so that small problems have several of each.
    monkeypatch.setattr(cuda, "THREADS", {"float32": 64, "float64": 64})
    monkeypatch.setattr(cuda, "FORWARD_THREADS", 64)
    monkeypatch.setattr(cuda, "CLASS_TILE", {"float32": 4, "float64": 2})
    yield cupy
    _gpu._free_leases.clear()
    cuda._module.cache_clear()


def train(
    energy=RectifiedPolynomial(3),  # noqa: B008
    loss=PowerError(3),  # noqa: B008
    device=None,
    *,
    formulation="feedforward",
    dtype=np.float64,
    n_memories=7,
    n_epochs=4,
    temperatures=(4.0, 2.0),
    momentum=0.8,
    weighted=True,
    shuffle=True,
    streamed=False,
    is_sparse=False,
    order="C",
    intercept=0.0,
    noisy=False,
    holes=False,
    tolerance=0.0,
    interrupted=False,
):
    """Return memories, velocities, idle memories and curves; no device: the oracle."""
    rng = np.random.default_rng(0)
    shape = 9 + bool(intercept) + 4, n_memories
    weights = rng.uniform(-1, 1, shape).astype(dtype)
    X = rng.uniform(-1, 1, (71, 9)).astype(dtype)
    if holes:
        X[::3, ::2] = np.nan
    samples = Samples(np.asarray(X, order=order), rng.integers(4, size=71))
    if weighted:
        samples.weights = rng.uniform(0.5, 2, 71)
    if loss.multilabel:
        samples.codes = rng.integers(2, size=(71, 4))
    hashes = samples.hashes
    settings = replace(
        PLAIN,
        energy=energy,
        loss=loss,
        exact=formulation == "energy",
        n_memories=n_memories,
        intercept=intercept,
        temperature=temperatures[1],
        ramp=TemperatureRamp(temperatures[0] / temperatures[1], n_epochs=3),
        max_iter=4,
        learning_rate=LearningRate(0.1, "exponential", 0.8, n_epochs=4),
        momentum=momentum,
        batch_size=36,
        gradient_tolerance=tolerance,
        noise=0.1 * noisy,
        dropout=0.3 * noisy,
        largest_overlap=25.0,
        dtype=np.dtype(dtype).name,
        seed=3,
    )
    if device is not None:
        weights = device.asarray(weights)
        samples.codes = device.asarray(samples.codes)
        if weighted:
            samples.weights = device.asarray(samples.weights)
        if is_sparse:
            samples.X = sparse.csr_array(samples.X)
        elif not streamed:
            samples.X = device.asarray(samples.X)
        samples.hashes = hashes
    network = Network(weights, 9, intercept, settings.update(4.0), loss)
    shuffler = np.random.RandomState(0)
    orders = [shuffler.permutation(71) if shuffle else None for _ in range(n_epochs)]
    get = np.asarray if device is None else device.asnumpy
    velocity, curves = None, []
    for epochs in ([0, 1], range(2, n_epochs)) if interrupted else [range(n_epochs)]:
        backend = array_api if device is None else cuda
        with backend.trainer(network, samples, settings, velocity) as trainer:
            curves += [
                trainer.epoch(
                    epoch,
                    orders[epoch],
                    settings.temperature_at(epoch),
                )
                for epoch in epochs
            ]
            network, velocity = trainer.network, trainer.velocity()
            idle = trainer.without_gradient()
    values, log_scale = map(get, velocity[:2])
    velocity = Scaled.normalised(values.astype(float), log_scale + velocity.common)
    return get(network.weights), *velocity[:2], idle, np.array(curves)


def assert_same(result, expected, rtol=1e-9):
    for one, other in zip(result, expected, strict=True):
        assert_allclose(one, other, rtol=rtol, atol=rtol / 10)


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.filterwarnings("error:Training goes on without a CUDA graph")
def test_training_does_what_the_equations_say(formulation, energy, device):
    result = train(energy, device=device, formulation=formulation)
    assert_same(result, train(energy, formulation=formulation))


@pytest.mark.parametrize(
    "changes",
    [
        {"weighted": False},
        {"shuffle": False},
        {"streamed": True},
        {"streamed": True, "shuffle": False, "order": "F"},
        {"is_sparse": True},
        {"order": "F"},
        {"intercept": 1.5},
        {"intercept": 1.5, "streamed": True},
        {"intercept": 1.5, "formulation": "energy"},
        {"noisy": True},
        {"noisy": True, "intercept": 1.5, "order": "F"},
        {"noisy": True, "shuffle": False},
        {"noisy": True, "streamed": True},
        {"noisy": True, "holes": True, "intercept": 1.5},
        {"holes": True, "streamed": True},
        {"momentum": 0.0},
        {"n_memories": 1},
        {"interrupted": True},
        {"interrupted": True, "energy": RectifiedPolynomial(20)},
        {"formulation": "energy", "energy": RectifiedPolynomial(20)},
    ],
    ids=str,
)
def test_ways_of_training(changes, device):
    expected = train(loss=LogLoss(), **changes)
    assert_same(train(loss=LogLoss(), device=device, **changes), expected)


@pytest.mark.parametrize("loss", [PowerError(3, True), BinaryLogLoss()], ids=repr)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"formulation": "energy", "weighted": False},
        {"shuffle": False, "intercept": 1.5, "noisy": True},
        {"streamed": True, "tolerance": 0.5},
        {"energy": RectifiedPolynomial(20), "interrupted": True},
        {"energy": RectifiedPolynomial(20), "formulation": "energy"},
    ],
    ids=str,
)
def test_several_labels(changes, loss, device):
    assert_same(train(loss=loss, device=device, **changes), train(loss=loss, **changes))
    if "energy" not in changes:
        expected = train(loss=loss, **changes)
        result = train(loss=loss, device=device, dtype=np.float32, **changes)
        for one, other in zip(result, expected, strict=True):
            assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("power", [2, 20])
def test_a_trainer_goes_on_bit_by_bit(power, device):
    rule = {"energy": RectifiedPolynomial(power), "device": device}
    for one, other in zip(train(**rule, interrupted=True), train(**rule), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("tolerance", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("power", [3, 20])
def test_samples_that_are_not_followed(power, tolerance, weighted, device):
    energy, of_all = RectifiedPolynomial(power), {"weighted": weighted}
    changes = of_all | {"tolerance": tolerance}
    expected = train(energy, **changes)
    assert_same(train(energy, device=device, **changes), expected)
    is_same = np.allclose(expected[0], train(energy, **of_all)[0])
    assert is_same == (tolerance == 0.1 and power == 3)


@pytest.mark.parametrize("loss", [PowerError(3), LogLoss()], ids=repr)
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("energy", ENERGIES[2:5] + ENERGIES[-2:], ids=repr)
def test_single_precision(energy, formulation, loss, device):
    changes = {"formulation": formulation, "temperatures": (6.0, 5.0)}
    expected = train(energy, loss, **changes)
    result = train(energy, loss, device, dtype=np.float32, **changes)
    for one, other in zip(result, expected, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_scales_of_the_velocity_are_renewed(formulation, device, monkeypatch):
    options = cuda.compile_options

    def of_small_numbers(*args):
        return tuple(re.sub("(LOG_MAX=).*", r"\g<1>8", o) for o in options(*args))

    monkeypatch.setattr(cuda, "compile_options", of_small_numbers)
    changes = {"n_epochs": 12, "momentum": 0.5, "formulation": formulation}
    assert_same(train(device=device, **changes), train(**changes), 1e-7)


@pytest.mark.parametrize("kind", ["device", "Fortran", "float32", "host", "sparse"])
@pytest.mark.parametrize("n_classes", [2, 40])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-10), (np.float32, 1e-4)])
def test_scores(dtype, rtol, formulation, n_classes, kind, device):
    rng = np.random.default_rng(0)
    weights = rng.uniform(-1, 1, (30 + n_classes, 70)).astype(dtype)
    X = rng.integers(-1, 2, (20, 30)).astype(dtype)
    for energy in RectifiedPolynomial(3), RectifiedPolynomial(20), LogCosh():
        update = get_update(formulation, energy, 4.0)
        network = Network(weights, 30, 0.0, update, PowerError())
        with array_api.forward(network, 20) as forward:
            expected = forward(X, slice(0, 20))
        data = {"host": X, "sparse": sparse.csr_array(X)}.get(kind)
        if data is None:
            data = np.asarray(X, np.float32 if kind == "float32" else dtype)
            data = device.asarray(np.asarray(data, order="CF"[kind == "Fortran"]))
        here = replace(network, weights=device.asarray(weights))
        with cuda.forward(here, 15) as forward:
            parts = [forward(data, rows) for rows in (slice(0, 15), slice(15, 20))]
        error = np.abs(np.concatenate([*map(device.asnumpy, parts)]) - expected)
        assert (error <= rtol * np.abs(expected).max(axis=1, keepdims=True)).all()


def small_trainer(weights, X, codes, device):
    settings = replace(
        PLAIN,
        n_memories=weights.shape[1],
    )
    network = Network(
        device.asarray(weights), X.shape[1], 0.0, settings.update(4.0), None
    )
    network = replace(network, loss=settings.loss)
    samples = Samples(device.asarray(X), device.asarray(codes))
    return cuda.trainer(network, samples, settings, None)


def test_samples_that_nothing_responds_to(device):
    weights = np.array([[1.0], [0.5], [-0.5]])
    X = np.array([[1.0], [-1.0], [2.0]])
    with small_trainer(weights, X, [0, 1, 1], device) as trainer:
        # The first of equal scores counts as predicted, as with argmax.
        assert trainer.epoch(0, None, 1.0).accuracy == 1 / 3
        marks = device.asnumpy(trainer._arguments["gradients"])[:, 2].astype(int)
    assert_array_equal(marks & 2, [2, 0, 2])


def test_dead_memories(device):
    weights = np.array([[-1.0, -1.0, -0.1], [-1.0, 0.9, -0.1], [-0.5] * 3, [0.5] * 3])
    X = np.array([[1.0, 0.5], [0.5, 1.0]])
    with small_trainer(weights, X, [0, 1], device) as trainer:
        trainer.epoch(0, None, 1.0)
        held = trainer.network.weights
        assert_array_equal(trainer.without_gradient(), [True, False, True])
        columns = np.full((4, 2), 0.25)
        trainer.reinitialise(np.array([0, 2]), columns)
        # In place, because a recorded graph holds the address.
        assert trainer.network.weights is held
        assert_array_equal(device.asnumpy(held)[:, [0, 2]], columns)
        moves = np.isfinite(
            Scaled.normalised(*map(device.asnumpy, trainer.velocity()[:2])).log_scale
        )
        assert_array_equal(moves, [False, True, False])
        trainer.epoch(1, None, 1.0)
        assert (device.asnumpy(held)[:, [0, 2]] != columns).all()


def test_an_invalid_capture_leaves_no_trace(device, monkeypatch):
    expected, matmul = train(), _gpu.Lease.matmul

    def disturb(lease, *args, **kwargs):
        try:
            lease.stream.synchronize()
        finally:
            matmul(lease, *args, **kwargs)

    monkeypatch.setattr(_gpu.Lease, "matmul", disturb)
    with pytest.warns(RuntimeWarning, match="goes on without a CUDA graph"):
        assert_same(train(device=device), expected)
    monkeypatch.setattr(_gpu.Lease, "matmul", matmul)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert_same(train(device=device), expected)


def on_the_host(test):
    return pytest.mark.parametrize("device", ["host"], indirect=True)(test)


def n_barriers():
    return cuda.source(RectifiedPolynomial(3)).count("__syncthreads();")


@on_the_host
@pytest.mark.parametrize("number", range(n_barriers()))
def test_a_missing_barrier_is_noticed(number, device, monkeypatch):
    parts = cuda.source(RectifiedPolynomial(20)).split("__syncthreads();")
    parts[number : number + 2] = [";".join(parts[number : number + 2])]
    monkeypatch.setattr(cuda, "source", lambda _: "__syncthreads();".join(parts))
    setting = RectifiedPolynomial(20), LogLoss()
    changes = {"n_memories": 40, "formulation": "energy", "tolerance": 0.5}
    expected = train(*setting, **changes)
    with pytest.raises(AssertionError):
        assert_same(train(*setting, device, **changes), expected, 1e-3)


@on_the_host
def test_faults_are_noticed(device, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(device, "ascontiguousarray", lambda a, *_: a)
        with pytest.raises((TypeError, AssertionError)):
            train(device=device, order="F")
    launch = cuda._Scoring._launch
    for left_out in "gather", "forward":

        def launch_others(self, kernel, *args, left_out=left_out):
            if kernel != left_out:
                launch(self, kernel, *args)

        with monkeypatch.context() as patch:
            patch.setattr(cuda._Scoring, "_launch", launch_others)
            # Memory that nobody wrote is NaN.
            assert np.isnan(train(LogCosh(), device=device)[-1]).any()
    a = device.empty((4, 4), np.float32)
    module = device.RawModule(
        'extern "C" __global__ void shift(float *a, int by) { a[threadIdx.x + by] = 1; '
        "}",
        ("-DCLASSES=1",),
    )
    shift = module.get_function("shift")
    for bad in (a.T, np.int32(0)), (a, 0), (device.asarray(np.eye(4)), np.int32(0)):
        with pytest.raises(AssertionError):
            shift((1,), (32,), bad)
    shift((1,), (32,), (a, np.int32(0)))
    with pytest.raises(AssertionError, match="out of bounds"):
        device.asnumpy(a)
    with pytest.raises(TypeError):
        a + np.ones((4, 4))


def test_leases(device):
    with _gpu.session(device.cuda.Device(0), ""):
        with device.cuda.Stream(), _gpu.lease() as one:
            assert device.cuda.get_current_stream().ptr == one.stream.ptr
        with _gpu.lease() as same:
            assert one is same
        others = []

        def take():
            with device.cuda.Device(0), _gpu.lease() as other:
                others.append(other)

        for _ in range(2):
            thread = threading.Thread(target=take)
            thread.start()
            thread.join()
        assert others[0] is others[1] is not one
    with _gpu.session(device.cuda.Device(0), ""), _gpu.lease() as again:
        assert again in (one, *others)


@on_the_host
def test_memory_is_given_back_after_the_last_lease(device):
    pool = device.get_default_memory_pool()
    with _gpu.session(device.cuda.Device(0), ""):
        train(device=device)
        assert pool.n_trims == 0
    assert pool.n_trims == 1


@on_the_host
def test_want_of_memory(device):
    errors = [
        device.cuda.memory.OutOfMemoryError(),
        device.cuda.runtime.CUDARuntimeError(2),
        device.cuda.driver.CUDADriverError(2),
        device.cuda.cublas.CUBLASError(1),
        device.cuda.cublas.CUBLASError(3),
    ]
    for error in errors:
        with pytest.raises(MemoryError, match="8.0 of 16.0 GiB are free. Buy more."):
            with _gpu.session(device.cuda.Device(0), "Buy more."):
                raise error
    with pytest.raises(RuntimeError, match="700"):
        with _gpu.session(device.cuda.Device(0), ""):
            raise device.cuda.runtime.CUDARuntimeError(700)


def test_threads_share_the_data(device, monkeypatch):
    X = np.random.default_rng(0).normal(size=(500, 20))
    X[0, 0] = np.nan
    monkeypatch.setattr(_gpu, "CHUNK_BYTES", 10_000)
    with (
        _gpu.session(device.cuda.Device(0), ""),
        _gpu.hold(X, 0) as one,
        _gpu.hold(X.copy(order="F"), 0) as same,
        _gpu.hold(X + 1, 0) as other,
        _gpu.hold(X, 2**60) as shared,
        _gpu.hold(X[1:], 2**60) as streamed,
    ):
        assert same is one is shared
        assert other is not one
        assert_array_equal(device.asnumpy(one), X)
        assert streamed.base is X
    assert not _gpu._residents


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_nvrtc_compiles_the_source(formulation, dtype):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    # As CuPy compiles it.
    extra = (
        "--gpu-architecture=sm_90",
        "-ftz=true",
        "--device-as-default-execution-space",
    )
    energies = [RectifiedPolynomial(2.5), Polynomial(3), *ENERGIES[-5:]]
    for number, energy in enumerate(energies):
        losses = [PowerError(), BinaryLogLoss()], [LogLoss(), PowerError(3, True)]
        loss = losses[number % 2][number // 2 % 2]
        n_classes = [10, 2 + 50 * number][number % 2]
        update = get_update(formulation, energy, 10.0)
        network = Network(np.zeros((n_classes, 1), dtype), 0, 0.0, update, loss)
        options = cuda.compile_options(network, 50.0)
        program = nvrtc.createProgram(cuda.source(energy), "training.cu", (), ())
        try:
            nvrtc.compileProgram(program, (*options, *extra))
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert nvrtc.getCUBIN(program)
