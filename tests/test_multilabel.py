"""Several labels a sample: an indicator matrix y, as scikit-learn has it."""

import copy
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain_settings import PLAIN
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler, scale
from sklearn.utils.class_weight import compute_sample_weight

from skdam import Checkpoint, DenseAssociativeMemoryClassifier, make_tabular_classifier
from skdam._backends import array_api, cpu
from skdam._devices import to_numpy
from skdam._diagnosis import _mean_area, describe_failure
from skdam._samples import Samples
from skdam.inspection import (
    RecognitionUnitsDisplay,
    contributions,
    decisive_memories,
    recognition_units,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    X, y = make_multilabel_classification(300, 20, n_classes=4, random_state=0)
    return scale(X), y


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 5, "n_memories": 30} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


KINDS = [
    {"formulation": formulation, "loss": loss}
    for formulation in ("feedforward", "energy")
    for loss in ("power", "log_loss")
]


@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_predictions_follow_from_the_scores(parameters, data):
    X, y = data
    clf = small(**parameters).fit(X, y)
    scores, m = clf.decision_function(X), clf.error_exponent
    odds = 4 * m - 2 if parameters["loss"] == "power" else 2
    p = 1 / (1 + np.exp(-odds * clf.network_.confidence * scores))
    assert scores.shape == (300, 4)
    assert_allclose(clf.predict_proba(X), p, rtol=1e-9)
    assert_allclose(clf.predict_log_proba(X), np.log(p), rtol=1e-7)
    assert_array_equal(clf.predict(X), (scores > 0).astype(int))
    assert_array_equal(clf.classes_, [0, 1, 2, 3])
    assert clf.multilabel_
    assert clf.n_outputs_ == 4
    right = (clf.predict(X) == y).all(axis=1)
    weights = np.linspace(0, 1, 300)
    assert clf.score(X, y) == right.mean()
    assert_allclose(clf.score(X, y, weights), np.average(right, weights=weights))


def test_shapes_and_types_are_those_of_a_perceptron(data):
    X, y = data
    for given in (
        y,
        y.tolist(),
        y.astype(bool),
        y.astype(np.float32),
        pd.DataFrame(y, columns=list("abcd")),
        pd.DataFrame(y).astype("Int64"),
        sparse.csr_matrix(y),
        sparse.csc_array(y),
        y[:, :2],
        0 * y,
        0 * y + 1,
    ):
        mlp = MLPClassifier((5,), max_iter=2, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlp.fit(X, given)
        clf = small().fit(X, given)
        assert_array_equal(clf.classes_, mlp.classes_)
        assert clf.n_outputs_ == mlp.n_outputs_
        one, other = clf.predict(X), mlp.predict(X)
        assert type(one) is type(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert clf.predict_proba(X).shape == mlp.predict_proba(X).shape
    assert not small().fit(X, y[:, 0]).multilabel_


def test_containers_of_the_same_labels_give_the_same_bits(data):
    X, y = data
    expected = small().fit(X, y)
    for given in (
        sparse.csr_matrix(y),
        sparse.coo_array(y),
        y.astype(object),
        y.astype(bool),
        pd.DataFrame(y).astype("boolean"),
        list(y),
        np.asfortranarray(y),
    ):
        clf = small().fit(X, given)
        assert_array_equal(clf.memories_, expected.memories_)
    other = small(max_iter=3).fit(X, y).fit(X, y[:, 0])
    assert_array_equal(other.memories_, small(max_iter=3).fit(X, y[:, 0]).memories_)


def test_one_step_goes_down_the_gradient_of_the_loss():
    # Numeric gradients of the whole objective, over all memories.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 3)), rng.integers(2, size=(8, 2))
    init = rng.uniform(-0.5, 0.5, (4, 5))
    rate, step = 0.01, 1e-6
    for parameters in KINDS:
        clf = small(
            **parameters,
            init=init,
            n_memories=4,
            power=3,
            temperature=2.0,
            learning_rate_init=rate,
            batch_size=8,
            max_iter=1,
            gradient_tolerance=0,
        ).fit(X, y)
        T, m, exact = 2.0, 3, parameters["formulation"] == "energy"

        def objective(xi, T=T, m=m, exact=exact, loss=parameters["loss"]):
            visible, connections = xi[:, :3], xi[:, 3:]
            x = X @ visible.T / T
            if exact:
                x = x - connections.sum(axis=1) / T
                s = np.stack(
                    [
                        (
                            np.maximum(x + 2 * connections[:, a] / T, 0) ** 3
                            - np.maximum(x, 0) ** 3
                        ).sum(axis=1)
                        for a in range(2)
                    ],
                    axis=1,
                )
            else:
                s = 2 / T * (3 * np.maximum(x, 0) ** 2) @ connections
            c, t = np.tanh(s), 2 * y - 1
            if loss == "power":
                return (((c - t) / 2) ** (2 * m)).sum()
            return -np.log((1 + t * c) / 2).sum()

        gradient = np.empty_like(init)
        for place in np.ndindex(init.shape):
            shift = np.zeros_like(init)
            shift[place] = step
            rise = objective(init + shift) - objective(init - shift)
            gradient[place] = rise / (2 * step)
        expected = -rate * gradient / np.abs(gradient).max(axis=1, keepdims=True)
        moved = np.hstack([clf.memories_, clf.recognition_connections_]) - init
        assert_allclose(moved, expected, atol=1e-7)
        assert_allclose(clf.loss_curve_, [objective(init) / 8], rtol=1e-9)


def test_a_single_label_beside_others_is_learned_as_alone():
    # The objective is a sum over the units: a unit that nothing drives changes nothing.
    X = np.random.default_rng(0).normal(size=(200, 6))
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 0] * X[:, 1] > 0])
    clf = small(max_iter=60, n_memories=60).fit(X, y)
    assert clf.score(X, y) > 0.9
    assert f1_score(y, clf.predict(X), average="micro") > 0.95


