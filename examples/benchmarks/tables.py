"""Compare the classifier for tables with others, all with their defaults.

    python examples/benchmarks/tables.py --tables FOLDER --blended-mlp --realmlp

writes ``results/tables.json``, the tables of ``docs/tables.md`` and a figure of mean
ranks in ``docs/_static``; ``--quick`` tries everything on small data in seconds. With
``--blended-mlp``, a blend of MLPClassifier in the place of the networks is another
method, and with ``--realmlp`` RealMLP-TD-S, which needs pytabkit. FOLDER holds csv
files with a header, the class in their last column and ``?`` for missing values, and
may hold an ``index.csv``, which names the categorical columns of each. Without it only
the four data sets of scikit-learn are compared.

The cross-validation has three folds and is repeated three times. Of larger tables 1000
rows are drawn, with the shares of the classes, and classes with fewer rows than folds
are left out. All methods get the same columns: numbers standardised, missing ones
imputed with the median, and categories one-hot. They take turns in one process, split
by split, and what is compared is the CPU time of all threads; set OMP_NUM_THREADS and
OPENBLAS_NUM_THREADS to 1, since threads that wait for each other are busy, too. The
part ``kinds`` compares blends of different kinds, chosen on a random half of the tables
and judged on the other half, 200 times. ``--resume`` keeps the results of methods with
unchanged parameters; what it adds is timed apart from them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _baseline_page import draw_ranks, formatted, verdict
from _compared import Data, Split, compare, finished, mean_ranks, values
from _measure import Options, Report
from _page import fill, table
from baseline import ranks
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from skdam import DenseAssociativeMemoryClassifier, make_tabular_classifier
from skdam.tabular import (
    BlendedClassifier,
    ImportanceScaler,
    PiecewiseLinearEncoder,
    default_kinds,
)

MOST_ROWS = 1000
BASE = "MLPClassifier"


def main() -> None:
    options = Options(__doc__, parts=("compare", "kinds"), mnist=False, docs=True)
    add = options.add_argument
    add("--tables", metavar="FOLDER", help="csv files; default: SKDAM_TABLES, or none")
    add("--resume", action="store_true", help="keep results of unchanged methods")
    add("--blended-mlp", action="store_true", help="MLPClassifier in the same blend")
    add("--realmlp", action="store_true", help="RealMLP-TD-S; needs pytabkit")
    options.size("repeats", "of the cross-validation", 3)
    args = options.parse()
    args.repeats = 1 if args.quick else args.repeats
    args.folds = 2 if args.quick else 3
    report = Report(args.output / "tables.json", "tables")
    data = load_tables(args)
    if "compare" in args.parts:
        part = compare(report, "compare", data, methods(args), args)
        part["ranks"] = ranks(part)
        part["over"] = over_base(part)
        draw_ranks(args.docs / "_static" / "tables_ranks.png", part["ranks"])
    if "kinds" in args.parts:
        part = compare(report, "kinds", data, kinds(args), args)
        part["halves"] = halves(part, np.random.default_rng(0))
    report.save()
    print(fill(args.docs / "tables.md", blocks(report.results)))
    print(f"Results are in {args.output}, the page and its figure in {args.docs}.")


# Data


def load_tables(args) -> dict[str, Data]:
    loaders = {"iris": load_iris, "wine": load_wine}
    if not args.quick:
        loaders |= {"breast_cancer": load_breast_cancer, "digits": load_digits}
    tables = {}
    for name, load in loaders.items():
        tables[name] = load(return_X_y=True, as_frame=True)
    folder = args.tables or os.environ.get("SKDAM_TABLES")
    if folder and not args.quick:
        categorical = categorical_columns(Path(folder))
        for path in sorted(Path(folder).glob("*.csv")):
            if path.stem != "index":
                tables[path.stem] = read_table(path, categorical.get(path.stem, []))
    return {name: partial(folds, X, y, args.folds) for name, (X, y) in tables.items()}


def categorical_columns(folder: Path) -> dict[str, list[str]]:
    if not (folder / "index.csv").exists():
        return {}
    index = pd.read_csv(folder / "index.csv", index_col="name", keep_default_na=False)
    return {name: text.split("|") for name, text in index.categorical_columns.items()}


def read_table(path: Path, categorical: list[str]) -> tuple[pd.DataFrame, pd.Series]:
    """Return the features, and the classes as strings."""
    frame = pd.read_csv(path, na_values="?")
    y = frame.pop(frame.columns[-1]).astype(str)
    # Categories may be written as numbers.
    for name in set(categorical) & set(frame.columns):
        frame[name] = frame[name].astype("category")
    return frame, y


def folds(X: pd.DataFrame, y: pd.Series, n_folds: int, repeat: int) -> Iterator[Split]:
    if len(X) > MOST_ROWS:
        X, _, y, _ = train_test_split(
            X, y, train_size=MOST_ROWS, stratify=y, random_state=repeat
        )
    # A class must be in every training part.
    enough = y.map(y.value_counts()) >= n_folds
    X, y = X[enough], y[enough]
    cv = StratifiedKFold(n_folds, shuffle=True, random_state=repeat)
    for train, test in cv.split(X, y):
        yield X.iloc[train], y.iloc[train], X.iloc[test], y.iloc[test]


# Methods


def methods(args) -> dict[str, Pipeline]:
    short = {"max_iter": 5} if args.quick else {}
    parts = {"cv": 2} if args.quick else {}
    coded = make_pipeline(
        ImportanceScaler(), PiecewiseLinearEncoder(), MLPClassifier(**short)
    )
    perceptrons = [("coded", coded), ("linear", LogisticRegression(max_iter=1000))]
    compared = {
        "skdam, one network": after_columns(DenseAssociativeMemoryClassifier(**short)),
        "skdam for tables": make_tabular_classifier(**parts),
        BASE: after_columns(MLPClassifier(**short)),
        "LogisticRegression": after_columns(LogisticRegression(max_iter=1000)),
        "SVC": after_columns(SVC()),
        "KNeighborsClassifier": after_columns(KNeighborsClassifier()),
        "RandomForestClassifier": after_columns(RandomForestClassifier()),
        "HistGradientBoostingClassifier": after_columns(
            HistGradientBoostingClassifier(**short)
        ),
    }
    if args.blended_mlp or args.quick:
        blended = BlendedClassifier(perceptrons, **parts)
        compared["MLPClassifier, coded, blended"] = after_columns(blended)
    if args.realmlp:
        from pytabkit import RealMLP_TD_S_Classifier

        perceptron = RealMLP_TD_S_Classifier(device="cpu", n_threads=1, verbosity=0)
        compared["RealMLP-TD-S"] = after_columns(perceptron)
    return compared


def kinds(args) -> dict[str, Pipeline]:
    """Return blends of the default kinds, of each alone, and of one without scaling."""
    parts = {"cv": 2} if args.quick else {}
    coded, linear = default_kinds()
    unscaled = "coded", Pipeline(coded[1].steps[1:])
    blends = {
        "coded": [coded],
        "linear": [linear],
        "coded and linear": [coded, linear],
        "unscaled and linear": [unscaled, linear],
        "unscaled": [unscaled],
    }
    found = {
        name: make_tabular_classifier(blend, **parts) for name, blend in blends.items()
    }
    return found | {BASE: methods(args)[BASE]}


def after_columns(classifier) -> Pipeline:
    return make_pipeline(make_tabular_classifier()["columns"], classifier)


# Conclusions


def over_base(part: dict) -> dict[str, dict]:
    """Return how each method differs from MLPClassifier, paired over the tables."""
    tables, names = finished(part)
    accuracy, loss = 100 * values(part, "accuracy"), values(part, "log_loss")
    gains = accuracy - accuracy[:, [names.index(BASE)]]
    seconds = values(part, "fit_cpu_seconds", np.sum)
    found = {}
    for name, gain, losses, times in zip(
        names, gains.T, loss.T, seconds.T, strict=True
    ):
        own = np.mean(losses) / np.mean(loss[:, names.index(BASE)])
        found[name] = {
            "mean": float(gain.mean()),
            "standard_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            "wins": int((gain > 0.05).sum()),
            "losses": int((gain < -0.05).sum()),
            "log_loss": None if np.isnan(own) else float(own),
            "seconds": float(times.sum() / seconds[:, names.index(BASE)].sum()),
            "losses_above_2": {
                tables[i]: float(gain[i]) for i in np.flatnonzero(gain < -2)
            },
        }
    return found


def paired(part: dict, name: str, others: list[str]) -> str:
    """Say how much more accurate a method is than others, paired over the tables."""
    _, names = finished(part)
    accuracy = dict(zip(names, 100 * values(part, "accuracy").T, strict=True))
    texts = []
    for other in others:
        if {name, other} <= set(names):
            gain = accuracy[name] - accuracy[other]
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            texts.append(f"{other} {gain.mean():+.2f} ± {error:.2f}")
    return f'Points of accuracy of "{name}" over others: {", ".join(texts)}'


def halves(part: dict, rng: np.random.Generator, n_halves: int = 200) -> dict:
    """Choose a method by the log-loss on half of the tables; judge it on the others."""
    tables, names = finished(part)
    base = names.index(BASE)
    accuracy, loss = 100 * values(part, "accuracy"), values(part, "log_loss")
    gains = accuracy - accuracy[:, [base]]
    candidates = np.delete(np.arange(len(names)), base)
    chosen: Counter = Counter()
    found = []
    for _ in range(n_halves):
        seen, unseen = np.array_split(rng.permutation(len(tables)), 2)
        # No table of large losses decides alone.
        mean = np.log(loss[seen] / loss[seen][:, [base]]).mean(axis=0)
        best = candidates[mean[candidates].argmin()]
        chosen[names[best]] += 1
        ratio = loss[unseen, best].mean() / loss[unseen, base].mean()
        found.append((gains[unseen, best].mean(), ratio))
    mean, deviation = np.mean(found, axis=0), np.std(found, axis=0)
    return {
        "halves": n_halves,
        "chosen": dict(chosen),
        "gain": [float(mean[0]), float(deviation[0])],
        "log_loss": [float(mean[1]), float(deviation[1])],
    }


# The page


def blocks(results: dict) -> dict[str, str]:
    """Return the text of each part that there is."""
    found = {}
    if "compare" in results:
        part = results["compare"]
        text = f"{origin(results, part)}\n\n{overview(part)}"
        for name in ("skdam for tables", "skdam, one network"):
            behind = part["over"][name]["losses_above_2"]
            where = ", ".join(f"{key} ({gain:.1f})" for key, gain in behind.items())
            text += f"\nMore than 2 points behind {BASE}, {name}: {where or 'none'}.\n"
        others = [
            "RandomForestClassifier",
            "HistGradientBoostingClassifier",
            "skdam, one network",
            "MLPClassifier, coded, blended",
        ]
        text += f"\n{paired(part, 'skdam for tables', others)} (paired).\n"
        found["compare"] = f"{text}\n{verdict(part['ranks'])}"
    if "kinds" in results:
        part = results["kinds"]
        judged = part["halves"]
        others = ["unscaled and linear", "coded", "unscaled"]
        gains = paired(part, "coded and linear", others)
        chosen = ", ".join(f"{name} {n}" for name, n in judged["chosen"].items())
        found["kinds"] = (
            f"{overview(part)}\n{gains} (paired).\n\nChosen by the log-loss on a "
            f"random half of the tables, in {judged['halves']} halves: {chosen}. On "
            f"the other half the chosen one is {judged['gain'][0]:+.2f} ± "
            f"{judged['gain'][1]:.2f} points over MLP, and its log-loss is "
            f"{judged['log_loss'][0]:.3f} ± "
            f"{judged['log_loss'][1]:.3f} of it (standard deviation over the halves).\n"
        )
    return found


def origin(results: dict, part: dict) -> str:
    machine, (tables, _) = results["machine"], finished(part)
    versions = ", ".join(
        f"{name} {machine['versions'][name]}"
        for name in ("skdam", "python", "numpy", "scipy", "scikit-learn")
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {versions}, {part['date'][:10]}, "
        f"{len(tables)} tables."
    )


def overview(part: dict) -> str:
    _, names = finished(part)
    over, rank = over_base(part), mean_ranks(part)

    def mean(measure: str, style: str, factor: int = 1) -> list[str]:
        return formatted(factor * values(part, measure).mean(axis=0), style)

    columns = {
        "": names,
        "rank": formatted(rank, ".2f"),
        "accuracy": mean("accuracy", ".1f", 100),
        "balanced": mean("balanced_accuracy", ".1f", 100),
        "over MLP": [
            f"{over[name]['mean']:+.2f} ± {over[name]['standard_error']:.2f}"
            for name in names
        ],
        "won, lost": [
            f"{over[name]['wins']}, {over[name]['losses']}" for name in names
        ],
        "log-loss / MLP": [
            "" if over[name]["log_loss"] is None else f"{over[name]['log_loss']:.2f}"
            for name in names
        ],
        "AUC": mean("auc", ".3f"),
        "Brier": mean("brier", ".3f"),
        "ECE": mean("calibration_error", ".3f"),
        "CPU / MLP": [f"{over[name]['seconds']:.2f}" for name in names],
    }
    rows = zip(*columns.values(), strict=True)
    rows = [dict(zip(columns, row, strict=True)) for row in rows]
    return table([rows[i] for i in rank.argsort(kind="stable")])


if __name__ == "__main__":
    main()
