"""What the comparison on tables measures, keeps and concludes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.preprocessing import FunctionTransformer

FOLDER = Path(__file__).parents[1] / "examples" / "benchmarks"
if not FOLDER.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
pytest.importorskip("matplotlib")
pytest.importorskip("threadpoolctl")
sys.path.insert(0, str(FOLDER))

import tables  # noqa: E402
from _compared import compare, described, of_shares  # noqa: E402
from _measure import Report  # noqa: E402

from skdam.tabular import default_kinds  # noqa: E402


def test_measures_of_probabilities():
    rng = np.random.default_rng(0)
    shares, codes = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    found = of_shares(shares, codes)
    assert_allclose(found["auc"], roc_auc_score(codes, shares, multi_class="ovr"))
    brier = np.mean([brier_score_loss(codes == k, shares[:, k]) for k in range(3)])
    assert_allclose(found["brier"], 3 * brier)
    # Bin by bin, as it is defined.
    highest, error = shares.max(axis=1), 0.0
    for low in np.arange(10) / 10:
        inside = (low <= highest) & (highest < low + 0.1)
        if inside.any():
            right = shares[inside].argmax(axis=1) == codes[inside]
            error += inside.mean() * abs(highest[inside].mean() - right.mean())
    assert_allclose(found["calibration_error"], error)


def test_probabilities_that_are_right_have_no_error():
    shares = np.eye(2)[[0, 1, 1, 0]]
    found = of_shares(shares, np.array([0, 1, 1, 0]))
    assert found["auc"] == 1
    assert found["brier"] == found["calibration_error"] == 0


def test_strings_of_a_report_are_as_they_were(tmp_path):
    report = Report(tmp_path / "r.json", "tables")
    strings = ["f(a=[1,\n   2],  b)", "[ x ]  [\ty]"]
    report.part("p", strings=strings, numbers=[1.5, None])
    report.save()
    assert '"numbers": [ 1.5, null ]' in report.path.read_text()
    settings = Report(report.path, "tables").results["p"]["settings"]
    assert settings == {"strings": strings, "numbers": [1.5, None]}


def test_resume_keeps_methods_with_nested_parameters(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    data = {"iris": lambda repeat: tables.folds(X, y, 2, repeat)}
    steps = FunctionTransformer(kw_args={"of": [1, 2, [3]], "kinds": default_kinds()})
    method = tables.after_columns(DummyClassifier())
    method.steps.insert(1, ("nested", steps))
    method[1].set_params(func=first)
    args = SimpleNamespace(folds=2, repeats=1, resume=True)
    runs = []
    for _ in range(2):
        report = Report(tmp_path / "r.json", "tables")
        part = compare(report, "compare", data, {"chance": method}, args)
        runs.append(part["tables"]["iris"]["chance"]["0"]["fit_seconds"])
        report.save()
    assert runs[1] == float(f"{runs[0]:.5g}")
    assert "  " not in "".join(described(method))


def first(X, of, kinds):
    return X


def test_halves_judge_on_tables_that_did_not_choose():
    # On the first two tables "a" is the best, on the last two "b".
    losses = np.array([[1, 0.1, 9], [1, 0.1, 9], [1, 9, 0.1], [1, 9, 0.1]])
    part = {"methods": dict.fromkeys([tables.BASE, "a", "b"]), "tables": {}}
    for number, row in enumerate(losses):
        part["tables"][str(number)] = {
            name: {"0": {"accuracy": 1 - loss / 10, "log_loss": loss}}
            for name, loss in zip(part["methods"], row, strict=True)
        }
    found = tables.halves(part, np.random.default_rng(0), 300)
    assert sum(found["chosen"].values()) == 300
    # Chosen by both tables of one kind (a third of the halves), a method is 80 points
    # behind on both others; otherwise, 9 ahead on one and 80 behind on the other.
    assert_allclose(
        found["gain"][0], -80 / 3 + 2 / 3 * (9 - 80) / 2, atol=1.5 * 45 / 17
    )
