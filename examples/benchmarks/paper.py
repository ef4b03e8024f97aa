"""The figures of Krotov and Hopfield (2016) on MNIST, from the search to the test.

    python examples/benchmarks/paper.py --mnist FOLDER
    python examples/benchmarks/paper.py --mnist FOLDER --full

For each power n, hyperparameters are searched on the first 50 000 training images and
scored on the last 10 000; networks with parameters from the window of good ones are
trained on all 60 000, and their test errors followed epoch by epoch. Results go to
``results/paper_short.json`` (or ``paper_full.json``), to figures in ``docs/_static``,
and to tables in ``docs/reproduction.md``, beside the paper's numbers.

The short schedule is for a CPU: memories start around 0, dead ones are reinitialised in
the first epochs, and the learning rate falls linearly over 75 epochs; the search is on
networks of 500 memories over 20 epochs. ``--full`` is the paper's start and its 3000
epochs, searched over 300, for a GPU. ``--quick`` tries everything on scikit-learn's
digits in seconds.

Every finished network is kept in ``results/paper``, and never trained again: a run that
was interrupted continues where it stopped, and one with more candidates or networks
trains only what is new. To start from scratch, delete that folder.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from _measure import Options, Report, gpu, load_images
from _page import draw_counts, draw_curves, write_page
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterGrid, RandomizedSearchCV

from skdam import (
    DenseAssociativeMemoryClassifier,
    fit_window,
    hyperparameter_window,
    preset,
)
from skdam.datasets import MNIST
from skdam.inspection import contributions, recognition_units
from skdam.model_selection import HyperparameterWindow, TrainingRun

THRESHOLD = 0.02
"""Test error whose first crossing the paper marks."""

SETTINGS = {
    # name: description, and defaults of the quick, short and full schedules
    "candidates": ("of each search", 3, 24, 24),
    "networks": ("from each window", 2, 3, 4),
    "memories": ("K", 60, 2000, 2000),
    "epochs": ("of the networks", 12, 75, 3000),
    "search_memories": ("K of the search", 40, 500, 2000),
    "search_epochs": ("of the search", 6, 20, 300),
    "within": ("width of the window", 0.5, 0.001, 0.002),
    "init_mean": ("of the initial memories", 0.0, 0.0, -0.3),
    "init_std": ("of the initial memories", 0.3, 0.3, 0.3),
    "momentum": ("None: it is searched", 0.9, 0.9, None),
    "reinit_dead": ("share of the epochs", 0.4, 0.4, 0.0),
}

FULL_SEARCH = {
    # power: temperatures in neurons, for 2000 memories, and error exponents
    2: ((120, 241, 361), (3, 2, 5)),
    3: ((157, 235, 352), (10, 5, 20)),
    20: ((338, 389, 439), (5, 3, 10)),
    30: ((422, 485, 549), (3, 2, 5)),
}
"""What is searched from the paper's start.

