"""The figures of Krotov and Hopfield (2016) on MNIST, from the search to the test.

    python examples/benchmarks/paper.py --mnist FOLDER
    python examples/benchmarks/paper.py --mnist FOLDER --full

For each power n, hyperparameters are searched on the first 50 000 training images and
scored on the last 10 000; networks with parameters from the window of good ones are
trained on all 60 000, and their test errors followed epoch by epoch. Results go to
``results/paper_short.json`` (or ``paper_full.json``), to figures in ``docs/_static``,
and to one page beside the paper's numbers, ``docs/reproduction.md``.

The short schedule is for a CPU: a start of mean 0, silent memories drawn anew in the
first epochs, and a learning rate that falls linearly over 75 epochs, searched with
networks of 500 memories over 20 epochs. About an hour on two cores for the four
powers. ``--full`` is the paper's start and its 3000 epochs, searched
over 300, for a GPU. ``--quick`` tries everything on scikit-learn's digits in seconds,
and writes to a new folder.

Every finished network is kept in ``results/paper``, and never trained again: a run that
was killed goes on where it stopped, and one with more candidates or networks trains
only what is new. To begin anew, delete that folder.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from _kept import Kept
from _measure import Report, digits, folders
from _page import draw_curves, draw_network, write_page
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid, RandomizedSearchCV

from skdam import fit_window, hyperparameter_window, preset
from skdam.datasets import MNIST, load_mnist
from skdam.gpu import count_devices, cupy
from skdam.inspection import contributions, recognition_units
from skdam.window import HyperparameterWindow, Trajectory

THRESHOLD = 0.02
"""Test error whose first crossing the paper marks."""

ERROR_EXPONENTS = {2: (3, 2, 5), 3: (10, 5, 20), 20: (5, 3, 10), 30: (3, 2, 5)}

TEMPERATURES = {
    2: (120, 241, 361),
    3: (157, 235, 352),
    20: (338, 389, 439),
    30: (422, 485, 549),
}
"""What is searched from the paper's start, in neurons, with 2000 memories.

They are higher than from a start of mean 0: where all memories overlap with the
background from the beginning, they saturate the units otherwise.
"""

OTHER_TEMPERATURES = {
    2: (12.0, 13.5, 15.0),
    3: (21.0, 26.0, 32.0),
    20: (252, 284, 315),
    30: (322, 363, 403),
}
"""What is searched from a start of mean 0, in neurons, with 500 memories."""

OTHER_ERROR_EXPONENTS = {3: (2, 3, 5)}
"""What is searched from a start of mean 0, if it is not the same.

A smaller m goes with a lower temperature; at n = 3 both together do better.
"""

LEARNING_RATES = {2: (0.0035, 0.005, 0.007), 3: (0.005, 0.007, 0.01)}
OTHER_LEARNING_RATES = (0.007, 0.01, 0.014)
"""What is searched from a start of mean 0, for minibatches of 500."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reproduce the paper's figures.")
    add = parser.add_argument
    add("--mnist", metavar="FOLDER", help="IDX files; default: SKDAM_MNIST or OpenML")
    add("--full", action="store_true", help="the paper's start and 3000 epochs")
    add("--quick", action="store_true", help="digits, in seconds, to a new folder")
    add("--powers", default="2,3,20,30", help="n; default 2,3,20,30")
    add("--candidates", type=int, help="of each search; default 24")
    add("--networks", type=int, help="from each window; default 3, or 4")
    add("--memories", type=int, help="K; default 2000")
    add("--epochs", type=int, help="of the networks; default 75, or 3000")
    add("--search-memories", type=int, help="K of the search; default 500, or 2000")
    add("--search-epochs", type=int, help="default 20, or 300")
    add("--within", type=float, help="width of the window; default 0.001, or 0.002")
    add("--init-mean", type=float, help="of the first memories; default 0, or -0.3")
    add("--init-std", type=float, help="of the first memories; default 0.3")
    add("--momentum", type=float, help="default 0.9; with --full it is searched")
    add("--revival", type=float, help="share of the epochs; default 0.4, or 0")
    add("--temperatures", help="to search, instead of the power's own")
    add("--output", type=Path, metavar="DIR", help="default: results, beside this")
    add("--docs", type=Path, metavar="DIR", help="default: docs, or DIR with --output")
    args = parser.parse_args()
    args.powers = [int(power) for power in args.powers.split(",")]
    if unknown := set(args.powers) - set(ERROR_EXPONENTS):
        parser.error(f"--powers: {sorted(unknown)} not among {[*ERROR_EXPONENTS]}")
    args.schedule = "quick" if args.quick else "full" if args.full else "short"
    defaults = {
        "quick": (3, 2, 60, 12, 40, 6, 0.5, 0.0, 0.3, 0.9, 0.4),
        "short": (24, 3, 2000, 75, 500, 20, 0.001, 0.0, 0.3, 0.9, 0.4),
        "full": (24, 4, 2000, 3000, 2000, 300, 0.002, -0.3, 0.3, None, 0.0),
    }[args.schedule]
    for name, default in zip(SETTINGS, defaults, strict=True):
        if getattr(args, name) is None:
            setattr(args, name, default)
    if args.temperatures is not None:
        args.temperatures = [float(share) for share in args.temperatures.split(",")]
    args.output, args.docs = folders(args.quick, args.output, args.docs)
    return args


SETTINGS = (
    "candidates",
    "networks",
    "memories",
    "epochs",
    "search_memories",
    "search_epochs",
    "within",
    "init_mean",
    "init_std",
    "momentum",
    "revival",
)


