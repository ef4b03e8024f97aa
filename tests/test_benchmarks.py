"""Functions of the benchmarks that decide what is measured and what is reported."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks"
if not FOLDER.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
pytest.importorskip("matplotlib")
sys.path.insert(0, str(FOLDER))

import _page  # noqa: E402
import large_powers  # noqa: E402
import long_run  # noqa: E402
from _measure import Report, rounded  # noqa: E402

from skdam import DenseAssociativeMemoryClassifier  # noqa: E402
from skdam.datasets import MNIST  # noqa: E402

HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")


def test_parts_of_the_data_are_disjoint():
    X, y = np.arange(50)[:, None], np.arange(50)
    parts = large_powers.thirds(X, y, 16, seed=3)
    assert all((X[:, 0] == y).all() for X, y in parts)
    assert len(np.unique(np.concatenate([y for _, y in parts]))) == 48


@pytest.mark.parametrize("optimum", [(0, 0), (2, -1), (-4, 3), (5, 0)])
def test_the_grid_grows_until_its_best_is_inside(monkeypatch, optimum):
    measured = []

    def trained(clf, splits, steps):
        measured.append(steps)
        distance = np.abs(np.subtract(steps, optimum)).sum()
        return {"steps": [*steps], "chosen_by": [distance, distance + 0.5]}

    monkeypatch.setattr(large_powers, "trained", trained)
    grid = []
    for _ in large_powers.search(grid, 2, None, None):
        assert len(grid) == len(measured)
    assert tuple(large_powers.best(grid)["steps"]) == optimum
    assert len(set(measured)) == len(measured)
    for axis in range(2):
        steps = [point[axis] for point in measured]
        assert min(steps) < optimum[axis] < max(steps)
    # What was measured before is not measured again.
    assert not list(large_powers.search(grid, 2, None, None))


def test_of_equal_points_the_one_nearest_to_the_defaults_is_best():
    grid = [
        {"steps": steps, "chosen_by": errors}
        for steps, errors in (
            ([2, 0], [0.1, 0.3]),
            ([0, -1], [0.2, 0.2]),
            ([0, 0], [0.2, 0.3]),
        )
    ]
    assert large_powers.best(grid)["steps"] == [0, -1]


@pytest.fixture
def small(digits):
    X, X_test, y, y_test = (part[:120] for part in digits)
    return MNIST(X, y, X_test, y_test)


def test_counts_of_the_transition(small):
    clf = DenseAssociativeMemoryClassifier(15, max_iter=5, random_state=0)
    clf.fit(small.X_train, small.y_train)
    counts = long_run.transition(clf, small.X_test)
    near = votes = 0
    for memory in clf.recognition_connections_:
        near += sum(abs(value) > 0.9 for value in memory)
        votes += sum(value > 0.9 for value in memory)
    assert counts["near_one"] == pytest.approx(near / 150)
    assert sum(counts["recognition_connections"]) == 150
    units = counts["memories_by_recognition_units"]
    assert sum(units) == 15
    assert sum(i * n for i, n in enumerate(units)) == votes
    assert len(counts["images_by_decisive_memories"]) == 12
    assert sum(counts["images_by_decisive_memories"]) == len(small.X_test)


@pytest.mark.parametrize(
    "errors, expected",
    [([0.1, 0.019, 0.03], 2), ([0.02, 0.021], None), ([], None), ([0.0], 1)],
)
def test_first_epoch_under_a_threshold(errors, expected):
    assert long_run.first_under(0.02, errors) == expected


@pytest.mark.skipif(not HAS_CALLBACKS, reason="callbacks need scikit-learn 1.9")
def test_a_run_that_was_killed_goes_on(tmp_path, small, monkeypatch):
    def followed(folder, max_iter=6):
        report = Report(folder / "long_run.json", "digits")
        report.results.setdefault("networks", {})
        clf = DenseAssociativeMemoryClassifier(12, max_iter=max_iter, random_state=0)
        long_run.follow(report, "networks", "n=2", clf, small)
        return Report(folder / "long_run.json", "digits").results["networks"]["n=2"]

    monkeypatch.setattr(long_run, "MIN_SECONDS", 0)
    whole = followed(tmp_path / "whole")
    assert len(whole["errors"]) == 6 and [*whole["epochs"]] == ["1", "2", "5"]
    end = long_run.Watch.on_fit_task_end

    def killed(self, estimator, context, *, fitted_estimator=None):
        end(self, estimator, context, fitted_estimator=fitted_estimator)
        if context.task_id == 3:
            raise MemoryError

    monkeypatch.setattr(long_run.Watch, "on_fit_task_end", killed)
    with pytest.raises(MemoryError):
        followed(tmp_path / "killed")
    seen = []

    def watched(self, estimator, context, *, fitted_estimator=None):
        seen.append(context.task_id)
        end(self, estimator, context, fitted_estimator=fitted_estimator)

    monkeypatch.setattr(long_run.Watch, "on_fit_task_end", watched)
    resumed = followed(tmp_path / "killed")
    assert seen[0] == 3
    for found in (whole, resumed):
        del found["cpu_seconds"]
    assert resumed == whole
    # Finished: nothing is trained; other parameters: all is.
    seen.clear()
    assert {**followed(tmp_path / "killed"), "cpu_seconds": 0} == {
        **whole,
        "cpu_seconds": 0,
    }
    assert not seen
    assert len(followed(tmp_path / "killed", max_iter=2)["errors"]) == 2


def test_rounded_numbers_keep_their_structure():
    value = {1: [1.23456789, (2, None)], "a": {"b": True}}
    assert rounded(value) == {"1": [1.2346, [2, None]], "a": {"b": True}}


def test_described_parameters_are_those_of_a_file(tmp_path):
    clf = long_run.published(2, 30, 1000)
    report = Report(tmp_path / "a.json", "digits")
    report.results["parameters"] = clf.get_params()
    report.save()
    again = Report(tmp_path / "a.json", "digits").results["parameters"]
    assert long_run.described(clf.get_params()) == again


def test_the_rate_falls_as_published():
    clf = long_run.published(20, 30, 300)
    assert clf.learning_rate_decay == pytest.approx(0.998**299)
    assert SimpleNamespace(**clf.get_params()).reinit_dead == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_windows_go_on(tmp_path, small, monkeypatch):
    monkeypatch.setattr(long_run, "FACTORS", (1, 2))
    monkeypatch.setattr(long_run, "TEMPERATURES", {(2, 5): (40,), (3, 5): (50,)})
    args = SimpleNamespace(powers=(2,), memories=12, window_epochs=(2, 120))

    def searched():
        report = Report(tmp_path / "long_run.json", "digits")
        report.part("windows", keep=True, device=long_run.device())
        long_run.search(report, args, small)
        return Report(tmp_path / "long_run.json", "digits").results["windows"]

    found = searched()
    networks = {name: item for name, item in found.items() if name[:2] == "n="}
    assert [*networks] == [
        "n=2, m=30, rate=0.04, factor=1, epochs=2, fall=0.98",
        "n=2, m=30, rate=0.04, factor=2, epochs=2, fall=0.98",
        "n=2, m=30, rate=0.02, factor=1, epochs=2, fall=0.98",
        "n=2, m=30, rate=0.02, factor=2, epochs=2, fall=0.98",
        "n=2, m=5, rate=0.04, temperature=40, epochs=120, fall=0.998",
    ]
    one, two, *_, last = networks.values()
    assert two["temperature"] == pytest.approx(2 * one["temperature"], rel=1e-4)
    # By hand: trained on the first five sixths, scored on the last.
    clf = DenseAssociativeMemoryClassifier(
        n_memories=12,
        power=2,
        error_exponent=5,
        temperature=40,
        learning_rate="exponential",
        learning_rate_init=0.04,
        learning_rate_decay=0.998**119,
        momentum=0.6,
        batch_size=1000,
        max_iter=120,
        tol=None,
        init=(-0.3, 0.3),
        input_noise=0,
        intercept_scaling=0,
        reinit_dead=0,
        gradient_tolerance=1e-3,
        random_state=0,
    ).fit(small.X_train[:100], small.y_train[:100])
    wrong = clf.predict(small.X_train[100:]) != small.y_train[100:]
    assert last["error"] == pytest.approx(wrong.mean(), rel=1e-4) and wrong.mean() < 0.5
    assert last["loss"] == pytest.approx(clf.loss_curve_[::50], rel=1e-4)
    assert sum(last["images_by_decisive_memories"]) == 20
    # What is there is not trained again; what is not, is.
    kept = json.loads((tmp_path / "long_run.json").read_text())
    del kept["windows"][[*networks][-1]]
    (tmp_path / "long_run.json").write_text(json.dumps(kept))
    fits = []
    fit = DenseAssociativeMemoryClassifier.fit

    def counted(self, X, y):
        fits.append(self.max_iter)
        return fit(self, X, y)

    monkeypatch.setattr(DenseAssociativeMemoryClassifier, "fit", counted)
    again = searched()
    assert fits == [120]
    assert {name: again[name] for name in networks} == networks


def test_windows_on_the_page():
    def item(temperature, error, **others):
        some = {"power": 2, "epochs": 9, "m": 30, "rate": 0.04}
        counts = {"images_by_decisive_memories": [0, 3, *9 * [0], 1]}
        return some | others | counts | {"temperature": temperature, "error": error}

    part = {
        "date": "a day",
        "settings": {},
        "a": item(200, 0.02),
        "b": item(100.2, 0.1),
        "c": item(50, 0.3, m=10),
        "d": item(400, 0.0312),
        "e": item(40, 0.2, power=3),
        "f": item(800, 0.01, rate=0.02),
    }
    rows = [[*_page.long_window_row(w).values()] for w in _page.long_windows(part)]
    assert [row[:4] for row in rows] == [
        ["2", "9", "30", "0.04"],
        ["2", "9", "30", "0.02"],
        ["2", "9", "10", "0.04"],
        ["3", "9", "30", "0.04"],
    ]
    assert rows[0][4:] == [
        "100: 10.0, 200: 2.0, 400: 3.1",
        "2.00 % at 200",
        "no",
        "75 %",
        "25 %",
    ]
    assert [row[6] for row in rows[1:]] == ["yes"] * 3


def test_rows_of_the_pages():
    counts = {
        "error": 0.0123,
        "near_one": 0.5,
        "memories_by_recognition_units": [1, 0, 3],
        "images_by_decisive_memories": [0, 6, 1, *8 * [0], 3],
    }
    row = _page.long_row("a", {"epochs": {"5": {}, "50": counts}, "temperature": 7.4})
    assert [*row.values()] == [
        "a",
        "7",
        "50",
        "1.23 %",
        "50 %",
        "2",
        "1",
        "60 %",
        "30.0 %",
    ]
    points = [
        {"steps": [0, 0], "errors": [0.02, 0.04], "temperature": 3.0},
        {"steps": [1, 0], "errors": [0.02], "temperature": 6.0},
    ]
    found = {
        "grid": [point | {"learning_rate_init": 0.02} for point in points],
        "best": [1, 0],
        "same_temperature": {"errors": [0.5]},
    }
    assert [*_page.power_row("digits", "n=8", found).values()] == [
        *("digits", "8", "3", "3.0 %", "2.0 %", "0.02", "2", "50.0 %"),
    ]
