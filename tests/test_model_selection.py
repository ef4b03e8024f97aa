"""Hyperparameters: windows of searches of all kinds, training from them, presets."""

from copy import deepcopy

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal, assert_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skdam import (
    DenseAssociativeMemoryClassifier,
    fit_window,
    hyperparameter_window,
    preset,
)
from skdam.model_selection import HyperparameterWindow, TrainingRun

# Networks of a few epochs are trained here, not good ones.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Scripted(ClassifierMixin, BaseEstimator):
    """A classifier whose accuracy is a parameter."""

    def __init__(self, accuracy=1.0, kind="a", effort=1):
        self.accuracy = accuracy
        self.kind = kind
        self.effort = effort

    def fit(self, X, y):
        if self.accuracy is None:
            raise RuntimeError("no fit")
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y):
        return self.accuracy


X, y = np.zeros((8, 1)), np.arange(8) % 2


def search_over(grid, **options):
    return GridSearchCV(Scripted(), grid, cv=2, **options).fit(X, y)


def small(**parameters):
    return DenseAssociativeMemoryClassifier(
        **{"n_memories": 50, "max_iter": 6, "random_state": 0} | parameters
    )


def runs_from(window, digits, estimator=None, **options):
    """Return runs of networks from a window, two with seed 0 by default."""
    X, X_test, y, y_test = digits
    options = {"n_samples": 2, "random_state": 0} | options
    estimator = estimator or small()
    return fit_window(estimator, window, X, y, X_test=X_test, y_test=y_test, **options)


# The window


def test_window_holds_the_candidates_under_the_threshold():
    accuracies = [0.9, 0.98, 0.97, 0.985, 0.5]
    search = search_over({"accuracy": accuracies, "kind": ["b", "a"]})
    window = hyperparameter_window(search, max_error=0.03)
    assert_allclose(window.scores, [0.985, 0.985, 0.98, 0.98])
    assert_allclose(window.errors, [0.015, 0.015, 0.02, 0.02])
    assert [p["accuracy"] for p in window.params] == [0.985, 0.985, 0.98, 0.98]
    assert window.ranges == {"accuracy": (0.98, 0.985), "kind": ["b", "a"]}
    assert len(window) == 4
    assert len(window.candidates) == 10
    assert_allclose(window.candidate_errors, np.sort(1 - np.repeat(accuracies, 2)))


def test_thresholds_are_compared_as_they_are_written():
    """1 - 0.9 is 0.09999999999999998, and 0.98 - 0.01 less than 0.97."""
    search = search_over({"accuracy": [0.9, 0.98, 0.97, 0.96]})
    assert len(hyperparameter_window(search, max_error=0.1)) == 3
    assert len(hyperparameter_window(search, within=0.01)) == 2
    assert len(hyperparameter_window(search, within=0.08)) == 4
    assert len(hyperparameter_window(search, within=0)) == 1


def test_ranges_of_values_that_are_not_all_numbers():
    grid = [
        {"accuracy": [0.9], "effort": ["auto", 3], "kind": [True, False]},
        {"accuracy": [0.91]},
    ]
    ranges = hyperparameter_window(search_over(grid), within=0.5).ranges
    assert ranges["accuracy"] == (0.9, 0.91)
    assert ranges["effort"] == ["auto", 3]
    assert ranges["kind"] == [True, False]
    lists = search_over({"kind": [[[0.0, 0.0]], [1]]})
    assert hyperparameter_window(lists, within=0).ranges["kind"][1] == [1]


def test_candidates_may_be_arrays(digits):
    arrays = [np.zeros((2, 2)), np.ones((2, 2)), np.zeros(3), (np.ones(2), 1)]
    values = ["auto", *arrays, *deepcopy(arrays), None]
    window = hyperparameter_window(search_over({"kind": values}), within=0)
    assert len(window) == 10
    assert_equal(window.ranges["kind"], ["auto", *arrays, None])
    assert window == window and window != deepcopy(window)

    memories = np.random.default_rng(0).uniform(-1, 1, (2, 9, 64 + 10))
    search = GridSearchCV(small(n_memories=9), {"init": list(memories)}, cv=2)
    window = hyperparameter_window(search.fit(digits[0], digits[2]), within=1)
    runs = runs_from(window, digits, small(n_memories=9))
    assert_equal({run.estimator.init.sum() for run in runs}, set(memories.sum((1, 2))))
    assert runs[0] != deepcopy(runs[0])


