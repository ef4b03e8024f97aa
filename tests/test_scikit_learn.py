"""The classifier inside scikit-learn's tools, on real data."""

import ast
import pickle
import re

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.fixes import parse_version

from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier
from skdam._backends.cpu import CpuTrainer
from skdam.network import Network

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")


def small(**parameters):
    return DenseAssociativeMemoryClassifier(
        **{"n_memories": 40, "max_iter": 15, "random_state": 0} | parameters
    )


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_in_a_pipeline(n_jobs, digits):
    X_train, X_test, y_train, y_test = digits
    search = GridSearchCV(
        make_pipeline(MinMaxScaler((-1, 1)), small()),
        {
            "denseassociativememoryclassifier__power": [2, 3],
            "denseassociativememoryclassifier__error_exponent": [3, 10],
        },
        cv=2,
        n_jobs=n_jobs,
    ).fit(X_train, y_train)
    assert search.score(X_test, y_test) > 0.9
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_parallel_search_finds_the_same(digits):
    X, _, y, _ = digits
    parameters = {"temperature": [10.0, 15.0, 20.0], "momentum": [0.6, 0.9]}
    results = []
    for n_jobs, backend in ((1, "loky"), (2, "loky"), (2, "threading")):
        with joblib.parallel_config(backend):
            search = RandomizedSearchCV(
                small(), parameters, n_iter=4, cv=2, n_jobs=n_jobs, random_state=0
            ).fit(X, y)
        results.append(search.cv_results_["mean_test_score"])
    assert_allclose(results[0], results[1], atol=0.01)
    assert_allclose(results[0], results[2], atol=0.01)


def test_calibration_and_stacking():
    X, y = load_breast_cancer(return_X_y=True)
    memory = make_pipeline(MinMaxScaler((-1, 1)), small(max_iter=30))
    calibrated = CalibratedClassifierCV(memory, cv=3).fit(X[::2], y[::2])
    assert calibrated.score(X[1::2], y[1::2]) > 0.93
    assert log_loss(y[1::2], calibrated.predict_proba(X[1::2])) < 0.3
    stack = StackingClassifier(
        [("memory", memory), ("tree", DecisionTreeClassifier(random_state=0))],
        LogisticRegression(),
        cv=3,
    ).fit(X[::2], y[::2])
    assert stack.score(X[1::2], y[1::2]) > 0.93


def test_cross_validation_of_a_small_table():
    X, y = load_wine(return_X_y=True)
    scores = cross_val_score(make_pipeline(MinMaxScaler((-1, 1)), small()), X, y, cv=5)
    assert scores.mean() > 0.93


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_copies_predict_the_same(formulation, tmp_path, digits):
    X_train, X_test, y_train, _ = digits
    clf = small(formulation=formulation, power=5).fit(X_train, y_train)
    scores = clf.decision_function(X_test)
    joblib.dump(clf, tmp_path / "clf.joblib")
    for other in (
        pickle.loads(pickle.dumps(clf)),
        joblib.load(tmp_path / "clf.joblib"),
        joblib.load(tmp_path / "clf.joblib", mmap_mode="r"),
        clone(clf).fit(X_train, y_train),
    ):
        assert_array_equal(other.decision_function(X_test), scores)


def test_pickle_goes_on_as_the_original(digits):
    X, _, y, _ = digits
    clf = small().partial_fit(X, y, classes=np.arange(10))
    other = pickle.loads(pickle.dumps(clf))
    assert_array_equal(
        clf.partial_fit(X, y).memories_, other.partial_fit(X, y).memories_
    )


def test_sample_weight_is_routed(digits):
    X, _, y, _ = digits
    weights = np.where(np.arange(len(y)) % 2, 1.0, 3.0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            MinMaxScaler((-1, 1)), small().set_fit_request(sample_weight=True)
        ).fit(X, y, sample_weight=weights)
        scaled = pipeline[0].transform(X)
        direct = small().fit(scaled, y, sample_weight=weights)
        assert_array_equal(pipeline[1].memories_, direct.memories_)
        assert not np.array_equal(direct.memories_, small().fit(scaled, y).memories_)
        result = cross_validate(
            small()
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True),
            X,
            y,
            cv=2,
            params={"sample_weight": weights},
        )
        assert (result["test_score"] > 0.8).all()