@pytest.mark.parametrize("xp_name", ["array_api_strict", "array_api_compat.torch"])
@pytest.mark.parametrize("parameters", KINDS, ids=str)
def test_arrays_of_other_namespaces(parameters, xp_name, data):
    xp = pytest.importorskip(xp_name, exc_type=ImportError)
    X, y = data
    weights = np.linspace(0, 1, 300)
    on_host = small(**parameters, early_stopping=True).fit(X, y, weights)
    with config_context(array_api_dispatch=True):
        clf = small(**parameters, early_stopping=True)
        clf.fit(xp.asarray(X), xp.asarray(y), xp.asarray(weights))
        given = xp.asarray(X)
        results = [
            getattr(clf, method)(given)
            for method in ("predict", "predict_proba", "decision_function")
        ]
        energies = clf.compute_energy(given, xp.asarray(y))
        sparse_ones = small().fit(given, sparse.csr_array(y)).predict(given)
        assert sparse.issparse(sparse_ones)
    assert type(results[0]) is type(given)
    assert_allclose(to_numpy(clf.memories_), on_host.memories_, atol=1e-7)
    assert_allclose(clf.validation_scores_, on_host.validation_scores_)
    assert_allclose(clf.network_.confidence, on_host.network_.confidence, rtol=1e-6)
    assert_array_equal(to_numpy(results[0]), on_host.predict(X))
    assert_allclose(to_numpy(results[1]), on_host.predict_proba(X), atol=1e-6)
    assert_allclose(to_numpy(energies), on_host.compute_energy(X, y), rtol=1e-6)


def test_accuracy_of_training_is_that_of_whole_samples(data):
    X, y = data
    X[0] = 0
    clf = small(learning_rate_init=1e-12, max_iter=1, intercept_scaling=0)
    for loss in ("power", "log_loss"):
        clf.set_params(loss=loss, input_noise=0.0, reinit_dead=0.0).fit(X, y)
        expected = (clf.predict(X) == y).all(axis=1).mean()
        samples = Samples(X, y.astype(np.int32))
        for kind in (cpu.CpuTrainer, array_api.ArrayApiTrainer):
            settings = settings_of(clf)
            trainer = kind(clf.network_.copy(), samples, settings)
            with np.errstate(all="ignore"):
                metrics = trainer.epoch(0, None, clf.temperature_)
            assert_allclose(metrics.accuracy, expected)
        loss, accuracy = clf.network_.mean_loss_and_accuracy(X, y, None)
        assert_allclose([loss, accuracy], [metrics.loss, expected], rtol=1e-6)


