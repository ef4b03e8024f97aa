"""The classifier on a CUDA device."""

import pickle
import subprocess
import sys
import textwrap

import joblib
import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skdam import Checkpoint, DenseAssociativeMemoryClassifier, _gpu
from skdam._checkpoint import FitFile
from skdam._gpu import cupy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # Recording a graph must not fail in silence.
    pytest.mark.filterwarnings("error::RuntimeWarning"),
]


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 20, "n_memories": 100} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("power", [2, 3, 20])
def test_agrees_with_the_host(power, formulation, dtype, digits):
    X_train, X_test, y_train, y_test = digits
    X_train, X_test = X_train.astype(dtype), X_test.astype(dtype)
    parameters = {"power": power, "formulation": formulation}
    parameters |= {"error_exponent": 3, "gradient_tolerance": 0.1}
    host = small(device="cpu", **parameters).fit(X_train, y_train)
    clf = small(device="cuda", **parameters).fit(X_train, y_train)
    assert type(clf.memories_) is np.ndarray
    assert clf.memories_.dtype == dtype
    assert abs(clf.score(X_test, y_test) - host.score(X_test, y_test)) < 0.03
    if dtype == "float64":
        # Later, rounding has decided which samples are followed.
        assert_allclose(clf.loss_curve_[:10], host.loss_curve_[:10], rtol=1e-6)
    # The same network gives the same scores.
    expected = host.decision_function(X_test)
    scores = host.set_params(device="cuda").decision_function(X_test)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    assert (np.abs(scores - expected) <= 1e-4 * scale).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"reinit_dead": 0.5, "init": (-0.5, 0.3)},
        {"input_noise": 0.2, "input_dropout": 0.3},
        {"intercept_scaling": 2.0, "loss": "log_loss"},
        {"energy": "exponential", "early_stopping": True},
    ],
    ids=str,
)
def test_trains_as_the_host_does(changes, digits):
    X_train, _, y_train, _ = digits
    changes = {"gradient_tolerance": 0} | changes
    host = small(device="cpu", **changes).fit(X_train, y_train)
    clf = small(device="cuda", **changes).fit(X_train, y_train)
    assert_allclose(clf.loss_curve_, host.loss_curve_, rtol=1e-6)


def test_partial_fit_goes_from_device_to_device(digits):
    X_train, _, y_train, _ = digits
    expected, clf = small(device="cpu"), small()
    for device in ("cpu", "cuda", "cuda", "cpu"):
        expected.partial_fit(X_train, y_train, classes=np.arange(10))
        clf.set_params(device=device).partial_fit(X_train, y_train, np.arange(10))
    assert_allclose(clf.memories_, expected.memories_, atol=1e-6)


def test_same_seed_same_bits(digits):
    X_train, _, y_train, _ = digits
    one, other = (small(device="cuda").fit(X_train, y_train) for _ in range(2))
    assert_array_equal(one.memories_, other.memories_)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_stopped_fit_goes_on_from_its_checkpoint(
    device, digits, monkeypatch, tmp_path
):
    class Stopped(BaseException):
        pass

    X, _, y, _ = digits
    expected = small(device="cuda").fit(X, y)
    clf = small(device="cuda").set_callbacks(Checkpoint(tmp_path, min_seconds=0))
    with monkeypatch.context() as patch:
        write = FitFile.write

        def stopping(self, numbers, arrays):
            write(self, numbers, arrays)
            if numbers["n_epochs"] == 8:
                raise Stopped

        patch.setattr(FitFile, "write", stopping)
        with pytest.raises(Stopped):
            clf.fit(X, y)
    clf.set_params(device=device).fit(X, y)
    assert clf.loss_curve_[:8] == expected.loss_curve_[:8]
    assert_allclose(clf.loss_curve_[:12], expected.loss_curve_[:12], rtol=1e-6)


def test_tf32(digits, monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "1")
    X_train, X_test, y_train, y_test = digits
    clf = small(device="cuda").fit(X_train.astype(np.float32), y_train)
    assert clf.score(X_test, y_test) > 0.9


def test_arrays_stay_on_the_device(digits):
    X_train, X_test, y_train, y_test = digits
    expected = small(device="cuda").fit(X_train, y_train)
    with config_context(array_api_dispatch=True):
        X, y = cupy.asarray(X_train), cupy.asarray(y_train)
        clf = small().fit(X, y)
        X = cupy.asarray(X_test)
        results = [
            clf.memories_,
            clf.recognition_connections_,
            clf.predict(X),
            clf.predict_proba(X),
            clf.decision_function(X),
            clf.compute_energy(X, cupy.asarray(y_test)),
        ]
        assert all(isinstance(result, cupy.ndarray) for result in results)
        assert clf.score(X, cupy.asarray(y_test)) > 0.9
    assert_allclose(results[0].get(), expected.memories_, rtol=1e-6, atol=1e-9)
    assert_array_equal(results[2].get(), expected.predict(X_test))