@pytest.mark.parametrize(
    "estimator", [DenseAssociativeMemory, DenseAssociativeMemoryClassifier]
)
def test_defaults_are_those_of_the_docstring(estimator):
    parameters = estimator.__doc__.split("Attributes\n")[0]
    documented = re.findall(r"^    (\w+) : .*default=(.+)$", parameters, re.MULTILINE)
    defaults = {name: ast.literal_eval(value) for name, value in documented}
    assert defaults == estimator().get_params()


@pytest.mark.skipif(not HAS_CALLBACKS, reason="callbacks need scikit-learn 1.9")
class TestCallbacks:
    def test_scoring_monitor(self, digits):
        from sklearn.callback import ScoringMonitor

        X, _, y, _ = digits
        monitor = ScoringMonitor(scoring="accuracy")
        clf = small(max_iter=4).set_callbacks(monitor).fit(X, y)
        log = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
        assert [row["task_id"] for row in log] == [0, 1, 2, 3]
        assert log[-1]["accuracy"] == clf.score(X, y)

    def test_progress_bar(self, capsys, digits):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        X, _, y, _ = digits
        small(max_iter=3).set_callbacks(ProgressBar()).fit(X, y)
        assert "DenseAssociativeMemoryClassifier" in capsys.readouterr().out

    def test_callbacks_reach_through_a_search(self, digits):
        from sklearn.callback import ScoringMonitor

        X, _, y, _ = digits
        monitor = ScoringMonitor(scoring="accuracy")
        GridSearchCV(
            small(max_iter=2).set_callbacks(monitor), {"power": [2, 3]}, cv=2, n_jobs=2
        ).fit(X, y)
        names = {
            row["task_name"] for log in monitor.get_logs("all") for row in log.data
        }
        assert "epoch" in names

    def test_own_callback_stops_and_keeps(self, digits):
        class StopAfter:
            """Stop after some epochs and keep what was fitted after each."""

            def __init__(self, n_epochs):
                self.n_epochs = n_epochs
                self.kept = []

            def setup(self, estimator, context):
                pass

            def on_fit_task_begin(self, estimator, context):
                pass

            def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
                if context.task_name == "epoch":
                    self.kept.append(fitted_estimator)
                return len(self.kept) >= self.n_epochs

            def teardown(self, estimator, context):
                self.torn_down = True

        X, _, y, _ = digits
        callback = StopAfter(3)
        clf = small().set_callbacks(callback).fit(X, y)
        assert clf.n_iter_ == 3
        assert callback.torn_down
        first, _, last = callback.kept
        assert_array_equal(last.memories_, clf.memories_)
        assert not np.array_equal(first.memories_, clf.memories_)
        assert_array_equal(last.predict(X), clf.predict(X))

    def test_failed_fit_tears_callbacks_down(self, digits):
        from sklearn.callback import ScoringMonitor

        X, _, y, _ = digits
        clf = small(device="cuda").set_callbacks(ScoringMonitor(scoring="accuracy"))
        for _ in range(2):
            with pytest.raises(ValueError, match="device"):
                clf.fit(X, y)
        clf.set_params(device="cpu").fit(X, y)

    def test_begin_and_end_of_epochs_and_of_the_fit(self, monkeypatch, digits):
        events, kept = [], {}

        class Recorder:
            def setup(self, estimator, context):
                pass

            def on_fit_task_begin(self, estimator, context):
                events.append(f"{context.task_name} begins")

            def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
                events.append(f"{context.task_name} ends")
                kept[context.task_name] = fitted_estimator

            def teardown(self, estimator, context):
                pass

        epoch = CpuTrainer.epoch

        def recorded(self, *args):
            events.append("training")
            return epoch(self, *args)

        # The best epoch is the second one.
        scores = iter([0.1, 0.9, 0.2])
        monkeypatch.setattr(CpuTrainer, "epoch", recorded)
        monkeypatch.setattr(
            Network, "mean_loss_and_accuracy", lambda *args: (0.5, next(scores))
        )
        X, _, y, _ = digits
        clf = small(max_iter=3, early_stopping=True).set_callbacks(Recorder()).fit(X, y)
        each = ["epoch begins", "training", "epoch ends"]
        assert events == ["fit begins", *3 * each, "fit ends"]
        assert clf.best_iter_ == 2
        assert_array_equal(kept["fit"].memories_, clf.memories_)
        assert not np.array_equal(kept["epoch"].memories_, clf.memories_)
