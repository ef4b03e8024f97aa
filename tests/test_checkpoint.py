"""Fits that are stopped, and go on from their checkpoints."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.fixes import parse_version

import skdam
from skdam import Checkpoint, DenseAssociativeMemoryClassifier
from skdam._backends.cpu import CpuTrainer
from skdam._checkpoint import FitFile, _hash, identify
from skdam._samples import Samples
from skdam.energies import LogCosh, RectifiedPolynomial

# Many fits are too short to learn much.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")


class Stopped(BaseException):
    """What ends a process, as far as the fit can see."""


def small(**parameters):
    return DenseAssociativeMemoryClassifier(
        **{"n_memories": 30, "max_iter": 12, "random_state": 0} | parameters
    )


def checked(path, **options):
    return Checkpoint(path, **{"min_seconds": 0} | options)


@pytest.fixture
def data(digits):
    X, _, y, _ = digits
    return X[:300], y[:300]


@pytest.fixture
def epochs(monkeypatch):
    """Count the epochs that are trained; stop in one of them."""
    counted, epoch = {"trained": 0, "stop": None}, CpuTrainer.epoch

    def counting(self, *args):
        if counted["trained"] == counted["stop"]:
            raise Stopped
        counted["trained"] += 1
        return epoch(self, *args)

    monkeypatch.setattr(CpuTrainer, "epoch", counting)
    return counted


def stopped_in(epochs, n_epochs, call):
    """Let a call be stopped after some epochs."""
    epochs.update(trained=0, stop=n_epochs)
    with pytest.raises(Stopped):
        call()
    epochs.update(trained=0, stop=None)


def assert_same_fit(clf, expected):
    for name in ("weights", "temperature", "confidence", "update", "loss"):
        assert_array_equal(
            getattr(clf.network_, name), getattr(expected.network_, name)
        )
    for name in ("n_iter_", "best_iter_", "loss_curve_", "validation_scores_"):
        assert getattr(clf, name) == getattr(expected, name)
    assert clf.validation_loss_curve_ == expected.validation_loss_curve_
    assert clf.network_.weights.dtype == expected.network_.weights.dtype
    if isinstance(clf.random_state, np.random.RandomState):
        ends = [copy.deepcopy(one.random_state) for one in (clf, expected)]
        assert ends[0].randint(2**31) == ends[1].randint(2**31)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"formulation": "energy", "power": 20},
        {"energy": "exponential", "temperature_ramp": (4.0, 8)},
        {"energy": RectifiedPolynomial(9), "temperature_ramp": (1e6, 6)},
        {"loss": "log_loss", "energy": LogCosh(), "learning_rate": "exponential"},
        {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.3},
        {"shuffle": False, "momentum": 0.0},
        {"random_state": np.random.RandomState(7), "early_stopping": True},
        {"random_state": np.random.RandomState(np.random.PCG64(7))},
        {"reinit_dead": 1.0, "init": (-0.3, 0.3), "input_dropout": 0.2},
        {"class_weight": {1: 2.0, 3: 0.5}, "tol": 0.5, "n_iter_no_change": 4},
        {"init": "given", "n_memories": "auto"},
    ],
)
@pytest.mark.parametrize("kind", ["double", "single", "sparse"])
def test_a_stopped_fit_ends_in_the_same_bits(kind, parameters, data, epochs, tmp_path):
    X, y = data
    X = {"double": np.asarray, "single": np.float32, "sparse": sparse.csr_array}[kind](
        X
    )
    if parameters.get("init") == "given":
        init = np.random.RandomState(1).uniform(-1, 1, (25, 74))
        parameters = parameters | {"init": init}
    weights = np.linspace(0, 1, len(y))

    def fit(path=None):
        clf = small(**copy.deepcopy(parameters))
        if path is not None:
            clf.set_callbacks(checked(path))
        return clf.fit(X, y, weights)

    expected = fit()
    n_epochs = expected.n_iter_
    path = tmp_path / "fit.npz"
    for trained in (0, 2, 1):
        stopped_in(epochs, trained, lambda: fit(path))
    assert_same_fit(fit(path), expected)
    assert epochs["trained"] == n_epochs - 3
    epochs["trained"] = 0
    assert_same_fit(fit(path), expected)
    assert epochs["trained"] == 0
    assert os.listdir(tmp_path) == ["fit.npz"]


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_data_are_scored_on(early_stopping, data, epochs, tmp_path):
    X, y = data
    validation = {"X_val": X[200:], "y_val": y[200:], "sample_weight_val": 1 + y[200:]}

    def fit(*callbacks, **changes):
        clf = small(early_stopping=early_stopping, learning_rate_init=0.3)
        if callbacks:
            clf.set_callbacks(*callbacks)
        return clf.fit(X[:200], y[:200], **validation | changes)

    expected = fit()
    assert not early_stopping or expected.best_iter_ < expected.n_iter_
    for trained in (3, 4):
        stopped_in(epochs, trained, lambda: fit(checked(tmp_path)))
    assert_same_fit(fit(checked(tmp_path)), expected)
    fit(checked(tmp_path), X_val=X[100:200], y_val=y[100:200])
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("module", ["torch", "array_api_strict"])
def test_arrays_of_other_namespaces(module, data, monkeypatch, tmp_path):
    xp = pytest.importorskip(module)
    X, y = (xp.asarray(part) for part in data)
    stop_after_write(monkeypatch, 3)
    with config_context(array_api_dispatch=True):
        expected = small().fit(X, y)
        with pytest.raises(Stopped):
            small().set_callbacks(checked(tmp_path)).fit(X, y)
        clf = small().set_callbacks(checked(tmp_path)).fit(X, y)
    assert_array_equal(np.asarray(clf.memories_), np.asarray(expected.memories_))
    assert type(clf.memories_) is type(X)
    assert clf.loss_curve_ == expected.loss_curve_


def test_an_order_that_was_drawn_ahead_is_drawn_again(data, monkeypatch, tmp_path):
    expected, epoch = small().fit(*data), CpuTrainer.epoch

    def on_another_device(self, number, order, temperature, meanwhile):
        metrics = epoch(self, number, order, temperature)
        if meanwhile is not None:
            meanwhile()
        return metrics

    monkeypatch.setattr(CpuTrainer, "epoch", on_another_device)
    stop_after_write(monkeypatch, 4)
    with pytest.raises(Stopped):
        small().set_callbacks(checked(tmp_path)).fit(*data)
    assert_same_fit(small().set_callbacks(checked(tmp_path)).fit(*data), expected)


def stop_after_write(monkeypatch, number):
    write, calls = FitFile.write, []

    def stopping(self, *args):
        write(self, *args)
        calls.append(self)
        if len(calls) == number:
            raise Stopped

    monkeypatch.setattr(FitFile, "write", stopping)


def test_warm_start_goes_on_from_the_same_network(data, epochs, tmp_path):
    X, y = data

    def fit_twice(*callbacks):
        clf = small(warm_start=True, max_iter=4)
        if callbacks:
            clf.set_callbacks(*callbacks)
        clf.fit(X, y)
        return clf.set_params(power=3).fit(X, y)

    expected = fit_twice()
    stopped_in(epochs, 6, lambda: fit_twice(checked(tmp_path)))
    assert_same_fit(fit_twice(checked(tmp_path)), expected)
    assert epochs["trained"] == 2
    # From another start it is another fit.
    small(warm_start=True, max_iter=4, power=3).set_callbacks(checked(tmp_path)).fit(
        X, y
    )
    assert len(os.listdir(tmp_path)) == 3


def search(path, **options):
    model = make_pipeline(StandardScaler(), small().set_callbacks(checked(path)))
    name = "denseassociativememoryclassifier"
    grid = {f"{name}__power": [2, 3], f"{name}__max_iter": [4, 5]}
    return GridSearchCV(model, grid, cv=2, **options)


def test_a_search_does_not_fit_again_what_is_done(data, epochs, tmp_path):
    expected = search(tmp_path / "whole").fit(*data)
    whole = epochs["trained"]
    n_done = 2 * (4 + 5) + 2
    stopped_in(epochs, n_done, lambda: search(tmp_path / "parts").fit(*data))
    result = search(tmp_path / "parts").fit(*data)
    assert epochs["trained"] == whole - n_done
    for name, values in expected.cv_results_.items():
        if "time" not in name:
            assert_array_equal(result.cv_results_[name], values)
    assert_same_fit(result.best_estimator_[-1], expected.best_estimator_[-1])
    assert len(os.listdir(tmp_path / "parts")) == 2 * 4 + 1
    epochs["trained"] = 0
    search(tmp_path / "parts", n_jobs=2).fit(*data)
    cross_val_score(search(tmp_path / "parts").estimator, *data, cv=2)
    assert epochs["trained"] == 2 * 12


def test_an_energy_of_a_script_is_known_in_its_worker_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import sys
import joblib
import numpy as np
from skdam import Checkpoint, DenseAssociativeMemoryClassifier
from skdam.energies import LogCosh

class Own(LogCosh):
    def __init__(self, names):
        self.names = names

def fit():
    X = np.random.RandomState(0).normal(size=(40, 3))
    clf = DenseAssociativeMemoryClassifier(
        5, energy=Own({"a", "b"}), max_iter=2, random_state=0, warm_start=True
    ).set_callbacks(Checkpoint(sys.argv[1]))
    return clf.fit(X, X[:, 0] > 0).fit(X, X[:, 0] > 0).n_iter_

if __name__ == "__main__":
    fit()
    joblib.Parallel(2)(joblib.delayed(fit)() for _ in range(2))
"""
    )
    path = str(Path(skdam.__file__).parents[1])
    command = [sys.executable, "-W", "ignore", script, tmp_path / "runs"]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})
    assert len(os.listdir(tmp_path / "runs")) == 2


