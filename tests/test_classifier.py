import copy
import itertools
import math
import re
import warnings
from types import SimpleNamespace

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, log_loss

from skdam import DenseAssociativeMemoryClassifier
from skdam._backends.cpu import CpuTrainer
from skdam._diagnosis import _describe, describe_failure, likeliest_cause
from skdam._resolve import auto_temperature, resolve
from skdam._samples import Samples, Statistics, describe
from skdam.energies import LogCosh, Polynomial, RectifiedPolynomial
from skdam.losses import LogLoss, PowerError


def small(**parameters):
    return DenseAssociativeMemoryClassifier(
        **{"n_memories": 60, "max_iter": 15, "random_state": 0} | parameters
    )


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"power": 2, "error_exponent": 3},
        {"power": 2.5},
        {"loss": "log_loss"},
        {"energy": "polynomial", "power": 3},
        {"energy": "log_cosh"},
        {"energy": "softplus", "loss": "log_loss", "max_iter": 40},
        {"energy": "exponential", "loss": "log_loss"},
        {"momentum": 0, "learning_rate": "constant", "learning_rate_init": 0.01},
        {"learning_rate": "exponential", "learning_rate_decay": 0.2},
        {"temperature_ramp": (3.0, 5)},
    ],
    ids=str,
)
def test_learns_digits(formulation, parameters, digits):
    X_train, X_test, y_train, y_test = digits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = small(formulation=formulation, **parameters).fit(X_train, y_train)
        assert clf.score(X_test, y_test) > 0.93
    assert clf.memories_.shape == (60, 64)
    assert clf.recognition_connections_.shape == (60, 10)
    assert np.abs(clf.memories_).max() <= 1
    assert np.abs(clf.recognition_connections_).max() <= 1
    assert len(clf.loss_curve_) == clf.n_iter_ == clf.best_iter_
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]
    assert clf.validation_scores_ is None