def test_empty_window_says_what_was_found():
    search = search_over({"accuracy": [0.9, 0.96]})
    with pytest.raises(ValueError, match=r"max_error=0.03.*0.04.*'accuracy': 0.96"):
        hyperparameter_window(search, max_error=0.03)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores:UserWarning")
def test_failed_candidates_are_left_out():
    search = search_over({"accuracy": [0.9, None, 0.8]})
    window = hyperparameter_window(search, within=1)
    assert [p["accuracy"] for p in window.params] == [0.9, 0.8]
    search.cv_results_["mean_test_score"][:] = np.nan
    with pytest.raises(ValueError, match="no comparable candidate has a score"):
        hyperparameter_window(search, within=1)


def test_halving_counts_the_last_iteration_only():
    grid = {"accuracy": [0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91]}
    search = HalvingGridSearchCV(
        Scripted(), grid, cv=2, resource="effort", max_resources=9, random_state=0
    ).fit(X, y)
    window = hyperparameter_window(search, within=1)
    last = search.cv_results_["iter"] == search.n_iterations_ - 1
    assert 1 <= last.sum() < 9
    assert len(window.candidates) == last.sum()
    assert {p["effort"] for p in window.params} == {9}
    assert window.params[0]["accuracy"] == 0.99


def test_metrics():
    X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    grid, metrics = {"C": [0.1, 1]}, ["accuracy", "neg_log_loss"]

    def search(**options):
        return GridSearchCV(LogisticRegression(), grid, cv=2, **options).fit(X, y)

    several = search(scoring=metrics, refit="accuracy")
    window = hyperparameter_window(several, within=1)
    expected = several.cv_results_["mean_test_accuracy"]
    assert_allclose(window.scores, np.sort(expected)[::-1])
    for options in (
        {"scoring": "neg_log_loss"},
        {"scoring": metrics, "refit": "neg_log_loss"},
    ):
        with pytest.raises(ValueError, match=r"is -\d.* score from 0 to 1"):
            hyperparameter_window(search(**options), within=1)
    with pytest.raises(ValueError, match="refit=False"):
        hyperparameter_window(search(scoring=metrics, refit=False), within=1)
    with pytest.raises(ValueError, match="is 5, but"):
        hyperparameter_window(search(scoring=lambda *args: 5.0), within=1)


@pytest.mark.parametrize(
    "thresholds, message",
    [
        ({}, "Exactly one of max_error and within"),
        ({"max_error": 0.1, "within": 0.1}, "Exactly one of max_error and within"),
        ({"max_error": 2}, r"max_error=2 .* \[0, 1\]"),
        ({"within": -0.1}, r"within=-0.1 .* \[0, 1\]"),
        ({"within": "0.1"}, r"within='0.1' .* \[0, 1\]"),
        ({"within": float("nan")}, r"within=nan .* \[0, 1\]"),
    ],
)
def test_invalid_thresholds(thresholds, message):
    with pytest.raises(ValueError, match=message):
        hyperparameter_window(search_over({"accuracy": [0.9]}), **thresholds)


def test_objects_that_are_no_fitted_searches():
    with pytest.raises(NotFittedError):
        hyperparameter_window(GridSearchCV(Scripted(), {}), within=0.1)
    with pytest.raises(TypeError):
        hyperparameter_window({"mean_test_score": [1]}, within=0.1)
    with pytest.raises(TypeError, match="Scripted has no cv_results_"):
        hyperparameter_window(Scripted().fit(X, y), within=0.1)


@pytest.mark.parametrize("name", ["params", "mean_test_score"])
def test_missing_results_are_named(name):
    search = search_over({"accuracy": [0.9]})
    del search.cv_results_[name]
    with pytest.raises(ValueError, match=f"cv_results_ of the search lacks '{name}'"):
        hyperparameter_window(search, within=0.1)


def test_samples_come_from_the_window_each_before_any_again():
    window = HyperparameterWindow([{"a": i} for i in range(6)], np.ones(6), 4)
    for seed in range(5):
        drawn = [p["a"] for p in window.sample(10, random_state=seed)]
        assert sorted(drawn[:4]) == sorted(drawn[4:8]) == [0, 1, 2, 3]
        assert len(set(drawn[8:])) == 2
    assert window.sample(5, 3) == window.sample(5, 3)
    assert window.sample(4, 0) != window.sample(4, 1)
    window.sample(1)[0]["a"] = 9
    assert all(p["a"] != 9 for p in window.candidates)
    for n in (0, 1.5):
        with pytest.raises(ValueError, match=f"n={n}"):
            window.sample(n)


