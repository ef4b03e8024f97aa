"""What a training step costs, small and large, beside MLPClassifier and version 0.1.

    python examples/benchmarks/step.py --old FOLDER --tables FOLDER

writes ``results/step.json``; ``--quick`` tries everything in seconds. ``--old`` is a
checkout of commit d806115, the last one before the step was rebuilt, and is left out
without it; ``--tables`` holds ``phoneme.csv``. Parts:

fits
    CPU seconds of a fit with the defaults, on one core, in turn; medians of the rounds
    and their ratios.
predict
    Seconds of ``predict`` for 1 and 100 rows of the digits.
step
    Floating-point operations per second of a step with K = 2000 memories, N = 784
    features and minibatches of 500, by its two products 4 B N K alone, over those of a
    product of float32 matrices of the same shapes. Every sample is followed.
powers
    Seconds of a step of the energy form for n = 2 to 8, over those of n = 3.

Counted: a step needs 4 B N K operations in its products. Beside them, at B = 500,
N = 784, K = 2000, it reads or writes the velocity and the memories 7 times (7 N K
numbers, 44 MB) and the overlaps about 6 times (6 B K, 24 MB) in tiles that stay in the
cache: predicted are 2 to 3 ms on two cores where the products take 10 to 11. Measured
are 4: tiles of 2^17 elements, and the largest component from maximum and minimum in
place of magnitudes, raised the share of the products' rate from 0.68 to 0.71, and
clipping in one pass, and squares instead of products of an array with itself, to 0.72.
Tiles of columns, in which the velocity would be read once, were slower: 7.4 ms or more,
for the backward product and the update on one core, which take 6.6 ms. A product that
adds to the velocity by itself (SciPy's BLAS called by its address, outside of Python's
lock) and tiles of other sizes gained nothing: the step 15.2 to 15.5 ms for 15.4 ms.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from _measure import (
    EpochClock,
    Options,
    Report,
    ratio,
    round_robin,
    seconds_of,
    spread,
)
from sklearn.datasets import load_digits, load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skdam import DenseAssociativeMemoryClassifier

OLD = """
import json, sys, warnings
from time import process_time
sys.path.insert(0, sys.argv[1])
import numpy as np
from skdam import DenseAssociativeMemoryClassifier
warnings.simplefilter("ignore")
for line in sys.stdin:
    path, seed = json.loads(line)
    data = np.load(path)
    clf = DenseAssociativeMemoryClassifier(random_state=seed, device="cpu")
    begin = process_time()
    clf.fit(data["X"], data["y"])
    print(process_time() - begin, flush=True)
"""


def data_sets(tables: Path | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return standardised training data by name."""
    sets = {
        "iris": load_iris(return_X_y=True),
        "digits": load_digits(return_X_y=True),
        "2000 x 50": make_classification(2000, 50, n_informative=10, random_state=0),
    }
    if tables is not None:
        table = np.genfromtxt(
            tables / "phoneme.csv", delimiter=",", skip_header=1, dtype=float
        )
        sets["phoneme"] = table[:, :-1], table[:, -1].astype(int)
    return {
        name: (StandardScaler().fit_transform(X)[::2], y[::2])
        for name, (X, y) in sets.items()
    }


