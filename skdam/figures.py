"""The figures of Krotov and Hopfield (2016), each in one call.

Each function is named after a figure of the paper, or its first table, and returns a
matplotlib figure, at most 8.3 inches wide. It draws what it is given: training runs,
classifiers or sizes. Without that it makes a small run of its own, in seconds.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval, validate_params

from .associative_memory import DenseAssociativeMemory
from .capacity import max_memories_without_errors
from .classifier import DenseAssociativeMemoryClassifier
from .inspection import (
    DecisiveMemoriesDisplay,
    LearningCurvesDisplay,
    MemoriesDisplay,
    RecognitionUnitsDisplay,
)
from .inspection._display import check_drawing, fitted_classifier
from .model_selection import HyperparameterWindow, TrainingRun, fit_window, preset

__all__ = ["figure_1", "figure_2", "figure_3", "figure_4", "figure_5", "table_1"]

COLORS = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "black"
"""Colours that the colour-blind can tell apart (Okabe and Ito)."""

ENERGIES = {"polynomial": "polynomial", "rectified_polynomial": "rectified"}

TEMPERATURES = {2: 22, 3: 28, 20: 48, 30: 50}
"""Of small networks for scikit-learn's digits, by power."""

COUNT = [Interval(Integral, 1, None, closed="left")]
CONSTRAINTS = dict.fromkeys(("n_neurons", "n_memories", "n_states"), COUNT)
CONSTRAINTS |= dict.fromkeys(("powers", "sizes"), ["array-like"])
CONSTRAINTS |= {"power": [Interval(Real, 1, None, closed="left")]}
CONSTRAINTS |= {"runs": [Mapping, None], "classifiers": [list, tuple, None]}


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def figure_1(
    runs: Mapping[int, Sequence[TrainingRun]] | None = None, *, ax: Any = None
) -> Any:
    """Draw Figure 1B: test errors, with an arrow at each first epoch under a threshold.

    Parameters
    ----------
    runs : dict of {power: sequence of TrainingRun}, default=None
        Training runs of at most five powers, from :func:`~skdam.fit_window`. None
        trains three small networks for each of n = 2 and 3 on scikit-learn's digits.
    ax : matplotlib Axes, default=None
        Axes to draw in. None creates a figure of 8.3 x 4.5 inches.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.figures import figure_1
    >>> from skdam.model_selection import TrainingRun
    >>> run = TrainingRun({}, np.array([0.1, 0.015]), 0.02, None, 1.0)
    >>> figure_1({3: [run]}).axes[0].get_xlabel()
    'Epoch'
    """
    check_drawing("figure_1", ax=ax)
    if runs is None:
        runs = {power: _train(power, [0.6, 0.7, 0.8], 60) for power in (2, 3)}
    colored = _colored(runs, "runs")
    ax = ax or _figure(8.3, 4.5).subplots()
    ends = {}
    for power, color in colored:
        LearningCurvesDisplay.from_runs(runs[power], ax=ax, color=color)
        mean = np.mean([run.errors[-1] for run in runs[power]])
        ends[f"n = {power}"] = max(100 * mean, 1e-9)  # A log scale has no 0.
    _label_ends(ax, ends)
    return ax.figure


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def figure_2(
    classifiers: Sequence[BaseEstimator] | None = None,
    X: Any = None,
    y: Any = None,
    *,
    fig: Any = None,
) -> Any:
    """Draw Figure 2: 25 memories of each network, and both histograms.

    Parameters
    ----------
    classifiers : sequence of estimators, default=None
        Fitted classifiers, or pipelines that end in one. None trains four small
        networks, of the paper's powers, on scikit-learn's digits.
    X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
        Samples, square images, whose decisive memories are counted.
    y : array-like of shape (n_samples,), default=None
        Labels of X, for the errors in the titles.
    fig : matplotlib Figure or SubFigure, default=None
        Figure to draw in. None creates one of 8.3 x 6.3 inches.

    Returns
    -------
    matplotlib Figure or SubFigure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.figures import figure_2
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> fig = figure_2([clf.fit(X / 8 - 1, y)], X / 8 - 1, y)
    """
    check_drawing("figure_2", fig=fig)
    if classifiers is None and X is None:
        runs = [_train(power, [0.6], 100) for power in TEMPERATURES]
        classifiers, (_, X, _, y) = [run.estimator for [run] in runs], _digits()
    classifiers = list(classifiers or [])
    if X is None or not classifiers:
        raise ValueError("classifiers must be at least one, and passed with samples X.")
    networks = [fitted_classifier(estimator)[0].network_ for estimator in classifiers]
    fig = fig or _figure(8.3, 6.3)
    above, below = fig.subfigures(2, 1, height_ratios=[1, 1.8])
    images = above.subplots(1, len(classifiers), squeeze=False)
    histograms = below.subplots(2, len(classifiers), squeeze=False)
    for column, estimator in enumerate(classifiers):
        [top], (middle, bottom) = images[:, column], histograms[:, column]
        energy = networks[column].energy
        name = getattr(energy, "name", type(energy).__name__)
        title = f"n = {energy.power:g}" if hasattr(energy, "power") else name
        title += "" if y is None else f": error {1 - estimator.score(X, y):.1%}"
        top.set_title(title, fontsize=10)
        memories = MemoriesDisplay.from_estimator(estimator, random_state=0, ax=top)
        units = RecognitionUnitsDisplay.from_estimator(estimator, ax=middle)
        middle.set_xlabel("Classes voted for")
        middle.set_xticks(range(0, len(units.bars_), max(1, len(units.bars_) // 2)))
        DecisiveMemoriesDisplay.from_estimator(estimator, X, ax=bottom)
        bottom.set_xticks([1, 5, 11], ["1", "5", ">10"])
    for ax in histograms[:, 1:].flat:
        ax.set_ylabel("")
    above.colorbar(memories.im_, ax=images, ticks=[-1, 0, 1], aspect=30)
    return fig


def figure_3(*, fig: Any = None) -> Any:
    """Draw Figure 3: the memory, and the feedforward network that is its dual.

    Parameters
    ----------
    fig : matplotlib Figure or SubFigure, default=None
        Figure to draw in. None creates one of 8.3 x 3.8 inches.

    Returns
    -------
    matplotlib Figure or SubFigure
    """
    check_drawing("figure_3", fig=fig)
    fig = fig or _figure(8.3, 3.8)
    inputs, outputs = ["$v_1$", "$v_2$", "$v_3$", "$v_4$"], ["$c_1$", "$c_2$"]
    starts = ["$x_1$", "$x_2$"]
    titles = {
        "F": r"Associative memory, one update from $x_\alpha = -\varepsilon$",
        "f": "Its dual, a feedforward network with f = F'",
    }
    for ax, (function, title) in zip(fig.subplots(1, 2), titles.items(), strict=True):
        first = inputs + (starts if function == "F" else [])
        columns = first, [f"${function}$"] * 3, outputs
        places = [np.linspace(0.85, -0.85, len(column)) for column in columns]
        for x, (names, heights) in enumerate(zip(columns, places, strict=True)):
            # White for features, gray for memories, blue for classes.
            other = "white" if x == 0 else "lightgray"
            colors = ["#56B4E9" if n in starts + outputs else other for n in names]
            places_of_x = [x] * len(names), heights
            ax.scatter(*places_of_x, s=600, c=colors, edgecolors="black", zorder=2)
            for height, name in zip(heights, names, strict=True):
                ax.text(x, height, name, ha="center", va="center", fontsize=11)
        for x, (label, *ends) in enumerate(
            zip((r"$\xi^\mu_i$", r"$\xi^\mu_\alpha$"), places, places[1:], strict=False)
        ):
            pairs = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 2).T
            ax.plot([x, x + 1], pairs, color="gray", linewidth=0.8, zorder=1)
            ax.text(x + 0.5, -1.2, label, ha="center", fontsize=12)
        ax.set_title(title, fontsize=10)
        ax.set(xlim=(-0.3, 2.3), ylim=(-1.3, 1.1))
        ax.set_axis_off()
    return fig


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def figure_4(
    n_neurons: int = 100,
    n_memories: int = 2000,
    powers: Sequence[float] = (2, 3, 4),
    n_states: int = 200,
    *,
    fig: Any = None,
) -> Any:
    """Draw Figure 4: overlaps of recalled states with the nearest memory.

    Random states are updated until nothing changes. Above capacity, they end far from
    all memories (n = 2, 3); below, in one of them (n = 4). Polynomials of even power
    also store the negative of each memory, and about half of the states end there.

    Parameters
    ----------
    n_neurons, n_memories : int, default=100, 2000
        N and K. The defaults are the paper's.
    powers : sequence of float, default=(2, 3, 4)
        At most five powers n.
    n_states : int, default=200
        Number of random states; 10 000 in the paper.
    fig : matplotlib Figure or SubFigure, default=None
        Figure to draw in. None creates one of 8.3 x 3.5 inches.

    Returns
    -------
    matplotlib Figure or SubFigure
    """
    check_drawing("figure_4", fig=fig)
    colored = _colored(powers, "powers")
    fig = fig or _figure(8.3, 3.5)
    axes = fig.subplots(1, 2, sharey=True)
    bins = np.linspace(0, 1, 51)
    for ax, (energy, name) in zip(axes, ENERGIES.items(), strict=True):
        for power, color in colored:
            args = n_neurons, n_memories, power, energy, n_states
            shares = np.histogram(_recalled_overlaps(*args), bins)[0] / n_states
            label = f"n = {power:g}"
            ax.stairs(shares, bins, color=color, fill=True, alpha=0.6, label=label)
        ax.set(title=name, xlabel="Overlap with the nearest memory")
    axes[0].legend(loc="upper left", labelcolor="linecolor", frameon=False)
    axes[0].set_ylabel("Share of states")
    return fig


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def figure_5(
    sizes: Sequence[int] = (40, 60, 80, 100),
    power: float = 3,
    n_states: int = 200,
    *,
    ax: Any = None,
) -> Any:
    """Draw Figure 5: how many memories can be stored, by the number of neurons.

    A point is the number K of memories at which half of the random states end in a
    memory, by bisection to within 10 %. The line is equation 6 of the paper,
    :func:`~skdam.capacity.max_memories_without_errors`.

    Parameters
    ----------
    sizes : sequence of int, default=(40, 60, 80, 100)
        Numbers N of neurons; 50 to 200 in the paper.
    power : float, default=3
        n, odd: polynomials of even power store the negatives, too.
    n_states : int, default=200
        Number of random states for each K; 1000 in the paper.
    ax : matplotlib Axes, default=None
        Axes to draw in. None creates a figure of 6 x 4 inches.

    Returns
    -------
    matplotlib Figure
    """
    check_drawing("figure_5", ax=ax)
    is_size = [isinstance(size, Integral) and size >= 2 for size in sizes]
    if not is_size or not all(is_size):
        raise ValueError(f"sizes={sizes!r} must be whole numbers of 2 or more.")
    ax = ax or _figure(6, 4).subplots()
    theory = [max_memories_without_errors(n_neurons, power) for n_neurons in sizes]
    ends = {}
    for (energy, name), color in zip(ENERGIES.items(), COLORS, strict=False):
        half = []
        for n_neurons, guess in zip(sizes, theory, strict=True):
            low, high = guess / 4, guess * 4
            while high > 1.1 * low:
                middle = math.sqrt(low * high)
                args = n_neurons, math.ceil(middle), power, energy, n_states
                if np.mean(_recalled_overlaps(*args) == 1) > 0.5:
                    low = middle
                else:
                    high = middle
            half.append(math.sqrt(low * high))
        ax.plot(sizes, half, "o" if name == "polynomial" else "s", color=color)
        ends[name] = half[-1]
    ax.plot(sizes, theory, color=COLORS[2])
    ax.set(xlabel="Neurons N", ylabel="Memories K that half of the states find")
    _label_ends(ax, ends | {"theory": theory[-1]})
    return ax.figure


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def table_1(powers: Sequence[int] = range(1, 9), *, ax: Any = None) -> Any:
    """Draw which powers solve XOR, whose truth table is stored in three neurons.

    The numbers are the energy of the wrong output above that of the right one, in units
    of the largest term, F(3). Where it is 0, the memory cannot tell them apart.

    Parameters
    ----------
    powers : sequence of int, default=range(1, 9)
        Powers n.
    ax : matplotlib Axes, default=None
        Axes to draw in. None creates a figure of 8.3 x 2.4 inches.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from skdam.figures import table_1
    >>> [text.get_text() for text in table_1([2, 3]).axes[0].texts]
    ['no', '1.78', '0.67', '0.89']
    """
    check_drawing("table_1", ax=ax)
    _check_not_empty(powers, "powers")
    ax = ax or _figure(8.3, 2.4).subplots()
    table = np.array([[-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    rises = np.empty((len(ENERGIES), len(powers)))
    for (row, column), _ in np.ndenumerate(rises):
        memory = _stored(table, powers[column], [*ENERGIES][row], temperature=3.0)
        rise = memory.compute_energy(table * [1, 1, -1]) - memory.compute_energy(table)
        rises[row, column] = rise.min()
        text = f"{rise.min():.2f}" if rise.min() > 1e-9 else "no"
        ax.text(column, row, text, ha="center", va="center")
    ax.imshow(rises, cmap="Greens", vmin=0, vmax=3.5)
    ax.set_xticks(range(len(powers)), powers)
    ax.set_yticks(range(len(ENERGIES)), ENERGIES.values())
    ax.set(xlabel="Power n", title="Energy of the wrong output above the right one")
    return ax.figure


def _digits() -> list[np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 8 - 1, y, test_size=0.4, stratify=y, random_state=0)


def _train(power: int, momenta: list[float], epochs: int) -> list[TrainingRun]:
    """Train a small network with each momentum, by the paper's start and rule."""
    X, X_test, y, y_test = _digits()
    params = preset("krotov-hopfield-2016", power=power)
    params |= {"n_memories": 200, "batch_size": 100, "max_iter": epochs}
    params |= {"learning_rate": "linear", "learning_rate_decay": 0.02}
    params |= {"temperature": TEMPERATURES[power], "random_state": 0}
    # With a large momentum and no ramp, some networks of n = 3 learn nothing.
    params |= {"temperature_ramp": (2, 10)}
    params |= {"error_exponent": 3 if power < 3 else 10, "learning_rate_init": 0.02}
    candidates = [{"momentum": momentum} for momentum in momenta]
    window = HyperparameterWindow(candidates, [1.0] * len(momenta), len(momenta))
    options = {"n_samples": len(momenta), "threshold": 0.04, "random_state": 0}
    clf = DenseAssociativeMemoryClassifier(**params)
    return fit_window(clf, window, X, y, X_test=X_test, y_test=y_test, **options)


def _stored(patterns: Any, power: float, energy: str, **others: Any):
    """Store patterns, more than are stable where that is the subject of a figure."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return DenseAssociativeMemory(power, energy=energy, **others).fit(patterns)


def _recalled_overlaps(
    n_neurons: int, n_memories: int, power: float, energy: str, n_states: int
) -> np.ndarray:
    """Recall from random states; return the largest overlap of each with a memory."""
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1, 1], (n_memories, n_neurons))
    memory = _stored(patterns, power, energy, random_state=0)
    states = memory.recall(rng.choice([-1, 1], (n_states, n_neurons)))
    return memory.overlap(states)[1]


def _figure(width: float, height: float) -> Any:
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), layout="constrained")


def _check_not_empty(things: Any, name: str) -> None:
    if not len(things):
        raise ValueError(f"{name} must hold at least one number; it is empty.")


def _colored(things: Any, name: str) -> list[tuple[Any, str]]:
    """Give each thing a colour of its own."""
    if not 1 <= len(things) <= len(COLORS):
        raise ValueError(f"{name} must be 1 to {len(COLORS)}; got {len(things)}.")
    return [*zip(things, COLORS, strict=False)]


def _label_ends(ax: Any, ends: dict[str, float]) -> None:
    """Write a name beside each curve's last value, none over another."""
    ax.autoscale_view()
    to_axes, lowest = ax.transData - ax.transAxes, -np.inf
    colors = dict(zip(ends, COLORS, strict=False))
    for name in sorted(ends, key=ends.get):
        height = np.clip(to_axes.transform((1, ends[name]))[1], 0, 1)
        lowest = max(height, lowest + 0.07)
        place = {"transform": ax.transAxes, "va": "center"}
        ax.text(1.01, lowest, name, color=colors[name], **place)
