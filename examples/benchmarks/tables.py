"""The classifier for tables against others with their defaults, on mixed tables.

    python examples/benchmarks/tables.py --tables FOLDER

writes ``results/tables.json``, the table of ``docs/tables.md`` and a figure of mean
ranks in ``docs/_static``; ``--quick`` tries everything on small data in seconds. FOLDER
holds csv files with a header, the class in their last column and ``?`` for missing
values, and may hold an ``index.csv``, which names the categorical columns of each.
Without it only the four data sets of scikit-learn are compared.

Of larger tables 1000 rows are drawn, with the shares of the classes, and classes with
fewer rows than folds are left out. All methods get
the same columns: numbers standardised, missing ones imputed with the median, and
categories one-hot. They take turns in one process, split by split. ``--resume`` keeps
the results of methods with unchanged parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _baseline_page import draw_ranks
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
from skdam.tabular import BlendedClassifier, PiecewiseLinearEncoder

MOST_ROWS = 1000
BASE = "MLPClassifier"


def main() -> None:
    options = Options(__doc__, mnist=False, docs=True)
    add = options.add_argument
    add("--tables", metavar="FOLDER", help="csv files; default: SKDAM_TABLES, or none")
    add("--resume", action="store_true", help="keep results of unchanged methods")
    add("--blended-mlp", action="store_true", help="MLPClassifier in the same blend")
    options.size("repeats", "of the cross-validation", 1)
    args = options.parse()
    args.repeats = 1 if args.quick else args.repeats
    args.folds = 2 if args.quick else 3
    report = Report(args.output / "tables.json", "tables")
    part = compare(report, "compare", load_tables(args), methods(args), args)
    part["ranks"] = ranks(part)
    part["over"] = over_base(part)
    report.save()
    draw_ranks(args.docs / "_static" / "tables_ranks.png", part["ranks"])
    print(fill(args.docs / "tables.md", {"compare": page(report.results, part)}))
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

    def after_columns(classifier) -> Pipeline:
        return make_pipeline(make_tabular_classifier()["columns"], classifier)

    coded = make_pipeline(PiecewiseLinearEncoder(), MLPClassifier(**short))
    kinds = [("plain", MLPClassifier(**short)), ("coded", coded)]
    compared = {
        "skdam, one network": after_columns(DenseAssociativeMemoryClassifier(**short)),
        "skdam for tables": make_tabular_classifier(**parts),
        "MLPClassifier": after_columns(MLPClassifier(**short)),
        "LogisticRegression": after_columns(LogisticRegression(max_iter=1000)),
        "SVC": after_columns(SVC()),
        "KNeighborsClassifier": after_columns(KNeighborsClassifier()),
        "RandomForestClassifier": after_columns(RandomForestClassifier()),
        "HistGradientBoostingClassifier": after_columns(
            HistGradientBoostingClassifier(**short)
        ),
    }
    if args.blended_mlp or args.quick:
        blended = BlendedClassifier(kinds, **parts)
        compared["MLPClassifier, coded, blended"] = after_columns(blended)
    return compared


# Conclusions


def over_base(part: dict) -> dict[str, dict]:
    """Return how each method differs from MLPClassifier, paired over the tables."""
    tables, names = finished(part)
    accuracy = 100 * values(part, "accuracy")
    gains = accuracy - accuracy[:, [names.index(BASE)]]
    loss, seconds = values(part, "log_loss"), values(part, "fit_seconds", np.sum)
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


def page(results: dict, part: dict) -> str:
    machine, (tables, names) = results["machine"], finished(part)
    versions = machine["versions"]
    accuracy = 100 * values(part, "accuracy").mean(axis=0)
    balanced = 100 * values(part, "balanced_accuracy").mean(axis=0)
    rows = []
    for i, rank in sorted(enumerate(mean_ranks(part)), key=lambda item: item[1]):
        over = part["over"][names[i]]
        loss = over["log_loss"]
        rows.append(
            {
                "": names[i],
                "rank": f"{rank:.2f}",
                "accuracy": f"{accuracy[i]:.1f}",
                "balanced": f"{balanced[i]:.1f}",
                "over MLP": f"{over['mean']:+.2f} ± {over['standard_error']:.2f}",
                "won, lost": f"{over['wins']}, {over['losses']}",
                "log-loss / MLP": "" if loss is None else f"{loss:.2f}",
                "seconds / MLP": f"{over['seconds']:.2f}",
            }
        )
    text = (
        f"{machine['cpu']}, {machine['cores']} cores, skdam {versions['skdam']}, "
        f"scikit-learn {versions['scikit-learn']}, {part['date'][:10]}, "
        f"{len(tables)} tables.\n\n{table(rows)}\n"
    )
    for name in ("skdam for tables", "skdam, one network"):
        behind = part["over"][name]["losses_above_2"]
        where = ", ".join(f"{key} ({gain:.1f})" for key, gain in behind.items())
        text += f"\nMore than 2 points behind {BASE}, {name}: {where or 'nowhere'}.\n"
    return text


if __name__ == "__main__":
    main()