# Training from it


@pytest.fixture(scope="module")
def window():
    return HyperparameterWindow([{"power": 2}, {"power": 5}], np.ones(2), 2)


def test_networks_of_the_window(window, digits):
    X, X_test, y, y_test = digits
    runs = runs_from(window, digits, n_samples=3, threshold=0.3)
    assert {run.params["power"] for run in runs} == {2, 5}
    assert len({run.estimator.random_state for run in runs}) == 3
    for run in runs:
        clf = run.estimator
        assert clf.power == run.params["power"]
        alone = small(power=clf.power, random_state=clf.random_state).fit(X, y)
        assert_array_equal(clf.memories_, alone.memories_)
        assert len(run.errors) == clf.max_iter
        assert_allclose(run.errors[-1], 1 - clf.score(X_test, y_test))
        under = [e for e, error in enumerate(run.errors, 1) if error < 0.3]
        assert run.first_epoch == (under[0] if under else None)
        assert run.seconds > 0


def test_the_same_seed_gives_the_same_networks(window, digits):
    options = ({"n_jobs": 1}, {"n_jobs": 2}, {"random_state": 1})
    repeated = [runs_from(window, digits, **option) for option in options]
    for one, two, other in zip(*repeated, strict=True):
        assert one.params == two.params
        assert_array_equal(one.errors, two.errors)
        assert not np.array_equal(one.errors, other.errors)


def test_pipelines_transform_the_test_data_as_they_were_fitted(digits, tmp_path):
    X, X_test, y, y_test = digits
    X, X_test = X[:, 5:] * 3 + 1, X_test[:, 5:] * 3 + 1
    window = HyperparameterWindow([{"dam__power": 3}], np.ones(1), 1)
    inner = Pipeline([("scale", MinMaxScaler((-1, 1))), ("dam", small())])
    pipelines = [
        (inner, window),
        (Pipeline(inner.steps, memory=str(tmp_path)), window),
        (Pipeline(inner.steps[1:]), window),
        (
            Pipeline([("pca", PCA(20, random_state=0)), ("inner", inner)]),
            HyperparameterWindow([{"inner__dam__power": 3}], np.ones(1), 1),
        ),
    ]
    for pipeline, window in pipelines:
        (run,) = runs_from(window, (X, X_test, y, y_test), pipeline, n_samples=1)
        assert isinstance(run.estimator, Pipeline)
        assert_allclose(run.errors[-1], 1 - run.estimator.score(X_test, y_test))
    assert not hasattr(inner[0], "scale_")


def test_networks_in_pipelines_have_seeds_of_their_own(digits):
    window = HyperparameterWindow([{}], np.ones(1), 1)
    pipeline = Pipeline([("scale", MinMaxScaler()), ("dam", small(max_iter=1))])
    runs = runs_from(window, digits, pipeline, n_samples=3)
    assert len({run.estimator["dam"].random_state for run in runs}) == 3


@pytest.mark.parametrize("last, first", [(0.02, None), (0.019, 2)])
def test_first_epoch_under_the_threshold(last, first):
    run = TrainingRun({}, np.array([0.5, last, 0.01 + last]), 0.02, None, 0.0)
    assert run.first_epoch == first


@pytest.mark.parametrize(
    "estimator, options, error, message",
    [
        (LogisticRegression(), {}, TypeError, "LogisticRegression"),
        (make_pipeline(StandardScaler()), {}, TypeError, "StandardScaler"),
        (small(early_stopping=True), {}, ValueError, "early_stopping"),
        (small(), {"n_samples": 0}, ValueError, "n_samples"),
        (small(), {"threshold": 3}, ValueError, "threshold"),
        (small(), {"window": {"power": 2}}, ValueError, "window"),
        (small(), {"random_state": "a"}, ValueError, "random_state"),
    ],
)
def test_errors_before_any_work(estimator, options, error, message):
    window = HyperparameterWindow([{}], np.ones(1), 1)
    options = {"window": window, "X_test": X, "y_test": y} | options
    with pytest.raises(error, match=message):
        fit_window(estimator, X=X, y=y, **options)


def test_verbose_tells_of_each_network(window, digits, capsys):
    runs_from(window, digits)
    assert capsys.readouterr().out == ""
    runs = runs_from(window, digits, threshold=0, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2] == f"Network 2 of 2: power={runs[1].params['power']}"
    assert f"error {runs[1].errors[-1]:.4f} after 6 epochs" in lines[3]
    assert "under 0 never" in lines[3]