def test_pipeline_and_search_on_the_device(digits):
    X, _, y, _ = digits
    model = make_pipeline(MinMaxScaler((-1, 1)), small())
    grid = {"denseassociativememoryclassifier__power": [2, 3]}
    with config_context(array_api_dispatch=True):
        search = GridSearchCV(model, grid, cv=2)
        search.fit(cupy.asarray(X), cupy.asarray(y))
        assert isinstance(search.predict(cupy.asarray(X)), cupy.ndarray)
    assert search.best_score_ > 0.8


def test_search_in_threads(digits):
    X, _, y, _ = digits
    grid = {"power": [2, 3], "error_exponent": [1, 3]}
    search = GridSearchCV(small(device="cuda"), grid, cv=2)
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config("threading", n_jobs=4):
        scores = search.fit(X, y).cv_results_["mean_test_score"]
    assert_allclose(scores, expected)


def test_threads_leave_no_memory_behind(digits):
    X, _, y, _ = digits
    pool, held = cupy.get_default_memory_pool(), []
    for _ in range(3):
        with joblib.parallel_config("threading", n_jobs=4):
            GridSearchCV(small(device="cuda"), {"power": [2, 3]}, cv=4).fit(X, y)
        held.append(pool.total_bytes())
    # What threads leave is used again: their streams, and what cuBLAS needs.
    assert held[-1] <= 8 * _gpu.WORKSPACE_BYTES


def test_many_batches_of_predictions(monkeypatch, digits):
    X_train, _, y_train, _ = digits
    with config_context(array_api_dispatch=True):
        X = cupy.asarray(X_train)
        clf = small().fit(X, cupy.asarray(y_train))
        whole = clf.decision_function(X)
        monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 10_000)
        assert_allclose(clf.decision_function(X).get(), whole.get(), rtol=1e-6)


def test_arrays_in_another_order(digits):
    X_train, _, y_train, _ = digits
    with config_context(array_api_dispatch=True):
        X, y = cupy.asarray(X_train), cupy.asarray(y_train)
        expected = small().fit(X, y)
        clf = small().fit(cupy.asfortranarray(X), y)
        assert_array_equal(clf.memories_.get(), expected.memories_.get())
        assert_allclose(
            clf.decision_function(cupy.asfortranarray(X)).get(),
            expected.decision_function(X).get(),
        )


def test_data_that_does_not_fit_is_streamed(monkeypatch, digits):
    X_train, _, y_train, _ = digits
    expected = small(device="cuda").fit(X_train, y_train)
    monkeypatch.setattr(_gpu, "SPARE_SHARE", 1)
    clf = small(device="cuda").fit(X_train, y_train)
    assert_allclose(clf.memories_, expected.memories_, rtol=1e-6, atol=1e-9)


def test_too_little_memory(monkeypatch, digits):
    X_train, _, y_train, _ = digits
    clf = small(device="cuda").fit(X_train, y_train)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 2**20)
    try:
        with pytest.raises(MemoryError, match="Lower n_memories or batch_size"):
            clf.set_params(n_memories=200_000, device="cuda:0").fit(X_train, y_train)
    finally:
        pool.set_limit(size=0)
    assert len(clf.memories_) == 100
    clf.predict(X_train)


def test_an_energy_that_cuda_does_not_know(digits):
    X_train, X_test, y_train, _ = (part[:300] for part in digits)
    parameters = {"energy": literal.Quartic(), "max_iter": 3}
    expected = small(device="cpu", **parameters).fit(X_train, y_train)
    clf = small(device="cuda", **parameters).fit(X_train, y_train)
    assert_allclose(
        clf.decision_function(X_test), expected.decision_function(X_test), rtol=1e-4
    )


def test_pickle_needs_no_gpu(tmp_path, digits):
    X_train, X_test, y_train, _ = digits
    with config_context(array_api_dispatch=True):
        clf = small().fit(cupy.asarray(X_train), cupy.asarray(y_train))
        expected = clf.predict(cupy.asarray(X_test)).get()
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(clf))
    assert isinstance(clf.memories_, cupy.ndarray)
    np.save(tmp_path / "X.npy", X_test)
    np.save(tmp_path / "expected.npy", expected)
    script = """
        import pickle, sys

        class NoCuPy:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("cupy", "cupyx", "cupy_backends"):
                    raise ImportError(name)

        sys.meta_path.insert(0, NoCuPy())
        import numpy as np
        with open("model.pickle", "rb") as file:
            clf = pickle.load(file)
        predicted = clf.set_params(device="cpu").predict(np.load("X.npy"))
        assert (predicted == np.load("expected.npy")).mean() > 0.99
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, check=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_learns_mnist(formulation, mnist):
    clf = DenseAssociativeMemoryClassifier(
        300, formulation=formulation, max_iter=6, random_state=0, device="cuda"
    ).fit(mnist.X_train[:20000], mnist.y_train[:20000])
    assert 1 - clf.score(mnist.X_test, mnist.y_test) < 0.05