Its temperatures are higher than those from a start of mean 0: all memories overlap with
the background from the beginning, and would saturate the units.
"""

SHORT_SEARCH = {
    # power: temperatures, for 500 memories, error exponents, and learning rates
    2: ((12.0, 13.5, 15.0), (3, 2, 5), (0.0035, 0.005, 0.007)),
    3: ((21.0, 26.0, 32.0), (2, 3, 5), (0.005, 0.007, 0.01)),
    20: ((252, 284, 315), (5, 3, 10), (0.007, 0.01, 0.014)),
    30: ((322, 363, 403), (3, 2, 5), (0.007, 0.01, 0.014)),
}
"""What is searched from a start of mean 0, with minibatches of 500."""


def arguments() -> argparse.Namespace:
    options = Options(__doc__, docs=True)
    add = options.add_argument
    add("--full", action="store_true", help="the paper's start and 3000 epochs")
    add("--powers", default="2,3,20,30", help="n; default: %(default)s")
    add("--temperatures", help="to search, instead of the power's own")
    for name, (about, _, short, full) in SETTINGS.items():
        kind = float if isinstance(short, float) else int
        about = f"{about}; default {short}, with --full {full}"
        add(f"--{name.replace('_', '-')}", type=kind, help=about)
    args = options.parse()
    args.powers = [int(power) for power in args.powers.split(",")]
    if unknown := set(args.powers) - set(FULL_SEARCH):
        options.error(f"--powers: {sorted(unknown)} not among {[*FULL_SEARCH]}")
    args.schedule = "quick" if args.quick else "full" if args.full else "short"
    number = ("quick", "short", "full").index(args.schedule)
    for name, (_, *defaults) in SETTINGS.items():
        if getattr(args, name) is None:
            setattr(args, name, defaults[number])
    if args.temperatures is not None:
        args.temperatures = [float(T) for T in args.temperatures.split(",")]
    return args


def main() -> None:
    args = arguments()
    # Candidates of a search may well fail to learn.
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = load_images(args)
    Kept.folder = args.output / "paper"
    name = "digits" if args.quick else "mnist"
    report = Report(args.output / f"paper_{args.schedule}.json", name)
    settings = {name: getattr(args, name) for name in SETTINGS}
    device = (gpu() or {"name": "cpu"})["name"]
    figure = args.docs / "_static" / f"reproduction_{args.schedule}"
    for power in args.powers:
        print(f"n = {power}: searching the window", flush=True)
        window, seconds = search(power, data, args)
        print(f"n = {power}: {len(window)} in the window, {window.ranges}", flush=True)
        runs = fit_window(
            network(power, args.memories, args.epochs, args),
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
        part = report.part(f"n={power}", device=device, **settings)
        part["search"] = described_search(window, seconds)
        part["networks"] = [described(run, data) for run in runs]
        report.save()
    curves, counts = (f"{figure.name}_{name}.png" for name in ("curves", "counts"))
    draw_curves(figure.with_name(curves), report.results, THRESHOLD)
    draw_counts(figure.with_name(counts), report.results)
    write_page(args.docs / "reproduction.md", args.output)
    print(f"Results are in {args.output}, the page and its figures in {args.docs}.")


class Kept(DenseAssociativeMemoryClassifier):
    """A classifier whose fit is read from a file where the same one was finished.

    The same fit has the same parameters and the same data, by shapes and labels. It
    holds the seconds that it took in ``fit_seconds_``. A fit that is interrupted is not
    kept, and ends the script.
    """

    folder: Path
    """Where the files are."""

    seconds: list[float] = []
    """Seconds of all fits of this run, those included that were only read."""

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        path = self._path(X, y, y_val)
        if path.exists():
            vars(self).update(joblib.load(path))
        else:
            begin = perf_counter()
            super().fit(X, y, sample_weight, X_val=X_val, y_val=y_val)
            if self.n_iter_ < self.max_iter:
                raise KeyboardInterrupt
            self.fit_seconds_ = perf_counter() - begin
            fitted = {k: v for k, v in vars(self).items() if k.endswith("_")}
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            joblib.dump(fitted, unfinished)
            unfinished.replace(path)
        self.seconds.append(self.fit_seconds_)
        return self

    def _path(self, X, y, y_val) -> Path:
        parameters = json.dumps(self.get_params(), sort_keys=True, default=float)
        name = joblib.hash((parameters, X.shape, str(X.dtype), y, y_val))
        return self.folder / f"n{self.power}-{name}.joblib"


def network(power: int, n_memories: int, epochs: int, args) -> Kept:
    """Return the network with all that is not searched."""
    parameters = preset("krotov-hopfield-2016", power=power) if args.full else {}
    parameters |= {
        "power": power,
        "n_memories": n_memories,
        "max_iter": epochs,
        "tol": None,
        "init": (args.init_mean, args.init_std),
        "reinit_dead": args.reinit_dead,
        "random_state": 0,
        # No regularisation, and the background takes the place of an intercept.
        "intercept_scaling": 0,
        "input_noise": 0,
    }
    if args.full:
        parameters["learning_rate_decay"] = 0.998 ** (epochs - 1)
        if power > 3:
            # From about 700 neurons.
            parameters["temperature_ramp"] = (700 / FULL_SEARCH[power][0][1], 200)
    if args.momentum is not None:
        parameters["momentum"] = args.momentum
    return Kept(**parameters)


def grid(power: int, data: MNIST, args) -> dict:
    """Return what is searched."""
    if args.full:
        temperatures, exponents = FULL_SEARCH[power]
        others = {"learning_rate_init": (0.01, 0.02, 0.04)}
        if args.momentum is None:
            others["momentum"] = (0.6, 0.9)
    else:
        temperatures, exponents, rates = SHORT_SEARCH[power]
        others = {
            "batch_size": [50 if args.quick else 500],
            "learning_rate_init": rates,
        }
    factor = (args.search_memories / (2000 if args.full else 500)) ** (1 / power)
    if args.quick:
        # Digits have fewer pixels.
        factor *= np.sqrt(data.X_train.shape[1] / 784)
    temperatures = [factor * T for T in args.temperatures or temperatures]
    return {
        "temperature": [round(float(T), 2) for T in temperatures],
        "error_exponent": exponents,
        **others,
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
    found = zip(window.candidates, window.candidate_errors, strict=True)
    return {
        "seconds": seconds,
        "candidates": [params | {"error": float(error)} for params, error in found],
        "window": len(window),
        "ranges": {name: list(values) for name, values in window.ranges.items()},
    }


def described(run: TrainingRun, data: MNIST) -> dict:
    clf = run.estimator
    units = recognition_units(clf)
    shares = contributions(clf, data.X_test)
    decisive = (shares > 0.9).sum(axis=1)
    return {
        "parameters": run.params,
        "random_state": clf.random_state,
        "seconds": clf.fit_seconds_,
        "first_epoch": run.first_epoch,
        "errors": run.errors.tolist(),
        "memories_by_recognition_units": np.bincount(units).tolist(),
        "images_by_decisive_memories": np.bincount(np.minimum(decisive, 11)).tolist(),
        "silent_memories": int((shares <= 0).all(axis=0).sum()),
    }


if __name__ == "__main__":
    main()