def main() -> None:
    args = arguments()
    # Candidates of a search may well fail to learn.
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = digits() if args.quick else load_mnist(args.mnist)
    Kept.folder = args.output / "paper"
    name = "digits" if args.quick else "mnist"
    report = Report(args.output / f"paper_{args.schedule}.json", name)
    settings = {name: getattr(args, name) for name in SETTINGS}
    for power in args.powers:
        print(f"n = {power}: searching the window", flush=True)
        window, seconds = search(power, data, args)
        print(f"n = {power}: {len(window)} in the window, {window.ranges}", flush=True)
        estimator = network(power, args.memories, args.epochs, args)
        networks = fit_window(
            estimator,
            at_memories(window, power, args),
            data.X_train,
            data.y_train,
            X_test=data.X_test,
            y_test=data.y_test,
            n_samples=args.networks,
            threshold=THRESHOLD,
            random_state=power,
            verbose=True,
        )
        part = report.part(f"n={power}", device=device(), **settings)
        part["search"] = described_search(window, seconds)
        part["networks"] = [described(network, data) for network in networks]
        report.save()
        figure = f"reproduction_{args.schedule}_n{power}.png"
        draw_network(args.docs / "_static" / figure, networks[0], window, data.X_test)
    figure = f"reproduction_{args.schedule}_curves.png"
    draw_curves(args.docs / "_static" / figure, report.results, THRESHOLD)
    write_page(args.docs / "reproduction.md", args.output)
    print(f"Results are in {args.output}, the page and its figures in {args.docs}.")


def device() -> str:
    """Name what computes: the CPU is in the report's description of the machine."""
    if not count_devices():
        return "cpu"
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


def network(power: int, n_memories: int, epochs: int, args) -> Kept:
    """Return the network with all that is not searched."""
    parameters = {"power": power, "tol": None, "dtype": "float32"}
    if args.full:
        parameters |= preset("krotov-hopfield-2016", power=power)
    parameters |= {
        "n_memories": n_memories,
        "max_iter": epochs,
        "init_mean": args.init_mean,
        "init_std": args.init_std,
        "revival": args.revival,
        "random_state": 0,
        # No regularisation, and the background is bias enough.
        "bias": 0,
        "cue_noise": 0,
    }
    if args.momentum is not None:
        parameters["momentum"] = args.momentum
    return Kept(**parameters)


def grid(power: int, data: MNIST, args) -> dict:
    """Return what is searched."""
    temperatures, n_memories = (
        (TEMPERATURES, 2000) if args.full else (OTHER_TEMPERATURES, 500)
    )
    factor = (args.search_memories / n_memories) ** (1 / power)
    if args.quick:
        # Digits have fewer pixels.
        factor *= np.sqrt(data.X_train.shape[1] / 784)
    common = {
        "temperature": [
            round(float(factor * T), 2)
            for T in args.temperatures or temperatures[power]
        ],
        "error_exponent": ERROR_EXPONENTS[power],
    }
    if args.full:
        common["learning_rate_init"] = (0.01, 0.02, 0.04)
        if args.momentum is None:
            common["momentum"] = (0.6, 0.9)
        return common
    return common | {
        "error_exponent": OTHER_ERROR_EXPONENTS.get(power, ERROR_EXPONENTS[power]),
        "batch_size": [50 if args.quick else 500],
        "learning_rate_init": LEARNING_RATES.get(power, OTHER_LEARNING_RATES),
    }


def search(power: int, data: MNIST, args) -> tuple[HyperparameterWindow, float]:
    """Return the window, and the seconds that the training of its candidates took."""
    kept = len(data.X_train) * 5 // 6
    rows = np.arange(len(data.X_train))
    searched = grid(power, data, args)
    Kept.seconds.clear()
    found = RandomizedSearchCV(
        network(power, args.search_memories, args.search_epochs, args),
        searched,
        n_iter=min(args.candidates, len(ParameterGrid(searched))),
        cv=[(rows[:kept], rows[kept:])],
        refit=False,
        random_state=power,
        verbose=3,
        error_score="raise",
    ).fit(data.X_train, data.y_train)
    return hyperparameter_window(found, within=args.within), sum(Kept.seconds)


def at_memories(window: HyperparameterWindow, power: int, args) -> HyperparameterWindow:
    """Return the window with temperatures for K memories instead of the search's.

    T^n is proportional to K, since that many memories act together.
    """
    factor = (args.memories / args.search_memories) ** (1 / power)
    candidates = [
        params | {"temperature": round(factor * params["temperature"], 2)}
        for params in window.candidates
    ]
    return replace(window, candidates=candidates)


def described_search(window: HyperparameterWindow, seconds: float) -> dict:
    return {
        "seconds": seconds,
        "candidates": [
            {**params, "error": float(error)}
            for params, error in zip(
                window.candidates, window.candidate_errors, strict=True
            )
        ],
        "window": len(window),
        "ranges": {name: list(values) for name, values in window.ranges.items()},
    }


def described(network: Trajectory, data: MNIST) -> dict:
    clf = network.estimator
    units = recognition_units(clf)
    shares = contributions(clf, data.X_test)
    decisive = (shares > 0.9).sum(axis=1)
    return {
        "parameters": network.params,
        "random_state": clf.random_state,
        "seconds": clf.fit_seconds_,
        "first_epoch": network.first_epoch,
        "errors": network.errors.tolist(),
        "memories_by_recognition_units": np.bincount(units).tolist(),
        "images_by_decisive_memories": np.bincount(np.minimum(decisive, 11)).tolist(),
        "silent_memories": int((shares <= 0).all(axis=0).sum()),
    }


if __name__ == "__main__":
    main()
