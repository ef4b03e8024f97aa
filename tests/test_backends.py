"""The CPU backend against the equations, and the threads that it works with."""

import os
import signal
import threading
import tracemalloc
from dataclasses import replace

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain_settings import PLAIN
from scipy import sparse
from threadpoolctl import threadpool_info, threadpool_limits

from skdam._backends import (
    array_api,
    cpu,
    cpu_difference,
    cpu_energies,
    cpu_feedforward,
    cpu_sparse,
    cpu_tiles,
)
from skdam._backends.threads import Threads, thread_team
from skdam._resolve import LearningRate, TemperatureRamp
from skdam._samples import Samples
from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.learning_rule import Scaled, descend
from skdam.losses import BinaryLogLoss, LogLoss, PowerError
from skdam.network import Network
from skdam.updates import EnergyDifference, Feedforward

ENERGIES = [
    *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 2.5, 3, 4, 5, 8, 20, 30.5, 100)),
    *(Polynomial(n) for n in (1, 2, 3, 4, 5, 20, 31, 100)),
    LogCosh(),
    Softplus(),
    Exponential(),
]


def case(rng, K=37, b=23, n_classes=4, spread=1.0):
    x = rng.normal(0, spread, (b, K))
    connections = rng.uniform(-1, 1, (n_classes, K))
    delta = rng.normal(0, 1, (n_classes, b))
    log_weight = -np.abs(rng.normal(0, 2, b))
    log_weight[0] = 0
    return x, connections, delta, log_weight


def relative(result, expected, least=1e-300):
    return np.abs(result - expected).max() / max(np.abs(expected).max(), least)


def gradient_of(units, x, connections, delta, log_weight, scale=None):
    """Return dC/dx and dC/dxi_alpha, with all scales and factors put together."""
    out, d_connections = np.empty_like(x), np.empty_like(connections)
    if not units.is_steep:
        delta = delta * np.exp(log_weight)
    log_scale = units.gradient(
        x, connections, delta, log_weight, scale, out, d_connections
    )
    factor = units.factor
    if log_scale is not None:
        factor = factor * np.exp(log_scale.astype(np.float64))
    assert out.dtype == d_connections.dtype == x.dtype
    return out * factor, d_connections * factor


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-4)])
@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("energy", [*ENERGIES, literal.Quartic()], ids=repr)
@pytest.mark.parametrize("tile", [40, 100, 2**16])
def test_units_compute_the_update(energy, kind, dtype, tolerance, tile, monkeypatch):
    for module in (cpu_feedforward, cpu_difference):
        monkeypatch.setattr(module, "tiles", tiles_of(tile))
    x, connections, delta, log_weight = case(np.random.default_rng(0))
    # Half of the overlaps near 0, in the sense of the binomial units, then few.
    x[12:] *= 6
    update = kind(energy, 5.0)
    expected = update.scores(x, connections.T)
    weighted = (delta * np.exp(log_weight)).T
    expected_dx, expected_dc = update.gradient(x, connections.T, weighted)

    units = cpu_energies.choose_units(update, 24.0, np.dtype(dtype))
    x, connections = x.astype(dtype), connections.astype(dtype)
    kept = x.copy()
    scores, log_scale = units.scores(kept, connections)
    scale = 1 if log_scale is None else np.exp(log_scale.astype(np.float64))[:, None]
    assert scores.dtype == dtype
    assert relative(units.factor * scores * scale, expected) < tolerance

    dx, dc = gradient_of(
        units, kept, connections, delta.astype(dtype), log_weight.astype(dtype)
    )
    # At power 1 the terms of dC/dx cancel, and its rounding is that of the terms.
    least = 0.1 if getattr(energy, "power", 0) == 1 else 1e-300
    assert relative(dx, expected_dx, least) < tolerance
    assert relative(dc, expected_dc.T) < tolerance


def tiles_of(size, original=cpu_tiles.tiles):
    return lambda x, n_elements=None: original(
        x, size if n_elements is None else 4 * size
    )


