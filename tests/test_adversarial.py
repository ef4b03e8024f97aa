"""Gradients by the features against loops, and what deceives a network."""

import warnings

import literal
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemoryClassifier, from_mlp
from skdam.inspection import adversarial_examples, input_gradient, rubbish_images

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ENERGIES = [
    *(("rectified_polynomial", n) for n in (2, 2.5, 3, 20)),
    *(("polynomial", n) for n in (1, 2, 3, 4)),
    ("log_cosh", 1),
    ("softplus", 1),
    ("exponential", 1),
    (literal.Quartic(), 1),
]


def classifier(X, y, **parameters):
    parameters = {"n_memories": 9, "max_iter": 3, "random_state": 0} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DenseAssociativeMemoryClassifier(**parameters).fit(X, y)


def data(n=40, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, n_features)), np.resize(["a", "b", "c"], n)


def literal_scores(clf, v):
    """Return the scores of one sample by the loops of the paper."""
    network = clf.network_
    visible = np.column_stack([clf.memories_, clf.thresholds_]) / network.input_scale
    state = [*v, clf.intercept_scaling_]
    F = network.energy
    # With features over their scale, as the network divides them.
    arguments = clf.temperature_, visible, clf.recognition_connections_, state
    if hasattr(network.update, "repeated"):
        return literal.update(lambda x: F.value(np.float64(x)), *arguments)
    return literal.dual(lambda x: F.activation(np.float64(x)), *arguments)


def literal_gradient(clf, v, code):
    """Return ``ds/dv`` of one class, term by term."""
    network = clf.network_
    T, xi = clf.temperature_, clf.recognition_connections_
    F, unit, b = network.energy, network.unit, clf.intercept_scaling_
    gradient = np.zeros(len(v))
    for mu in range(clf.n_memories_):
        x = clf.thresholds_[mu] * b / unit
        for i in range(len(v)):
            x += clf.memories_[mu, i] * v[i] / unit
        if hasattr(network.update, "repeated"):
            for alpha in range(xi.shape[1]):
                x -= xi[mu, alpha] / T
            up = F.activation(np.float64(x + 2 * xi[mu, code] / T))
            by_overlap = up - F.activation(np.float64(x))
        else:
            by_overlap = 2 / T * xi[mu, code] * F.slope(np.float64(x))
        for i in range(len(v)):
            gradient[i] += by_overlap * clf.memories_[mu, i] / unit
    return gradient


@pytest.mark.parametrize("intercept", [0, 2.0])
@pytest.mark.parametrize("temperature", ["auto", 2.0])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("energy, power", ENERGIES)
def test_gradients_are_the_loops_and_the_differences(
    energy, power, formulation, temperature, intercept
):
    X, y = data()
    X = 3 * X
    clf = classifier(
        X,
        y,
        energy=energy,
        power=power,
        formulation=formulation,
        temperature=temperature,
        intercept_scaling=intercept,
    )
    exact = formulation == "energy"
    assert (clf.network_.input_scale != 1) == (
        temperature == "auto"
        and (exact or getattr(clf.network_.energy, "growth", None) != "power")
    )
    targets = np.array(["a", "b", "c"])
    found = input_gradient(clf, X[:3], targets)
    assert found.dtype == np.float64
    step = 1e-6
    for v, code, gradient in zip(X, range(3), found, strict=False):
        expected = literal_gradient(clf, v, code)
        scale = max(1e-300, abs(expected).max())
        assert_allclose(gradient, expected, atol=1e-10 * scale, rtol=1e-9)
        differences = []
        for i in range(5):
            up, down = v.copy(), v.copy()
            up[i] += step
            down[i] -= step
            rise = literal_scores(clf, up)[code] - literal_scores(clf, down)[code]
            differences.append(rise / 2 / step)
        if power != 2 and energy != "polynomial":
            # Scores of n = 2 bend where a memory begins to respond.
            assert_allclose(gradient, differences, atol=1e-5 * scale, rtol=1e-4)