def test_processes_of_a_search_share_the_folder(data, epochs, tmp_path):
    search(tmp_path, n_jobs=2, refit=False).fit(*data)
    assert epochs["trained"] == 0
    search(tmp_path, refit=False).fit(*data)
    assert epochs["trained"] == 0


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"max_iter": 3}, "max_iter is 2 there and 3 here"),
        ({"power": 3, "tol": None}, "power is 2 .* 3 here; tol is 0.0001 .* None here"),
        ({"random_state": 1}, "random_state is 0 there and 1 here"),
        ({"random_state": np.random.RandomState(0)}, "random_state is 0"),
        ({"class_weight": {0: 2.0}}, "class_weight is None there and dict"),
        ({"energy": LogCosh()}, "energy is 'rectified_polynomial' there and LogCosh"),
        ({"X": 1}, "fitted to other X[.]"),
        ({"y": 1}, "fitted to other y[.]"),
        ({"y": 1, "X": 1}, "fitted to other X, y[.]"),
        ({"classes": 1}, "fitted to other y[.]"),
        ({"dtype": np.float32}, "fitted to other X[.]"),
        ({"weights": 1}, "fitted to other sample_weight[.]"),
        ({"validation": 1}, "fitted to other X_val, y_val[.]"),
        ({"version": "9.9"}, "written by skdam .*, and version 9.9 cannot go on"),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(
    changes, said, data, monkeypatch, tmp_path
):
    X, y = data
    path = tmp_path / "fit.npz"
    before = small(max_iter=2).set_callbacks(checked(path)).fit(X, y)
    written = path.read_bytes()
    parameters = {k: v for k, v in changes.items() if k in before.get_params()}
    clf = small(**{"max_iter": 2} | parameters).set_callbacks(checked(path))
    X, y = X.copy(), y.copy()
    X[0, 0] += changes.get("X", 0)
    y[0] = y[1] if "y" in changes else y[0]
    y = np.array(list("abcdefghij"))[y] if "classes" in changes else y
    X = X.astype(changes.get("dtype", float))
    weights = np.arange(len(y)) + 1 if "weights" in changes else None
    validation = {"X_val": X, "y_val": y} if "validation" in changes else {}
    monkeypatch.setattr(skdam, "__version__", changes.get("version", skdam.__version__))
    state = vars(copy.deepcopy(clf)).keys()
    with pytest.raises(ValueError, match=said) as refused:
        clf.fit(X, y, weights, **validation)
    assert str(path) in str(refused.value)
    assert vars(clf).keys() == state
    assert path.read_bytes() == written


