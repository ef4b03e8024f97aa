import warnings

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skdam import DenseAssociativeMemoryClassifier
from skdam._backends import minibatches
from skdam._resolve import LearningRate, TemperatureRamp
from skdam._training import Patience

N_SAMPLES, N_FEATURES, N_CLASSES, N_MEMORIES = 22, 5, 3, 4


@pytest.fixture
def problem():
    rng = np.random.default_rng(5)
    return (
        rng.uniform(-1, 1, (N_SAMPLES, N_FEATURES)),
        rng.integers(N_CLASSES, size=N_SAMPLES),
        rng.uniform(-0.9, 0.9, (N_MEMORIES, N_FEATURES + N_CLASSES)),
    )


def fitted_memories(clf):
    return np.hstack([clf.memories_, clf.recognition_connections_])


@pytest.mark.parametrize("formulation", ["energy", "feedforward"])
@pytest.mark.parametrize("n, m", [(2, 1), (3, 3), (4, 2), (5, 1), (9, 2), (20, 10)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_steps_are_the_papers(formulation, n, m, problem):
    X, y, start = problem
    T, T_start, ramp, rate, decay, momentum = 2.0, 3.0, 2, 0.05, 0.7, 0.8
    epochs, batch_size = 4, 8
    batches = [
        (epoch, X[a:b], y[a:b])
        for epoch in range(epochs)
        for a, b in minibatches(N_SAMPLES, batch_size)
    ]
    expected = literal.train(
        literal.energy_gradient if formulation == "energy" else literal.dual_gradient,
        start,
        N_FEATURES,
        batches,
        n=n,
        m=m,
        T=lambda epoch: max(T, T_start - (T_start - T) * epoch / ramp),
        rate=lambda epoch: rate * decay**epoch,
        momentum=momentum,
    )
    clf = DenseAssociativeMemoryClassifier(
        N_MEMORIES,
        power=n,
        formulation=formulation,
        temperature=T,
        temperature_ramp=(T_start / T, ramp),
        error_exponent=m,
        learning_rate_init=rate,
        learning_rate="exponential",
        learning_rate_decay=decay ** (epochs - 1),
        momentum=momentum,
        batch_size=batch_size,
        max_iter=epochs,
        init=start,
        shuffle=False,
        tol=None,
        gradient_tolerance=0,
    ).fit(X, y)
    assert np.abs(expected - start).max() > 0.1
    assert_allclose(fitted_memories(clf), expected, rtol=0, atol=1e-12)
    assert clf.temperature_ == T
    F = literal.rectified_polynomial(n)
    for v, s in zip(X, clf.decision_function(X), strict=True):
        if formulation == "energy":
            parts = clf.memories_, clf.recognition_connections_
            assert_allclose(s, literal.update(F, T, *parts, v), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("formulation", ["energy", "feedforward"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, m, T", [(2, 300, 0.1), (30, 30, 0.3), (100, 30, 40.0)])
def test_nothing_underflows_or_overflows(formulation, dtype, n, m, T, problem):
    X, y, start = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = DenseAssociativeMemoryClassifier(
            N_MEMORIES,
            power=n,
            formulation=formulation,
            temperature=T,
            error_exponent=m,
            max_iter=3,
            batch_size=8,
            init=start,
            gradient_tolerance=0,
            random_state=0,
        ).fit(X.astype(dtype), y)
    memories = fitted_memories(clf)
    assert np.isfinite(memories).all()
    assert np.isfinite(clf.decision_function(X)).all()
    assert np.isfinite(clf.predict_proba(X)).all()
    assert np.abs(memories - start).max() > 1e-2


def test_gradient_tolerance_leaves_out_the_negligible(digits):
    X, _, y, _ = digits
    scores = [
        DenseAssociativeMemoryClassifier(
            60, max_iter=15, gradient_tolerance=tolerance, random_state=0
        )
        .fit(X, y)
        .score(X, y)
        for tolerance in (0, 1e-3)
    ]
    assert min(scores) > 0.98


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("formulation", ["energy", "feedforward"])
def test_fit_is_partial_fit_over_the_same_batches(formulation, digits):
    X, X_test, y, _ = digits
    X, y = X[:400], y[:400]
    parameters = {
        "n_memories": 30,
        "formulation": formulation,
        "temperature": 8.0,
        "learning_rate": "constant",
        "batch_size": 100,
        "max_iter": 1,
        "shuffle": False,
        "random_state": 3,
    }
    whole = DenseAssociativeMemoryClassifier(**parameters).fit(X, y)
    parts = DenseAssociativeMemoryClassifier(**parameters)
    for start in range(0, 400, 100):
        rows = slice(start, start + 100)
        parts.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert_array_equal(fitted_memories(whole), fitted_memories(parts))
    assert_array_equal(whole.decision_function(X_test), parts.decision_function(X_test))
    assert parts.n_iter_ == 4


@pytest.mark.parametrize("formulation", ["energy", "feedforward"])
def test_same_seed_same_bits(formulation, digits):
    X, _, y, _ = digits
    fits = [
        DenseAssociativeMemoryClassifier(
            300, formulation=formulation, max_iter=2, random_state=1
        ).fit(X.astype(np.float32), y)
        for _ in range(2)
    ]
    assert_array_equal(fitted_memories(fits[0]), fitted_memories(fits[1]))
    other = DenseAssociativeMemoryClassifier(300, max_iter=2, random_state=2).fit(X, y)
    assert not np.array_equal(fits[0].memories_, other.memories_)


def test_schedules():
    linear = LearningRate(0.1, "linear", 0.1, n_epochs=10)
    assert_allclose([linear.at(0), linear.at(9), linear.at(20)], [0.1, 0.01, 0.01])
    exponential = LearningRate(0.1, "exponential", 0.998**9, n_epochs=10)
    assert_allclose([exponential.at(e) for e in (0, 7)], [0.1, 0.1 * 0.998**7])
    assert_allclose(exponential.at(20), 0.1 * 0.998**9)
    assert LearningRate(0.1, "constant", 0.5, n_epochs=10).at(9) == 0.1
    assert LearningRate(0.1, "linear", 0.5, n_epochs=1).at(0) == 0.1
    assert TemperatureRamp(9.0, 0).at(0) == 1.0


def test_minibatches_cover_all_samples_evenly():
    for n_samples, batch_size in ((1, 1), (10, 3), (1000, 1000), (1001, 1000), (7, 9)):
        batches = minibatches(n_samples, batch_size)
        edges = [0, *(stop for _, stop in batches)]
        assert [start for start, _ in batches] == edges[:-1]
        assert edges[-1] == n_samples
        sizes = np.diff(edges)
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def test_patience():
    patience = Patience(2)
    assert patience.improves(1.0, 0.1)
    assert patience.improves(0.95, 0.1)
    assert not patience.is_over
    assert not patience.improves(0.97, 0.1)
    assert patience.is_over