def test_learns_prototypes(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(
        power=20,
        n_memories=100,
        max_iter=30,
        intercept_scaling=0,
        learning_rate_init=0.02,
    )
    assert clf.fit(X_train, y_train).score(X_test, y_test) > 0.93
    # In the exact form every class adds its connection to the overlap: with few
    # visible neurons, high powers stand few classes.
    train, test = y_train < 3, y_test < 3
    clf.set_params(formulation="energy", intercept_scaling="auto")
    clf.fit(X_train[train], y_train[train])
    assert clf.score(X_test[test], y_test[test]) > 0.95


def test_defaults_are_good(digits):
    X_train, X_test, y_train, y_test = digits
    clf = DenseAssociativeMemoryClassifier(random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) > 0.97
    assert log_loss(y_test, clf.predict_proba(X_test)) < 0.2


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_predictions_agree(formulation, loss, digits):
    X_train, X_test, y_train, _ = digits
    clf = small(formulation=formulation, loss=loss).fit(X_train, y_train)
    scores, proba = clf.decision_function(X_test), clf.predict_proba(X_test)
    assert scores.shape == proba.shape == (len(X_test), 10)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert_array_equal(clf.predict(X_test), clf.classes_[scores.argmax(axis=1)])
    assert_array_equal(clf.predict(X_test), clf.classes_[proba.argmax(axis=1)])


def test_two_classes_have_one_score():
    X, y = load_breast_cancer(return_X_y=True)
    X = X / X.max(axis=0)
    labels = np.array(["benign", "malignant"])[1 - y]
    clf = small(max_iter=40).fit(X, labels)
    scores, proba = clf.decision_function(X), clf.predict_proba(X)
    assert scores.shape == (len(X),)
    assert_array_equal(clf.predict(X), clf.classes_[(scores > 0).astype(int)])
    assert (np.diff(proba[np.argsort(scores), 1]) >= 0).all()
    assert clf.score(X, labels) > 0.9


def test_chunks_of_predictions_change_nothing(monkeypatch, digits):
    X_train, X_test, y_train, _ = digits
    clf = small(power=20).fit(X_train, y_train)
    whole = clf.decision_function(X_test)
    monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 7 * 64)
    assert_allclose(clf.decision_function(X_test), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_equals_dense(container, digits):
    X_train, X_test, y_train, _ = digits
    X_train, X_test = np.maximum(X_train, 0), np.maximum(X_test, 0)
    dense = small(input_noise=0).fit(X_train, y_train)
    thin = small(input_noise=0).fit(container(X_train), y_train)
    assert_allclose(thin.memories_, dense.memories_, atol=1e-8)
    assert_allclose(
        thin.decision_function(container(X_test)),
        dense.decision_function(X_test),
        rtol=1e-6,
        atol=1e-8,
    )
    labels = dense.predict(X_test)
    assert_allclose(
        thin.compute_energy(container(X_test), labels),
        dense.compute_energy(X_test, labels),
        rtol=1e-6,
    )


def test_data_frames():
    pd = pytest.importorskip("pandas")
    X, y = load_iris(return_X_y=True, as_frame=True)
    clf = small(max_iter=40).fit(X, y)
    assert_array_equal(clf.feature_names_in_, X.columns)
    before = clf.predict(X)
    renamed = X.rename(columns={X.columns[0]: "other"})
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(renamed)
    with pytest.raises(ValueError, match="feature names"):
        clf.partial_fit(renamed, y)
    assert_array_equal(clf.predict(X), before)
    y_text = pd.Series(y).map({0: "a", 1: "b", 2: "c"})
    assert set(small().fit(X, y_text).predict(X)) <= {"a", "b", "c"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_is_that_of_the_samples(dtype, digits):
    X_train, X_test, y_train, _ = digits
    clf = small(max_iter=2).fit(X_train.astype(dtype), y_train)
    assert clf.memories_.dtype == clf.decision_function(X_test).dtype == dtype
    for other in (np.float32, np.float64):
        assert clf.predict(X_test.astype(other)).shape == (len(X_test),)


def test_precision_is_double_only_where_it_is_free(digits):
    X_train, _, y_train, _ = digits
    assert small(max_iter=1).fit(X_train, y_train).memories_.dtype == np.float64
    whole = small(max_iter=1).fit((8 * X_train).astype(np.int8), y_train)
    assert whole.memories_.dtype == np.float64
    large = small(n_memories=2000, max_iter=1).fit(X_train, y_train)
    assert large.memories_.dtype == np.float32


# --- training ---


def test_validation_data_and_early_stopping(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(max_iter=8).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    assert len(clf.validation_scores_) == len(clf.validation_loss_curve_) == 8
    assert clf.validation_scores_[-1] == clf.score(X_test, y_test)
    assert clf.best_iter_ == 8

    clf = small(
        early_stopping=True, n_iter_no_change=3, max_iter=200, learning_rate="constant"
    ).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    assert clf.n_iter_ < 200
    assert clf.best_iter_ == 1 + np.argmax(clf.validation_scores_)
    assert clf.score(X_test, y_test) == max(clf.validation_scores_)


def test_early_stopping_sets_data_aside(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(early_stopping=True, validation_fraction=0.2).fit(X_train, y_train)
    assert len(clf.validation_scores_) == clf.n_iter_
    # Scores are multiples of one sample of the fifth set aside.
    n_val = np.ceil(0.2 * len(X_train))
    counts = np.array(clf.validation_scores_) * n_val
    assert_allclose(counts, np.round(counts), atol=1e-6)
    assert clf.score(X_test, y_test) > 0.93


def test_training_stops_when_the_loss_does(digits):
    X_train, _, y_train, _ = digits
    parameters = {"learning_rate": "constant", "max_iter": 30, "n_iter_no_change": 2}
    assert small(tol=0.9, **parameters).fit(X_train, y_train).n_iter_ < 30
    assert small(tol=None, **parameters).fit(X_train, y_train).n_iter_ == 30


def test_kept_temperature_belongs_to_the_kept_memories(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(
        temperature=4.0,
        temperature_ramp=(10.0, 30),
        early_stopping=True,
        max_iter=30,
    ).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    assert_allclose(clf.temperature_, 40 - 36 * (clf.best_iter_ - 1) / 30)
    assert clf.score(X_test, y_test) == max(clf.validation_scores_)


def test_warm_start_goes_on(digits):
    X_train, _, y_train, _ = digits
    clf = small(warm_start=True, max_iter=2, temperature=15.0).fit(X_train, y_train)
    loss = clf.loss_curve_[-1]
    clf.fit(X_train, y_train)
    assert clf.n_iter_ == 2
    assert clf.loss_curve_[0] < loss
    with pytest.raises(ValueError, match="y holds labels"):
        clf.fit(X_train, y_train + 1)
    with pytest.raises(ValueError, match="features"):
        clf.fit(X_train[:, :5], y_train)
    with pytest.raises(ValueError, match="n_memories=61 differs"):
        clf.set_params(n_memories=61).fit(X_train, y_train)


def test_partial_fit(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(temperature=15.0)
    for _ in range(8):
        clf.partial_fit(X_train, y_train, classes=np.arange(10))
    assert clf.n_iter_ == len(clf.loss_curve_) == 8
    assert clf.score(X_test, y_test) > 0.9
    # A batch may lack classes.
    clf.partial_fit(X_train[y_train < 3], y_train[y_train < 3])
    assert_array_equal(clf.classes_, np.arange(10))


def test_weights_of_classes(digits):
    X, _, y, _ = digits
    rare = (y != 3) | (np.arange(len(y)) % 20 == 0)
    X, y = X[rare], y[rare]
    weights = {3: 20.0}
    by_class = small(class_weight=weights).fit(X, y)
    by_sample = small().fit(X, y, sample_weight=np.where(y == 3, 20.0, 1.0))
    assert_array_equal(by_class.memories_, by_sample.memories_)
    assert not np.array_equal(by_class.memories_, small().fit(X, y).memories_)
    small(class_weight="balanced").fit(X, y)


def test_weight_zero_is_absence(digits):
    X, _, y, _ = digits
    weights = np.where(np.arange(len(y)) < 300, 1.0, 0.0)
    weighted = small().fit(X, y, sample_weight=weights)
    without = small().fit(X[:300], y[:300])
    assert_array_equal(weighted.memories_, without.memories_)


def test_memories_init_is_the_start(digits):
    X, _, y, _ = digits
    rng = np.random.default_rng(0)
    start = rng.uniform(-0.5, 0.5, (60, 74))
    still = small(init=start, learning_rate_init=1e-12, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        still.fit(X, y)
    assert_allclose(still.memories_, start[:, :64], atol=1e-9)
    assert_allclose(still.recognition_connections_, start[:, 64:], atol=1e-9)


def test_verbose(capsys, digits):
    X_train, X_test, y_train, y_test = digits
    small(max_iter=2, verbose=True).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"Epoch 2, loss = \S+, training score = 0\.\d+, validation score = 0\.\d+",
        lines[1],
    )


def interrupted_in(monkeypatch, step):
    """Let Ctrl-C come in the middle of a training step."""
    steps, descend = itertools.count(1), CpuTrainer._step

    def interrupt(self, *args):
        descend(self, *args)
        if next(steps) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(CpuTrainer, "_step", interrupt)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_interrupt_keeps_a_usable_model(
    formulation, early_stopping, monkeypatch, digits
):
    X_train, X_test, y_train, y_test = digits
    clf = small(
        formulation=formulation, early_stopping=early_stopping, batch_size=100, tol=None
    )
    n_batches = 13 if early_stopping else 14
    interrupted_in(monkeypatch, 5 * n_batches + 3)
    with pytest.warns(UserWarning, match="interrupted after 5 epochs"):
        clf.fit(X_train, y_train)
    assert clf.n_iter_ == len(clf.loss_curve_) == 5
    assert clf.score(X_test, y_test) > 0.8
    if early_stopping:
        assert len(clf.validation_scores_) == 5
        assert clf.best_iter_ == 1 + np.argmax(clf.validation_scores_)
    else:
        clf.partial_fit(X_train, y_train)


def test_interrupt_keeps_the_best_memories(monkeypatch, digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(batch_size=100, learning_rate="constant", learning_rate_init=0.1)
    interrupted_in(monkeypatch, 9 * 14 + 1)
    with pytest.warns(UserWarning, match="interrupted after 9 epochs"):
        clf.fit(X_train, y_train, X_val=X_test, y_val=y_test)
    assert clf.score(X_test, y_test) == max(clf.validation_scores_)


@pytest.mark.parametrize("warm_start", [False, True])
def test_interrupt_before_the_first_epoch_is_over(warm_start, monkeypatch, digits):
    X, _, y, _ = digits
    clf = small(warm_start=warm_start, max_iter=2).fit(X, y)
    before = copy.deepcopy(vars(clf))
    interrupted_in(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert_unchanged(clf, before)
    assert not hasattr(clone(clf), "network_")


# --- temperature, energy, updates ---


def test_automatic_temperature_follows_the_data(digits):
    X, _, y, _ = digits

    def T(factor=1, **parameters):
        return small(max_iter=1, **parameters).fit(factor * X, y).temperature_

    # T^n follows the power n - 1 of the overlaps.
    assert_allclose(T(2), 2 ** (1 / 2) * T())
    assert_allclose(T(2, power=3), 2 ** (2 / 3) * T(power=3))
    assert T(n_memories=120) > T()
    assert T(temperature=3.5) == 3.5
    assert T(power=20) > T(power=3) > T(power=2)
    assert T(error_exponent=30) > T(error_exponent=3) == T(error_exponent=1)

    def law(n, K, n_samples, mean=0.0):
        sizes = Statistics(n_samples, 20.0, 500.0, 600.0, np.ones(5), 0.0, 0.0, mean)
        return auto_temperature(Polynomial(n), PowerError(3), K, sizes, 0.0)

    assert_allclose(law(3, 800, 1000) / law(3, 100, 1000), 2)
    assert_allclose(law(2, 500, 100) / law(2, 500, 1600), 2)
    assert_allclose(law(3, 500, 1000, mean=60.0), law(3, 500, 1000))
    assert_allclose(law(20, 500, 1000, mean=60.0) / law(20, 500, 1000), 4**0.45)


def test_a_long_training_that_learns_nothing_warns_early(digits):
    X, _, y, _ = digits

    clf = small(max_iter=100, init=(-0.3, 0.3), temperature=5.0, tol=None)
    clf.set_params(intercept_scaling=0, reinit_dead=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(X, y)
    seen = [str(w.message) for w in caught if w.category is ConvergenceWarning]
    assert [text[:16] for text in seen] == ["After 20 epochs ", "After 100 epochs"]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.set_params(temperature="auto").fit(X, y)


@pytest.mark.parametrize(
    "energy, n, mean",
    [
        ("rectified_polynomial", 2, -0.3),
        ("rectified_polynomial", 5, -0.3),
        ("polynomial", 3, 0.3),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_auto_temperature_of_memories_that_start_alike(energy, n, mean, digits):
    X, _, y, _ = digits
    clf = small(n_memories=300, max_iter=1, learning_rate_init=1e-9, power=n)
    clf.set_params(init=(mean, 0.0), intercept_scaling=0, input_noise=0, energy=energy)
    clf.fit(X, y)
    # All units have the score 2 or -2 for the mean of the samples.
    scores = clf.decision_function(X.mean(axis=0, keepdims=True))
    assert_allclose(np.abs(scores), 2, rtol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12, 20, 30])
def test_the_defaults_suit_every_power(n, digits):
    X_train, X_test, y_train, y_test = digits
    clf = DenseAssociativeMemoryClassifier(power=n, random_state=0)
    assert clf.fit(X_train, y_train).score(X_test, y_test) > 0.95


@pytest.mark.parametrize("n", [2, 3, 5, 20, 30])
@pytest.mark.parametrize("m", [1, 3, 10, 30])
@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
def test_no_silent_collapse_on_digits(n, m, factor, digits):
    check_no_silent_collapse(digits[0], digits[2], n, m, factor)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5, 20, 30])
@pytest.mark.parametrize("m", [1, 3, 10, 30])
@pytest.mark.parametrize("factor", [1 / 3, 1, 3])
def test_no_silent_collapse_on_mnist(n, m, factor, mnist):
    check_no_silent_collapse(mnist.X_train[:2000], mnist.y_train[:2000], n, m, factor)


def check_no_silent_collapse(X, y, n, m, factor):
    clf = small(power=n, error_exponent=m, n_memories=100, tol=None)
    auto = clone(clf).set_params(max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        T = auto.fit(X, y).temperature_
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        clf.set_params(temperature=factor * T).fit(X, y)
    warned = [str(w.message) for w in record if w.category is ConvergenceWarning]
    assert all("Change temperature" in message for message in warned)
    assert warned or clf.score(X, y) > 0.3


def test_compute_energy(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(formulation="energy", power=3, intercept_scaling=0).fit(
        X_train, y_train
    )
    energies = np.array(
        [clf.compute_energy(X_test, np.full(len(X_test), c)) for c in clf.classes_]
    )
    M, C, T = clf.memories_, clf.recognition_connections_, clf.temperature_
    for v, label, energy in zip(X_test[:5], y_test[:5], energies.T[:5], strict=True):
        state = np.where(clf.classes_ == label, 1.0, -1.0)
        overlaps = (M @ v / clf.network_.input_scale + C @ state) / T
        assert_allclose(energy[label], -sum(max(h, 0) ** 3 for h in overlaps))
    # The score of a class is the energy released by its unit alone going up.
    lowest = clf.classes_[energies.argmin(axis=0)]
    assert accuracy_score(clf.predict(X_test), lowest) > 0.99


def test_more_updates(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(formulation="energy").fit(X_train, y_train)
    once = clf.decision_function(X_test)
    scores = clf.network_.scores(X_test, n_updates=3)
    assert not np.allclose(scores, once)
    assert (scores.argmax(axis=1) == y_test).mean() > 0.9
    with pytest.raises(ValueError, match="n_updates=2 needs formulation='energy'"):
        small(max_iter=1).fit(X_train, y_train).network_.scores(X_test, n_updates=2)


def test_an_energy_of_ones_own(digits):
    X, _, y, _ = digits
    own = small(energy=literal.Quartic(), temperature=15.0).fit(X, y)
    named = small(energy="polynomial", power=4, temperature=15.0).fit(X, y)
    assert_allclose(own.memories_, named.memories_, atol=1e-6)
    same = small(energy=LogCosh()).fit(X, y)
    assert_array_equal(same.memories_, small(energy="log_cosh").fit(X, y).memories_)


# --- bad input ---


@pytest.mark.parametrize(
    "parameter, value",
    [
        ("n_memories", 0),
        ("n_memories", 2.5),
        ("power", 0.5),
        ("power", np.inf),
        ("power", np.nan),
        ("energy", "cubic"),
        ("energy", 3),
        ("formulation", "dual"),
        ("temperature", 0),
        ("temperature", -1.0),
        ("temperature", np.inf),
        ("temperature", "hot"),
        ("temperature_ramp", 5),
        ("temperature_ramp", (0, 5)),
        ("temperature_ramp", (2.0, -1)),
        ("temperature_ramp", (2.0, 1.5)),
        ("temperature_ramp", (2.0, 3, 4)),
        ("loss", "hinge"),
        ("error_exponent", 0.5),
        ("learning_rate_init", 0),
        ("learning_rate", "adaptive"),
        ("learning_rate_decay", 0),
        ("learning_rate_decay", 1.5),
        ("momentum", 1.0),
        ("batch_size", 0),
        ("batch_size", "half"),
        ("max_iter", 0),
        ("init", (0.0, -0.1)),
        ("init", (2, 0.1)),
        ("init", (0.1,)),
        ("init", "normal"),
        ("tol", -1),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("class_weight", "even"),
        ("class_weight", {17: 2.0}),
        ("class_weight", {1: -2.0}),
        ("random_state", "seed"),
        ("device", "tpu"),
        ("device", "cuda:99"),
        ("gradient_tolerance", 1.0),
        ("reinit_dead", 1.5),
        ("input_dropout", 1),
        ("input_dropout", -0.1),
        ("input_dropout", "some"),
        ("input_noise", -0.1),
        ("input_noise", np.inf),
        ("input_noise", "some"),
        ("intercept_scaling", -1.0),
        ("intercept_scaling", np.nan),
        ("intercept_scaling", "some"),
        ("init", np.zeros((3, 74))),
        ("init", np.full((60, 74), 1.5)),
        ("init", np.full((60, 74), np.nan)),
    ],
)
def test_bad_parameters(parameter, value, digits):
    X, _, y, _ = digits
    clf = small(max_iter=1).fit(X, y)
    before = copy.deepcopy(vars(clf))
    clf.set_params(**{parameter: value})
    with pytest.raises(ValueError, match=parameter):
        clf.fit(X, y)
    clf.set_params(**{parameter: before[parameter]})
    assert_unchanged(clf, before)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda X, y: {"X": np.where(X == X[0, 3], np.inf, X)}, "infinity"),
        (lambda X, y: {"X": X[:, :0]}, "0 feature"),
        (lambda X, y: {"X": X[:0], "y": y[:0]}, "0 sample"),
        (lambda X, y: {"X": X[:, 0]}, "2D array"),
        (lambda X, y: {"X": X[:-1]}, "inconsistent numbers of samples"),
        (lambda X, y: {"y": np.zeros(len(y))}, "at least two classes"),
        (lambda X, y: {"y": y + 0.5}, "Unknown label type: continuous"),
        (lambda X, y: {"y": np.c_[y, y]}, "must be an indicator matrix"),
        (lambda X, y: {"sample_weight": np.zeros(len(y))}, "weight"),
        (lambda X, y: {"sample_weight": -np.ones(len(y))}, "egative"),
        (lambda X, y: {"sample_weight": np.ones(3)}, "sample_weight.shape"),
        (lambda X, y: {"X_val": X}, "X_val and y_val"),
        (lambda X, y: {"y_val": y}, "X_val and y_val"),
        (lambda X, y: {"X_val": X, "y_val": y + 1}, "y_val holds labels"),
        (lambda X, y: {"X_val": X[:, 1:], "y_val": y}, "X_val has 63 features"),
        (lambda X, y: {"X_val": X[1:], "y_val": y}, "inconsistent numbers of samples"),
        (lambda X, y: {"X_val": X * 1e300, "y_val": y}, "X_val contains infinity"),
    ],
)
def test_bad_data(change, message, digits):
    X, _, y, _ = digits
    X = X.astype(np.float32)
    clf = small(max_iter=1).fit(X, y)
    before = copy.deepcopy(vars(clf))
    with pytest.raises(ValueError, match=message):
        clf.fit(**{"X": X, "y": y} | change(X, y))
    assert_unchanged(clf, before)


def test_bad_partial_fit(digits):
    X, _, y, _ = digits
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        small().partial_fit(X, y)
    with pytest.raises(ValueError, match="classes must name two or more"):
        small().partial_fit(X, np.zeros(len(X)), classes=[0])
    with pytest.raises(ValueError, match="y holds labels"):
        small().partial_fit(X, y, classes=np.arange(5))
    with pytest.raises(ValueError, match="early_stopping"):
        small(early_stopping=True).partial_fit(X, y, classes=np.arange(10))
    with pytest.raises(ValueError, match="balanced"):
        small(class_weight="balanced").partial_fit(X, y, classes=np.arange(10))
    clf = small().partial_fit(X, y, classes=np.arange(10))
    before = copy.deepcopy(vars(clf))
    with pytest.raises(ValueError, match="differs from those of the first call"):
        clf.partial_fit(X, y, classes=np.arange(11))
    with pytest.raises(ValueError, match="y holds labels"):
        clf.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="features"):
        clf.partial_fit(X[:, 1:], y)
    assert_unchanged(clf, before)


def test_failure_in_training_leaves_the_model_as_it_was(monkeypatch, digits):
    X, X_test, y, _ = digits
    clf = small(max_iter=2, warm_start=True).fit(X, y)
    before = copy.deepcopy(vars(clf))
    predictions = clf.decision_function(X_test)

    def fail(*args):
        raise MemoryError("no room for the overlaps")

    monkeypatch.setattr("skdam._backends.cpu.CpuTrainer._step", fail)
    for method in (clf.fit, clf.partial_fit):
        with pytest.raises(MemoryError):
            method(X, y)
    assert_unchanged(clf, before)
    assert_array_equal(clf.decision_function(X_test), predictions)


def test_unfitted(digits):
    X, _, y, _ = digits
    clf = small()
    for call in (
        lambda: clf.predict(X),
        lambda: clf.predict_proba(X),
        lambda: clf.decision_function(X),
        lambda: clf.compute_energy(X, y),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_bad_labels_for_the_energy(digits):
    X, _, y, _ = digits
    clf = small(max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="y holds labels"):
        clf.compute_energy(X, y + 1)


@pytest.mark.parametrize(
    "n_samples, n_features, n_classes", [(20, 1, 2), (300, 40, 100)]
)
def test_extreme_shapes(n_samples, n_features, n_classes):
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    centres = rng.uniform(-1, 1, (n_classes, n_features))
    X = centres[y] + 0.05 * rng.normal(size=(n_samples, n_features))
    clf = small(n_memories=200, max_iter=60).fit(X, y)
    assert clf.score(X, y) > 0.9


def test_a_class_of_one_sample_stays_in_training(digits):
    X, _, y, _ = digits
    y = y.copy()
    y[0] = 77
    clf = small(early_stopping=True).fit(X, y)
    assert clf.predict(X[:1]) == [77]
    with pytest.raises(ValueError, match="early_stopping=True cannot set"):
        small(early_stopping=True).fit(X[:15], np.arange(15))


def test_each_class_keeps_a_sample_to_train_on(digits, monkeypatch):
    X, _, _, _ = digits
    seen = []

    def train(run, samples, *args, validation, **kwargs):
        seen.append((samples.codes, validation.codes))
        raise KeyboardInterrupt

    monkeypatch.setattr("skdam.classifier.train", train)
    # Two samples of a class are too few for one of each class on each side.
    for n_samples, n_classes in ((20, 10), (15, 8), (100, 50), (10, 2)):
        clf = small(early_stopping=True)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X[:n_samples], np.arange(n_samples) % n_classes)
        trained, validated = seen.pop()
        assert len(validated) == math.ceil(0.1 * n_samples)
        assert len(trained) + len(validated) == n_samples
        assert set(trained) == set(range(n_classes))


def assert_unchanged(clf, before):
    after = vars(clf)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert_equal(after[name], value)


def assert_equal(one, other):
    if isinstance(other, tuple):
        for one_part, other_part in zip(one, other, strict=True):
            assert_equal(one_part, other_part)
    elif hasattr(other, "__dict__") and not isinstance(other, np.ndarray):
        assert_equal(vars(one), vars(other))
    elif isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in other:
            assert_equal(one[name], other[name])
    else:
        assert_array_equal(one, other)


def test_samples_too_large_for_the_memories(digits):
    X, _, y, _ = digits
    clf = small().fit(X.astype(np.float32), y)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="too large for the precision of the memories"),
    ):
        clf.predict(1e300 * X)


@pytest.mark.parametrize("class_weight", [{1: 20.0}, "balanced"])
def test_weights_of_classes_and_samples_are_multiplied(class_weight, digits):
    X, _, y, _ = digits
    unbalanced = (y < 3) & ((y != 1) | (np.arange(len(y)) % 10 == 0))
    X, y = X[unbalanced], y[unbalanced]
    own = np.random.default_rng(0).uniform(0.1, 1, len(y))
    share = 1 / np.bincount(y) if class_weight == "balanced" else np.array([1, 20, 1])
    both = small(class_weight=class_weight, max_iter=3).fit(X, y, sample_weight=own)
    product = small(max_iter=3).fit(X, y, sample_weight=own * share[y])
    assert_allclose(both.memories_, product.memories_, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_automatic_temperature_goes_by_the_effective_number_of_samples(digits):
    X, _, y, _ = (part[:300] for part in digits)
    parameters = {"intercept_scaling": 0, "max_iter": 1}
    weights = np.repeat([1.0, 1e-9], 300)
    twice = small(**parameters).fit(np.tile(X, (2, 1)), np.tile(y, 2), weights)
    once = small(**parameters).fit(X, y)
    assert_allclose(twice.temperature_, once.temperature_, rtol=1e-6)


def test_automatic_numbers_follow_the_number_of_samples():
    # n_samples, n_classes: n_memories, batch_size
    automatic = {
        (60, 3): (100, 60),
        (150, 3): (100, 50),
        (9000, 3): (300, 300),
        (100_000, 3): (2000, 500),
        (150, 30): (300, 50),
        (150, 300): (1000, 50),
    }
    params = DenseAssociativeMemoryClassifier().get_params()
    statistics = describe(np.random.default_rng(0).normal(size=(9, 4)))
    for (n_samples, n_classes), expected in automatic.items():
        settings = resolve(
            params,
            statistics,
            n_samples=n_samples,
            n_classes=n_classes,
            single=False,
            seed=0,
        )
        assert (settings.n_memories, settings.batch_size) == expected


@pytest.mark.parametrize(
    "own_scores, right, message",
    [
        ([1, 1, 1, 1, 1, 1, 1, 1, -5, -5], 8, "saturated at -1 for 20% of samples"),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, -5], 9, None),
        ([1, 1, 1, 1, 1, -5, -5, -5, -5, -5], 5, r"classes \['b'\] are saturated"),
        ([1, 1, 1, -1, -1, 1, 1, -1, -1, -1], 5, "hardly tell apart"),
        ([1e-3] * 3 + [-1e-3] * 7, 3, "hardly respond to"),
    ],
)
def test_failures_are_told_apart(own_scores, right, message):
    codes = np.repeat([0, 1], 5)
    own = np.array(own_scores, float)
    scores = np.where(np.eye(2)[codes] == 1, own[:, None], 0.0)
    assert (scores.argmax(axis=1) == codes).sum() == right
    found = _describe(scores, codes, 1.0, np.array(["a", "b"]))
    assert found is None if message is None else re.search(message, found)


def test_a_rare_class_that_is_lost_is_named():
    codes = np.zeros(10_000, int)
    codes[1] = 1
    scores = np.where(np.eye(2)[codes] == 1, 1.0, 0.0)
    scores[1] = [1, -9]
    network = SimpleNamespace(loss=LogLoss())
    samples = Samples(scores, codes)
    found = describe_failure(lambda X: X, samples, network, np.array(["a", "b"]))
    assert "['b'] are saturated" in found


def test_interrupted_first_fit_leaves_nothing(monkeypatch, digits):
    X, _, y, _ = digits
    interrupted_in(monkeypatch, 3)
    clf = small()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert vars(clf) == vars(small())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_may_name_classes_that_y_lacks(digits):
    X, _, y, _ = (part[:200] for part in digits)
    weights = {label: 1.0 + label for label in range(10)}
    clf = small(class_weight=weights, max_iter=1).fit(X, y)
    other = small(class_weight=weights | {77: 5.0}, max_iter=1).fit(X, y)
    assert_array_equal(other.memories_, clf.memories_)


def test_names_of_validation_features_are_compared():
    X, y = load_iris(return_X_y=True, as_frame=True)
    with pytest.raises(ValueError, match="feature names"):
        small().fit(X, y, X_val=X[X.columns[::-1]], y_val=y)


def test_what_a_sparse_matrix_stores_twice_is_summed(digits):
    X, _, y, _ = (part[:200] for part in digits)
    once = sparse.csr_array(X)
    values = np.repeat(once.data, 2) * np.tile([2.0, -1.0], once.nnz)
    twice = sparse.csr_array((values, np.repeat(once.indices, 2), 2 * once.indptr))
    clf = small(input_noise=0.1).fit(twice, y)
    assert_array_equal(clf.memories_, small(input_noise=0.1).fit(once, y).memories_)
    assert twice.nnz == 2 * once.nnz


@pytest.mark.parametrize("m", [1, 3, 10])
@pytest.mark.parametrize("p", [[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.9, 0.06, 0.04]])
def test_probabilities_are_those_at_which_the_error_is_least(m, p):
    # Where a class has probability p, the expected error has its minimum at s.
    p = np.array(p)
    s = np.log(p / (1 - p)) / (4 * m - 2)
    wrong = 1 - np.tanh(s), 1 + np.tanh(s)
    slope = p * wrong[0] ** (2 * m - 1) - (1 - p) * wrong[1] ** (2 * m - 1)
    assert_allclose(slope, 0, atol=1e-12)
    assert_allclose(np.exp(PowerError(m).log_probabilities(s[None])), [p])


def test_memories_that_start_silent_leave_the_temperature():
    sizes = Statistics(60000, 26.9, 741.0, 784.0, np.ones(784), 22.6, 5.0, 600.0, 600.0)
    rule = RectifiedPolynomial(3), PowerError(3), 2000, sizes, 8.0
    assert auto_temperature(*rule, -0.3) == auto_temperature(*rule)
    assert auto_temperature(*rule, 0.3) > auto_temperature(*rule)


def test_temperature_at_the_start_counts_the_intercept():
    sizes = Statistics(60000, 26.9, 741.0, 784.0, np.ones(784), 22.6, 5.0, 600.0, 50.0)
    T = auto_temperature(RectifiedPolynomial(3), PowerError(3), 2000, sizes, 8.0, 0.3)
    assert_allclose(T**3, 2000 * 0.3 * 3 * (0.3 * (50 + 8)) ** 2)


@pytest.mark.parametrize("init", [(0.0, 0.3), (0.3, 0.1)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_unit_of_features_and_intercept_leaves_the_temperature(init, digits):
    X, _, y, _ = (part[:200] for part in digits)
    clf = small(formulation="energy", init=init, max_iter=1)
    T = [
        clf.set_params(intercept_scaling=f).fit(f * X, y).network_.temperature
        for f in (1.0, 64.0)
    ]
    assert_allclose(T[1], T[0])


@pytest.mark.parametrize("m, state", [(1, "hardly respond to"), (9, "hardly tell")])
def test_failure_of_unequal_classes(m, state):
    codes = np.repeat([0, 1], [90, 10])
    scores = np.tile([0.005, 0.0], (100, 1))
    scores[90:, 1] = -0.005
    assert state in _describe(scores, codes, m, np.array(["a", "b"]))


def test_features_somewhat_far_from_0_should_be_centred():
    X = np.random.default_rng(0).normal(10, 1, (100, 4))
    assert "centred first" in likeliest_cause(describe(X), 1)
