import warnings

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning

import skdam.classifier
from skdam import DenseAssociativeMemoryClassifier
from skdam._backends import EpochMetrics, minibatches
from skdam._backends.cpu import CpuTrainer
from skdam._resolve import LearningRate, TemperatureRamp
from skdam._training import Patience, TrainingState

# Networks of a few epochs are compared here, not good ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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
@pytest.mark.parametrize(
    "n, m, T", [(2, 300, 0.1), (8, 3, 1e8), (30, 30, 0.3), (100, 30, 40.0)]
)
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


# --- what is trained on, and for how long ---


def small(n_memories=N_MEMORIES, **parameters):
    return DenseAssociativeMemoryClassifier(
        n_memories, **{"random_state": 0, "temperature": 3.0} | parameters
    )


def test_each_sample_trains_or_validates_in_a_new_order_each_epoch(monkeypatch):
    parts, orders = [], []
    train, epoch = skdam.classifier.train, CpuTrainer.epoch

    def train_recorded(run, samples, *args, **options):
        parts.extend([samples, options["validation"]])
        return train(run, samples, *args, **options)

    def epoch_recorded(self, number, order, *args):
        orders.append(order)
        return epoch(self, number, order, *args)

    monkeypatch.setattr(skdam.classifier, "train", train_recorded)
    monkeypatch.setattr(CpuTrainer, "epoch", epoch_recorded)
    X = np.arange(1.0, 101)[:, None]
    parameters = {"early_stopping": True, "validation_fraction": 0.2, "tol": None}
    clf = small(class_weight={1: 3.0}, max_iter=5, **parameters)
    clf.fit(X, X[:, 0] % 2, sample_weight=X[:, 0])
    rows = [part.X[:, 0] for part in parts]
    assert [len(some) for some in rows] == [80, 20]
    assert_array_equal(np.sort(np.concatenate(rows)), X[:, 0])
    # Class weights are for the training alone.
    for part, some, factor in zip(parts, rows, (3, 1), strict=True):
        assert_array_equal(part.codes, some % 2)
        expected = some * np.where(some % 2, factor, 1)
        assert_allclose(part.weights / part.weights.max(), expected / expected.max())
    assert {tuple(np.sort(order)) for order in orders} == {tuple(range(80))}
    assert len({tuple(order) for order in orders}) == 5


@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_validation_curves_are_weighted_means(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.integers(3, size=60)
    weights = rng.uniform(0, 1, 60) * (1 + y)
    clf = small(loss=loss, error_exponent=2, class_weight={2: 7.0}, max_iter=3)
    clf.fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)
    is_true = y[:, None] == np.arange(3)
    scores = clf.decision_function(X)
    if loss == "power":
        losses = ((np.tanh(scores) - np.where(is_true, 1, -1)) / 2) ** 4
    else:
        losses = -np.log(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
        losses *= is_true
    expected = (weights @ losses).sum() / weights.sum()
    assert_allclose(clf.validation_loss_curve_[-1], expected)
    hits = weights @ (scores.argmax(axis=1) == y) / weights.sum()
    assert_allclose(clf.validation_scores_[-1], hits)


@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_training_score_is_the_share_of_right_predictions(loss, problem, capsys):
    X, y, start = problem
    # Steps of no length: all minibatches meet the same network.
    still = {"init": start, "learning_rate_init": 1e-300, "batch_size": 8}
    clf = small(loss=loss, max_iter=1, verbose=True, **still).fit(X, y)
    share = (clf.predict(X) == y).mean()
    assert 0 < share < 1 and share != 0.5
    assert f"training score = {share:.6f}" in capsys.readouterr().out


@pytest.mark.parametrize("namespace", ["numpy", "array_api_strict"])
def test_only_samples_with_a_gradient_worth_it_are_followed(namespace):
    xp = pytest.importorskip(namespace)
    # No memory responds to 0, which has the largest error; 0.7 is nearly right.
    X = np.array([[0.0, 0], [0, 0], [0.4, 0.1], [0.7, 0], [-0.4, 0], [-0.7, 0.1]])
    y = np.array([0, 1, 0, 0, 1, 1])
    start = np.array([[0.9, 0, 0.9, -0.9], [-0.9, 0, -0.9, 0.9]])
    rule = {"n": 2, "m": 1, "T": lambda epoch: 1.0, "rate": lambda epoch: 0.1}
    steps = [(0, X[[2, 4]], y[[2, 4]])]
    expected = literal.train(literal.dual_gradient, start, 2, steps, momentum=0, **rule)
    parameters = {"temperature": 1.0, "error_exponent": 1, "learning_rate_init": 0.1}
    clf = small("auto", init=start, max_iter=1, gradient_tolerance=0.5, **parameters)
    with config_context(array_api_dispatch=True):
        clf.fit(xp.asarray(X), xp.asarray(y))
    assert_allclose(fitted_memories(clf), expected, rtol=0, atol=1e-12)


def scripted(monkeypatch, losses):
    """Let epochs end with given losses."""
    losses = iter(losses)
    monkeypatch.setattr(
        CpuTrainer, "epoch", lambda *args: EpochMetrics(next(losses), 0.5)
    )


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("factor, n_iter", [(0.5, 9), (0.95, 3)])
def test_tol_is_a_share_of_the_loss(factor, n_iter, scale, problem, monkeypatch):
    X, y, _ = problem
    scripted(monkeypatch, scale * factor ** np.arange(9))
    clf = small(tol=0.1, n_iter_no_change=2, max_iter=9).fit(X, y)
    assert clf.n_iter_ == n_iter


@pytest.mark.parametrize("ramp, n_iter", [(None, 3), ((2.0, 5), 7)])
def test_patience_waits_for_the_end_of_the_ramp(ramp, n_iter, problem, monkeypatch):
    X, y, _ = problem
    scripted(monkeypatch, np.ones(9))
    clf = small(n_iter_no_change=2, max_iter=9, temperature_ramp=ramp).fit(X, y)
    assert clf.n_iter_ == n_iter


@pytest.mark.parametrize("mean, std", [(0.4, 0.1), (-0.2, 0.05)])
def test_initial_memories_have_the_mean_and_deviation_asked_for(mean, std, problem):
    X, y, _ = problem
    still = {"learning_rate_init": 1e-300, "reinit_dead": 0, "max_iter": 1}
    clf = small(2000, init=(mean, std), intercept_scaling=1.0, **still).fit(X, y)
    for part in (clf.memories_, clf.thresholds_, clf.recognition_connections_):
        assert_allclose([part.mean(), part.std()], [mean, std], rtol=0.05)


def test_an_unfinished_epoch_is_dropped():
    curves = {
        "loss_curve": [3.0, 2.0],
        "validation_loss_curve": [3.0, 2.0, 1.0],
        "validation_scores": [0.1, 0.2, 0.3],
    }
    run = TrainingState(None, n_epochs=2, **curves)
    run.drop_unfinished_epoch()
    assert all(getattr(run, name) == curve[:2] for name, curve in curves.items())