def test_gradient_of_a_perceptron():
    X, y = data(300, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp = MLPClassifier(20, activation="tanh", max_iter=30, random_state=0)
        mlp.fit(X, y)
    clf = from_mlp(mlp)
    (W, V), (b, _) = mlp.coefs_, mlp.intercepts_
    hidden = np.tanh(X @ W + b)
    for code, label in enumerate(mlp.classes_):
        by_hand = ((1 - hidden**2) * V[:, code]) @ W.T
        assert_allclose(input_gradient(clf, X, label), by_hand, rtol=1e-8, atol=1e-12)


def test_scores_do_not_depend_on_unknown_features():
    X, y = data()
    clf = classifier(X, y, power=3)
    holes, zeros = X.copy(), X.copy()
    holes[:, 2], zeros[:, 2] = np.nan, 0
    found = input_gradient(clf, holes, "a")
    expected = input_gradient(clf, zeros, "a")
    expected[:, 2] = 0
    assert_array_equal(found, expected)
    examples = adversarial_examples(clf, holes)
    assert_array_equal(np.isnan(examples.X), np.isnan(holes))
    changed = np.linalg.norm(np.nan_to_num(examples.X - holes), axis=1)
    assert_allclose(examples.distances, changed)


def test_gradients_in_parts_are_the_same(monkeypatch):
    X, y = data()
    clf = classifier(X, y, formulation="energy")
    expected = input_gradient(clf, X, y)
    monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 30)
    assert_allclose(input_gradient(clf, X, y), expected, rtol=1e-12)


def test_models_and_samples_of_another_namespace():
    xp = pytest.importorskip("array_api_strict")
    X, y = data()
    codes = np.searchsorted(np.unique(y), y)
    expected = input_gradient(classifier(X, codes), X, codes)
    with config_context(array_api_dispatch=True):
        clf = classifier(xp.asarray(X), xp.asarray(codes))
        found = input_gradient(clf, xp.asarray(X), codes)
        assert_allclose(found, expected, rtol=1e-6)
        assert isinstance(adversarial_examples(clf, xp.asarray(X)).X, np.ndarray)
        rubbish_images(clf, [0, 1, 2], random_state=0)


@pytest.fixture(scope="module")
def networks(digits):
    X, _, y, _ = digits
    return {
        (power, formulation): DenseAssociativeMemoryClassifier(
            power=power, formulation=formulation, random_state=0
        ).fit(X, y)
        for power in (2, 20)
        for formulation in ("feedforward", "energy")
    }


def margins(clf, X, labels):
    p = clf.predict_proba(X)
    own = p[np.arange(len(X)), labels]
    p[np.arange(len(X)), labels] = 0
    return own - p.max(axis=1)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("power", [2, 20])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_examples_are_just_beyond_the_margin(
    networks, digits, power, formulation, margin
):
    clf, X = networks[power, formulation], digits[1][:40]
    found = adversarial_examples(clf, X, margin=margin)
    assert found.succeeded.mean() > 0.9
    ok = found.succeeded
    assert_array_equal(found.labels, clf.predict(X))
    assert (found.targets != found.labels).all()
    assert_array_equal(clf.predict(found.X)[ok], found.targets[ok])
    reached = margins(clf, found.X, found.targets)[ok]
    assert (reached >= margin - 1e-9).all()
    assert_allclose(reached, margin, atol=1e-4)
    assert_allclose(found.distances, np.linalg.norm(found.X - X, axis=1))
    # A little nearer to the sample it is not reached.
    nearer = X + 0.999 * (found.X - X)
    assert (margins(clf, nearer, found.targets)[ok] < margin).all()
    assert (found.X >= -1).all() and (found.X <= 1).all()


def test_a_linear_network_is_crossed_at_its_distance():
    """For F = x^2 without rectification, scores are linear and distances known."""
    X, y = data(60)
    clf = classifier(X, y, energy="polynomial", power=2, max_iter=60)
    weights = np.stack([input_gradient(clf, X[:1], c)[0] for c in clf.classes_])
    found = adversarial_examples(clf, X, margin=0, bounds=(-99, 99), max_iter=3000)
    scores = clf.decision_function(X)
    for i in np.flatnonzero(found.succeeded):
        own = scores[i].argmax()
        distances = [
            (scores[i, own] - scores[i, c]) / np.linalg.norm(weights[own] - weights[c])
            if c != own
            else np.inf
            for c in range(3)
        ]
        assert found.targets[i] == clf.classes_[np.argmin(distances)]
        assert_allclose(found.distances[i], min(distances), rtol=1e-4, atol=1e-6)
    assert found.succeeded.mean() > 0.9


