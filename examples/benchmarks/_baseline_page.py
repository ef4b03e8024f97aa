"""The page of the comparison with other classifiers, and its figure of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import numpy as np
from _compared import finished, mean_ranks, values
from _page import save, table
from matplotlib.figure import Figure

HEADER = """\
# As a baseline

`DenseAssociativeMemoryClassifier()` is meant to be put beside other classifiers as it
is. What it needs is features on one scale, as `StandardScaler` makes them:

    make_pipeline(StandardScaler(), DenseAssociativeMemoryClassifier())

**How to quote it.** Name the version, the scaling, and that nothing else was set; give
mean and standard deviation over several values of `random_state`. It is trained from
random memories, and one seed is one sample.

**When not to use it.** Trees are better where features mean different things and have
thresholds of their own, as in the tables `glass` and `phoneme` below, and they take
categories. Where a linear model is as good, it is a hundred times faster. Images need
convolutions, and text its own models.

What the defaults follow from: the temperature from power, number of memories, and
number and size of the samples; the bias neuron from how far the samples are from their
mean, and that from the origin; memories and minibatches from the number of samples. The
rules are in `skdam.temperature` and in the docstring of the classifier.

This page and its figure are written by `python examples/benchmarks/baseline.py`, which
also says what is measured and how; every number is in
`examples/benchmarks/results/baseline.json`. Accuracies are in percent, with the
standard deviation over the repeats.
"""

REGULARISATION = """\
## Regularisation

All of MNIST, 50 000 training images, errors on 10 000 held-out ones; nothing but the
defaults and what is named.
"""

LEFT_OUT = """\
## A rule chosen on the other tables

