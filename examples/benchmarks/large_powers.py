"""Whether powers from 2 to 30 learn with one rate and the automatic temperature.

    python examples/benchmarks/large_powers.py --mnist FOLDER

Overlaps are divided by the temperature before they are raised to the power n, and
``temperature="auto"`` follows n. For each n, networks are trained with the defaults and
with other rates and temperatures, on scikit-learn's digits and on 10 000 images of
MNIST (500 memories, 20 epochs). Of the images held out, one half chooses the best of
this grid, and on the other half it is compared with the defaults, and with the
temperature that is automatic at n = 3. While the best is on an edge of the grid, the
grid is extended there.

Results go to ``results/large_powers.json`` and to a table in ``docs/reproduction.md``.
``--resume`` keeps the networks that are trained already; ``--quick`` tries everything
on small data in seconds.
"""

from __future__ import annotations

import warnings
from itertools import product
from time import process_time

import numpy as np
from _measure import Options, Report
from _page import power_row, write_page
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdam import DenseAssociativeMemoryClassifier
from skdam.datasets import load_mnist

POWERS = 2, 3, 5, 8, 12, 20, 30

RATE = 0.02
"""Learning rate of the defaults."""

RATE_STEP, TEMPERATURE_STEP = 2, 2**0.5
"""Ratios of neighbouring values of the grid."""


def main() -> None:
    options = Options(__doc__, parts=("digits", "mnist"), docs=True)
    options.add_argument("--resume", action="store_true", help="keep what is trained")
    options.size("powers", "n", POWERS, (3, 30), type=numbers)
    options.size("repeats", "splits of the digits", 6, 1)
    options.size("images", "of MNIST to train on", 10_000)
    options.size("epochs", "on MNIST", 20, 2)
    options.size("span", "steps from the defaults to either side, at first", 2, 0)
    args = options.parse()
    # Not all settings of the grid are meant to learn.
    warnings.simplefilter("ignore", ConvergenceWarning)
    report = Report(args.output / "large_powers.json", "digits and mnist")
    for name in args.parts:
        splits, parameters = DATA[name](args)
        settings = {"images": [len(X) for X, _ in splits[0]], "splits": len(splits)}
        settings |= parameters
        kept = args.resume and report.results.get(name, {}).get("settings") == settings
        part = report.part(name, keep=kept, **settings)
        for power in args.powers:
            found = part.setdefault(f"n={power}", {"grid": []})
            clf = DenseAssociativeMemoryClassifier(power=power, tol=None, **parameters)
            for _ in search(found["grid"], args.span, clf, splits):
                report.save()
            found["best"] = best(found["grid"])["steps"]
            if "same_temperature" not in found:
                found["same_temperature"] = trained(clf, splits, temperature_of=3)
            report.save()
            print(power_row(name, f"n={power}", found), flush=True)
    write_page(args.docs / "reproduction.md", args.output)
    print(f"Results are in {args.output}, the page in {args.docs}.")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


# Data: images to learn from, to choose by, and to compare on


def digits(args) -> tuple[list, dict]:
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32) / 8 - 1
    return [thirds(X, y, len(X) // 3, seed) for seed in range(args.repeats)], {}


def mnist(args) -> tuple[list, dict]:
    parameters = {"n_memories": 500, "max_iter": args.epochs}
    if args.quick:
        return digits(args)[0], parameters
    X, y, _, _ = load_mnist(args.mnist)
    return [thirds(X, y, args.images, 0)], parameters


DATA = {"digits": digits, "mnist": mnist}


def thirds(X: np.ndarray, y: np.ndarray, size: int, seed: int) -> list[tuple]:
    """Return three disjoint random parts of one size."""
    rows = np.random.default_rng(seed).permutation(len(X))[: 3 * size].reshape(3, size)
    return [(X[part], y[part]) for part in rows]


# The grid


def search(grid: list[dict], span: int, clf, splits):
    """Measure what a grid lacks, until its best point is on no edge.

    The grid is a list of points, each with its steps from the defaults: of the rate,
    and of the temperature.
    """
    rates = temperatures = range(-span, span + 1)
    while True:
        done = {tuple(point["steps"]) for point in grid}
        for steps in product(rates, temperatures):
            if steps not in done:
                grid.append(trained(clf, splits, steps))
                yield
        rate, temperature = best(grid)["steps"]
        grown = extended(rates, rate), extended(temperatures, temperature)
        if grown == (rates, temperatures) or not span:
            return
        rates, temperatures = grown


def extended(steps: range, best: int) -> range:
    """Return the steps, and one more beyond the best if it is at an end.

    >>> extended(range(-1, 2), -1), extended(range(-1, 2), 0)
    (range(-2, 2), range(-1, 2))
    """
    return range(steps.start - (best == steps[0]), steps.stop + (best == steps[-1]))


def best(grid: list[dict]) -> dict:
    """Return the point with the smallest error on the images to choose by.

    Of equal ones, it is the one nearest to the defaults.
    """

    def rank(point: dict) -> tuple[float, int]:
        return np.mean(point["chosen_by"]), sum(map(abs, point["steps"]))

    return min(grid, key=rank)


def trained(clf, splits, steps=(0, 0), temperature_of: int | None = None) -> dict:
    """Train a network on each split; return errors on the parts held out."""
    begin = process_time()
    point = {"steps": list(steps), "chosen_by": [], "errors": []}
    for seed, ((X, y), choice, comparison) in enumerate(splits):
        network = clone(clf).set_params(random_state=seed)
        # The automatic temperature does not depend on the epochs.
        first = clone(network).set_params(max_iter=1, power=temperature_of or clf.power)
        network.set_params(
            learning_rate_init=RATE * RATE_STEP ** steps[0],
            temperature=first.fit(X, y).temperature_ * TEMPERATURE_STEP ** steps[1],
        ).fit(X, y)
        point["chosen_by"].append(1 - network.score(*choice))
        point["errors"].append(1 - network.score(*comparison))
    return point | {
        "learning_rate_init": network.learning_rate_init,
        "temperature": network.temperature,
        "cpu_seconds": process_time() - begin,
    }


if __name__ == "__main__":
    main()