@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("energy", [RectifiedPolynomial(100), Exponential()], ids=repr)
@pytest.mark.parametrize("spread", [1e-3, 1.0, 20.0])
def test_scales_keep_everything_in_range(kind, energy, spread):
    # x^100 spans hundreds of orders of magnitude; single precision has 76.
    x, connections, delta, log_weight = (
        part.astype(np.float32)
        for part in case(np.random.default_rng(1), spread=spread)
    )
    units = cpu_energies.choose_units(
        kind(energy, 0.5), 5 * spread, np.dtype(np.float32)
    )
    scores, log_scale = units.scores(x, connections)
    assert np.isfinite(scores).all()
    assert np.isfinite(log_scale).all()
    assert (np.abs(scores).max(axis=1) > 1e-6).all()
    out, d_connections = np.empty_like(x), np.empty_like(connections)
    log_scale = units.gradient(
        x, connections, delta, log_weight, None, out, d_connections
    )
    for part in (out, d_connections, log_scale):
        assert np.isfinite(part).all()
    # Every memory's gradient is there, however small beside those of others.
    assert (np.abs(out).max(axis=0) > 1e-9).all()


def four_epochs(kind, energy, exact, loss, dtype=np.float64, **changes):
    """Train for four epochs; return memories, velocity, losses, idle memories."""
    setting = {
        "weighted": False,
        "tolerance": 0.0,
        "noise": 0.0,
        "dropout": 0.0,
        "momentum": 0.8,
        "intercept": 1.5,
        "shuffle": True,
        "holes": False,
        "n_threads": 1,
        "batch_size": 36,
        "n_features": 9,
        "stored": 1.0,
        "interrupted": False,
        "ramp": (2.0, 3),
        "stopped": False,
    } | changes
    rng = np.random.default_rng(0)
    n_features, n_classes, n_samples = setting["n_features"], 4, 71
    n_units = n_features + bool(setting["intercept"]) + n_classes
    weights = rng.uniform(-1, 1, (n_units, 7)).astype(dtype)
    X = rng.uniform(-1, 1, (n_samples, n_features)).astype(dtype)
    codes = rng.integers(n_classes, size=n_samples, dtype=np.int32)
    sample_weight = rng.uniform(0.5, 2, n_samples) if setting["weighted"] else None
    if setting["stored"] < 1:
        X[rng.random(X.shape) > setting["stored"]] = 0
        X[5] = X[:, 3::5] = 0
    if setting["holes"]:
        X[::3, ::2] = np.nan
    if kind is cpu_sparse.SparseTrainer:
        X = sparse.csr_array(X)
    settings = replace(
        PLAIN,
        energy=energy,
        loss=loss,
        exact=exact,
        intercept=setting["intercept"],
        temperature=2.0,
        ramp=TemperatureRamp(*setting["ramp"]),
        max_iter=4,
        learning_rate=LearningRate(0.1, "exponential", 0.5, n_epochs=4),
        momentum=setting["momentum"],
        batch_size=setting["batch_size"],
        gradient_tolerance=setting["tolerance"],
        noise=setting["noise"],
        dropout=setting["dropout"],
        largest_overlap=40.0,
        dtype=np.dtype(dtype).name,
    )
    network = Network(
        weights, n_features, setting["intercept"], settings.update(4.0), loss
    )
    threads = Threads(setting["n_threads"])
    arguments = [threads] if issubclass(kind, cpu.CpuTrainer) else []
    if loss.multilabel:
        codes = rng.integers(2, size=(n_samples, n_classes), dtype=np.int32)
    samples = Samples(X, codes, sample_weight)
    trainer = kind(network, samples, settings, None, *arguments)
    rng = np.random.RandomState(0)
    if setting["interrupted"]:
        interrupt(trainer, before_step=5)
        with pytest.raises(KeyboardInterrupt), np.errstate(all="ignore"):
            trainer.epoch(0, None, 4.0)
        velocity = trainer.velocity().values
        return trainer.network.weights, velocity
    metrics = []
    with np.errstate(all="ignore"):
        for e in range(4):
            if setting["stopped"] and e:
                network, velocity = trainer.network, trainer.velocity()
                trainer = kind(network, samples, settings, velocity, *arguments)
            order = rng.permutation(n_samples) if setting["shuffle"] else None
            temperature = settings.temperature_at(e)
            metrics.append(trainer.epoch(e, order, temperature))
    values, log_scale, common = trainer.velocity()
    velocity = Scaled.normalised(values.astype(float), log_scale + common)
    return (
        trainer.network.weights,
        velocity.values,
        np.where(np.isfinite(velocity.log_scale), velocity.log_scale, -999.0),
        metrics,
        trainer.without_gradient(),
    )


