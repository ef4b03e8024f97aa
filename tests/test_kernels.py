import threading
import tracemalloc

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.formulations import EnergyDifference, Feedforward
from skdam.kernels import minibatch, tiles
from skdam.kernels.base import Step
from skdam.kernels.minibatch import Minibatch
from skdam.kernels.numpy import NumpyKernel
from skdam.kernels.signal import ErrorSignal
from skdam.kernels.threads import Threads, thread_team
from skdam.training import State

ENERGIES = [
    *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 20, 30.5, 100)),
    *(Polynomial(n) for n in (1, 2, 3, 4, 5, 20, 31, 100)),
    LogCosh(),
    Softplus(),
    Exponential(),
]


def case(rng, K=37, b=23, n_classes=4, spread=1.0):
    x = rng.normal(0, spread, (K, b))
    connections = rng.uniform(-1, 1, (K, n_classes))
    delta = rng.normal(0, 1, (n_classes, b))
    log_weight = -np.abs(rng.normal(0, 2, b))
    log_weight[0] = 0
    return x, connections, delta, log_weight


def relative(result, expected, least=1e-300):
    return np.abs(result - expected).max() / max(np.abs(expected).max(), least)


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-4)])
@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("energy", [*ENERGIES, literal.Quartic()], ids=repr)
@pytest.mark.parametrize("tile", [16, 100, 2**16])
def test_tiles_compute_the_formulation(
    energy, kind, dtype, tolerance, tile, monkeypatch
):
    monkeypatch.setattr(tiles, "TILE_ELEMENTS", tile)
    monkeypatch.setattr(tiles, "NEAR_ELEMENTS", 4 * tile)
    x, connections, delta, log_weight = case(np.random.default_rng(0))
    # Half of the overlaps near 0, in the sense of the binomial tiles, then few.
    x[18:] *= 6
    formulation = kind(energy, 5.0)
    expected = formulation.scores(x.T, connections).T
    weighted = (delta * np.exp(log_weight)).T
    expected_dx, expected_dc = formulation.gradient(x.T, connections, weighted)

    chosen = tiles.choose_tiles(formulation, 24.0, np.dtype(dtype))
    x, connections = x.astype(dtype), connections.astype(dtype)
    scores, log_scale = chosen.scores(x.copy(), connections)
    scale = 1 if log_scale is None else np.exp(log_scale.astype(np.float64))
    assert scores.dtype == dtype
    assert relative(scores * scale, expected) < tolerance

    dc, log_scale = chosen.gradient(
        x, connections, delta.astype(dtype), log_weight.astype(dtype)
    )
    scale = np.exp(log_scale.astype(np.float64))[:, None]
    assert x.dtype == dc.dtype == dtype
    # At power 1 the terms of dC/dx cancel, and its rounding is that of the terms.
    least = 0.1 if getattr(energy, "power", 0) == 1 else 1e-300
    assert relative(x * scale, expected_dx.T, least) < tolerance
    assert relative(dc * scale, expected_dc) < tolerance


@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("energy", [RectifiedPolynomial(100), Exponential()], ids=repr)
@pytest.mark.parametrize("spread", [1e-3, 1.0, 20.0])
def test_scales_keep_everything_in_range(kind, energy, spread):
    # x^100 spans hundreds of orders of magnitude; single precision has 76.
    x, connections, delta, log_weight = case(np.random.default_rng(1), spread=spread)
    formulation = kind(energy, 0.5)
    chosen = tiles.choose_tiles(formulation, 5 * spread, np.dtype(np.float32))
    x, connections = x.astype(np.float32), connections.astype(np.float32)
    scores, log_scale = chosen.scores(x.copy(), connections)
    assert np.isfinite(scores).all()
    assert np.isfinite(log_scale).all()
    assert (np.abs(scores).max(axis=0) > 1e-6).all()
    dc, log_scale = chosen.gradient(
        x, connections, delta.astype(np.float32), log_weight.astype(np.float32)
    )
    assert np.isfinite(x).all()
    assert np.isfinite(dc).all()
    assert np.isfinite(log_scale).all()
    # Every memory's gradient is there, however small beside those of others.
    assert (np.abs(x).max(axis=1) > 1e-9).all()


