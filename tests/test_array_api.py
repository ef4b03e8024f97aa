"""Arrays of other namespaces: everything follows X, and the numbers are NumPy's."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdam import DenseAssociativeMemoryClassifier
from skdam._devices import Device, to_numpy

# Networks of five epochs are compared here, not good ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=["array_api_strict", "torch"])
def xp(request):
    module = "array_api_compat.torch" if request.param == "torch" else request.param
    return pytest.importorskip(module, exc_type=ImportError)


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 5, "n_memories": 30} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


@pytest.mark.parametrize("power, formulation", [(3, "feedforward"), (20, "energy")])
@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_everything_follows_X(xp, power, formulation, loss, digits):
    X_train, X_test, y_train, y_test = (part[:300] for part in digits)
    parameters = {
        "power": power,
        "formulation": formulation,
        "loss": loss,
        "early_stopping": True,
        "class_weight": "balanced",
        "temperature": 40.0 if power == 20 else "auto",
        "error_exponent": 3,
    }
    weights = np.linspace(0, 1, 300)
    on_host = small(**parameters).fit(X_train, y_train, weights)
    with config_context(array_api_dispatch=True):
        X, y = xp.asarray(X_train), xp.asarray(y_train)
        clf = small(**parameters).fit(X, y, xp.asarray(weights))
        X = xp.asarray(X_test)
        outputs = clf.decision_function(X), clf.predict_proba(X), clf.predict(X)
        energies = clf.compute_energy(X, xp.asarray(y_test))
        accuracy = clf.score(X, xp.asarray(y_test))
    place = Device.of_array(X)
    fitted = clf.memories_, clf.recognition_connections_, clf.classes_
    for array in (*fitted, energies, *outputs):
        assert Device.of_array(array) == place
    assert_allclose(to_numpy(clf.memories_), on_host.memories_, atol=1e-7)
    assert_allclose(clf.loss_curve_, on_host.loss_curve_, rtol=1e-7)
    assert_allclose(clf.validation_scores_, on_host.validation_scores_)
    assert_allclose(
        to_numpy(outputs[0]), on_host.decision_function(X_test), rtol=1e-5, atol=1e-8
    )
    assert_allclose(to_numpy(outputs[1]), on_host.predict_proba(X_test), atol=1e-5)
    assert_array_equal(to_numpy(outputs[2]), on_host.predict(X_test))
    assert_allclose(
        to_numpy(energies), on_host.compute_energy(X_test, y_test), rtol=1e-5
    )
    # torch rounds accuracies to single precision.
    assert_allclose(accuracy, on_host.score(X_test, y_test), rtol=1e-6)


def test_more_updates_follow_X(xp, digits):
    X_train, X_test, y_train, _ = (part[:200] for part in digits)
    network = small(formulation="energy").fit(X_train, y_train).network_
    expected = network.scores(X_test, n_updates=3)
    with config_context(array_api_dispatch=True):
        clf = small(formulation="energy").fit(xp.asarray(X_train), xp.asarray(y_train))
        scores = clf.network_.scores(xp.asarray(X_test), n_updates=3)
    assert_allclose(to_numpy(scores), expected, rtol=1e-5, atol=1e-8)


def test_partial_fit_and_warm_start_follow_X(xp, digits):
    X, _, y, _ = (part[:200] for part in digits)
    expected = small().partial_fit(X, y, classes=range(10)).partial_fit(X, y)
    with config_context(array_api_dispatch=True):
        X_xp, y_xp = xp.asarray(X), xp.asarray(y)
        clf = small().partial_fit(X_xp, y_xp, classes=range(10)).partial_fit(X_xp, y_xp)
        assert_allclose(to_numpy(clf.memories_), expected.memories_, atol=1e-9)
        clf.set_params(warm_start=True).fit(X_xp, y_xp)
    expected.set_params(warm_start=True).fit(X, y)
    assert_allclose(to_numpy(clf.memories_), expected.memories_, atol=1e-7)


def test_labels_that_no_other_namespace_has(xp, digits):
    X, _, y, _ = (part[:200] for part in digits)
    names = np.array(list("abcdefghij"))[y]
    with config_context(array_api_dispatch=True):
        predicted = small().fit(xp.asarray(X), names).predict(xp.asarray(X))
    assert_array_equal(predicted, small().fit(X, names).predict(X))


def test_pipeline_and_search_stay_in_the_namespace(digits):
    torch = pytest.importorskip("torch")
    X, _, y, _ = (part[:300] for part in digits)
    model = make_pipeline(MinMaxScaler((-1, 1)), small())
    power = "denseassociativememoryclassifier__power"
    search = GridSearchCV(model, {power: [2, 3]}, cv=2)
    expected = cross_val_score(model, X, y, cv=2)
    with config_context(array_api_dispatch=True):
        X, y = torch.asarray(X), torch.asarray(y)
        search.fit(X, y)
        assert isinstance(search.predict(X), torch.Tensor)
        assert isinstance(search.best_estimator_[-1].memories_, torch.Tensor)
    assert_allclose(search.cv_results_["mean_test_score"][0], expected.mean())


def test_a_model_of_another_place(xp, digits):
    X, _, y, _ = (part[:200] for part in digits)
    on_host = small().fit(X, y)
    with config_context(array_api_dispatch=True):
        X_xp = xp.asarray(X)
        away = small().fit(X_xp, xp.asarray(y))
        # A model on the host goes where the samples are, and is not changed by it.
        assert Device.of_array(on_host.predict(X_xp)) == Device.of_array(X_xp)
        assert isinstance(on_host.memories_, np.ndarray)
        copy = pickle.loads(pickle.dumps(away))
        assert_array_equal(to_numpy(copy.predict(X_xp)), on_host.predict(X))
        for call in (away.predict, lambda X: away.partial_fit(X, y)):
            with pytest.raises(ValueError, match="must use the same namespace"):
                call(X)
        with pytest.raises(ValueError, match="X_val must live where X does"):
            small().fit(X_xp, y, X_val=X, y_val=y)
        on_host.partial_fit(X_xp, y)
    assert_allclose(
        to_numpy(on_host.memories_), small().fit(X, y).partial_fit(X, y).memories_
    )


def test_a_device_without_double_precision(digits):
    xp = pytest.importorskip("array_api_strict")
    try:
        device = xp.Device("no_float64")
    except ValueError:
        pytest.skip("array_api_strict has no such device")
    X, _, y, _ = (part[:200] for part in digits)
    with config_context(array_api_dispatch=True):
        X_xp = xp.asarray(X, dtype=xp.float32, device=device)
        clf = small(class_weight="balanced", early_stopping=True).fit(X_xp, y)
        assert clf.memories_.dtype == xp.float32
        energies = clf.compute_energy(X_xp, y)
        predicted = clf.predict(X_xp)
    on_host = small(class_weight="balanced", early_stopping=True)
    on_host.fit(X.astype(np.float32), y)
    assert_allclose(to_numpy(clf.memories_), on_host.memories_, atol=1e-3)
    assert_allclose(to_numpy(energies), on_host.compute_energy(X, y), rtol=1e-3)
    assert (to_numpy(predicted) == on_host.predict(X)).mean() > 0.99


def test_labels_of_a_byte_follow_X(xp, digits):
    X, _, y, _ = (part[:200] for part in digits)
    with config_context(array_api_dispatch=True):
        clf = small().fit(xp.asarray(X), xp.asarray(y.astype(np.uint8)))
        assert Device.of_array(clf.predict(xp.asarray(X))) == Device.of_array(
            xp.asarray(X)
        )