def interrupt(trainer, before_step):
    original, steps = trainer._step, iter(range(before_step))

    def step(*arguments):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        original(*arguments)

    trainer._step = step


def assert_same_training(*setting, rtol=1e-9, atol=1e-10, **changes):
    results = [
        four_epochs(kind, *setting, **changes)
        for kind in (cpu.CpuTrainer, array_api.ArrayApiTrainer)
    ]
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=rtol, atol=atol)


@pytest.mark.parametrize("loss", [PowerError(3), LogLoss()], ids=repr)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "energy",
    [
        *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 3, 4, 6, 8, 20)),
        *(Polynomial(n) for n in (1, 2, 4, 5)),
        LogCosh(),
        Softplus(),
        Exponential(),
        literal.Quartic(),
    ],
    ids=repr,
)
def test_training_does_what_the_equations_say(energy, exact, loss):
    assert_same_training(energy, exact, loss)


@pytest.mark.parametrize("loss", [PowerError(3, True), BinaryLogLoss()], ids=repr)
# With power 20 the CPU rounds exact scores of 1e-30 to 0, which tell right from wrong.
@pytest.mark.parametrize(
    "exact, power", [(False, 2), (False, 20), (True, 2), (True, 5)]
)
@pytest.mark.parametrize("changes", [{}, {"weighted": True, "tolerance": 0.3}], ids=str)
def test_training_with_several_labels(power, exact, loss, changes):
    setting = RectifiedPolynomial(power), exact, loss
    assert_same_training(*setting, **changes)
    sparse_ones, dense = (
        four_epochs(kind, *setting, stored=0.1, n_features=60, **changes)
        for kind in (cpu_sparse.SparseTrainer, cpu.CpuTrainer)
    )
    for one, other in zip(sparse_ones, dense, strict=True):
        assert_allclose(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"weighted": True},
        {"tolerance": 0.3},
        {"tolerance": 0.5, "weighted": True},
        {"tolerance": 0.9},
        {"noise": 0.1, "dropout": 0.3},
        {"momentum": 0.0},
        {"intercept": 0.0},
        {"shuffle": False},
        {"holes": True, "noise": 0.1},
        {"n_threads": 2, "tolerance": 0.3, "weighted": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("energy", [RectifiedPolynomial(3), RectifiedPolynomial(20)])
def test_ways_through_a_step(energy, compact, changes, monkeypatch):
    # Each of these switches off, or on, what is done only where it pays.
    monkeypatch.setattr(cpu, "MOST_PREPARED_BYTES", 0 if compact else 2**30)
    monkeypatch.setattr(cpu, "COMPACT_ABOVE", 0 if compact else 2**62)
    monkeypatch.setattr(cpu, "MEMORIES_IN_SHARD", 3)
    monkeypatch.setattr(cpu, "TILE_ELEMENTS", 20)
    monkeypatch.setattr(cpu, "CHUNK_ELEMENTS", 40 * 14)
    for exact in (False, True):
        assert_same_training(energy, exact, PowerError(3), **changes)


SPARSE = {"n_features": 60, "stored": 0.05, "batch_size": 9}


def assert_sparse_is_dense(*setting, **changes):
    """Compare CSR samples on the CPU with the equations on dense arrays."""
    one, other = (
        four_epochs(kind, *setting, **SPARSE | changes)
        for kind in (cpu_sparse.SparseTrainer, array_api.ArrayApiTrainer)
    )
    for name, part, expected in zip(
        ("memories", "velocity", "log_scale", "metrics", "idle"),
        one,
        other,
        strict=True,
    ):
        # Velocities far below the largest have the rounding of the terms they are of.
        atol = 1e-8 if name == "velocity" else 1e-10
        assert_allclose(part, expected, rtol=1e-9, atol=atol, err_msg=name)


@pytest.mark.parametrize("loss", [PowerError(3), LogLoss()], ids=repr)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "energy",
    # At powers of 100, rounding decides after a few steps.
    [e for e in [*ENERGIES, literal.Quartic()] if getattr(e, "power", 0) < 100],
    ids=repr,
)
def test_sparse_training_does_what_the_equations_say(energy, exact, loss):
    assert_sparse_is_dense(energy, exact, loss)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weighted": True},
        {"tolerance": 0.5, "weighted": True},
        {"dropout": 0.3},
        {"momentum": 0.0},
        {"momentum": 0.0, "tolerance": 0.5},
        {"momentum": 0.3},
        {"momentum": 0.99},
        {"intercept": 0.0},
        {"shuffle": False},
        {"holes": True},
        {"batch_size": 1},
        {"batch_size": 71},
        {"stored": 0.01},
        {"stored": 0.5},
        {"n_features": 1, "stored": 0.7},
        {"n_threads": 2, "tolerance": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_steps", [1, 3, 64])
@pytest.mark.parametrize("energy", [RectifiedPolynomial(3), RectifiedPolynomial(20)])
def test_ways_through_a_sparse_step(energy, n_steps, changes, monkeypatch):
    monkeypatch.setattr(cpu, "COMPACT_ABOVE", 0 if changes.get("tolerance") else 2**62)
    monkeypatch.setattr(cpu, "MEMORIES_IN_SHARD", 3)
    monkeypatch.setattr(cpu_sparse, "TILE_ELEMENTS", 40)
    monkeypatch.setattr(cpu_sparse, "MOST_STEPS", n_steps)
    for exact in (False, True):
        assert_sparse_is_dense(energy, exact, PowerError(3), **changes)


@pytest.mark.parametrize("energy", [RectifiedPolynomial(2), RectifiedPolynomial(30)])
@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.99])
def test_scales_are_renewed_amid_moves_to_come(energy, momentum, monkeypatch):
    original = cpu.CpuTrainer._set_velocity

    def narrow(self, velocity):
        original(self, velocity)
        self.range, self.floor = 0.3, -0.2

    monkeypatch.setattr(cpu.CpuTrainer, "_set_velocity", narrow)
    assert_sparse_is_dense(energy, False, PowerError(10), momentum=momentum)


