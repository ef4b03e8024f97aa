"""The plot of the benchmark's results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def plot(results: dict, path: Path) -> None:
    """Draw what there is of each part."""
    draw = {"epochs": draw_epochs, "curves": draw_curves, "growth": draw_growth}
    draw = {name: function for name, function in draw.items() if name in results}
    figure = Figure(figsize=(6 * len(draw), 4.5), layout="constrained")
    axes = figure.subplots(1, len(draw), squeeze=False)
    for ax, (name, function) in zip(axes[0], draw.items(), strict=True):
        function(ax, results[name])
    figure.savefig(path, dpi=150)


def draw_epochs(ax, part: dict) -> None:
    seconds = part.get("seconds", {})
    names = list(seconds)[::-1]
    rows = [seconds[name] for name in names]
    median = np.array([row["median"] for row in rows])
    low, high = ([row[end] for row in rows] for end in ("min", "max"))
    ax.barh(names, median, xerr=[median - low, high - median], color="tab:blue")
    ax.set(xscale="log", xlabel="Seconds per epoch (median and range)")


def draw_curves(ax, part: dict) -> None:
    for number, (name, run) in enumerate(part["runs"].items()):
        for turn, curve in enumerate(run["seeds"].values()):
            label = None if turn else name
            color = f"C{number % 10}"
            ax.plot(curve["seconds"], curve["error"], color=color, label=label, lw=1)
    for threshold in part["settings"]["thresholds"]:
        ax.axhline(threshold, color="gray", lw=0.5)
    ax.set(xscale="log", yscale="log", xlabel="Seconds of training")
    ax.set_ylabel("Test error (%)")
    ax.legend()


def draw_growth(ax, part: dict) -> None:
    for name, size in part["settings"]["sizes"].items():
        rows = part.get(f"epoch_seconds_by_{name}", {})
        relative = [float(value) / size for value in rows]
        seconds = [row["median"] for row in rows.values()]
        ax.plot(relative, seconds, "o-", label=f"{name} / {size}")
    ax.set(xscale="log", yscale="log", xlabel="Size, relative to the base")
    ax.set_ylabel("Seconds per epoch")
    ax.legend()
