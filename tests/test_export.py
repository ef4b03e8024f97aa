"""ONNX models, run by onnxruntime, which knows nothing of this package."""

import subprocess
import sys
import warnings

import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler, scale

from skdam import DenseAssociativeMemoryClassifier, export, from_mlp, to_onnx

onnx = pytest.importorskip("onnx", reason="onnx is missing")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing")

ENERGIES = [
    ("rectified_polynomial", 1),
    ("rectified_polynomial", 2),
    ("rectified_polynomial", 2.5),
    ("rectified_polynomial", 30),
    ("polynomial", 1),
    ("polynomial", 3),
    ("polynomial", 20),
    ("log_cosh", 2),
    ("softplus", 2),
    ("exponential", 2),
]


def table(n_classes, n_features=8, seed=0):
    X, y = make_classification(
        300,
        n_features,
        n_informative=6,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        random_state=seed,
    )
    return X.astype(np.float32), y


def fitted(X, y, n_memories=30, **parameters):
    clf = DenseAssociativeMemoryClassifier(
        n_memories, **{"max_iter": 5, "random_state": 0} | parameters
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clf.fit(X, y)


def run(model, X):
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": X}), strict=True))


def assert_same(model, estimator, X, given=None):
    # The estimator computes in the precision of its memories on the same numbers.
    given = X.astype(np.float64) if given is None else given
    result = run(model, X)
    assert_array_equal(result["label"], estimator.predict(given))
    assert_allclose(
        result["probabilities"], estimator.predict_proba(given), atol=1e-5, rtol=0
    )
    assert result["probabilities"].dtype == np.float32


@pytest.mark.parametrize("loss", ["power", "log_loss"])
@pytest.mark.parametrize("n_classes", [2, 3, 20])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("energy, power", ENERGIES)
def test_labels_and_probabilities(energy, power, formulation, n_classes, loss):
    X, y = table(n_classes)
    X[::5, 2] = np.nan
    clf = fitted(
        X.astype(np.float64),
        np.array([f"class {i}" for i in range(20)])[y],
        energy=energy,
        power=power,
        formulation=formulation,
        loss=loss,
    )
    assert_same(to_onnx(clf), clf, X)
    assert_same(to_onnx(clf), clf, X[:1])


@pytest.mark.parametrize("n_classes", [2, 20])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("energy, power", ENERGIES)
def test_classifiers_in_single_precision(energy, power, formulation, n_classes):
    X, y = table(n_classes)
    clf = fitted(
        X, y, n_memories=200, energy=energy, power=power, formulation=formulation
    )
    assert clf.memories_.dtype == np.float32
    assert_same(to_onnx(clf), clf, X, X)


@pytest.mark.parametrize(
    "names",
    [
        np.array([0, 1], np.uint8),
        np.array([-5, 2**40]),
        np.array([False, True]),
        np.array([0.0, 7.0]),
        np.array(["no", "yes"]),
        np.array(["no", "yes"], object),
    ],
    ids=str,
)
def test_labels_of_any_kind(names):
    X, y = table(2)
    clf = fitted(X, names[y])
    label = run(to_onnx(clf), X)["label"]
    assert_array_equal(label, clf.predict(X))
    assert label.dtype == (np.int64 if names.dtype.kind in "biuf" else object)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("intercept_scaling", [0, 3.0, "auto"])
@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_intercept_and_unit(unit, intercept_scaling, formulation):
    X, y = table(3)
    clf = fitted(
        unit * X.astype(np.float64),
        y,
        energy="log_cosh",
        formulation=formulation,
        intercept_scaling=intercept_scaling,
    )
    X = (unit * X).astype(np.float32)
    assert_same(to_onnx(clf), clf, X)


def test_memories_in_single_precision_are_stored_as_such():
    X, y = table(4)
    clf = fitted(X, y, n_memories=500)
    assert clf.memories_.dtype == np.float32
    model = to_onnx(clf)
    assert_same(model, clf, X, X)
    as_double = 8 * clf.memories_.size
    assert len(model.SerializeToString()) < as_double + 8 * 500 * 4


def test_samples_that_nothing_responds_to_and_unknown_samples():
    X, y = table(3)
    clf = fitted(X.astype(np.float64), y)
    X = np.array([[np.nan] * 8, [0] * 8, [1e3] * 8, [-1e3] * 8], np.float32)
    assert_same(to_onnx(clf), clf, X)
    assert run(to_onnx(clf), X[:0])["probabilities"].shape == (0, 3)


def test_a_calibrated_confidence_and_further_training():
    X, y = table(3)
    clf = fitted(X.astype(np.float64), y, early_stopping=True, max_iter=20)
    assert_same(to_onnx(clf), clf, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = DenseAssociativeMemoryClassifier(20, random_state=0)
        clf.partial_fit(X.astype(np.float64), y, classes=[0, 1, 2, 3])
    assert_same(to_onnx(clf), clf, X)


def test_a_perceptron_by_way_of_its_memories():
    from sklearn.neural_network import MLPClassifier

    X, y = table(3)
    mlp = MLPClassifier((20,), max_iter=2000, random_state=0)
    mlp.fit(X.astype(np.float64), y)
    assert_same(to_onnx(from_mlp(mlp)), mlp, X)


FRESH = """
import sys
import numpy as np
import onnxruntime
arrays = np.load("expected.npz")
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
label, probabilities = session.run(None, {"X": arrays["X"]})
assert (label == arrays["label"]).all()
assert np.abs(probabilities - arrays["probabilities"]).max() < 1e-5
assert not {"skdam", "sklearn"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    "load",
    [load_digits, load_iris, load_wine, load_breast_cancer, lambda **_: table(20)],
    ids=["digits", "iris", "wine", "breast_cancer", "20 classes"],
)
def test_a_process_without_this_package(load, tmp_path):
    X, y = load(return_X_y=True)
    X = scale(X).astype(np.float32)
    clf = fitted(X.astype(np.float64), np.array([f"class {i}" for i in range(20)])[y])
    onnx.save(to_onnx(clf), tmp_path / "model.onnx")
    np.savez(
        tmp_path / "expected.npz",
        X=X,
        label=clf.predict(X.astype(np.float64)),
        probabilities=clf.predict_proba(X.astype(np.float64)),
    )
    subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler()],
        [MinMaxScaler((-1, 1)), PCA(4, random_state=0)],
        [make_pipeline(StandardScaler())],
    ],
    ids=["scaled", "reduced", "nested"],
)
@pytest.mark.parametrize("labels", [None, "strings"])
def test_whole_pipelines(steps, labels):
    pytest.importorskip("skl2onnx", reason="skl2onnx is missing")
    X, y = table(4)
    if labels:
        y = np.array(["a", "b", "c", "d"])[y]
    memory = DenseAssociativeMemoryClassifier(30, max_iter=5, random_state=0)
    pipeline = make_pipeline(*steps, memory).fit(X.astype(np.float64), y)
    assert_same(to_onnx(pipeline), pipeline, X)


@pytest.mark.parametrize("loss", ["power", "log_loss"])
@pytest.mark.parametrize("n_labels", [2, 4])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_several_labels(formulation, n_labels, loss):
    X, y = table(2)
    y = np.column_stack([y, *(X[:, : n_labels - 1] > 0).T])
    double = X.astype(np.float64)
    parameters = {"formulation": formulation, "loss": loss}
    clf = fitted(double, y, **parameters)
    model = to_onnx(clf)
    assert_same(model, clf, X)
    shapes = [
        [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    ]
    assert shapes == [["n_samples", n_labels]] * 2
    sparse_one = fitted(double, sparse.csr_array(y), **parameters)
    label = run(to_onnx(sparse_one), X)["label"]
    assert_array_equal(label, sparse_one.predict(double).toarray())
    pytest.importorskip("skl2onnx", reason="skl2onnx is missing")
    pipeline = make_pipeline(StandardScaler(), clf).fit(double, y)
    assert_same(to_onnx(pipeline), pipeline, X)


def test_what_skl2onnx_makes_of_a_registered_classifier():
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is missing")
    export.register_converter()
    for n_classes in (2, 3):
        X, y = table(n_classes)
        double = X.astype(np.float64)
        memory = fitted(double, y)
        for estimator in (
            memory,
            CalibratedClassifierCV(memory, cv=2),
            StackingClassifier(
                [("memory", memory), ("linear", LogisticRegression())],
                LogisticRegression(),
                cv=2,
            ),
        ):
            estimator.fit(double, y)
            model = skl2onnx.to_onnx(estimator, X[:1], options={"zipmap": False})
            assert_same(model, estimator, X)
        options = {"zipmap": False, "raw_scores": True}
        model = skl2onnx.to_onnx(memory, X[:1], options={id(memory): options})
        scores = run(model, X)["probabilities"]
        expected = memory.decision_function(double)
        if n_classes == 2:
            expected = np.column_stack([-expected, expected])
        assert_allclose(scores, expected, atol=1e-5)
        options = {"zipmap": False, "nocl": True}
        memory.fit(double, np.array(["a", "b", "c"])[y])
        model = skl2onnx.to_onnx(memory, X[:1], options={id(memory): options})
        assert_array_equal(memory.classes_[run(model, X)["label"]], memory.predict(X))
        # Doubles in, doubles out.
        model = skl2onnx.to_onnx(memory, double[:1], options={"zipmap": False})
        probabilities = run(model, double)["probabilities"]
        assert probabilities.dtype == np.float64
        assert_allclose(probabilities, memory.predict_proba(double), atol=1e-12)


def test_what_cannot_be_exported_is_named():
    X, y = table(2)
    with pytest.raises(ValueError, match=r"Quartic\(\) cannot be expressed in ONNX"):
        to_onnx(fitted(X, y, energy=literal.Quartic(), temperature=10.0))
    dates = np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")
    with pytest.raises(ValueError, match="classes .*2020.* cannot be expressed"):
        to_onnx(fitted(X, dates[y]))
    with pytest.raises(TypeError, match="LogisticRegression"):
        to_onnx(LogisticRegression().fit(X, y))
    with pytest.raises(NotFittedError):
        to_onnx(DenseAssociativeMemoryClassifier())


def test_a_missing_package_is_named(monkeypatch):
    X, y = table(2)
    clf = fitted(X, y)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"onnx is needed .*\.\[onnx\]"):
        to_onnx(clf)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"skl2onnx is needed"):
        to_onnx(make_pipeline(StandardScaler(), clf).fit(X, y))