def test_an_interrupt_leaves_no_move_to_come():
    one, other = (
        four_epochs(
            kind,
            RectifiedPolynomial(3),
            False,
            PowerError(3),
            interrupted=True,
            **SPARSE,
        )
        for kind in (cpu_sparse.SparseTrainer, cpu.CpuTrainer)
    )
    for part, expected in zip(one, other, strict=True):
        assert_allclose(part, expected, rtol=1e-9, atol=1e-10)


def test_a_sparse_epoch_holds_nothing_of_all_features():
    """Beside memories and velocity: no array of features times memories."""
    rng = np.random.default_rng(0)
    n_samples, n_features, n_stored, K = 300, 50_000, 5, 50
    X = sparse.random_array(
        (n_samples, n_features),
        density=n_stored / n_features,
        random_state=0,
        format="csr",
    )
    settings = replace(PLAIN, n_memories=K, batch_size=20)
    weights = rng.uniform(-1, 1, (n_features + 3, K))
    network = Network(weights, n_features, 0.0, settings.update(1.0), PowerError(2))
    samples = Samples(X, rng.integers(3, size=n_samples, dtype=np.int32))
    trainer = cpu_sparse.SparseTrainer(network, samples, settings)
    tracemalloc.start()
    trainer.epoch(0, rng.permutation(n_samples), 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.2 * weights.nbytes


@pytest.mark.parametrize("kind", [cpu.CpuTrainer, array_api.ArrayApiTrainer])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "changes",
    [{}, {"n_threads": 2}, {"momentum": 0.0}, {"ramp": (1e21, 2)}],
    ids=str,
)
@pytest.mark.parametrize(
    "energy",
    [*map(RectifiedPolynomial, (2, 8, 20)), LogCosh(), Exponential()],
    ids=repr,
)
def test_a_trainer_goes_on_bit_by_bit(energy, changes, exact, kind):
    for dtype in (np.float32, np.float64):
        rule = kind, energy, exact, PowerError(3), dtype
        expected = four_epochs(*rule, **changes)
        for one, other in zip(
            four_epochs(*rule, stopped=True, **changes), expected, strict=True
        ):
            assert_array_equal(one, other)


def test_tolerance_leaves_samples_out():
    rule = cpu.CpuTrainer, RectifiedPolynomial(3), False, PowerError(3)
    of_all, of_some = four_epochs(*rule), four_epochs(*rule, tolerance=0.5)
    assert not np.allclose(of_all[0], of_some[0])


