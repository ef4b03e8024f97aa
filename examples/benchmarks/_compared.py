"""Classifiers compared on the same splits: they take turns, and each is timed.

A method is a pipeline. Data are a function of the number of the repeat that yields
``(X_train, y_train, X_test, y_test)``, once for each split.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from time import perf_counter, process_time

import numpy as np
from _measure import Report
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    roc_auc_score,
)
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Data = Callable[[int], Iterator[Split]]

OF_SHARES = ("log_loss", "auc", "brier", "calibration_error")
SCORES = ("accuracy", "balanced_accuracy", *OF_SHARES)
SECONDS = ("fit_seconds", "fit_cpu_seconds", "predict_seconds")


def read_table(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the features and the codes of the classes, which are the last column."""
    cells = np.loadtxt(path, dtype=str, delimiter=",", skiprows=1)
    return cells[:, :-1].astype(float), np.unique(cells[:, -1], return_inverse=True)[1]


def folds(
    X: np.ndarray, y: np.ndarray, n_folds: int, erased: float, repeat: int
) -> Iterator[Split]:
    """Yield the splits of a cross-validation, a share of the values erased."""
    rng = np.random.default_rng(repeat)
    X = np.where(rng.random(X.shape) < erased, np.nan, X)
    cv = StratifiedKFold(n_folds, shuffle=True, random_state=repeat)
    for train, test in cv.split(X, y):
        yield X[train], y[train], X[test], y[test]


def described(method: Pipeline) -> list[str]:
    """Return the steps with all parameters, which scikit-learn would abbreviate."""
    texts = [
        f"{type(step).__name__}"
        f"({', '.join(f'{k}={v!r}' for k, v in step.get_params().items())})"
        for _, step in method.steps
    ]
    # Functions are named by their address, which changes, and so may breaks of lines.
    return [re.sub(r"\s+", " ", re.sub(r" at 0x\w+", "", text)) for text in texts]


def compare(
    report: Report,
    name: str,
    data: dict[str, Data],
    methods: dict[str, Pipeline],
    args,
    n_repeats: int | None = None,
    **settings,
) -> dict:
    """Compare methods on data, and return the part of the report with the results.

    With ``args.resume`` results are kept where the settings and all parameters of the
    method are what they were, its defaults included; changes of the code are not seen.
    """
    settings = settings or {"folds": args.folds}
    before = report.results.get(name, {}) if args.resume else {}
    part = report.part(name, **settings)
    part["methods"] = {key: described(method) for key, method in methods.items()}
    same = {
        key
        for key, parameters in part["methods"].items()
        if before.get("settings") == settings
        and before["methods"].get(key) == parameters
    }
    part["tables"] = {
        table: {key: runs for key, runs in results.items() if key in same}
        for table, results in before.get("tables", {}).items()
    }
    for table, splits in data.items():
        results = part["tables"].setdefault(table, {})
        for repeat in range(n_repeats or args.repeats):
            missing = {
                key: seeded(method, repeat)
                for key, method in methods.items()
                if str(repeat) not in results.get(key, {})
            }
            if missing:
                for key, run in in_turn(missing, splits(repeat)).items():
                    results.setdefault(key, {})[str(repeat)] = run
                report.save()
        accuracies = ", ".join(
            f"{key} {100 * np.mean([run['accuracy'] for run in runs.values()]):.1f}"
            for key, runs in results.items()
        )
        print(f"{table}: {accuracies}", flush=True)
    return part


def seeded(method: Pipeline, seed: int) -> Pipeline:
    method = clone(method)
    if "random_state" in method[-1].get_params():
        method[-1].set_params(random_state=seed)
    return method


def in_turn(methods: dict[str, Pipeline], splits: Iterator[Split]) -> dict[str, dict]:
    """Return each method's mean scores and total seconds over the splits.

    Every split begins with another method, so that none always has the same
    predecessor.
    """
    outcomes: dict[str, list[dict]] = {name: [] for name in methods}
    names = list(methods)
    for turn, split in enumerate(splits):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            outcomes[name].append(outcome(clone(methods[name]), *split))
    return {name: summed(found) for name, found in outcomes.items()}