def settings_of(clf):
    return replace(
        PLAIN,
        energy=clf.network_.energy,
        loss=clf.network_.loss,
        batch_size=300,
        temperature=clf.temperature_,
        learning_rate=replace(PLAIN.learning_rate, initial=1e-12),
        largest_overlap=1e3,
    )


def test_partial_fit(data):
    X, y = data
    clf = small().partial_fit(X, y, classes=np.arange(4))
    assert_array_equal(clf.classes_, np.arange(4))
    again = copy.deepcopy(clf).partial_fit(X, y)
    assert again.n_iter_ == 2
    assert sparse.issparse(clf.partial_fit(X, sparse.csr_array(y)).predict(X))
    # A batch may lack labels.
    clf.partial_fit(X[:5], 0 * y[:5])
    for classes in (np.arange(3), np.arange(5), list("abcd"), [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="numbers of the columns"):
            small().partial_fit(X, y, classes=classes)
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        small().partial_fit(X, y)


def test_training_goes_on_with_the_same_labels_alone(data):
    X, y = data
    several = small(warm_start=True).fit(X, y)
    one = small(warm_start=True).fit(X, y[:, 0])
    before = several.memories_.copy()
    several.fit(X, y)
    assert (several.memories_ != before).any()
    before = copy.deepcopy(vars(several))
    for clf, other, message in (
        (several, y[:, 0], "is fitted with 4 labels a sample"),
        (several, y[:, :3], "is fitted with 4 labels a sample"),
        (one, y[:, :2], "is fitted with one class a sample"),
    ):
        for call in (clf.fit, clf.partial_fit):
            with pytest.raises(ValueError, match=message):
                call(X, other)
        with pytest.raises(ValueError, match=message):
            clf.compute_energy(X, other)
    assert vars(several).keys() == before.keys()
    assert_array_equal(several.memories_, before["network_"].memories)
    # Without a warm start, everything may change.
    assert not several.set_params(warm_start=False).fit(X, y[:, 0]).multilabel_


def test_validation_data(data):
    X, y = data
    clf = small().fit(X[:200], y[:200], X_val=X[200:], y_val=sparse.csr_array(y[200:]))
    assert len(clf.validation_scores_) == 5
    assert_allclose(clf.validation_scores_[-1], clf.score(X[200:], y[200:]))
    for y_val, message in (
        (y[200:, 0], r"y_val has the shape \(100,\)"),
        (y[200:, :3], r"y_val has the shape \(100, 3\)"),
        (2 * y[200:], "y_val .*must be an indicator matrix"),
    ):
        with pytest.raises(ValueError, match=message):
            small().fit(X[:200], y[:200], X_val=X[200:], y_val=y_val)
    with pytest.raises(ValueError, match="cannot set the only sample aside"):
        small(early_stopping=True).fit(X[:1], y[:1])
    clf = small(early_stopping=True, validation_fraction=0.9).fit(X[:2], y[:2])
    assert len(clf.validation_scores_) == 5


def test_early_stopping_calibrates_the_probabilities_of_each_label(data):
    X, y = data
    clf = small(max_iter=30, early_stopping=True)
    clf.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    network = clf.network_

    def penalised(factor):
        p = network.loss.log_probabilities(factor * clf.decision_function(X[200:]))
        not_p = network.loss.log_probabilities(-factor * clf.decision_function(X[200:]))
        loss = -np.where(y[200:] > 0, p, not_p).sum(axis=1).mean()
        return loss + 2 * np.log(factor / start) ** 2 / 100

    start = small(max_iter=1).fit(X[:200], y[:200]).network_.confidence
    best = penalised(network.confidence)
    assert best <= min(penalised(network.confidence * f) for f in (0.97, 1.03)) + 1e-9


def test_weights(data):
    X, y = data
    weights = np.repeat([0.0, 1.0], 150)
    dropped = small(input_noise=0.0).fit(X, y, weights)
    expected = small(input_noise=0.0).fit(X[150:], y[150:])
    assert_allclose(dropped.memories_, expected.memories_)
    for class_weight in ("balanced", {0: 1, 1: 2}):
        clf = small(class_weight=class_weight)
        with pytest.raises(ValueError, match="class_weight is not supported with an"):
            clf.fit(X, y)
    small().fit(X, y, compute_sample_weight("balanced", y))


@pytest.mark.parametrize("label", [0, 3])
def test_a_rare_label_is_no_failed_training(label):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 10))
    y = rng.integers(2, size=(400, 4))
    y[:, :3] = X[:, :3] > 0
    y[:, 3] = rng.random(400) < 0.01
    y[:, label] &= rng.random(400) < 0.02
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        small(max_iter=30).fit(X, y)