def damaged(content, kind):
    """Return what a file holds that is no whole checkpoint."""
    rng = np.random.RandomState(0)
    if kind == "truncated":
        return [content[:end] for end in rng.randint(len(content), size=60)]
    if kind == "changed":
        copies = []
        for place in rng.randint(len(content), size=200):
            copy = bytearray(content)
            copy[place] ^= 1 << rng.randint(8)
            copies.append(bytes(copy))
        return copies
    return [b"", b"no archive", pickle.dumps({"fit": 1}), content + content[:100]]


@pytest.mark.parametrize("kind", ["truncated", "changed", "other"])
def test_a_damaged_file_is_refused(kind, data, epochs, tmp_path):
    X, y = data[0][:60, :3], data[1][:60]
    path = tmp_path / "fit.npz"

    def fit():
        return small(n_memories=3, max_iter=3).set_callbacks(checked(path)).fit(X, y)

    expected = small(n_memories=3, max_iter=3).fit(X, y)
    stopped_in(epochs, 2, fit)
    content = path.read_bytes()
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for other in damaged(content, kind):
            path.write_bytes(other)
            try:
                # Of some bytes nothing depends, such as the date.
                assert_same_fit(fit(), expected)
            except ValueError as error:
                assert str(path) in str(error), error
                refused += 1
    assert refused > 40 or kind == "other"
    assert path.parent.exists()