@pytest.mark.parametrize("energy", [RectifiedPolynomial(2), RectifiedPolynomial(30)])
@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.99])
def test_scales_are_renewed_exactly(energy, momentum, monkeypatch):
    rule = energy, False, PowerError(10)
    expected = four_epochs(cpu.CpuTrainer, *rule, momentum=momentum)
    # Out of range in nearly every step.
    original = cpu.CpuTrainer._set_velocity

    def narrow(self, velocity):
        original(self, velocity)
        self.range, self.floor = 0.3, -0.2

    monkeypatch.setattr(cpu.CpuTrainer, "_set_velocity", narrow)
    result = four_epochs(cpu.CpuTrainer, *rule, momentum=momentum)
    for one, other in zip(result, expected, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def test_single_precision_follows_double():
    # Nearly the same memories after four epochs of steps of a tenth.
    for power in (2, 3, 20):
        rule = cpu.CpuTrainer, RectifiedPolynomial(power), False, PowerError(3)
        single, double = four_epochs(*rule, np.float32), four_epochs(*rule)
        assert_allclose(single[0], double[0], atol=1e-3)


def test_rule_is_the_papers():
    """V = p V - dC/dxi, and a step of eps V / max |V|, clipped."""
    rng = np.random.default_rng(0)
    xi, V = rng.uniform(-1, 1, (5, 3)), np.zeros((5, 3))
    memories, velocity = xi, Scaled.normalised(V)
    for _ in range(6):
        gradient = rng.normal(size=(5, 3)) * [1, 1e-9, 0]
        V = 0.7 * V - gradient
        largest = np.abs(V).max(axis=0)
        xi = np.clip(xi + 0.3 * V / np.where(largest > 0, largest, 1), -1, 1)
        memories, velocity = descend(
            memories,
            velocity,
            Scaled.normalised(gradient),
            learning_rate=0.3,
            momentum=0.7,
        )
        assert_allclose(memories, xi, rtol=1e-12)
        assert_allclose(velocity.values * np.exp(velocity.log_scale), V, rtol=1e-12)
    assert np.isneginf(velocity.log_scale[2])


def test_memory_is_bounded_by_batch_times_memories():
    rng = np.random.default_rng(0)
    K, N, b = 400, 50, 200
    weights = rng.uniform(-1, 1, (N + 10, K)).astype(np.float32)
    X = rng.uniform(-1, 1, (b, N)).astype(np.float32)
    for kind in (Feedforward, EnergyDifference):
        network = Network(weights, N, 0.0, kind(RectifiedPolynomial(3), 10.0), None)
        vars(cpu_tiles._local).clear()
        tracemalloc.start()
        with cpu.forward(network, b) as forward:
            forward(X, slice(0, b))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * (K * b + 12 * cpu_tiles.TILE_ELEMENTS)


@pytest.mark.parametrize("first_to_leave", ["main thread", "other thread"])
def test_blas_limit_is_restored_whatever_the_order(first_to_leave, monkeypatch):
    def blas():
        return [
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "blas"
        ]

    before = blas()
    monkeypatch.setattr("skdam._backends.threads._blas_threads", lambda: 2)
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
        assert not threads.running


def test_team_follows_the_limit_on_blas():
    with threadpool_limits(1, user_api="blas"), thread_team(1e9) as threads:
        assert threads.count == 1
        assert not threads.running


def test_threads_finish_all_items_before_an_error_leaves(monkeypatch):
    monkeypatch.setattr("skdam._backends.threads._blas_threads", lambda: 2)
    done = []

    def work(item):
        if item == 0:
            raise KeyboardInterrupt
        done.append(item)

    with thread_team(1e9) as threads, pytest.raises(KeyboardInterrupt):
        threads.map(work, list(range(8)))
    assert sorted(done) == list(range(1, 8))
    assert_array_equal(Threads().map(abs, [-1, 2]), [1, 2])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_fork_during_a_fit_has_the_threads_of_before(monkeypatch):
    def blas():
        infos = threadpool_info()
        return [i["num_threads"] for i in infos if i["user_api"] == "blas"]

    before = blas()
    monkeypatch.setattr("skdam._backends.threads._blas_threads", lambda: 2)
    with thread_team(1e9):
        child = os.fork()
        if not child:
            # Whatever happens, pytest must not go on here.
            try:
                signal.alarm(60)
                same = blas() == before
                with thread_team(1e9) as threads:
                    same &= set(blas()) == {1}
                    same &= threads.map(abs, [-1, 2]) == [1, 2]
                os._exit(0 if same and blas() == before else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