def test_what_is_said_of_a_failed_training(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="hardly tell apart the samples"):
        small(learning_rate_init=1e-9, max_iter=2).fit(X, y)
    samples = Samples(X, y.astype(np.int32))
    network = small().fit(X, y).network_
    classes = np.arange(4)

    def told(scores):
        return describe_failure(lambda X: scores, samples, network, classes)

    right = 2.0 * y - 1
    assert told(right) is None
    assert told(np.where(np.arange(4) == 1, -9.0, right)) == (
        "the units of labels [1] are saturated at -1 and recognise no sample"
    )
    few = right.copy()
    few[: len(few) // 4] = -9
    assert "of all labels are saturated at -1" in told(few)
    assert "hardly tell apart" in told(np.ones_like(right))
    assert "hardly respond to" in told(np.full_like(right, 1e-4))
    assert told(np.where(right > 0, -0.1, -2.0)) is None
    samples.codes = 0 * samples.codes
    assert told(-np.ones_like(right)) is None


def test_missing_values_sparse_samples_and_single_precision(data):
    X, y = data
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    assert small(max_iter=30).fit(holes, y).score(holes, y) > 0.5
    rows = sparse.random(300, 800, 0.01, format="csr", random_state=0)
    one = small(input_noise=0.0).fit(rows, y)
    other = small(input_noise=0.0).fit(rows.toarray(), y)
    assert_allclose(one.memories_, other.memories_, atol=1e-9)
    assert_allclose(one.predict_proba(rows), other.predict_proba(rows), atol=1e-9)
    single = small().fit(X.astype(np.float32), y)
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert single.predict(X).dtype == np.int64


def test_updates_one_after_another(data):
    X, y = data
    network = small(formulation="energy").fit(X, y).network_
    once, twice = network.scores(X[:9]), network.scores(X[:9], n_updates=2)
    assert once.shape == twice.shape == (9, 4)
    xi, v = np.asarray(network.weights, float), X[0] / network.unit
    v = np.append(v, network.intercept / network.unit) if network.intercept else v
    x, connections = v @ xi[: network.n_visible], xi[network.n_visible :]
    states = np.tanh(once[0])
    for a in range(4):
        others = np.delete(np.arange(4), a)
        rest = x + states[others] @ connections[others] / network.temperature
        flip = connections[a] / network.temperature
        F = network.energy.value
        score = (F(rest + flip) - F(rest - flip)).sum()
        states[a] = np.tanh(score)
        assert_allclose(twice[0, a], score, rtol=1e-6)


def test_energy_and_inspection(data):
    X, y = data
    clf = small().fit(X, y)
    T, F = clf.temperature_, clf.network_.energy.value
    overlaps = X @ clf.memories_.T / clf.network_.unit
    overlaps += clf.thresholds_ * clf.intercept_scaling_ / clf.network_.unit
    of_labels = overlaps + (2 * y - 1) @ clf.recognition_connections_.T / T
    expected = -F(of_labels).sum(axis=1)
    for given in (y, sparse.csr_array(y), pd.DataFrame(y)):
        assert_allclose(clf.compute_energy(X, given), expected, rtol=1e-9)
    of_found = overlaps + (2 * clf.predict(X) - 1) @ clf.recognition_connections_.T / T
    parts = F(of_found)
    expected = parts / parts.max(axis=1, keepdims=True)
    assert_allclose(contributions(clf, X), expected, rtol=1e-9)
    assert_array_equal(decisive_memories(clf, X), (expected > 0.9).sum(axis=1))
    sparse_one = small().fit(X, sparse.csr_array(y))
    assert_allclose(contributions(sparse_one, X), expected, rtol=1e-9)
    votes = (clf.recognition_connections_ > 0.5).sum(axis=1)
    assert_array_equal(recognition_units(clf, 0.5), votes)
    pytest.importorskip("matplotlib")
    assert len(RecognitionUnitsDisplay.from_estimator(clf).bars_) == 5


@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_saved_and_restored(loss, data, tmp_path):
    X, y = data
    y = sparse.csr_array(y)
    clf = small(loss=loss).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert (again.predict(X) != clf.predict(X)).nnz == 0
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    again.partial_fit(X, y)
    checkpoint = Checkpoint(tmp_path / "fit.npz", min_seconds=0)
    restored = small(loss=loss).set_callbacks(checkpoint).fit(X, y).fit(X, y)
    assert_array_equal(restored.memories_, clf.memories_)
    with pytest.raises(ValueError, match="it was fitted to other y"):
        clone(restored).fit(X, y[:, :3])
    skops = pytest.importorskip("skops.io")
    blob = skops.dumps(clf)
    trusted = skops.get_untrusted_types(data=blob)
    assert all(name.startswith("skdam.") for name in trusted)
    assert_array_equal(
        skops.loads(blob, trusted=trusted).predict_proba(X), clf.predict_proba(X)
    )


def test_around_it(data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), small())
    search = GridSearchCV(
        pipeline,
        {"denseassociativememoryclassifier__power": [2, 3]},
        scoring=["accuracy", "f1_micro", "roc_auc", "average_precision"],
        refit="f1_micro",
        cv=3,
    ).fit(X, y)
    assert search.best_score_ > 0.5
    assert search.predict(X).shape == y.shape
    assert cross_val_predict(small(), X, y, method="predict_proba").shape == y.shape
    assert len(cross_val_score(small(), X, y, cv=3)) == 3
    for wrapped in (
        ClassifierChain(small(), random_state=0),
        MultiOutputClassifier(small()),
        OneVsRestClassifier(small()),
    ):
        found = wrapped.fit(X, y).predict(X)
        assert f1_score(y, found, average="micro") > 0.5
        assert wrapped.score(X, y) == accuracy_score(y, found)