@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("power", [3, 20])
def test_blocks_and_threads_change_only_rounding(kind, power, monkeypatch):
    monkeypatch.setattr("skdam.kernels.numpy.MEMORIES_PER_BLOCK", 16)
    rng = np.random.default_rng(2)
    X = rng.uniform(-1, 1, (29, 11))
    memories, connections = rng.uniform(-1, 1, (50, 11)), rng.uniform(-1, 1, (50, 3))
    formulation = kind(RectifiedPolynomial(power), 3.0)
    delta, log_weight = rng.normal(size=(29, 3)), np.zeros(29)
    results = []
    for count in (1, 3):
        monkeypatch.setattr("skdam.kernels.threads._blas_threads", lambda c=count: c)
        state = State.at_rest(memories.copy(), connections.copy())
        with thread_team(1e9) as threads:
            assert threads.count == count
            kernel = NumpyKernel(formulation, 14.0, threads)
            batch = Minibatch.of(X / 3.0)
            overlaps, scores = kernel.forward(batch, state.memories, state.connections)
            scores = scores.copy()
            signal = ErrorSignal(delta, log_weight, samples=np.arange(0, 29, 2))
            kernel.begin_epoch(formulation, Step(None, 0.1, momentum=0.5), X, None)
            kernel.descend(batch, overlaps, signal, state)
        results.append((scores, state.memories, state.connections))
    x = X @ memories.T / 3.0 + formulation.offset(connections)
    assert_allclose(results[0][0], formulation.scores(x, connections), rtol=1e-9)
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("n_constant", [0, 1, 4, 10])
def test_neurons_that_do_not_vary(n_constant, monkeypatch):
    monkeypatch.setattr(minibatch, "WORTH_A_LOOK", 0)
    rng = np.random.default_rng(4)
    X, memories = rng.uniform(-1, 1, (20, 10)), rng.uniform(-1, 1, (7, 10))
    X[:, rng.permutation(10)[:n_constant]] = rng.uniform(-1, 1, n_constant)
    batch = Minibatch.of(X)
    assert batch.samples.shape[1] == 10 - n_constant * (n_constant > 0)
    offset, out = rng.normal(size=7), np.empty((7, 20))
    batch.overlaps(memories, offset, out)
    assert_allclose(out, memories @ X.T + offset[:, None])
    some, d_overlaps = np.array([3, 5, 8]), rng.normal(size=(7, 3))
    assert_allclose(batch.only(some).gradient(d_overlaps), d_overlaps @ X[some])


def test_memory_is_bounded_by_batch_times_memories():
    rng = np.random.default_rng(0)
    K, N, b = 400, 50, 200
    memories = rng.uniform(-1, 1, (K, N)).astype(np.float32)
    connections = rng.uniform(-1, 1, (K, 10)).astype(np.float32)
    X = rng.uniform(-1, 1, (b, N)).astype(np.float32)
    for kind in (Feedforward, EnergyDifference):
        kernel = NumpyKernel(kind(RectifiedPolynomial(3), 10.0), 50.0)
        tracemalloc.start()
        kernel.forward(Minibatch.of(X), memories, connections)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * (K * b + 12 * tiles.TILE_ELEMENTS)


@pytest.mark.parametrize("first_to_leave", ["main thread", "other thread"])
def test_blas_limit_is_restored_whatever_the_order(first_to_leave, monkeypatch):
    def blas():
        return [
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ]

    before = blas()
    monkeypatch.setattr("skdam.kernels.threads._blas_threads", lambda: 2)
    entered, leave = threading.Event(), threading.Event()
    limits = []

    def other_fit():
        with thread_team(1e9):
            entered.set()
            leave.wait(timeout=60)
        limits.append(blas())

    thread = threading.Thread(target=other_fit, daemon=True)
    try:
        with thread_team(1e9):
            thread.start()
            entered.wait(timeout=60)
            if first_to_leave == "other thread":
                leave.set()
                thread.join()
            limits.append(blas())
    finally:
        leave.set()
    thread.join()
    assert all(set(some) == {1} for some in limits[:-1])
    assert blas() == before


def test_small_work_has_no_team():
    with thread_team(1e6) as threads:
        assert threads.executor is None


def test_team_follows_the_limit_on_blas():
    with threadpool_limits(1, user_api="blas"), thread_team(1e9) as threads:
        assert threads.count == 1
        assert threads.executor is None


def test_threads_finish_all_items_before_an_error_leaves(monkeypatch):
    monkeypatch.setattr("skdam.kernels.threads._blas_threads", lambda: 2)
    done = []

    def work(item):
        if item == 0:
            raise KeyboardInterrupt
        done.append(item)

    with thread_team(1e9) as threads, pytest.raises(KeyboardInterrupt):
        threads.map(work, list(range(8)))
    assert sorted(done) == list(range(1, 8))
    assert_array_equal(Threads().map(abs, [-1, 2]), [1, 2])
