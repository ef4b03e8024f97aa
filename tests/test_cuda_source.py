"""The CUDA kernels: on a GPU, and as far as a machine without one can tell.

Without a GPU their source is compiled by the host's compiler, and whole trainings are
run as on a device; NVRTC compiles it where CuPy is installed.
"""

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skdam.training
from skdam import gpu
from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.formulations import get_formulation
from skdam.kernels import cuda
from skdam.kernels.cues import sample_keys
from skdam.kernels.reference import ReferenceKernel
from skdam.objectives import LogLoss, PowerError
from skdam.revival import Revival
from skdam.training import Descent, LearningRate, State, TemperatureRamp, train

ENERGIES = [
    *(RectifiedPolynomial(n) for n in (1.5, 2, 3, 5, 20, 100)),
    *(Polynomial(n) for n in (1, 4, 31)),
    LogCosh(),
    Softplus(),
    Exponential(),
]


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, monkeypatch, tmp_path_factory):
    """Return how to work on a device: the host in the place of one, or a GPU."""
    if request.param == "gpu":
        cupy = gpu.cupy
        with cupy.cuda.Stream(non_blocking=True):
            yield SimpleNamespace(
                put=cupy.asarray, get=cupy.asnumpy, array=cupy.ndarray, cupy=cupy
            )
        return
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("no C++ compiler for the host")
    cupy = cuda_on_cpu.make_cupy(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(cuda, "cupy", cupy)
    cuda._module.cache_clear()
    # Small, so that small problems have several of each.
    monkeypatch.setattr(cuda, "THREADS", 64)
    monkeypatch.setattr(cuda, "MOST_THREADS", 96)
    monkeypatch.setattr(cuda, "CLASS_TILE", 3)
    monkeypatch.setattr(cuda, "MEMORIES_PER_CHUNK", 4)
    monkeypatch.setattr(cuda, "_recordable_gemm", lambda *_: cupy.cuda.cublas.gemmEx)
    yield SimpleNamespace(
        put=lambda array: np.array(array, order="K").view(cuda_on_cpu.ndarray),
        get=lambda array: np.array(array, subok=False),
        array=cuda_on_cpu.ndarray,
        cupy=cupy,
    )
    cuda._module.cache_clear()


def problem(dtype=np.float64, n_memories=7, n_features=9, n_classes=4, n_samples=71):
    rng = np.random.default_rng(0)
    return (
        rng.uniform(-1, 1, (n_memories, n_features)).astype(dtype),
        rng.uniform(-1, 1, (n_memories, n_classes)).astype(dtype),
        rng.uniform(-1, 1, (n_samples, n_features)).astype(dtype),
        rng.integers(n_classes, size=n_samples, dtype=np.int32),
        rng.uniform(0.5, 2, n_samples),
    )


def four_epochs(formulation, energy, objective, monkeypatch, device=None, **changes):
    """Return memories, velocities and reports of a training; no device: the oracle."""
    setting = {
        "weighted": True,
        "shuffle": True,
        "streamed": False,
        "order": "C",
        "bias": 0.0,
        "disturbed": False,
        "holes": False,
        "tolerance": 0.0,
    } | changes
    memories, connections, X, codes, weights = problem()
    if setting["bias"]:
        memories = np.column_stack([memories, np.linspace(-1, 1, len(memories))])
    if setting["holes"]:
        X[::3, ::2] = np.nan
    keys = sample_keys(X)
    if not setting["weighted"]:
        weights = None

    def kernel_for(
        memories, connections, formulation, batch_size, reach, precision, bias
    ):
        if device is None:
            yield ReferenceKernel(formulation, bias=bias)
        else:
            yield cuda.CudaKernel(
                formulation, 4, memories.dtype, reach, precision, bias
            )

    monkeypatch.setattr(skdam.training, "kernel_for", contextmanager(kernel_for))
    state = State.at_rest(memories, connections)
    if device is not None:
        state = State(*(device.put(part) for part in vars(state).values()))
        codes = device.put(codes)
        weights = None if weights is None else device.put(weights)
        if not setting["streamed"]:
            X = device.put(np.asarray(X, order=setting["order"]))
    descent = Descent(
        objective,
        LearningRate(0.1, "exponential", 0.8, n_epochs=4),
        TemperatureRamp(4.0, 2.0, n_epochs=3),
        momentum=0.8,
        batch_size=36,
        gradient_tolerance=setting["tolerance"],
        masked=0.3 * setting["disturbed"],
        noise=0.1 * setting["disturbed"],
    )
    epochs = train(
        state,
        X,
        codes,
        weights,
        lambda temperature: get_formulation(formulation, energy, temperature),
        descent,
        epochs=range(4),
        reach=25.0,
        bias=setting["bias"],
        samples=keys if setting["disturbed"] else None,
        rng=np.random.RandomState(0) if setting["shuffle"] else None,
    )
    reports = np.array([(epoch.loss, epoch.accuracy) for _, epoch in epochs])
    get = np.asarray if device is None else device.get
    return *(get(part) for part in vars(state).values()), reports


def assert_same(result, expected):
    for one, other in zip(result, expected, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_training_does_what_the_reference_does(
    formulation, energy, device, monkeypatch
):
    setting = formulation, energy, PowerError(3), monkeypatch
    with warnings.catch_warnings():
        # A graph that cannot be recorded is one.
        warnings.simplefilter("error")
        result = four_epochs(*setting, device)
    assert_same(result, four_epochs(*setting))


@pytest.mark.parametrize(
    "changes",
    [
        {"weighted": False},
        {"shuffle": False},
        {"streamed": True},
        {"streamed": True, "shuffle": False},
        {"order": "F"},
        {"order": "F", "shuffle": False},
        {"bias": 1.5},
        {"bias": 1.5, "streamed": True},
        {"disturbed": True},
        {"disturbed": True, "bias": 1.5, "order": "F"},
        {"disturbed": True, "shuffle": False},
        {"disturbed": True, "streamed": True},
        {"disturbed": True, "holes": True, "bias": 1.5},
        {"holes": True, "streamed": True},
    ],
    ids=str,
)
def test_ways_of_the_data(changes, device, monkeypatch):
    setting = "feedforward", RectifiedPolynomial(3), LogLoss(), monkeypatch
    assert_same(
        four_epochs(*setting, device, **changes), four_epochs(*setting, **changes)
    )


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("tolerance", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("power", [3, 20])
def test_samples_that_are_not_followed(power, tolerance, weighted, device, monkeypatch):
    setting = "feedforward", RectifiedPolynomial(power), PowerError(3), monkeypatch
    changes = {"tolerance": tolerance, "weighted": weighted}
    expected = four_epochs(*setting, **changes)
    assert_same(four_epochs(*setting, device, **changes), expected)
    of_all = four_epochs(*setting, weighted=weighted)
    is_same = np.allclose(expected[0], of_all[0])
    assert is_same == (tolerance == 0.1)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("power", [3, 20])
def test_scores_in_single_precision(formulation, power, device):
    memories, connections, X, *_ = problem(np.float32, 200, 50, 10, 64)
    network = get_formulation(formulation, RectifiedPolynomial(power), 4.0)
    oracle = ReferenceKernel(network)
    batch = oracle.batch(X.astype(np.float64), slice(None), np.float64)
    _, expected = oracle.forward(
        batch, memories.astype(np.float64), connections.astype(np.float64)
    )
    kernel = cuda.CudaKernel(network, 10, np.float32)
    batch = kernel.batch(device.put(X), slice(None), np.float32)
    _, scores = kernel.forward(batch, device.put(memories), device.put(connections))
    error = np.abs(device.get(scores) - expected)
    assert (error <= 1e-4 * np.abs(expected).max(axis=1, keepdims=True)).all()


def test_training_goes_on_where_no_graph_can_be_recorded(device, monkeypatch):
    setting = "feedforward", RectifiedPolynomial(3), PowerError(3), monkeypatch

    def fail(*_):
        raise RuntimeError("no graph today")

    monkeypatch.setattr(cuda, "_recordable_gemm", fail)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph.*no graph today"):
        result = four_epochs(*setting, device)
    assert_same(result, four_epochs(*setting))


def test_samples_that_nothing_responds_to(device):
    network = get_formulation("feedforward", RectifiedPolynomial(3), 1.0)
    kernel = cuda.CudaKernel(network, 2, np.float64)
    step = skdam.training.Step(PowerError(2), 0.1, 0.9)
    X = np.array([[1.0], [-1.0], [2.0]])
    kernel.begin_epoch(network, step, device.put(X), None)
    memories, connections = device.put([[1.0]]), device.put([[0.5, -0.5]])
    tally = kernel.tally(memories)
    batch = kernel.batch(device.put(X), slice(None), np.float64)
    _, scores = kernel.forward(batch, memories, connections)
    codes = device.put(np.array([0, 1, 1], np.int32))
    signal = kernel.error_signal(scores, codes, None, slice(None), tally)
    log_weight = device.get(signal.log_weight)
    assert_array_equal(np.isneginf(log_weight), [False, True, False])
    assert log_weight.max() == 0
    # The first of equal scores counts as predicted, as with argmax.
    assert float(tally.hits) == 1
    assert float(tally.weight) == 3


def test_silent_memories_are_drawn_anew(device):
    network = get_formulation("feedforward", RectifiedPolynomial(3), 1.0)
    kernel = cuda.CudaKernel(network, 2, np.float64)
    start = np.array([[-1.0, -1.0], [-1.0, 0.9], [-0.1, -0.1]]), np.full((3, 2), -0.5)
    state = State.at_rest(*start)
    state = State(*(device.put(part) for part in vars(state).values()))
    held = state.memories
    X = device.put(np.array([[1.0, 0.5], [0.5, 1.0]]))
    assert Revival(1, 0.3, seed=0).apply(kernel, state, X, 1, epoch=0) == 2
    # In place, because a recorded graph holds the address.
    assert state.memories is held
    changed = (device.get(state.memories) != start[0]).all(axis=1)
    assert_array_equal(changed, [True, False, True])


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_nvrtc_compiles_the_source(formulation, dtype, architecture):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    for energy in [RectifiedPolynomial(2.5), Polynomial(3), *ENERGIES[-4:]]:
        network = get_formulation(formulation, energy, 10.0)
        options = cuda.compile_options(network, 10, np.dtype(dtype), False, 50.0)
        program = nvrtc.createProgram(cuda.source(), "memory.cu", (), ())
        try:
            nvrtc.compileProgram(
                program, (*options, f"--gpu-architecture={architecture}")
            )
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        assert nvrtc.getCUBIN(program)