class OldVersion:
    """The classifier of another checkout, in a process of its own."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-c", OLD, str(folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def fit_seconds(self, path: Path, seed: int) -> float:
        print(json.dumps([str(path), seed]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def fit_seconds(model, X, y) -> float:
    begin = process_time()
    model.fit(X, y)
    return process_time() - begin


def fits(report: Report, args, n_rounds: int) -> None:
    part = report.part("fits", n_rounds=n_rounds)
    old = None if args.old is None else OldVersion(args.old)
    for name, (X, y) in data_sets(args.tables).items():
        path = args.output / "step.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, X=X, y=y)
        classifier = DenseAssociativeMemoryClassifier(random_state=0, device="cpu")
        tasks = {
            "skdam": lambda X=X, y=y, clf=classifier: fit_seconds(clf, X, y),
            "MLPClassifier": lambda X=X, y=y: fit_seconds(
                MLPClassifier(random_state=0), X, y
            ),
        }
        if old is not None:
            tasks["0.1"] = lambda path=path: old.fit_seconds(path, 0)
        *_, seconds = round_robin(tasks, n_rounds)
        part[name] = {
            "seconds": {key: spread(values) for key, values in seconds.items()}
        }
        for peer in seconds:
            if peer != "skdam":
                found = ratio(seconds["skdam"], seconds[peer])
                part[name][f"over {peer}"] = found
                print(f"{name}: {found['median']:.2f} of {peer}")
        path.unlink()
        report.save()


def predict(report: Report, n_rounds: int) -> None:
    part = report.part("predict", n_rounds=n_rounds)
    X, y = data_sets(None)["digits"]
    models = {
        "skdam": DenseAssociativeMemoryClassifier(random_state=0, device="cpu"),
        "MLPClassifier": MLPClassifier(random_state=0),
    }
    for model in models.values():
        model.fit(X, y)
    for n_rows in (1, 100):
        tasks = {
            name: lambda model=model, rows=X[:n_rows]: (
                seconds_of(lambda: [model.predict(rows) for _ in range(20)]) / 20
            )
            for name, model in models.items()
        }
        *_, seconds = round_robin(tasks, n_rounds)
        found = ratio(seconds["skdam"], seconds["MLPClassifier"])
        part[f"{n_rows} rows"] = found
        print(f"predict, {n_rows} rows: {found['median']:.2f} of MLPClassifier")
    report.save()


def step_seconds(X, y, n_memories: int, n_epochs: int, **parameters) -> float:
    """Return the seconds of a step: the median of the epochs but the first."""
    clock = EpochClock()
    DenseAssociativeMemoryClassifier(
        n_memories,
        max_iter=n_epochs + 1,
        batch_size=500,
        gradient_tolerance=0,
        intercept_scaling=0,
        input_noise=0,
        reinit_dead=0,
        tol=None,
        random_state=0,
        device="cpu",
        **parameters,
    ).set_callbacks(clock).fit(X, y)
    return float(np.median(np.diff(clock.seconds))) / -(-len(X) // 500)


def images(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % 10
    centres = rng.normal(size=(10, n_features))
    X = centres[y] + rng.normal(size=(n_samples, n_features))
    return X.astype(np.float32), y


def product_rate(n_rows: int, n_features: int, n_memories: int) -> float:
    """Return the operations per second of the two products of a step."""
    rng = np.random.default_rng(0)
    v, w = (
        rng.random(shape, dtype=np.float32)
        for shape in ((n_rows, n_features), (n_features, n_memories))
    )
    x, g = v @ w, np.empty_like(w)

    def products() -> None:
        for _ in range(5):
            np.matmul(v, w, out=x)
            np.matmul(v.T, x, out=g)

    seconds = min(seconds_of(products) for _ in range(3)) / 5
    return 4 * n_rows * n_features * n_memories / seconds


def step(report: Report, shape: tuple[int, int], n_samples: int, n_rounds: int) -> None:
    n_features, n_memories = shape
    part = report.part("step", features=n_features, memories=n_memories)
    X, y = images(n_samples, n_features)
    shares = []
    for _ in range(n_rounds):
        seconds = step_seconds(X, y, n_memories, 4, power=3)
        rate = 4 * 500 * n_features * n_memories / seconds
        shares.append(rate / product_rate(500, n_features, n_memories))
    part["share of the products' rate"] = spread(shares)
    print(f"step: {np.median(shares):.0%} of the rate of its products")
    report.save()


def powers(report: Report, shape: tuple[int, int], n_samples: int, n_rounds: int):
    n_features, n_memories = shape
    part = report.part("powers", features=n_features, memories=n_memories)
    X, y = images(n_samples, n_features)
    tasks = {
        str(n): lambda n=n: step_seconds(
            X, y, n_memories, 3, power=n, formulation="energy"
        )
        for n in (2, 3, 5, 8)
    }
    *_, seconds = round_robin(tasks, n_rounds)
    for n in tasks:
        part[n] = ratio(seconds[n], seconds["3"])
        print(f"energy form, n = {n}: {part[n]['median']:.2f} of n = 3")
    report.save()


def main() -> None:
    parser = Options(__doc__, parts=("fits", "predict", "step", "powers"), mnist=False)
    parser.add_argument("--old", type=Path, metavar="FOLDER", help="checkout of 0.1")
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="phoneme.csv")
    parser.size("rounds", "rounds", 7, 1)
    args = parser.parse()
    report = Report(args.output / "step.json", "digits, tables and random numbers")
    # Trainings of a few epochs are timed here, not judged.
    warnings.simplefilter("ignore", ConvergenceWarning)
    shape, n_samples = ((20, 60), 600) if args.quick else ((784, 2000), 5000)
    if "fits" in args.parts:
        with threadpool_limits(1):
            fits(report, args, args.rounds)
    if "predict" in args.parts:
        with threadpool_limits(1):
            predict(report, args.rounds)
    if "step" in args.parts:
        step(report, shape, n_samples, args.rounds)
    if "powers" in args.parts:
        powers(report, shape, n_samples, args.rounds)


if __name__ == "__main__":
    main()
