"""Perceptrons as associative memories, and back: scikit-learn is the judge."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    make_multilabel_classification,
)
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from skdam import DenseAssociativeMemoryClassifier, from_mlp, to_mlp
from skdam.duality import _memories
from skdam.energies import RectifiedPolynomial
from skdam.inspection import MemoriesDisplay, contributions, recognition_units

ACTIVATIONS = ["relu", "tanh", "logistic"]
DATA = {"digits": load_digits, "iris": load_iris, "breast_cancer": load_breast_cancer}


def data(name, dtype=np.float64):
    X, y = DATA[name](return_X_y=True)
    return scale(X).astype(dtype), y


def perceptron(X, y, activation, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier(
            (30,), activation=activation, max_iter=30, random_state=0, **parameters
        ).fit(X, y)


def memory(X, y, energy, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DenseAssociativeMemoryClassifier(
            30, energy=energy, max_iter=5, random_state=0, **parameters
        ).fit(X, y)


def assert_same(one, other, X, atol):
    assert_array_equal(one.classes_, other.classes_)
    assert_array_equal(one.predict(X), other.predict(X))
    assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=atol)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_memories_predict_as_their_perceptron(activation, name):
    X, y = data(name)
    mlp = perceptron(X, y, activation)
    clf = from_mlp(mlp)
    assert_same(clf, mlp, X, 1e-12)
    assert_allclose(
        clf.predict_log_proba(X), mlp.predict_log_proba(X), rtol=1e-9, atol=1e-12
    )
    assert np.abs(clf.network_.weights).max() <= 1
    back = to_mlp(clf)
    assert back.activation == activation
    assert_same(back, mlp, X, 1e-12)
    assert_same(from_mlp(back), mlp, X, 1e-12)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_single_precision(activation, name):
    X, y = data(name, np.float32)
    mlp = perceptron(X, y, activation)
    clf = from_mlp(mlp)
    assert clf.memories_.dtype == to_mlp(clf).coefs_[0].dtype == np.float32
    assert clf.predict_proba(X).dtype == np.float32
    assert_allclose(clf.predict_proba(X), mlp.predict_proba(X), atol=2e-5)
    assert_allclose(to_mlp(clf).predict_proba(X), mlp.predict_proba(X), atol=2e-5)


@pytest.mark.parametrize("loss", ["power", "log_loss"])
@pytest.mark.parametrize("energy", ["rectified_polynomial", "log_cosh", "softplus"])
def test_perceptrons_predict_as_their_memories(energy, loss):
    # With an intercept, features in a unit of their own, and a confidence below 1.
    X, y = data("breast_cancer")
    clf = memory(100 * X, y, energy, loss=loss)
    assert clf.intercept_scaling_ > 0
    assert (clf.network_.input_scale != 1) == (energy != "rectified_polynomial")
    assert clf.network_.confidence < 1
    assert_same(to_mlp(clf), clf, 100 * X, 1e-9)
    assert_same(from_mlp(to_mlp(clf)), clf, 100 * X, 1e-9)


def test_classes_of_the_power_loss_are_kept_and_probabilities_warned_of():
    X, y = data("digits")
    clf = memory(X, y, "rectified_polynomial")
    with pytest.warns(UserWarning, match="loss='power' with more than two classes"):
        mlp = to_mlp(clf)
    assert_array_equal(mlp.predict(X), clf.predict(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = memory(X, y, "rectified_polynomial", loss="log_loss")
        assert_same(to_mlp(clf), clf, X, 1e-9)


def test_without_intercept_and_without_output_biases():
    X, y = data("iris")
    clf = memory(X, y, "log_cosh", loss="log_loss", intercept_scaling=0)
    mlp = to_mlp(clf)
    assert not any(bias.any() for bias in mlp.intercepts_)
    assert from_mlp(mlp).n_memories_ == clf.n_memories_ == 30
    assert_same(from_mlp(mlp), clf, X, 1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e3, 1e30])
def test_weights_of_any_size(activation, factor):
    X, y = data("iris")
    mlp = perceptron(X, y, activation)
    mlp.coefs_ = [mlp.coefs_[0] * factor, mlp.coefs_[1]]
    assert_same(from_mlp(mlp), mlp, X / factor, 1e-12)
    mlp.coefs_[0][:, :3] = mlp.coefs_[1][1:5] = mlp.intercepts_[0][:2] = 0
    assert_same(from_mlp(mlp), mlp, X / factor, 1e-12)
    for array in (*mlp.coefs_, *mlp.intercepts_):
        array[...] = 0
    assert_same(from_mlp(mlp), mlp, X, 1e-12)


@pytest.mark.parametrize(
    "names", [["no", "yes"], [False, True], [3, 7], [-1.0, 2.0]], ids=str
)
def test_labels_and_names_of_features(names):
    X, y = data("breast_cancer")
    X, y = pd.DataFrame(X).add_prefix("column "), np.array(names)[y]
    mlp = perceptron(X, y, "tanh")
    clf = from_mlp(mlp)
    assert_same(clf, mlp, X, 1e-12)
    assert_same(to_mlp(clf), mlp, X, 1e-12)
    for model in (clf, to_mlp(clf)):
        assert_array_equal(model.feature_names_in_, X.columns)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_comes_out_is_a_fitted_classifier(activation):
    X, y = data("digits")
    mlp = perceptron(X, y, activation)
    clf = from_mlp(mlp)
    assert_same(pickle.loads(pickle.dumps(clf)), mlp, X, 1e-12)
    assert contributions(clf, X).shape == (len(X), clf.n_memories_)
    assert recognition_units(clf).shape == (clf.n_memories_,)
    MemoriesDisplay.from_estimator(clf, random_state=0)
    assert clf.compute_energy(X, y).shape == y.shape
    assert clf.n_iter_ == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = clone(clf).set_params(max_iter=2).fit(X, y)
    assert other.n_memories_ == clf.n_memories_


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_goes_on_from_the_perceptron(activation):
    X, y = data("digits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp = MLPClassifier((40,), activation=activation, max_iter=3, random_state=0)
        mlp.fit(X[::2], y[::2])
        before = from_mlp(mlp)
        after = from_mlp(mlp).set_params(
            warm_start=True, max_iter=5, learning_rate_init=2e-3, random_state=0
        )
        after.fit(X[::2], y[::2])
        part = from_mlp(mlp).partial_fit(X[::2], y[::2])
        back = to_mlp(after).partial_fit(X[::2], y[::2])
    assert after.temperature_ == before.temperature_
    log_p = before.predict_log_proba(X[::2])
    first = -log_p[np.arange(len(log_p)), y[::2]].mean()
    # The first epoch starts where the perceptron is, and the last one is better.
    assert after.loss_curve_[0] < 1.1 * first
    assert after.loss_curve_[-1] < 0.9 * first
    assert after.score(X[1::2], y[1::2]) > before.score(X[1::2], y[1::2])
    assert part.n_iter_ == 1
    assert back.score(X[1::2], y[1::2]) > before.score(X[1::2], y[1::2])


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n_labels", [2, 5])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_several_labels(activation, n_labels, container):
    X, y = make_multilabel_classification(n_classes=n_labels, random_state=0)
    X = scale(X)
    mlp = perceptron(X, container(y), activation)
    clf = from_mlp(mlp)
    assert clf.multilabel_
    for model in (clf, to_mlp(clf)):
        assert_array_equal(model.classes_, mlp.classes_)
        assert type(model.predict(X)) is type(mlp.predict(X))
        assert_array_equal(as_array(model.predict(X)), as_array(mlp.predict(X)))
        assert_allclose(model.predict_proba(X), mlp.predict_proba(X), atol=1e-6)
    assert clf.partial_fit(X, container(y)).n_iter_ == 1
    assert to_mlp(clf).partial_fit(X, container(y)).n_iter_ == 1
    energy = clf.network_.energy.name
    for loss in ("power", "log_loss"):
        clf = memory(X, y, energy, power=2, loss=loss)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mlp = to_mlp(clf)
        assert_same(mlp, clf, X, atol=1e-6)


def as_array(labels):
    return labels.toarray() if sparse.issparse(labels) else labels


def test_what_has_no_dual_is_refused_by_name():
    X, y = data("iris")
    with pytest.raises(ValueError, match="activation='identity'"):
        from_mlp(perceptron(X, y, "identity"))
    for sizes, n_layers in (((), 0), ((5, 5), 2), ((5, 5, 5), 3)):
        mlp = MLPClassifier(sizes, max_iter=2000, random_state=0).fit(X, y)
        with pytest.raises(ValueError, match=f"has {n_layers} hidden layers"):
            from_mlp(mlp)
    mlp = MLPClassifier((5,), max_iter=2000).fit(X, np.full(len(X), "one"))
    with pytest.raises(ValueError, match="single class 'one'"):
        from_mlp(mlp)
    mlp = perceptron(X, y, "relu")
    mlp.coefs_[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        from_mlp(mlp)
    with pytest.raises(NotFittedError):
        from_mlp(MLPClassifier())
    with pytest.raises(TypeError, match="MLPRegressor"):
        from_mlp(MLPRegressor().fit(X, y))
    with pytest.raises(NotFittedError):
        to_mlp(DenseAssociativeMemoryClassifier())
    with pytest.raises(TypeError, match="MLPClassifier"):
        to_mlp(MLPClassifier())
    for energy, power in (
        ("rectified_polynomial", 3),
        ("polynomial", 2),
        ("exponential", 2),
    ):
        clf = memory(X, y, energy, power=power)
        with pytest.raises(ValueError, match=type(clf.network_.energy).__name__):
            to_mlp(clf)
    with pytest.raises(ValueError, match="formulation='energy'"):
        to_mlp(memory(X, y, "log_cosh", formulation="energy"))


def test_the_perceptron_and_the_random_numbers_are_left_alone():
    X, y = data("iris")
    mlp = perceptron(X, y, "relu")
    before = pickle.dumps(mlp)
    state = np.random.mtrand._rand.get_state()[1:3]
    clf = from_mlp(mlp)
    clf.set_params(warm_start=True, max_iter=2, random_state=0).fit(X, y)
    to_mlp(from_mlp(mlp))
    assert pickle.dumps(mlp) == before
    assert_equal(np.random.mtrand._rand.get_state()[1:3], state)


@pytest.mark.parametrize("name", ["digits", "iris"])
def test_the_warning_of_probabilities_is_of_the_users_line(name):
    clf = memory(*data(name), "rectified_polynomial")
    with pytest.warns(UserWarning, match="no softmax") as caught:
        to_mlp(clf)
    assert caught[0].filename == __file__


def test_labels_are_no_view_of_the_perceptrons():
    mlp = perceptron(*data("iris"), "relu")
    assert not np.shares_memory(from_mlp(mlp).classes_, mlp.classes_)


def test_the_perceptron_draws_anew():
    clf = memory(*data("iris"), "log_cosh", loss="log_loss")
    assert to_mlp(clf).random_state is None
    assert to_mlp(clf).t_ == 0


def test_no_rounding_takes_memories_out_of_their_range():
    rng = np.random.default_rng(0)
    for _ in range(300):
        parts = rng.normal(size=(3, 5)), rng.normal(size=(2, 5))
        assert np.abs(_memories(*parts, RectifiedPolynomial(2))[0]).max() <= 1
