"""Dense associative memory as a baseline: defaults against defaults, on tables.

    python examples/benchmarks/baseline.py --tables FOLDER --mnist FOLDER

writes ``results/baseline.json``, the tables of ``docs/baseline.md``, which says what
each part measures, and a figure of mean ranks in ``docs/_static``; ``--quick`` tries
everything on small data in seconds. FOLDER holds csv files of numbers with a header,
the class in their last column, ``target``; without it only the four data sets of
scikit-learn are compared.

The methods take turns in one process, split by split. SVC has no log-loss, since by
default it gives no probabilities. The standard deviation of an accuracy is that of the
repeats, each a mean over its folds.

``--resume`` keeps each finished result whose method has the same parameters as before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from _baseline_page import draw_ranks, write_page
from _compared import (
    Data,
    Split,
    compare,
    finished,
    folds,
    mean_ranks,
    read_table,
    values,
)
from _measure import Options, Report, held_out, load_images
from scipy.stats import friedmanchisquare, studentized_range
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skdam import DenseAssociativeMemoryClassifier
from skdam.datasets import MNIST

CANDIDATES = {
    "defaults": {},
    "power 3": {"power": 3},
    "power 5": {"power": 5},
    "power 5, temperature x 0.5": {"power": 5, "temperature": 0.5},
    "error exponent 1": {"error_exponent": 1},
    "error exponent 10": {"error_exponent": 10},
    "temperature x 0.5": {"temperature": 0.5},
    "temperature x 2": {"temperature": 2},
    "30 epochs": {"max_iter": 30},
    "120 epochs": {"max_iter": 120},
    "200 memories": {"n_memories": 200},
    "400 memories": {"n_memories": 400},
    "gradient tolerance 0.1": {"gradient_tolerance": 0.1},
    "no intercept": {"intercept_scaling": 0},
    "no reinitialisation": {"reinit_dead": 0},
    "no noise": {"input_noise": 0},
    "noise x 2": {"input_noise": 0.3},
    "dropout 10 %": {"input_dropout": 0.1},
    "dropout instead of noise": {"input_dropout": 0.1, "input_noise": 0},
}
"""What leave-one-out chooses from; temperatures are in units of that of "auto"."""

REGULARISED = {
    "defaults": {},
    "noise 0.5": {"input_noise": 0.5},
    "noise 1": {"input_noise": 1.0},
    "dropout 20 %": {"input_dropout": 0.2},
    "dropout 40 %": {"input_dropout": 0.4},
}
"""What the regularisation of the large case is chosen from."""

ERASED = (0.1, 0.3)
"""Shares of the values that are missing."""

PARTS = ("compare", "mnist", "regularisation", "leave-one-out", "missing")


def main() -> None:
    options = Options(__doc__, parts=PARTS, docs=True)
    add = options.add_argument
    add("--tables", metavar="FOLDER", help="csv files; default: SKDAM_TABLES, or none")
    add("--resume", action="store_true", help="keep results of unchanged methods")
    options.size("repeats", "of the cross-validation", 2, quick=1)
    args = options.parse()
    args.tables = args.tables or os.environ.get("SKDAM_TABLES")
    args.mnist = args.mnist or os.environ.get("SKDAM_MNIST")
    args.folds = 3 if args.quick else 5
    report = Report(args.output / "baseline.json", "tables")
    tables = load_tables(args)
    data = cross_validated(tables, args)
    mnist = large_images(args)
    if "compare" in args.parts:
        compare(report, "compare", data, methods(args), args)
    if "mnist" in args.parts and mnist is not None:
        large_case(report, mnist, args)
    if "regularisation" in args.parts and mnist is not None:
        regularisation(report, mnist, args)
    if "leave-one-out" in args.parts:
        compare(report, "leave-one-out", data, candidates(args), args)
    if "missing" in args.parts:
        for share in ERASED:
            data = cross_validated(tables, args, share)
            compare(report, f"missing {share:.0%}", data, methods_for_nan(args), args)
    conclude(report, args)


def conclude(report: Report, args) -> None:
    """Add what follows from all results, of this run or kept; write the page."""
    results = report.results
    if "leave-one-out" in results:
        results["leave-one-out"]["left_out"] = left_out(results["leave-one-out"])
    if "compare" in results:
        results["compare"]["ranks"] = ranks(results["compare"])
        figure = args.docs / "_static" / "baseline_ranks.png"
        draw_ranks(figure, results["compare"]["ranks"])
    report.save()
    print(write_page(args.docs / "baseline.md", results))
    print(f"Results are in {args.output}, the page and its figure in {args.docs}.")


# Data


def load_tables(args) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    loaders = {"iris": load_iris, "wine": load_wine}
    if not args.quick:
        loaders |= {"breast_cancer": load_breast_cancer, "digits": load_digits}
    tables = {name: load(return_X_y=True) for name, load in loaders.items()}
    if args.tables and not args.quick:
        for path in sorted(Path(args.tables).glob("*.csv")):
            tables[path.stem] = read_table(path)
    elif not args.quick:
        print("No folder of tables is named; only scikit-learn's data sets are used.")
    return tables


def cross_validated(tables: dict, args, erased: float = 0.0) -> dict[str, Data]:
    return {
        name: partial(folds, X, y, args.folds, erased)
        for name, (X, y) in tables.items()
    }


def images(mnist: MNIST, n_train: int, repeat: int) -> Iterator[Split]:
    """Yield the one split: some of the training images, and all test images."""
    X, _, y, _ = train_test_split(
        mnist.X_train,
        mnist.y_train,
        train_size=n_train,
        stratify=mnist.y_train,
        random_state=repeat,
    )
    yield X, y, mnist.X_test, mnist.y_test


def large_images(args) -> MNIST | None:
    """Return MNIST if its folder is named, or digits to try things quickly."""
    if args.quick or args.mnist:
        return load_images(args)
    print("No folder of MNIST is named; it is left out.")
    return None


def large_case(report: Report, mnist: MNIST, args) -> None:
    n_train = 500 if args.quick else 10_000
    data = {"images": partial(images, mnist, n_train)}
    plain = methods(args, standardised=False)
    compare(report, "mnist", data, plain, args, training_images=n_train)


def regularisation(report: Report, mnist: MNIST, args) -> None:
    """Choose a regularisation on a part of the training images, then test it."""
    methods = networks(DenseAssociativeMemoryClassifier, REGULARISED, args)
    X, y = mnist.X_train, mnist.y_train
    parts = held_out(X, y)
    test = X, y, mnist.X_test, mnist.y_test
    data = {"images": lambda repeat: iter([parts])}
    size = len(parts[0])
    part = compare(report, "held out", data, methods, args, 1, training_images=size)
    errors = 1 - values(part, "accuracy")[0]
    best = finished(part)[1][int(errors.argmin())]
    data = {"images": lambda repeat: iter([test])}
    chosen = {best: methods[best]}
    compare(report, "regularised", data, chosen, args, 3, training_images=len(X))


# Methods


def methods(args, standardised: bool = True) -> dict[str, Pipeline]:
    short = {"max_iter": 5} if args.quick else {}
    few_trees = {"n_estimators": 10} if args.quick else {}
    scaled = partial(make_pipeline, *([StandardScaler()] if standardised else []))
    return {
        "skdam": scaled(DenseAssociativeMemoryClassifier(**short)),
        "MLPClassifier": scaled(MLPClassifier(**short)),
        "LogisticRegression": scaled(LogisticRegression()),
        "SVC": scaled(SVC()),
        "KNeighborsClassifier": scaled(KNeighborsClassifier()),
        "RandomForestClassifier": make_pipeline(RandomForestClassifier(**few_trees)),
        "HistGradientBoostingClassifier": make_pipeline(
            HistGradientBoostingClassifier(**short)
        ),
    }


def methods_for_nan(args) -> dict[str, Pipeline]:
    plain = methods(args)
    imputed = {
        f"imputed {name}": make_pipeline(SimpleImputer(), *plain[name])
        for name in ("skdam", "MLPClassifier")
    }
    trees = "HistGradientBoostingClassifier"
    return {"skdam": plain["skdam"], **imputed, trees: plain[trees]}


class InUnitsOfAuto(DenseAssociativeMemoryClassifier):
    """The classifier with a temperature that is relative to that of "auto"."""

    def fit(self, X, y):
        share = self.temperature
        if share != "auto":
            brief = DenseAssociativeMemoryClassifier(**self.get_params())
            brief.set_params(temperature="auto", max_iter=1).fit(X, y)
            self.temperature = share * brief.temperature_
        try:
            return super().fit(X, y)
        finally:
            self.temperature = share


def candidates(args) -> dict[str, Pipeline]:
    return networks(InUnitsOfAuto, CANDIDATES, args, StandardScaler())


def networks(kind: type, sets: dict[str, dict], args, *before) -> dict[str, Pipeline]:
    """Return a network with each set of parameters, after other steps."""
    short = {"max_iter": 5} if args.quick else {}
    return {
        name: make_pipeline(*before, kind(**parameters | short))
        for name, parameters in sets.items()
    }


# Conclusions


def ranks(part: dict, significance: float = 0.05) -> dict:
    """Return mean ranks over the tables, and what difference would be significant.

    Two methods differ by Nemenyi's test if their mean ranks differ by the critical
    difference, which presumes that Friedman's test finds any difference at all.
    """
    tables, methods = finished(part)
    k, n = len(methods), len(tables)
    quantile = studentized_range.ppf(1 - significance, k, np.inf) / np.sqrt(2)
    accuracies = values(part, "accuracy")
    return {
        "tables": n,
        "mean_rank": dict(zip(methods, mean_ranks(part).tolist(), strict=True)),
        "friedman_p": float(friedmanchisquare(*accuracies.T).pvalue),
        "critical_difference": float(quantile * np.sqrt(k * (k + 1) / (6 * n))),
    }


def left_out(part: dict) -> dict[str, dict]:
    """Choose a candidate for each table by all the others; tell how it does there."""
    tables, names = finished(part)
    accuracies = values(part, "accuracy")
    found = {}
    for row, table in enumerate(tables):
        chosen = int(np.delete(accuracies, row, axis=0).mean(axis=0).argmax())
        best = int(accuracies[row].argmax())
        found[table] = {
            "defaults": float(accuracies[row, names.index("defaults")]),
            "chosen": names[chosen],
            "chosen_accuracy": float(accuracies[row, chosen]),
            "best": names[best],
            "best_accuracy": float(accuracies[row, best]),
        }
    return found


if __name__ == "__main__":
    main()
