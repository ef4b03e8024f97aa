"""Where the work is done, with another namespace as a stand-in for the GPU."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.model_selection import GridSearchCV

from skdam import DenseAssociativeMemoryClassifier, _devices, _gpu
from skdam._devices import Device, compute_device, n_stored

array_api_strict = pytest.importorskip("array_api_strict")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ELSEWHERE = Device(array_api_strict, array_api_strict.Device("device1"))


@pytest.fixture
def elsewhere(monkeypatch):
    """Let "cuda" be another device of another namespace."""
    monkeypatch.setattr(_gpu, "count_devices", lambda: 1)
    monkeypatch.setattr(_devices, "_cuda_device", lambda name: ELSEWHERE)
    monkeypatch.setattr(_devices, "LEAST_FLOP", 0)


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 5, "n_memories": 30} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_arrays_go_to_the_device_and_come_back(
    device, early_stopping, elsewhere, digits
):
    X_train, X_test, y_train, y_test = (part[:200] for part in digits)
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 2}
    expected = small(device="cpu", **parameters).fit(X_train, y_train)
    clf = small(device=device, **parameters).fit(X_train, y_train)
    for name in ("memories_", "recognition_connections_", "classes_"):
        assert type(getattr(clf, name)) is np.ndarray
    assert_allclose(clf.memories_, expected.memories_, atol=1e-9)
    for X in (X_test, sparse.csr_array(X_test)):
        scores = clf.decision_function(X)
        assert type(scores) is np.ndarray
        assert_allclose(scores, expected.decision_function(X_test), rtol=1e-6)
    assert_array_equal(clf.predict(X_test), expected.predict(X_test))
    assert_allclose(
        clf.compute_energy(X_test, y_test), expected.compute_energy(X_test, y_test)
    )


def test_little_work_stays_on_the_host(elsewhere, monkeypatch, digits):
    monkeypatch.setattr(_devices, "LEAST_FLOP", 1e11)
    X = np.zeros((3, 2))
    assert compute_device("auto", X, 1e10).is_host
    assert compute_device("auto", X, 1e12) is ELSEWHERE
    assert compute_device("cuda", X, 1e10) is ELSEWHERE
    # The work of a fit, and of a prediction.
    X, _, y, _ = (part[:200] for part in digits)
    work = []

    def note(name, X, flop=np.inf):
        work.append(flop)
        return compute_device("cpu", X)

    for module in "classifier", "_prediction":
        monkeypatch.setattr(f"skdam.{module}.compute_device", note)
    clf = small().fit(X, y)
    assert 4 * 200 * 64 * 30 * 5 in work
    clf.predict(X)
    assert work[-1] == 2 * 200 * 64 * 30


def test_a_network_moves_between_calls(elsewhere, digits):
    X, _, y, _ = (part[:200] for part in digits)
    clf = small(device="cuda").partial_fit(X, y, classes=np.arange(10))
    expected = small(device="cpu").partial_fit(X, y, classes=np.arange(10))
    for device in ("cpu", "cuda"):
        clf.set_params(device=device).partial_fit(X, y)
        expected.partial_fit(X, y)
        assert type(clf.memories_) is np.ndarray
        assert_allclose(clf.memories_, expected.memories_, atol=1e-9)


def test_callbacks_see_the_network_at_home(elsewhere, digits):
    pytest.importorskip("sklearn.callback")
    from sklearn.callback import ScoringMonitor

    X, _, y, _ = (part[:200] for part in digits)
    monitor = ScoringMonitor(scoring="accuracy")
    clf = small(device="cuda").set_callbacks(monitor).fit(X, y)
    assert type(clf.memories_) is np.ndarray
    clf.score(X, y)


def test_search(elsewhere, digits):
    X, _, y, _ = (part[:300] for part in digits)
    grid = {"power": [2, 3]}
    search = GridSearchCV(small(device="cuda"), grid, cv=2).fit(X, y)
    expected = GridSearchCV(small(device="cpu"), grid, cv=2).fit(X, y)
    assert_allclose(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_bad_names(device, digits):
    X, _, y, _ = (part[:200] for part in digits)
    with pytest.raises(ValueError, match="device=.* must be 'auto', 'cpu', 'cuda'"):
        small(device=device).fit(X, y)


def test_no_such_device(monkeypatch, digits):
    X, _, y, _ = (part[:200] for part in digits)
    monkeypatch.setattr(_gpu, "count_devices", lambda: 0)
    with pytest.raises(ValueError, match="device='cuda' needs a CUDA device, but CuPy"):
        small(device="cuda").fit(X, y)
    monkeypatch.setattr(_gpu, "count_devices", lambda: 2)
    with pytest.raises(ValueError, match="'cuda:2' is not there; CuPy sees 2"):
        small(device="cuda:2").fit(X, y)
    clf = small(device="cpu").fit(X, y)
    before = clf.memories_.copy()
    with pytest.raises(ValueError, match="not there"):
        clf.set_params(device="cuda:7").fit(X, y)
    assert_array_equal(clf.memories_, before)


def test_other_namespaces_stay_where_they_are():
    X = array_api_strict.zeros((2, 3), device=ELSEWHERE.device)
    with config_context(array_api_dispatch=True):
        assert compute_device("auto", X) == ELSEWHERE
        with pytest.raises(ValueError, match="device='cuda', but X is an array of arr"):
            compute_device("cuda", X)


@pytest.mark.parametrize(
    "name, device, is_there",
    [
        ("cuda:0", "<CUDA Device 0>", True),
        ("cuda", "<CUDA Device 0>", True),
        ("cuda:1", "<CUDA Device 0>", False),
        ("cuda:1", "cuda:11", False),
        ("cuda:1", "cuda:1", True),
        ("cpu", "cuda:0", False),
        ("cpu", "cpu", True),
        ("cpu", "mps:0", False),
        ("cuda", "mps:0", False),
    ],
)
def test_name_of_the_device_of_an_array(name, device, is_there, monkeypatch):
    there = Device(array_api_strict, device)
    monkeypatch.setattr(Device, "of", lambda X: there)
    if is_there:
        assert compute_device(name, None) is there
    else:
        with pytest.raises(ValueError, match="but X is an array of"):
            compute_device(name, None)


def test_devices_in_turn(monkeypatch):
    class FakeCupy:
        class cuda:
            @staticmethod
            def Device(number):
                return number

    monkeypatch.setattr(_gpu, "cupy", FakeCupy)
    monkeypatch.setattr(_gpu, "count_devices", lambda: 3)
    monkeypatch.setattr(_gpu, "_of_thread", threading.local())
    taken = []
    for _ in range(3):
        thread = threading.Thread(
            target=lambda: taken.append([_gpu.device_named("cuda") for _ in range(2)])
        )
        thread.start()
        thread.join()
    assert sorted(taken) == [[0, 0], [1, 1], [2, 2]]
    worker = type("Worker", (), {"name": "LokyProcess-5"})
    monkeypatch.setattr(_gpu, "current_process", worker)
    assert _gpu.device_named("cuda") == 1
    assert _gpu.device_named("cuda:2") == 2


def test_work_at_the_limit_and_stored_values(monkeypatch):
    monkeypatch.setattr(_gpu, "count_devices", lambda: 1)
    monkeypatch.setattr(_devices, "_cuda_device", lambda name: name)
    X = np.zeros((3, 4))
    assert compute_device("auto", X, _devices.LEAST_FLOP) == "auto"
    assert n_stored(X) == 12
    assert n_stored(sparse.csr_array(np.eye(3, 4))) == 3


def test_every_method_refuses_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(_gpu, "count_devices", lambda: 0)
    X, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
    clf = small().fit(X, y).set_params(device="cuda")
    for method in (clf.predict, clf.predict_proba, clf.decision_function, clf.recall):
        with pytest.raises(ValueError, match="device='cuda' needs a CUDA device"):
            method(X)
    with pytest.raises(ValueError, match="device='cuda' needs a CUDA device"):
        clf.compute_energy(X, y)
    with pytest.raises(ValueError, match="device='gpu'"):
        clf.set_params(device="gpu").recall(X)