def rewritten(path, change=None, **arrays):
    """Change the header of a checkpoint, or some of its arrays."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        kept = {
            name: np.lib.format.read_array(archive.open(f"{name}.npy"))
            for name in header["arrays"]
        }
    if change is not None:
        change(header)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, array in (kept | arrays).items():
            with archive.open(f"{name}.npy", "w") as out:
                np.lib.format.write_array(out, array)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.zeros((3, 3))},
        {"weights": np.zeros((75, 30), np.float32)},
        {"velocity": np.zeros((75, 29))},
        {"log_scale": np.zeros(29)},
        {"log_scale": np.zeros(30, int)},
        {"weights": np.array([Bomb()] * 3)},
        {"change": lambda header: header.pop("numbers")},
        {"change": lambda header: header["numbers"].pop("patience")},
        {"change": lambda header: header["numbers"].pop("n_epochs")},
        {"change": lambda header: header["numbers"].update(n_epochs=7)},
        {"change": lambda header: header["numbers"].update(loss_curve=None)},
        {"change": lambda header: header["numbers"]["generator"].update(state=None)},
        {"change": lambda header: header.update(arrays=["weights"])},
        {"change": lambda header: header.update(arrays=["../weights"])},
        {"change": lambda header: header.update(fit=[])},
        {"change": lambda header: header["fit"].update(parameters=3)},
    ],
)
def test_a_file_that_holds_something_else_is_refused(
    changes, data, epochs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit.npz"
    clf = small().set_callbacks(checked(path))
    stopped_in(epochs, 2, lambda: clf.fit(*data))
    rewritten(path)
    stopped_in(epochs, 1, lambda: clf.fit(*data))
    rewritten(path, **changes)
    with pytest.raises(ValueError, match="damaged, or no checkpoint"):
        clf.fit(*data)
    assert os.listdir(tmp_path) == ["fit.npz"]
    assert not hasattr(clf, "network_")


def test_anything_can_read_a_checkpoint(data, tmp_path):
    path = tmp_path / "fit.npz"
    clf = small().set_callbacks(checked(path)).fit(*data)
    with np.load(path, allow_pickle=False) as archive:
        assert_array_equal(archive["weights"], clf.network_.weights)
        header = json.loads(archive["header.json"])
    assert header["numbers"]["loss_curve"] == clf.loss_curve_
    assert header["fit"]["parameters"]["max_iter"] == "12"


# --- when, where and for whom ---


def written_after(monkeypatch, data, **options):
    """Return the epochs after which a checkpoint was written."""
    written, write = [], FitFile.write

    def recorded(self, numbers, arrays):
        written.append(numbers["n_epochs"])
        write(self, numbers, arrays)

    monkeypatch.setattr(FitFile, "write", recorded)
    small().set_callbacks(Checkpoint(**options)).fit(*data)
    return written


def test_checkpoints_are_as_frequent_as_asked_for(data, monkeypatch, tmp_path):
    folders = [tmp_path / name for name in "abc"]
    assert written_after(
        monkeypatch, data, path=folders[0], every=5, min_seconds=0
    ) == [*(5, 10, 12)]
    assert written_after(monkeypatch, data, path=folders[1], min_seconds=1e9) == [12]
    # A clock on which every look takes a second.
    seconds = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    found = written_after(monkeypatch, data, path=folders[2], min_seconds=3)
    assert found == [3, 6, 9, 12] or np.diff(found[:-1]).max() < 4


@pytest.mark.parametrize("in_last", [False, True])
def test_interrupts_keep_their_meaning(in_last, data, monkeypatch, tmp_path):
    X, y = data
    expected = small().fit(X, y)
    epoch = CpuTrainer.epoch

    def interrupted(self, number, *args):
        if number == 5:
            raise KeyboardInterrupt
        return epoch(self, number, *args)

    def interrupted_write(self, numbers, arrays):
        if numbers["finished"]:
            raise KeyboardInterrupt
        write(self, numbers, arrays)

    write = FitFile.write
    clf = small().set_callbacks(checked(tmp_path))
    with monkeypatch.context() as patch:
        if in_last:
            patch.setattr(FitFile, "write", interrupted_write)
        else:
            patch.setattr(CpuTrainer, "epoch", interrupted)
        for _ in range(2):
            # The second time in the first epoch after the checkpoint.
            with pytest.warns(UserWarning, match="interrupted after"):
                clf.fit(X, y)
            assert clf.n_iter_ == (12 if in_last else 5)
            assert clf.score(X, y) > 0.5
    assert_same_fit(clf.fit(X, y), expected)


def test_a_full_disk_does_not_end_the_training(data, monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    clf = small(max_iter=3).set_callbacks(checked(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.warns(RuntimeWarning, match="No space left"):
            clf.fit(*data)
    assert clf.n_iter_ == 3
    assert os.listdir(tmp_path) == []


def test_places_where_nothing_can_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "fit.npz", "a\0b"):
        with pytest.raises(ValueError, match="cannot be written|null byte"):
            small().set_callbacks(checked(path)).fit(*data)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="folder.npz"):
        small().set_callbacks(checked(tmp_path / "folder.npz")).fit(*data)


@pytest.mark.parametrize("name", ["fit[1].npz", "a b/ü.npz", "deep/er/folder"])
def test_names_of_any_kind(name, data, epochs, tmp_path):
    clf = small().set_callbacks(checked(tmp_path / name))
    stopped_in(epochs, 3, lambda: clf.fit(*data))
    left = next((tmp_path / name.split("/")[0]).rglob("*.npz"), tmp_path / name)
    (left.parent / f"{left.name}.0123.tmp").write_text("left by a process")
    assert_same_fit(clf.fit(*data), small().fit(*data))
    assert len(os.listdir(left.parent)) == 1


def test_a_path_is_where_the_checkpoint_was_made(data, epochs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = checked("runs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    small().set_callbacks(checkpoint).fit(*data)
    assert len(os.listdir(tmp_path / "runs")) == 1
    epochs["trained"] = 0
    copied = clone(small().set_callbacks(pickle.loads(pickle.dumps(checkpoint))))
    copied.fit(*data)
    assert epochs["trained"] == 0
    assert repr(checkpoint).startswith("Checkpoint('")


@pytest.mark.parametrize("options", [{"every": 0}, {"every": 1.5}, {"min_seconds": -1}])
def test_bad_options(options, tmp_path):
    with pytest.raises(ValueError, match=next(iter(options))):
        Checkpoint(tmp_path, **options)
    with pytest.raises(ValueError, match="path"):
        Checkpoint(None)


class Unpicklable(LogCosh):
    def __init__(self):
        self.inner = lambda x: x


def test_fits_that_cannot_go_on_are_refused(data, tmp_path):
    X, y = data
    checkpoint = checked(tmp_path)
    with pytest.raises(ValueError, match="random_state"):
        small(random_state=None).set_callbacks(checkpoint).fit(X, y)
    with pytest.raises(ValueError, match=r"energy=Unpicklable\(\) again"):
        small(energy=Unpicklable()).set_callbacks(checkpoint).fit(X, y)
    with pytest.raises(ValueError, match="one Checkpoint"):
        small().set_callbacks(checkpoint, checked(tmp_path / "a")).fit(X, y)
    with pytest.raises(ValueError, match="partial_fit does not support Checkpoint"):
        small().set_callbacks(checkpoint).partial_fit(X, y, classes=range(10))
    assert os.listdir(tmp_path) == []


def test_parameters_without_an_effect_may_change(data, epochs, tmp_path):
    path = tmp_path / "fit.npz"
    clf = small().set_callbacks(checked(path))
    stopped_in(epochs, 3, lambda: clf.fit(*data))
    clf.set_params(verbose=True, device="cpu", warm_start=True).fit(*data)
    assert_same_fit(clf, small().fit(*data))
    assert epochs["trained"] == 12 - 3 + 12


def test_a_user_generator_is_brought_to_its_end(data, tmp_path):
    ends = []
    for _ in range(2):
        rng = np.random.RandomState(3)
        first, second = (
            small(random_state=rng).set_callbacks(checked(tmp_path)).fit(*data)
            for _ in range(2)
        )
        assert not np.array_equal(first.memories_, second.memories_)
        ends.append(rng.randint(2**31))
    assert ends[0] == ends[1]
    assert len(os.listdir(tmp_path)) == 2


def test_one_copy_of_the_memories_at_most(tmp_path, monkeypatch):
    rng = np.random.RandomState(0)
    X, y = rng.normal(size=(20, 1000)), np.arange(20) % 2
    peaks, velocity, write = [], CpuTrainer.velocity, FitFile.write

    def begin(*args):
        tracemalloc.start()
        return velocity(*args)

    def end(*args):
        write(*args)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    monkeypatch.setattr(CpuTrainer, "velocity", begin)
    monkeypatch.setattr(FitFile, "write", end)
    clf = small(n_memories=4000, max_iter=2, tol=None).set_callbacks(checked(tmp_path))
    clf.fit(X, y, X_val=X, y_val=y)
    size = clf.network_.weights.nbytes
    # That of the velocities, which are in shards.
    assert len(peaks) == 2
    assert size < min(peaks) <= max(peaks) < 1.05 * size


# --- other callbacks ---


@pytest.mark.skipif(not HAS_CALLBACKS, reason="callbacks need scikit-learn 1.9")
class TestCallbacks:
    def test_epochs_are_numbered_on(self, data, epochs, tmp_path):
        from sklearn.callback import ScoringMonitor

        def fit(monitor):
            clf = small().set_callbacks(checked(tmp_path), monitor).fit(*data)
            return clf, monitor

        def log(monitor):
            rows = monitor.get_logs().data
            return {
                row["task_id"]: row["accuracy"]
                for row in rows
                if row["task_name"] == "epoch"
            }

        whole = ScoringMonitor(scoring="accuracy")
        expected = small().set_callbacks(whole).fit(*data)
        parts = [ScoringMonitor(scoring="accuracy") for _ in range(2)]
        stopped_in(epochs, 5, lambda: fit(parts[0]))
        clf, _ = fit(parts[1])
        assert_same_fit(clf, expected)
        assert log(parts[0]) | log(parts[1]) == log(whole)
        assert [*log(parts[1])] == [5, 6, 7, 8, 9, 10, 11]

    def test_the_end_that_a_callback_asks_for(self, data, epochs, tmp_path):
        class StopAt:
            def setup(self, estimator, context):
                pass

            def on_fit_task_begin(self, estimator, context):
                pass

            def on_fit_task_end(self, estimator, context):
                return context.task_name == "epoch" and context.task_id == 6

            def teardown(self, estimator, context):
                pass

        def fit(*callbacks):
            return small().set_callbacks(*callbacks).fit(*data)

        expected = fit(StopAt())
        assert expected.n_iter_ == 7
        for order in (1, -1):
            callbacks = [StopAt(), checked(tmp_path / str(order))][::order]
            stopped_in(epochs, 4, lambda cs=callbacks: fit(*cs))
            assert_same_fit(fit(*callbacks), expected)
            epochs["trained"] = 0
            assert_same_fit(fit(*callbacks), expected)
            assert epochs["trained"] == 0

    def test_it_belongs_to_the_classifier(self, data, tmp_path):
        model = make_pipeline(MinMaxScaler(), small())
        for estimator in (model, GridSearchCV(model, {}, cv=2), LogisticRegression()):
            with pytest.raises(TypeError, match="itself"):
                estimator.set_callbacks(checked(tmp_path)).fit(*data)

    def test_progress_bar(self, data, epochs, tmp_path, capsys):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        def fit():
            return small().set_callbacks(ProgressBar(), checked(tmp_path)).fit(*data)

        stopped_in(epochs, 4, fit)
        fit()
        assert "100%" in capsys.readouterr().out


# --- processes that are killed ---


def killed_fits(*arguments):
    folder = Path(__file__).parent
    subprocess.run(
        [sys.executable, folder / "killed_fits.py", *arguments],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(skdam.__file__).parents[1])},
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
class TestKilledProcesses:
    def test_killed_at_random_moments(self):
        killed_fits("6")

    @pytest.mark.slow
    def test_killed_at_fifty_random_moments(self):
        killed_fits("50")

    @pytest.mark.slow
    def test_killed_while_writing(self):
        killed_fits("while-writing")


def test_hashes_tell_sparse_samples_apart():
    parts = [([1.0, 2.0], [0, 1], indptr) for indptr in ([0, 1, 2], [0, 2, 2])]
    arrays = [sparse.csr_array(part, shape=(2, n)) for part in parts for n in (2, 3)]
    assert len({_hash(array) for array in arrays}) == 4


def test_weights_of_validation_data_tell_fits_apart():
    X, codes = np.eye(4), np.arange(4) % 2
    samples, validation = Samples(X, codes), Samples(X, codes)
    before = identify({"random_state": 0}, samples, np.arange(2), validation, None)
    validation.weights = np.arange(1.0, 5)
    after = identify({"random_state": 0}, samples, np.arange(2), validation, None)
    assert before["data"].keys() ^ after["data"].keys() == {"sample_weight_val"}


def test_energies_of_the_users_own_are_told_apart_by_what_they_do(data, tmp_path):
    def fitted(power, *callbacks):
        class Own:
            def value(self, x):
                return np.maximum(x, 0) ** power

            def activation(self, x):
                return power * np.maximum(x, 0) ** (power - 1)

            def slope(self, x):
                return power * (power - 1) * np.maximum(x, 0) ** (power - 2)

        clf = small(energy=Own(), temperature=2.0).set_callbacks(*callbacks)
        return clf.fit(*data).memories_

    fitted(2, Checkpoint(tmp_path))
    expected = fitted(5)
    for _ in range(2):
        assert_array_equal(fitted(5, Checkpoint(tmp_path)), expected)
