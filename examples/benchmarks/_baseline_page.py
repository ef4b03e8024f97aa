"""The tables of the comparison with other classifiers, and its figure of ranks."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

import numpy as np
from _compared import finished, mean_ranks, values
from _page import fill, save, table
from matplotlib.figure import Figure

ERRORS = ("held out", "regularised")
"""Parts with a single table, of which the errors are shown."""


def write_page(path: Path, results: dict) -> str:
    """Fill the page with the parts there are, and return it."""
    blocks = {}
    for name, part in results.items():
        if name == "compare":
            machine = results["machine"]
            versions = machine["versions"]
            made = (
                f"{machine['cpu']}, {machine['cores']} cores, skdam "
                f"{versions['skdam']}, scikit-learn {versions['scikit-learn']}, "
                f"{part['date'][:10]}.\n"
            )
            blocks[name] = "\n".join([made, scores(part), verdict(part["ranks"])])
        elif name in ERRORS:
            blocks[name] = errors(part)
        elif name == "leave-one-out":
            blocks[name] = f"{left_out(part)}\n{candidates(part)}"
        elif name == "mnist" or name.startswith("missing"):
            blocks[name] = scores(part)
    return fill(path, blocks)


def scores(part: dict) -> str:
    """Tabulate the accuracy on each table, and the other measures over all."""
    tables, methods = finished(part)
    accuracy = 100 * values(part, "accuracy")
    deviation = 100 * values(part, "accuracy", spread)
    rows = {
        name: [f"{a:.1f}{plus_minus(s, '.1f')}" for a, s in zip(*pair, strict=True)]
        for name, *pair in zip(tables, accuracy, deviation, strict=True)
    }
    if len(tables) > 1:
        rows["mean"] = formatted(accuracy.mean(axis=0), ".1f")
        rows["mean rank"] = formatted(mean_ranks(part), ".2f")
    balanced = 100 * values(part, "balanced_accuracy").mean(axis=0)
    rows["balanced accuracy"] = formatted(balanced, ".1f")
    rows["log-loss"] = formatted(values(part, "log_loss").mean(axis=0), ".3f")
    for name in ("fit", "predict"):
        seconds = values(part, f"{name}_seconds", np.sum).sum(axis=0)
        rows[f"seconds of {name}"] = formatted(seconds, ".3g")
    text = table(
        [
            {"": name, **dict(zip(methods, cells, strict=True))}
            for name, cells in rows.items()
        ]
    )
    if "skdam" not in methods:
        return text
    # Where skdam is furthest behind networks.
    behind = accuracy - accuracy[:, [methods.index("skdam")]]
    for name, points in zip(methods, behind.T, strict=True):
        if name.endswith("MLPClassifier"):
            worst = int(points.argmax())
            where = "none"
            if points[worst] > 0:
                where = f"{points[worst]:.1f} points, on {tables[worst]}"
            text += f"\nLargest shortfall of skdam against {name}: {where}.\n"
    return text


def errors(part: dict) -> str:
    """Tabulate the error on the one table of a part, the smallest first."""
    _, methods = finished(part)
    error = 100 * (1 - values(part, "accuracy")[0])
    deviation = 100 * values(part, "accuracy", spread)[0]
    loss = values(part, "log_loss")[0]
    seconds = values(part, "fit_seconds")[0]
    return table(
        [
            {
                "": methods[i],
                "error": f"{error[i]:.2f}{plus_minus(deviation[i], '.2f')} %",
                "log-loss": f"{loss[i]:.3f}",
                "seconds of fit": f"{seconds[i]:.0f}",
            }
            for i in error.argsort()
        ]
    )


def verdict(ranks: dict) -> str:
    return (
        f"Over {ranks['tables']} data sets, Friedman's test of the ranks has "
        f"p = {ranks['friedman_p']:.2g}; mean ranks that differ by less than "
        f"{ranks['critical_difference']:.2f} do not differ significantly (Nemenyi, "
        "5 %).\n"
    )


def left_out(part: dict) -> str:
    found = part["left_out"]
    numbers = ("defaults", "chosen_accuracy", "best_accuracy")
    mean = {name: np.mean([row[name] for row in found.values()]) for name in numbers}
    found = found | {"mean": {"chosen": "", "best": "", **mean}}
    return table(
        [
            {
                "left out": name,
                "defaults": f"{100 * row['defaults']:.1f}",
                "chosen on the others": row["chosen"],
                "its accuracy": f"{100 * row['chosen_accuracy']:.1f}",
                "best in hindsight": row["best"],
                "best accuracy": f"{100 * row['best_accuracy']:.1f}",
            }
            for name, row in found.items()
        ]
    )


def candidates(part: dict) -> str:
    """Tabulate how each set of parameters changes the accuracy of the defaults."""
    tables, names = finished(part)
    accuracy = 100 * values(part, "accuracy")
    gains = accuracy - accuracy[:, [names.index("defaults")]]
    seconds = values(part, "fit_seconds", np.sum).sum(axis=0)
    return table(
        [
            {
                "": name,
                "mean accuracy": f"{accuracy[:, i].mean():.1f}",
                "worst change": f"{gain.min():+.1f} ({tables[gain.argmin()]})",
                "best change": f"{gain.max():+.1f} ({tables[gain.argmax()]})",
                "seconds of fit": f"{seconds[i]:.3g}",
            }
            for i, (name, gain) in enumerate(zip(names, gains.T, strict=True))
        ]
    )


def spread(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def plus_minus(deviation: float, style: str) -> str:
    return "" if np.isnan(deviation) else f" ± {deviation:{style}}"


def formatted(numbers: np.ndarray, style: str) -> list[str]:
    return ["" if np.isnan(number) else f"{number:{style}}" for number in numbers]


def draw_ranks(path: Path, ranks: dict) -> None:
    """Draw mean ranks on a line, and bars under those that do not differ."""
    ordered = dict(sorted(ranks["mean_rank"].items(), key=itemgetter(1)))
    names, found = list(ordered), list(ordered.values())
    difference, k = ranks["critical_difference"], len(names)
    bars = indistinct(found, difference)
    figure = Figure(figsize=(9, 0.3 * (len(bars) + k / 2) + 1.2), layout="constrained")
    ax = figure.subplots()
    for level, (first, last) in enumerate(bars, start=1):
        ends = [found[first] - 0.04, found[last] + 0.04]
        ax.plot(ends, [level, level], color="tab:blue", lw=4, solid_capstyle="butt")
    for number, (name, rank) in enumerate(ordered.items()):
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
