"""The paper's own training on MNIST, over thousands of epochs.

    python examples/benchmarks/long_run.py --mnist FOLDER --resume

trains a network for each power by the published schedule: minibatches of 1000, a
learning rate that falls to 0.998 of itself in each epoch, momentum, memories that start
at N(-0.3, 0.3); nothing is reinitialised, and there is neither noise nor an intercept.
Samples with a gradient below 0.1 % of the largest are left out. After each epoch the
test error is recorded, and after some of them the paper's two counts: of the classes
that a memory votes for, and of the memories that are decisive for an image.

The part ``changes`` trains smaller networks at n = 2 with one setting changed at a
time, to tell what the long tail of images with many decisive memories depends on.

The part ``windows`` searches: networks of the same size, trained on 50 000 of the
training images for the first part of the schedule, or by a shorter one, at several
temperatures, rates and error exponents. Their errors are those on the other 10 000.

Results go to ``results/long_run.json``, a figure to ``docs/_static`` and tables to
``docs/reproduction.md``. ``--resume`` keeps what is there, and goes on with a network
that was stopped at any moment from its checkpoint in ``results/long_run``. ``--quick``
tries everything on digits in seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from time import process_time

import numpy as np
from _measure import Options, Report, gpu, held_out, load_images, machine, rounded
from _page import write_page
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdam import Checkpoint, DenseAssociativeMemoryClassifier, preset
from skdam.datasets import MNIST
from skdam.inspection import decisive_memories, recognition_units

FIRST, EVERY = (1, 2, 5, 10, 20), 50
"""Epochs after which memories are counted: the first ones, and multiples."""

MIN_SECONDS = 30
"""Least time between two checkpoints."""

CHANGES = {
    # name of the network at n = 2: what is changed, and the factor of the temperature,
    # which goes with the root of the number of memories
    "as published": ({}, 1),
    "start at mean 0": ({"init": (0.0, 0.3)}, 1),
    "dead memories reinitialised": ({"reinit_dead": 0.4}, 1),
    "four times as many memories": ({"n_memories": 800}, 2),
    "error exponent 3": ({"error_exponent": 3}, 1),
    "half the temperature": ({}, 0.5),
    "every sample followed": ({"gradient_tolerance": 0}, 1),
    "start at mean 0, its own temperature": ({"init": (0.0, 0.3)}, None),
    "exact update": ({"formulation": "energy"}, 1),
    "twice the temperature": ({}, 2),
    "mean 0, exponent 3, their temperature": (
        {"init": (0.0, 0.3), "error_exponent": 3},
        None,
    ),
}

FACTORS = 1, 0.71, 1.41, 0.5, 2, 0.35, 2.8
"""What the windows try in place of the automatic temperature, which they multiply."""

TEMPERATURES = {
    # power, and error exponent: temperatures that are searched by the longer schedule
    (2, 30): (30, 60, 100, 160, 250),
    (2, 10): (100,),
    (2, 5): (60,),
    (3, 30): (33, 50, 75, 110, 160),
    (3, 10): (75,),
    (3, 5): (50,),
}


def main() -> None:
    options = Options(__doc__, parts=("networks", "changes", "windows"), docs=True)
    options.add_argument("--resume", action="store_true", help="go on where it stopped")
    options.size("powers", "n", (2, 3, 20, 30), (2, 30), type=numbers)
    options.size("memories", "K", 2000, 40)
    options.size("epochs", "of each network", 3000, 4)
    options.size("changed-memories", "K of the changes", 200, 40)
    options.size("changed-epochs", "of the changes", 150, 4)
    options.size("window-epochs", "of both schedules", (300, 1000), (2, 3), numbers)
    args = options.parse()
    # At a high temperature networks do not learn at once.
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = load_images(args)
    if not args.resume:
        shutil.rmtree(args.output / "long_run", ignore_errors=True)
    name = "digits" if args.quick else "mnist"
    report = Report(args.output / "long_run.json", name)
    if "networks" in args.parts:
        report.part("networks", keep=args.resume)
        for power in args.powers:
            clf = published(power, args.memories, args.epochs)
            follow(report, "networks", f"n={power}, K={args.memories}", clf, data)
    if "changes" in args.parts:
        report.part("changes", keep=args.resume)
        clf = published(2, args.changed_memories, args.changed_epochs)
        first = clone(clf).set_params(max_iter=1).fit(data.X_train, data.y_train)
        for change, (parameters, factor) in CHANGES.items():
            changed = clone(clf).set_params(**parameters)
            if factor is not None:
                changed.set_params(temperature=factor * first.temperature_)
            follow(report, "changes", change, changed, data)
    if "windows" in args.parts:
        report.part("windows", keep=args.resume, device=device())
        search(report, args, data)
    write_page(args.docs / "reproduction.md", args.output)
    print(f"Results are in {args.output}, the page and its figure in {args.docs}.")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def device() -> str:
    """Name what trains the networks, and the precision of products on a GPU."""
    if (found := gpu()) is None:
        return machine()["cpu"]
    tf32 = os.environ.get("CUPY_TF32") == "1"
    return f"{found['name']}, {'TF32' if tf32 else 'full precision'}"


def published(
    power: int, n_memories: int, epochs: int, fall: float = 0.998
) -> DenseAssociativeMemoryClassifier:
    """Return the network of the paper, with another size and length of training.

    In each epoch, the learning rate falls to ``fall`` of itself.
    """
    parameters = preset("krotov-hopfield-2016", power=power)
    parameters |= {
        "n_memories": n_memories,
        "max_iter": epochs,
        "learning_rate_decay": fall ** (epochs - 1),
        "random_state": 0,
        "gradient_tolerance": 1e-3,
    }
    return DenseAssociativeMemoryClassifier(**parameters)


def follow(
    report: Report,
    part: str,
    name: str,
    clf: DenseAssociativeMemoryClassifier,
    data: MNIST,
) -> None:
    """Train a network, or go on with it, and report what it has become."""
    parameters = clf.get_params()
    found = report.results[part].get(name, {})
    if found.get("parameters") != described(parameters):
        found = {"parameters": described(parameters), "epochs": {}, "cpu_seconds": 0.0}
    report.results[part][name] = found
    if "errors" in found:
        return
    devices = found.setdefault("devices", [])
    if device() not in devices:
        devices.append(device())
    folder = report.path.with_suffix("") / part
    checkpoint = Checkpoint(folder, min_seconds=MIN_SECONDS)
    clf.set_callbacks(checkpoint, Watch(found, report, data)).fit(
        data.X_train, data.y_train, X_val=data.X_test, y_val=data.y_test
    )
    found["temperature"] = clf.temperature_
    found["errors"] = [1 - score for score in clf.validation_scores_]
    found["first_epoch"] = first_under(0.02, found["errors"])
    report.save()
    print(part, name, f"{100 * found['errors'][-1]:.2f} %", flush=True)


def search(report: Report, args, data: MNIST) -> None:
    """Train what the windows hold, and report the errors on held-out images."""
    X, y, X_val, y_val = held_out(data.X_train, data.y_train)
    for power in args.powers:
        for candidate in candidates(power, *args.window_epochs):
            values = ", ".join(f"{key}={value:g}" for key, value in candidate.items())
            found = report.results["windows"].setdefault(f"n={power}, {values}", {})
            if found:
                continue
            epochs, fall, rate = (candidate[key] for key in ("epochs", "fall", "rate"))
            clf = published(power, args.memories, epochs, fall)
            clf.set_params(learning_rate_init=rate)
            temperature = candidate.get("temperature")
            if temperature is None:
                first = clone(clf).set_params(max_iter=1).fit(X, y)
                temperature = candidate["factor"] * first.temperature_
            clf.set_params(error_exponent=candidate["m"], temperature=temperature)
            clf.fit(X, y)
            found |= {"power": power, **candidate, "temperature": temperature}
            found["error"] = 1 - clf.score(X_val, y_val)
            found["loss"] = clf.loss_curve_[::50]
            found |= transition(clf, X_val[:1000])
            del found["recognition_connections"]
            report.save()
            print("windows", power, values, f"{100 * found['error']:.2f} %", flush=True)


def candidates(power: int, short: int, long: int) -> Iterator[dict]:
    """Yield what the windows hold at a power: a short schedule, and a longer one.

    >>> len(list(candidates(20, 300, 1000))), len(list(candidates(2, 300, 1000)))
    (14, 21)
    """
    for rate in (0.04, 0.02):
        for factor in FACTORS:
            schedule = {"epochs": short, "fall": 0.98}
            yield {"m": 30, "rate": rate, "factor": factor} | schedule
    for (n, m), temperatures in TEMPERATURES.items():
        for temperature in temperatures if n == power else ():
            schedule = {"epochs": long, "fall": 0.998}
            yield {"m": m, "rate": 0.04, "temperature": temperature} | schedule


def described(parameters: dict) -> dict:
    """Return parameters as they come back from a JSON file."""
    return json.loads(json.dumps(rounded(parameters)))


def first_under(threshold: float, errors: list[float]) -> int | None:
    """Return the first epoch, counted from 1, with an error under the threshold.

    >>> first_under(0.02, [0.1, 0.019, 0.021]), first_under(0.02, [0.02])
    (2, None)
    """
    return next((i for i, error in enumerate(errors, 1) if error < threshold), None)


class Watch:
    """Callback that counts what memories have become after some of the epochs."""

    def __init__(self, found: dict, report: Report, data: MNIST):
        self.found, self.report, self.data = found, report, data
        self.begin = process_time()

    def setup(self, estimator, context) -> None: ...

    def teardown(self, estimator, context) -> None: ...

    def on_fit_task_begin(self, estimator, context) -> None: ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> None:
        epoch = context.task_id + 1
        if context.task_name != "epoch" or not (epoch in FIRST or epoch % EVERY == 0):
            return
        now = process_time()
        self.found["cpu_seconds"] += now - self.begin
        self.begin = now
        X, y = self.data.X_test, self.data.y_test
        counts = {"error": 1 - fitted_estimator.score(X, y)}
        self.found["temperature"] = fitted_estimator.network_.temperature
        self.found["epochs"][str(epoch)] = counts | transition(fitted_estimator, X)
        self.report.save()


def transition(clf: DenseAssociativeMemoryClassifier, X: np.ndarray) -> dict:
    """Return the paper's counts of a network, and the values of its connections."""
    decisive = np.minimum(decisive_memories(clf, X), 11)
    connections = clf.recognition_connections_
    bins = np.histogram(connections, 20, (-1, 1))[0]
    return {
        "images_by_decisive_memories": np.bincount(decisive, minlength=12).tolist(),
        "memories_by_recognition_units": np.bincount(recognition_units(clf)).tolist(),
        "recognition_connections": bins.tolist(),
        "near_one": float(np.mean(np.abs(connections) > 0.9)),
    }


if __name__ == "__main__":
    main()