def test_targets_may_be_chosen(networks, digits):
    clf, X = networks[2, "feedforward"], digits[1][:20]
    found = adversarial_examples(clf, X, 7)
    assert (clf.predict(found.X)[found.succeeded] == 7).all()
    assert found.succeeded.mean() > 0.9
    targets = (clf.predict(X) + 1) % 10
    found = adversarial_examples(clf, X, targets)
    assert_array_equal(clf.predict(found.X)[found.succeeded], targets[found.succeeded])
    # What is taken for its target already is not changed.
    own = adversarial_examples(clf, X, clf.predict(X), margin=0)
    assert own.succeeded.all() and not own.distances.any()
    assert_array_equal(own.X, X)


def test_bounds_hold_for_all_that_changes(networks, digits):
    clf, X = networks[2, "feedforward"], digits[1][:20]
    found = adversarial_examples(clf, X, bounds=(-0.5, 0.5), margin=0.9)
    assert (found.X >= np.minimum(X, -0.5)).all()
    assert (found.X <= np.maximum(X, 0.5)).all()


def test_samples_and_models_are_not_changed(networks, digits):
    clf, X = networks[20, "feedforward"], digits[1][:5].astype(np.float32)
    before, memories = X.copy(), clf.memories_.copy()
    found = adversarial_examples(clf, X)
    assert found.X.dtype == np.float32
    assert_array_equal(X, before)
    assert_array_equal(clf.memories_, memories)
    frame = adversarial_examples(clf, pd.DataFrame(X))
    assert_array_equal(frame.X, found.X)


def test_noise_is_recognised_by_small_powers(networks):
    found = rubbish_images(networks[2, "feedforward"], range(10), random_state=0)
    assert found.succeeded.all()
    assert (found.X >= -1).all() and (found.X <= 1).all()
    assert_array_equal(found.targets, np.arange(10))
    assert (margins(networks[2, "feedforward"], found.X, np.arange(10)) > 0.79).all()
    again = rubbish_images(networks[2, "feedforward"], range(10), random_state=0)
    assert_array_equal(again.X, found.X)
    other = rubbish_images(networks[20, "feedforward"], range(10), random_state=0)
    assert other.succeeded.mean() < found.succeeded.mean()


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_features_of_any_unit(scale):
    X, y = data()
    found = adversarial_examples(classifier(scale * X, y), scale * X)
    lengths = np.linalg.norm(found.X / scale - X, axis=1)
    assert_allclose(found.distances / scale, lengths, rtol=1e-6, atol=1e-12)
    assert (lengths[found.succeeded] > 0).all() and lengths.any()


def test_no_gradient_ends_without_success():
    X, y = data()
    clf = classifier(X, y, energy="polynomial", power=1)
    found = adversarial_examples(clf, X)
    assert not found.succeeded.any() and not found.distances.any()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda c, X: input_gradient(c, X, "z"), ValueError, "target holds labels"),
        (lambda c, X: input_gradient(c, X, 1), ValueError, "target holds labels"),
        (lambda c, X: input_gradient(c, X, ["a"] * 3), ValueError, "X and target"),
        (lambda c, X: input_gradient(c, X, None), ValueError, "target"),
        (lambda c, X: input_gradient(c, X[:, :2], "a"), ValueError, "X has 2 features"),
        (
            lambda c, X: input_gradient(c, sparse.csr_array(X), "a"),
            TypeError,
            "X is sparse",
        ),
        (
            lambda c, X: input_gradient(c, X + 1e300, "a"),
            ValueError,
            "X or bounds hold",
        ),
        (
            lambda c, X: input_gradient(LogisticRegression(), X, "a"),
            TypeError,
            "estimator must be a DenseAssociativeMemoryClassifier",
        ),
        (
            lambda c, X: input_gradient(DenseAssociativeMemoryClassifier(), X, "a"),
            NotFittedError,
            "not fitted",
        ),
        (
            lambda c, X: adversarial_examples(make_pipeline(StandardScaler(), c), X),
            TypeError,
            "estimator is a pipeline",
        ),
        (lambda c, X: adversarial_examples(c, X, margin=1), ValueError, "'margin'"),
        (lambda c, X: adversarial_examples(c, X, step=0), ValueError, "'step'"),
        (lambda c, X: adversarial_examples(c, X, max_iter=0), ValueError, "'max_iter'"),
        (
            lambda c, X: adversarial_examples(c, X, bounds=(1, -1)),
            ValueError,
            r"bounds=\(1, -1\)",
        ),
        (lambda c, X: adversarial_examples(c, X, bounds=3), ValueError, "bounds=3"),
        (
            lambda c, X: adversarial_examples(c, X, bounds=("a", "b")),
            ValueError,
            "bounds=",
        ),
        (
            lambda c, X: rubbish_images(c, ["a"], bounds=(-np.inf, 1)),
            ValueError,
            "bounds=.* finite",
        ),
        (
            lambda c, X: rubbish_images(c, ["a"], bounds=(-1e308, 1e308)),
            ValueError,
            "X or bounds hold",
        ),
        (lambda c, X: rubbish_images(c, "a"), ValueError, "target"),
        (lambda c, X: rubbish_images(c, []), ValueError, "target"),
        (lambda c, X: rubbish_images(c, ["z"]), ValueError, "target holds labels"),
    ],
)
def test_bad_input_is_named(call, error, message):
    X, y = data()
    with pytest.raises(error, match=message):
        call(classifier(X, y, power=30, temperature=1.0), X)