# The whole way


@pytest.mark.parametrize("kind", [GridSearchCV, RandomizedSearchCV])
def test_from_a_search_over_a_pipeline_to_networks(kind, digits):
    X, _, y, _ = digits
    pipeline = Pipeline([("scale", MinMaxScaler((-1, 1))), ("dam", small(max_iter=12))])
    grid = {"dam__power": [2, 3], "dam__temperature": [1e-3, "auto"]}
    options = {"n_iter": 4} if kind is RandomizedSearchCV else {}
    held_out = PredefinedSplit(np.where(np.arange(len(X)) % 5, -1, 0))
    with pytest.warns(match="Change temperature"):
        search = kind(pipeline, grid, cv=held_out, refit=False, **options).fit(X, y)
    window = hyperparameter_window(search, max_error=0.4)
    assert window.ranges == {"dam__power": (2, 3), "dam__temperature": ["auto"]}
    runs = runs_from(window, digits, pipeline)
    assert all(run.errors[-1] < 0.4 for run in runs)


@pytest.mark.dask
def test_dask_gives_the_same_search(digits):
    distributed = pytest.importorskip("distributed")
    X, _, y, _ = digits
    search = GridSearchCV(
        Pipeline([("scale", MinMaxScaler((-1, 1))), ("dam", small())]),
        {"dam__power": [2, 3], "dam__error_exponent": [3, 10]},
        cv=2,
    )
    here = search.fit(X, y).cv_results_
    window = hyperparameter_window(search, within=0.5)
    runs = runs_from(window, digits, search.estimator)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        there = search.fit(X, y).cv_results_
        same = runs_from(window, digits, search.estimator)
    assert here["params"] == there["params"]
    for name in here:
        if not name.endswith("_time"):
            assert_array_equal(here[name], there[name])
    for one, two in zip(runs, same, strict=True):
        assert_array_equal(one.errors, two.errors)


# Presets


@pytest.mark.parametrize("power", [2, 3, 20, 30])
def test_preset_is_the_papers(power, digits):
    X, _, y, _ = digits
    clf = DenseAssociativeMemoryClassifier(
        **preset("krotov-hopfield-2016", power=power)
    )
    assert clf.power == power
    assert (clf.n_memories, clf.batch_size, clf.max_iter) == (2000, 1000, 3000)
    assert clf.init == (-0.3, 0.3)
    # The rate falls by 0.002 from one epoch to the next.
    assert_allclose(clf.learning_rate_decay ** (1 / 2999), 0.998)
    # What the paper gives as ranges is the same for all powers.
    same = preset("krotov-hopfield-2016") | {"power": power}
    assert preset("krotov-hopfield-2016", power=power) == same
    assert 0.6 <= clf.momentum <= 0.95
    assert 0.01 <= clf.learning_rate_init <= 0.04
    assert clf.temperature_ramp is None
    clf.set_params(n_memories=20, max_iter=1).fit(X, y)


@pytest.mark.parametrize("name", ["krotov-hopfield-2016", "krotov-hopfield-2016-short"])
@pytest.mark.parametrize("power", [2, 3])
def test_presets_learn(power, name, digits):
    # The long one from memories around -0.3, which all overlap with the background. Its
    # error exponent needs more steps and pixels than these digits have.
    X_train, X_test, y_train, y_test = digits
    parameters = preset(name, power=power)
    parameters |= {"n_memories": 200, "batch_size": 100, "max_iter": 60}
    parameters["error_exponent"] = min(parameters["error_exponent"], 10)
    clf = DenseAssociativeMemoryClassifier(**parameters, random_state=0)
    assert clf.fit(X_train, y_train).score(X_test, y_test) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("power", [2, 3])
def test_the_papers_preset_learns_images(power, mnist):
    parameters = preset("krotov-hopfield-2016", power=power)
    parameters |= {"n_memories": 300, "batch_size": 100, "max_iter": 120}
    parameters["learning_rate_decay"] = 0.998**119
    clf = DenseAssociativeMemoryClassifier(**parameters, random_state=0)
    clf.fit(mnist.X_train[:5000], mnist.y_train[:5000])
    assert clf.score(mnist.X_test, mnist.y_test) > 0.6


def test_unknown_preset():
    with pytest.raises(ValueError, match="krotov-hopfield-2016"):
        preset("hopfield-1982")