For each table, the parameters are chosen that have the best mean accuracy on all the
others; beside them the defaults, and the best parameters for that table in hindsight.
"""


def write_page(path: Path, results: dict) -> str:
    """Write the page from the parts there are, and return it."""
    sections = [HEADER]
    for name, part in results.items():
        if name == "compare":
            sections += ["## Defaults against defaults\n", made_on(part, results)]
            sections += [scores(part), verdict(part["ranks"])]
            sections += ["![Mean ranks](_static/baseline_ranks.png)\n"]
        elif name == "mnist":
            n_train = part["settings"]["training_images"]
            sections += [f"## {n_train} training images\n", scores(part)]
        elif name == "held out":
            sections += [REGULARISATION, errors(part)]
        elif name == "regularised":
            sections += ["The first of them, on the test images, with three seeds:\n"]
            sections += [errors(part)]
        elif name == "leave-one-out":
            sections += [LEFT_OUT, left_out(part), candidates(part)]
        elif name.startswith("missing"):
            share = name.removeprefix("missing ")
            sections += [f"## {share} of the values missing\n", scores(part)]
    page = "\n".join(sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)
    return page


def made_on(part: dict, results: dict) -> str:
    machine = results["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, scikit-learn "
        f"{machine['versions']['scikit-learn']}, {part['date'][:10]}.\n"
    )


def scores(part: dict) -> str:
    """Tabulate the accuracy on each table, and the other measures over all."""
    tables, methods = finished(part)
    accuracy = 100 * values(part, "accuracy")
    deviation = 100 * values(part, "accuracy", spread)
    rows = [
        [name, *(f"{a:.1f}{s}" for a, s in zip(found, plus_minus(around), strict=True))]
        for name, found, around in zip(tables, accuracy, deviation, strict=True)
    ]
    if len(tables) > 1:
        rows.append(["mean", *formatted(accuracy.mean(axis=0), ".1f")])
        rows.append(["mean rank", *formatted(mean_ranks(part), ".2f")])
    balanced = 100 * values(part, "balanced_accuracy").mean(axis=0)
    rows.append(["balanced accuracy", *formatted(balanced, ".1f")])
    rows.append(["log-loss", *formatted(values(part, "log_loss").mean(axis=0), ".3f")])
    for name in ("fit", "predict"):
        seconds = values(part, f"{name}_seconds", np.sum).sum(axis=0)
        rows.append([f"seconds of {name}", *formatted(seconds, ".3g")])
    lines = [*table(["", *methods], rows), "", *shortfalls(tables, methods, accuracy)]
    return "\n".join(lines)


def errors(part: dict) -> str:
    """Tabulate the error on the one table of a part, the smallest first."""
    _, methods = finished(part)
    error = 100 * (1 - values(part, "accuracy")[0])
    deviation = 100 * values(part, "accuracy", spread)[0]
    around = ["" if np.isnan(value) else f" ± {value:.2f}" for value in deviation]
    loss = values(part, "log_loss")[0]
    seconds = values(part, "fit_seconds")[0]
    rows = [
        [
            methods[i],
            f"{error[i]:.2f}{around[i]} %",
            f"{loss[i]:.3f}",
            f"{seconds[i]:.0f}",
        ]
        for i in error.argsort()
    ]
    return "\n".join([*table(["", "error", "log-loss", "seconds of fit"], rows), ""])


def shortfalls(
    tables: list[str], methods: list[str], accuracy: np.ndarray
) -> Iterator[str]:
    """Say where skdam is furthest behind networks."""
    if "skdam" not in methods:
        return
    behind = accuracy - accuracy[:, [methods.index("skdam")]]
    for name, points in zip(methods, behind.T, strict=True):
        if not name.endswith("MLPClassifier"):
            continue
        worst = int(points.argmax())
        if points[worst] > 0:
            where = f"{points[worst]:.1f} points, on {tables[worst]}"
        else:
            where = "none"
        yield f"Largest shortfall of skdam against {name}: {where}.\n"


def verdict(ranks: dict) -> str:
    return (
        f"Over {ranks['tables']} data sets, Friedman's test of the ranks has "
        f"p = {ranks['friedman_p']:.2g}; mean ranks that differ by less than "
        f"{ranks['critical_difference']:.2f} are not told apart (Nemenyi, 5 %).\n"
    )


def left_out(part: dict) -> str:
    found = part["left_out"]
    rows = [
        [
            name,
            f"{100 * row['defaults']:.1f}",
            row["chosen"],
            f"{100 * row['chosen_accuracy']:.1f}",
            row["best"],
            f"{100 * row['best_accuracy']:.1f}",
        ]
        for name, row in found.items()
    ]
    defaults, chosen, best = (
        f"{100 * np.mean([row[name] for row in found.values()]):.1f}"
        for name in ("defaults", "chosen_accuracy", "best_accuracy")
    )
    rows.append(["mean", defaults, "", chosen, "", best])
    header = ["left out", "defaults", "chosen on the others", "", "in hindsight", ""]
    return "\n".join([*table(header, rows), ""])


def candidates(part: dict) -> str:
    """Tabulate how each set of parameters changes the accuracy of the defaults."""
    tables, names = finished(part)
    accuracy = 100 * values(part, "accuracy")
    gains = accuracy - accuracy[:, [names.index("defaults")]]
    seconds = values(part, "fit_seconds", np.sum).sum(axis=0)
    rows = [
        [
            name,
            f"{mean:.1f}",
            f"{gain.min():+.1f} ({tables[gain.argmin()]})",
            f"{gain.max():+.1f} ({tables[gain.argmax()]})",
            f"{second:.3g}",
        ]
        for name, mean, gain, second in zip(
            names, accuracy.mean(axis=0), gains.T, seconds, strict=True
        )
    ]
    header = ["", "mean accuracy", "worst change", "best change", "seconds of fit"]
    return "\n".join([*table(header, rows), ""])


def spread(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def plus_minus(deviations: np.ndarray) -> list[str]:
    return ["" if np.isnan(value) else f" ± {value:.1f}" for value in deviations]


def formatted(numbers: np.ndarray, style: str) -> list[str]:
    return ["" if np.isnan(number) else f"{number:{style}}" for number in numbers]


def draw_ranks(path: Path, ranks: dict) -> None:
    """Draw mean ranks on a line, and bars under those that are not told apart."""
    ordered = dict(sorted(ranks["mean_rank"].items(), key=itemgetter(1)))
    names, found = list(ordered), list(ordered.values())
    difference, k = ranks["critical_difference"], len(names)
    bars = indistinct(found, difference)
    figure = Figure(figsize=(9, 0.3 * (len(bars) + k / 2) + 1.2), layout="constrained")
    ax = figure.subplots()
    for level, (first, last) in enumerate(bars, start=1):
        ends = [found[first] - 0.04, found[last] + 0.04]
        ax.plot(ends, [level, level], color="tab:blue", lw=4, solid_capstyle="butt")
    for number, (name, rank) in enumerate(zip(names, found, strict=True)):
        # Labels to both sides, so that no two lines cross.
        left = number < (k + 1) // 2
        level = len(bars) + 1 + (number if left else k - 1 - number)
        edge, side = (0.9, "right") if left else (k + 0.1, "left")
        ax.plot([rank, rank, edge], [0, level, level], color="black", lw=0.8)
        ax.text(edge, level, f" {name} ({rank:.2f}) ", ha=side, va="center")
    ax.plot([1, 1 + difference], [-1.6, -1.6], color="tab:blue", lw=4)
    ax.text(1, -2, f"critical difference {difference:.2f}", va="bottom")
    ax.set(xlim=(1, k), ylim=(len(bars) + k / 2 + 1, 0), xticks=range(1, k + 1))
    ax.set(yticks=[])
    ax.xaxis.tick_top()
    ax.spines[["left", "right", "bottom"]].set_visible(False)
    for artist in (*ax.lines, *ax.texts):
        artist.set_clip_on(False)
    save(figure, path)


def indistinct(ranks: list[float], difference: float) -> list[tuple[int, int]]:
    """Return first and last of each longest run within the critical difference."""
    runs: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = int(np.searchsorted(ranks, rank + difference, side="left")) - 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