def test_several_labels_have_gradients_but_no_class_to_leave():
    X, y = data()
    clf = classifier(X, (y[:, None] == ["a", "b", "c"]).astype(int))
    gradient, delta = input_gradient(clf, X, 2), 1e-6 * np.eye(5)[3]
    rise = clf.decision_function(X + delta) - clf.decision_function(X - delta)
    assert_allclose(gradient[:, 3], rise[:, 2] / 2e-6, rtol=1e-5, atol=1e-8)
    with pytest.raises(ValueError, match="adversarial_examples changes the class"):
        adversarial_examples(clf, X)
    with pytest.raises(ValueError, match="rubbish_images changes the class"):
        rubbish_images(clf, [0, 1])


def test_probabilities_of_0_are_no_floating_point_error():
    X, y = data()
    clf = classifier(X, y, energy="exponential", formulation="energy", temperature=0.2)
    assert clf.predict_proba(X).min() == 0
    expected = adversarial_examples(clf, X)
    with np.errstate(all="raise"):
        assert_array_equal(adversarial_examples(clf, X).X, expected.X)


def test_features_beyond_the_bounds_are_not_drawn_in(networks, digits):
    clf, X = networks[2, "feedforward"], digits[1][:20]
    found = adversarial_examples(
        clf, X, bounds=(-0.5, 0.5), margin=0.9, step=0.001, max_iter=1
    )
    assert not found.succeeded.any() and found.distances.all()
    assert (found.distances <= 0.00101 * np.linalg.norm(X, axis=1)).all()


def test_a_tie_is_no_success_without_a_margin():
    X, y = data()
    clf = classifier(X, y)
    clf.network_.recognition_connections[:] = 0
    assert (clf.predict(X) == "a").all()
    assert not adversarial_examples(clf, X, "b", margin=0).succeeded.any()


def test_what_the_last_step_reaches_is_seen():
    X, y = data()
    clf = classifier(X, y, energy="polynomial", power=2, max_iter=60)
    found = adversarial_examples(clf, X, step=99, max_iter=1, bounds=(-1e3, 1e3))
    assert found.succeeded.mean() > 0.5
    ok = found.succeeded
    assert_array_equal(clf.predict(found.X)[ok], found.targets[ok])


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("unit", [2.0**-10, 1.0, 2.0**20])
def test_steps_from_zeros_are_in_the_unit_of_the_features(unit, formulation):
    X, y = data()
    X, zeros = unit * (3 + X), np.zeros((1, 5))
    clf = classifier(X, y, formulation=formulation)
    found = adversarial_examples(
        clf, zeros, bounds=(-unit, unit), step=1e-3, max_iter=1, margin=0.9
    )
    assert_allclose(found.distances, 1e-3 * np.linalg.norm(X.max(axis=0)), rtol=1e-6)