def test_weights_and_validation_data_are_routed(data):
    X, y = data
    weights = np.linspace(0.1, 1, 300)
    with config_context(enable_metadata_routing=True):
        clf = small().set_fit_request(sample_weight=True, X_val=True, y_val=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, clf)
        pipeline.fit(X, y, sample_weight=weights, X_val=X, y_val=y)
        one_each = MultiOutputClassifier(small().set_fit_request(sample_weight=True))
        one_each.fit(X, y, sample_weight=weights)
    expected = small().fit(StandardScaler().fit_transform(X), y, weights)
    assert len(pipeline[-1].validation_scores_) == 5
    assert_array_equal(pipeline[-1].memories_, expected.memories_)
    alone = small().fit(X, y[:, 1], weights)
    assert_array_equal(one_each.estimators_[1].memories_, alone.memories_)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda y: 2 * y - 1, "must be an indicator matrix.* it holds -1"),
        (lambda y: 2 * y, "must be an indicator matrix.* it holds 2"),
        (lambda y: y + np.arange(4), "multiclass-multioutput"),
        (lambda y: y.astype(str), "must be an indicator matrix"),
        (lambda y: np.where(y, "a", "b").astype(object), "must be an indicator"),
        (lambda y: y + 0.5, "must be an indicator matrix.* it holds 0.5"),
        (lambda y: np.where(y, np.nan, y), "y contains NaN"),
        (lambda y: np.where(y, None, y), "y contains NaN"),
        (lambda y: pd.DataFrame(y, dtype="Int64").where(y > 0), "y contains NaN"),
        (lambda y: np.where(y, np.inf, y), "y contains infinity"),
        (lambda y: y[:-1], "inconsistent numbers of samples"),
        (lambda y: y[:, :, None], "y: Found array with dim 3"),
        (lambda y: y[:, :0], "y: Found array with 0 feature"),
        (lambda y: sparse.csr_array(2 * y), "must be an indicator matrix"),
        (lambda y: [np.flatnonzero(row).tolist() for row in y], "MultiLabelBinarizer"),
        (lambda y: [set(np.flatnonzero(row)) for row in y], "MultiLabelBinarizer"),
        (lambda y: pd.Series([[0], [0, 1]] * 150), "MultiLabelBinarizer"),
        (lambda y: pd.Series([(0,), (0, 1)] * 150).to_numpy(), "MultiLabelBinarizer"),
        (lambda y: [[0, 1], [1]] * 150, "MultiLabelBinarizer"),
    ],
)
def test_what_is_no_indicator_matrix_is_named(change, message, data):
    X, y = data
    clf = small(max_iter=1).fit(X, y)
    before = copy.deepcopy(vars(clf))
    for call in (clf.fit, clf.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(X, change(y))
    assert vars(clf).keys() == before.keys()
    assert_array_equal(clf.memories_, before["network_"].memories)


def test_a_column_is_a_vector_of_classes(data):
    X, y = data
    expected = small().fit(X, y[:, 0])
    for column in (y[:, :1], sparse.csr_array(y[:, :1]), pd.DataFrame(y[:, :1])):
        with pytest.warns(DataConversionWarning):
            clf = small().fit(X, column)
        assert not clf.multilabel_
        assert_array_equal(clf.memories_, expected.memories_)
        assert clf.predict(X).shape == (300,)
    names = MultiLabelBinarizer().fit_transform([["a"], ["b", "c"], []] * 100)
    assert small().fit(X, names).predict(X).shape == (300, 3)


def test_the_classifier_for_tables_refuses_it_clearly(data):
    X, y = data
    with pytest.raises(ValueError, match="several labels a sample.*MultiOutput"):
        make_tabular_classifier().fit(pd.DataFrame(X), y)


def columns_without_numbers():
    size = np.arange(20.0)
    shop = ["a", "b"] * 10
    frame = pd.DataFrame({"size": size, "shop": shop})
    yield "strings", frame, "'shop'"
    yield "objects", frame.astype(object), "'shop'"
    yield "category", frame.astype({"shop": "category"}), "'shop'"
    yield "string", frame.astype({"shop": "string"}), "'shop'"
    missing = pd.Series(["a", pd.NA] * 10, dtype=object)
    yield "NA", frame.assign(shop=missing), "'shop'"
    yield "None", frame.assign(shop=pd.Series(["a", None] * 10)), "'shop'"
    yield "question mark", frame.assign(shop=["1", "?"] * 10), "'shop'"
    yield "object array", frame.to_numpy(object), "1"
    yield "array of strings", frame.to_numpy(str), "1"
    yield "list", frame.to_numpy(object).tolist(), "1"
    yield "bytes", np.array([[b"1", b"a"]] * 20), "1"
    yield "dicts", frame.assign(shop=[{"a": 1}] * 20), "'shop'"


@pytest.mark.parametrize(
    "X, column",
    [pytest.param(X, c, id=name) for name, X, c in columns_without_numbers()],
)
def test_columns_without_numbers_are_named(X, column):
    y = np.arange(20) % 2
    numbers = pd.DataFrame({"size": np.arange(20.0), "shop": np.arange(20.0) % 3})
    numbers = numbers if hasattr(X, "columns") else numbers.to_numpy()
    clf = small(max_iter=1).fit(numbers, y)
    message = rf"^X must hold numbers.* columns \[{column}\] .*make_tabular_classifier"
    for call in (
        lambda: small().fit(X, y),
        lambda: small().partial_fit(X, y, classes=[0, 1]),
        lambda: clf.predict(X),
        lambda: clf.predict_proba(X),
        lambda: clf.compute_energy(X, y),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    with pytest.raises((ValueError, TypeError), match=message.replace("X", "X_val")):
        small().fit(numbers, y, X_val=X, y_val=y)


def test_missing_numbers_among_objects_are_nan():
    holes = pd.DataFrame({"size": [1, pd.NA] * 10, "age": np.arange(20.0)})
    y = np.arange(20) % 2
    expected = small().fit(holes.assign(size=[1.0, np.nan] * 10).to_numpy(), y)
    for X in (holes, holes.astype({"size": "Int64"}), holes.to_numpy(object)):
        assert_array_equal(small().fit(X, y).memories_, expected.memories_)


def test_recall_completes_samples_and_labels(data):
    X, y = data
    clf = small(max_iter=30).fit(X, y)
    occluded = X[:50].copy()
    occluded[:, :5] = np.nan
    found = clf.recall(occluded)
    assert found.y.shape == (50, 4)
    assert_array_equal(found.y, found.states > 0)
    assert (found.y == y[:50]).mean() > 0.6
    given = clf.recall(occluded, y[:50])
    assert_array_equal(given.y, y[:50])
    assert_array_equal(given.states, 2 * y[:50] - 1)
    assert (np.diff(given.energies) <= 0).all()
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.recall(occluded, y[:49])


def test_a_label_that_no_memory_knows_is_recalled_as_predicted(data):
    X, y = data
    clf = small().fit(X, y)
    clf.network_.recognition_connections[:, 2] = 0
    found = clf.recall(X[:20])
    assert not found.states[:, 2].any()
    assert not found.y[:, 2].any() and not clf.predict(X[:20])[:, 2].any()


def test_each_label_is_as_certain_as_one_of_two_classes(data):
    X, y = data
    several, one = (small().fit(X, of).network_ for of in (y, y[:, 0]))
    assert several.confidence == one.confidence


def test_the_only_sample_of_a_label_is_looked_at(data):
    """Of 9000 samples every fifth is, and those that a label needs."""
    rows = np.arange(9000)
    codes = np.column_stack([rows % 2, rows == 4321]).astype(np.int32)
    scores = 2.0 * codes - 1
    scores[4321, 1] = -9
    told = describe_failure(
        lambda X: scores[X[:, 0]],
        Samples(rows[:, None], codes),
        small(max_iter=1).fit(*data).network_,
        np.arange(2),
    )
    assert told == "the units of labels [1] are saturated at -1 and recognise no sample"


@pytest.mark.parametrize(
    "wrong, message",
    [
        (0.3, None),
        (0.45, "the classification units hardly tell apart the samples"),
    ],
)
def test_labels_told_apart_by_half_as_much_as_chance(wrong, message, data):
    """The area under the ROC curve is 1 - wrong, and has to be above 0.625."""
    rows = np.arange(400)
    codes = np.column_stack([rows % 2, rows // 2 % 2]).astype(np.int32)
    scores = 2.0 * codes - 1
    scores[rows // 4 < 100 * wrong] *= -1
    assert_allclose(_mean_area(scores, codes > 0), roc_auc_score(codes, scores))
    network = small(max_iter=1).fit(*data).network_
    samples = Samples(rows[:, None], codes)
    found = describe_failure(lambda X: scores[X[:, 0]], samples, network, np.arange(2))
    assert found == message


def test_a_saturated_unit_recognises_what_has_a_score_above_0(data):
    rows = np.arange(400)
    codes = np.column_stack([rows % 2, rows // 2 % 2]).astype(np.int32)
    scores = 2.0 * codes - 1
    scores[codes[:, 1] > 0, 1] = np.resize([-9, -9, -1], 200)
    network = small(max_iter=1).fit(*data).network_
    samples = Samples(rows[:, None], codes)

    def told():
        found = lambda X: scores[X[:, 0]]  # noqa: E731
        return describe_failure(found, samples, network, np.arange(2))

    assert told().startswith("the units of labels [1] are saturated")
    scores[2, 1] = 1
    assert told() == "the units of 33% of all labels are saturated at -1"