def outcome(model: Pipeline, X_train, y_train, X_test, y_test) -> dict:
    """Fit and predict once.

    What needs probabilities is None where the classifier offers none by default, as
    SVC: calibrated ones would be those of another method, at several times its cost.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start, start_cpu = perf_counter(), process_time()
        model.fit(X_train, y_train)
        fitted, fitted_cpu = perf_counter(), process_time()
        predicted = model.predict(X_test)
        end = perf_counter()
        found = dict.fromkeys(OF_SHARES)
        if hasattr(model, "predict_proba"):
            # In double precision for all, since what is clipped at depends on it.
            shares = model.predict_proba(X_test).astype(float)
            shares /= shares.sum(axis=1, keepdims=True)
            found = of_shares(shares, np.searchsorted(model.classes_, y_test))
    return found | {
        "samples": len(y_test),
        "accuracy": float(accuracy_score(y_test, predicted)),
        "balanced_accuracy": float(balanced_accuracy_score(y_test, predicted)),
        "fit_seconds": fitted - start,
        "fit_cpu_seconds": fitted_cpu - start_cpu,
        "predict_seconds": end - fitted,
        "warnings": Counter(warning.category.__name__ for warning in caught),
    }


def of_shares(shares: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Return what is measured on probabilities of shape (n_samples, n_classes).

    The area under the ROC curve is the mean over the classes that there are, each
    against all others. The calibration error is the mean difference between the highest
    probability and the share of right predictions, in ten bins of that probability.
    """
    classes = np.arange(shares.shape[1])
    is_class = codes[:, None] == classes
    highest, hits = shares.max(axis=1), shares.argmax(axis=1) == codes
    bins = np.minimum((10 * highest).astype(int), 9)
    excess = np.bincount(bins, highest - hits)
    areas = [
        roc_auc_score(is_class[:, code], shares[:, code]) for code in np.unique(codes)
    ]
    return {
        "log_loss": float(log_loss(codes, shares, labels=classes)),
        "auc": float(np.mean(areas)),
        "brier": float(((shares - is_class) ** 2).sum(axis=1).mean()),
        "calibration_error": float(np.abs(excess).sum() / len(codes)),
    }


def summed(outcomes: list[dict]) -> dict:
    run: dict = {}
    samples = [found["samples"] for found in outcomes]
    for name in SCORES:
        scores = [found[name] for found in outcomes]
        if None in scores:
            run[name] = None
            continue
        # Weighted, so that as many right samples are a tie wherever they are; rounded
        # as the report does, so that ranks are the same when it is read again.
        run[name] = round(float(np.average(scores, weights=samples)), 5)
    for name in SECONDS:
        run[name] = sum(found[name] for found in outcomes)
    run["warnings"] = dict(sum((found["warnings"] for found in outcomes), Counter()))
    return run


def finished(part: dict) -> tuple[list[str], list[str]]:
    """Return the tables that all methods with any result have finished, and those."""
    results = part["tables"]
    methods = [
        name
        for name in part["methods"]
        if any(name in found for found in results.values())
    ]
    return [table for table in results if set(methods) <= set(results[table])], methods


def values(part: dict, measure: str, statistic: Callable = np.mean) -> np.ndarray:
    """Return a statistic over the repeats, of each finished table (row) and method."""
    tables, methods = finished(part)

    def over_repeats(runs: dict[str, dict]) -> float:
        # None becomes NaN.
        return statistic(np.array([run[measure] for run in runs.values()], float))

    found = [
        [over_repeats(part["tables"][table][name]) for name in methods]
        for table in tables
    ]
    return np.array(found)


def mean_ranks(part: dict) -> np.ndarray:
    """Return the mean rank of each method by accuracy; 1 is the best."""
    # Rounded, since sums in another order differ in their last digits.
    accuracies = np.round(values(part, "accuracy"), 8)
    return rankdata(-accuracies, axis=1).mean(axis=0)
