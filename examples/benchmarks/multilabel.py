"""Several labels a sample: skdam and MLPClassifier with their defaults.

    python examples/benchmarks/multilabel.py

writes ``results/multilabel.json`` and the table of ``docs/multilabel.md``; ``--quick``
tries everything on small data in seconds. Two data sets are made, and one is real: four
attributes of handwritten digits. Each seed draws the samples of the test set, and the
initial weights; all methods get the same standardised features.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from _measure import Options, Report
from _page import fill, table
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.metrics import accuracy_score, f1_score, label_ranking_loss, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemoryClassifier

DIGITS = {
    "even": (0, 2, 4, 6, 8),
    "above 4": (5, 6, 7, 8, 9),
    "prime": (2, 3, 5, 7),
    "with a loop": (0, 6, 8, 9),
}
"""Labels of the real data, and the digits that have them."""


def main() -> None:
    options = Options(__doc__, mnist=False, docs=True)
    options.size("seeds", "splits and starts", 10, 2)
    args = options.parse()
    report = Report(args.output / "multilabel.json", "multilabel")
    parameters = {name: repr(method) for name, method in methods(args).items()}
    part = report.part("compare", seeds=args.seeds, methods=parameters)
    for name, data in datasets(args).items():
        part[name] = {"labels_a_sample": float(data()[1].sum(axis=1).mean())}
        for seed in range(args.seeds):
            for method, scores in run(*data(), methods(args), seed).items():
                for metric, value in scores.items():
                    found = part[name].setdefault(method, {})
                    found.setdefault(metric, []).append(value)
        report.save()
    print(fill(args.docs / "multilabel.md", {"compare": page(report.results, part)}))
    print(f"Results are in {args.output}, the page in {args.docs}.")


def datasets(args) -> dict[str, Callable]:
    size = 200 if args.quick else 2000

    def made(n_classes: int, n_labels: int):
        return make_multilabel_classification(
            size, 40, n_classes=n_classes, n_labels=n_labels, random_state=0
        )

    def digits():
        X, digit = load_digits(return_X_y=True)
        y = np.column_stack([np.isin(digit, having) for having in DIGITS.values()])
        return X[:size], y[:size].astype(int)

    return {
        "made, 5 labels": lambda: made(5, 2),
        "made, 20 labels": lambda: made(20, 4),
        "attributes of digits": digits,
    }


def methods(args) -> dict[str, object]:
    short = {"max_iter": 5} if args.quick else {}
    return {
        "skdam": DenseAssociativeMemoryClassifier(**short),
        'skdam, loss="log_loss"': DenseAssociativeMemoryClassifier(
            loss="log_loss", **short
        ),
        "MLPClassifier": MLPClassifier(**short),
    }


def run(X, y, classifiers, seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of each method for one split."""
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, random_state=seed)
    results = {}
    for name, classifier in classifiers.items():
        model = make_pipeline(
            StandardScaler(), classifier.set_params(random_state=seed)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
        found, p = model.predict(X_test), model.predict_proba(X_test)
        losses = [
            log_loss(y_test[:, label], p[:, label], labels=[0, 1])
            for label in range(y.shape[1])
        ]
        results[name] = {
            "subset accuracy": accuracy_score(y_test, found),
            "micro F1": f1_score(y_test, found, average="micro"),
            "ranking loss": label_ranking_loss(y_test, p),
            "log-loss": float(np.mean(losses)),
        }
    return results


def page(results: dict, part: dict) -> str:
    machine = results["machine"]
    versions = machine["versions"]
    rows = []
    for name, of_data in part.items():
        if not isinstance(of_data, dict) or name == "settings":
            continue
        for method in part["settings"]["methods"]:
            row = {"data": name, "": method}
            for metric, found in of_data[method].items():
                percent = metric in ("subset accuracy", "micro F1")
                values = np.array(found) * (100 if percent else 1)
                digits = 1 if percent else 3
                mean, spread = values.mean(), values.std(ddof=1)
                row[metric] = f"{mean:.{digits}f} ± {spread:.{digits}f}"
            rows.append(row)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, skdam {versions['skdam']}, "
        f"scikit-learn {versions['scikit-learn']}, {part['date'][:10]}; mean and "
        f"standard deviation over {part['settings']['seeds']} seeds.\n\n{table(rows)}\n"
    )


if __name__ == "__main__":
    main()
