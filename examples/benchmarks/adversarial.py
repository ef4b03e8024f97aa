"""Which adversarial images transfer from one power to another, on MNIST.

    python examples/benchmarks/adversarial.py --mnist FOLDER

Networks of several powers, and scikit-learn's MLPClassifier of the same shape, are
trained alike. For test images that all of them classify correctly, the smallest changes
are sought that deceive each network: on the decision boundary, and beyond it by a
margin. The latter are shown to all others, as they are and with all changes at the same
length; random changes of that length are a control. Random noise is then changed until
each network takes it for a digit.

It writes ``results/adversarial.json`` and the tables of ``docs/adversarial.md``.
Without a folder, or SKDAM_MNIST, the images are scikit-learn's digits; ``--quick``
tries everything on these in seconds. ``--resume`` keeps finished networks and images,
in ``results/adversarial``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import joblib
import numpy as np
from _measure import Options, Report, keep, load_images
from _page import fill, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skdam import DenseAssociativeMemoryClassifier, from_mlp
from skdam.datasets import MNIST
from skdam.inspection import (
    adversarial_examples,
    decisive_memories,
    input_gradient,
    rubbish_images,
)

POWERS = 2, 3, 5, 20, 30
MARGIN = 0.5
RUBBISH_MARGIN = 0.8


def main() -> None:
    options = Options(__doc__, docs=True)
    options.add_argument(
        "--resume", action="store_true", help="keep finished networks and images"
    )
    options.size("memories", "K", 500, quick=50)
    options.size("epochs", "of each network", 15, quick=10)
    options.size("images", "to change", 200, quick=20)
    options.size("steps", "of each image at most", 150, quick=100)
    options.size("length", "of changes of the same length", 4.0, quick=1.5, type=float)
    args = options.parse()
    args.is_mnist = bool(args.mnist or os.environ.get("SKDAM_MNIST")) and not args.quick
    args.quick = not args.is_mnist
    warnings.simplefilter("ignore", ConvergenceWarning)
    data = load_images(args)
    report = Report(
        args.output / "adversarial.json", "mnist" if args.is_mnist else "digits"
    )
    sizes = {name: getattr(args, name) for name in options.sizes}
    part = report.part("transfer", margin=MARGIN, **sizes)
    networks, part["networks"] = {}, {}
    for name, train in methods(data, args).items():
        networks[name], seconds = kept(f"{name} trained", train, sizes, args)
        clf = networks[name]
        error = 100 * float(1 - clf.score(data.X_test, data.y_test))
        one = float(np.mean(decisive_memories(clf, data.X_test[:1000]) == 1))
        part["networks"][name] = {"error": error, "seconds": seconds, "decisive": one}
        print(f"{name}: test error {error:.2f} %, {seconds:.0f} s", flush=True)
        report.save()
    X, y = common_images(networks, data, args.images)
    part["gradient_error"] = gradient_error(networks["MLP"], X)
    for name, clf in networks.items():
        found = {}
        for margin in (0.0, MARGIN):
            found[margin], seconds = kept(
                f"{name} deceived by {margin:g}",
                lambda clf=clf, margin=margin: adversarial_examples(
                    clf, X, margin=margin, bounds=(-1, 1), max_iter=args.steps
                ),
                sizes,
                args,
            )
            print(f"{name}, margin {margin:g}: {seconds:.0f} s", flush=True)
        row = part["networks"][name] | deceived(found, networks, X, y, args)
        rubbish, _ = kept(
            f"{name} rubbish",
            lambda clf=clf: rubbish_images(
                clf,
                np.arange(100 if args.is_mnist else 20) % 10,
                margin=RUBBISH_MARGIN,
                bounds=(-1, 1),
                max_iter=args.steps,
                random_state=0,
            ),
            sizes,
            args,
        )
        row["rubbish"] = float(rubbish.succeeded.mean())
        row["rubbish_moved"] = float((rubbish.distances > 0).mean())
        part["networks"][name] = row
        report.save()
    write_page(args.docs / "adversarial.md", report.results)
    print(f"Results are in {args.output}, the page in {args.docs}.")


# Networks


def methods(data: MNIST, args) -> dict[str, Callable]:
    """Return the training of each network, by its name."""

    def memory(power: int) -> DenseAssociativeMemoryClassifier:
        return DenseAssociativeMemoryClassifier(
            args.memories,
            power=power,
            max_iter=args.epochs,
            input_noise=0,
            random_state=0,
        ).fit(data.X_train, data.y_train)

    def perceptron() -> DenseAssociativeMemoryClassifier:
        mlp = MLPClassifier((args.memories,), max_iter=args.epochs, random_state=0)
        return from_mlp(mlp.fit(data.X_train, data.y_train))

    trained = {f"n = {power}": lambda power=power: memory(power) for power in POWERS}
    return trained | {"MLP": perceptron}


def kept(name: str, compute: Callable, settings: dict, args) -> tuple[Any, float]:
    """Return what is computed and its seconds; with --resume from a file if it can."""
    described = joblib.hash((name, settings, args.is_mnist))[:12]
    path = args.output / "adversarial" / f"{described}.joblib"
    if args.resume and path.exists():
        return joblib.load(path)
    begin = process_time()
    result = compute(), process_time() - begin
    keep(result, path)
    return result


def common_images(networks: dict, data: MNIST, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first test images that every network classifies correctly."""
    X, y = data.X_test[: 3 * n], data.y_test[: 3 * n]
    right = np.all([clf.predict(X) == y for clf in networks.values()], axis=0)
    return X[right][:n], y[right][:n]


def gradient_error(memory: DenseAssociativeMemoryClassifier, X: np.ndarray) -> float:
    """Return the largest difference to a perceptron's gradient, written by hand."""
    network = memory.network_
    W = network.memories.astype(np.float64) / network.unit
    b = network.thresholds * (network.intercept / network.unit)
    V = 2 / network.temperature * network.energy.power * network.recognition_connections
    hidden = X @ W.T + b
    by_hand = ((hidden > 0) * V[:, 3].astype(np.float64)) @ W
    gradient = input_gradient(memory, X, memory.classes_[3])
    return float(abs(gradient - by_hand).max() / abs(by_hand).max())


# What the examples do to the networks


def deceived(found: dict, networks: dict, X: np.ndarray, y: np.ndarray, args) -> dict:
    """Return how large the changes of one network are, and whom they deceive."""
    boundary, beyond = found[0.0], found[MARGIN]
    change = (beyond.X - X)[beyond.succeeded]
    X, y = X[beyond.succeeded], y[beyond.succeeded]
    lengths = np.linalg.norm(change, axis=1, keepdims=True)
    alike = np.clip(X + args.length * change / np.maximum(lengths, 1e-30), -1, 1)
    noise = np.random.default_rng(0).normal(size=change.shape)
    noise *= args.length / np.linalg.norm(noise, axis=1, keepdims=True)
    noisy = np.clip(X + noise, -1, 1)

    def shares(images: np.ndarray) -> dict[str, float]:
        return {
            name: float(np.mean(other.predict(images.astype(np.float32)) != y))
            for name, other in networks.items()
        }

    sizes = boundary.distances[boundary.succeeded]
    return {
        "succeeded": float(beyond.succeeded.mean()),
        "smallest_change": [float(q) for q in np.quantile(sizes, [0.25, 0.5, 0.75])],
        "change_by_margin": float(np.median(beyond.distances[beyond.succeeded])),
        "transfer": shares(beyond.X[beyond.succeeded]),
        "transfer_at_length": shares(alike),
        "random_at_length": shares(noisy),
    }


# The page


def write_page(path: Path, results: dict) -> None:
    results = json.loads(json.dumps(results))
    part = results["transfer"]
    networks, settings = part["networks"], part["settings"]
    machine = results["machine"]
    first = (
        f"{settings['memories']} memories, {settings['epochs']} epochs, "
        f"{settings['images']} test images of {results['dataset']} that all networks "
        f"classify correctly; {machine['cpu']}, skdam {machine['versions']['skdam']}, "
        f"scikit-learn {machine['versions']['scikit-learn']}, {part['date'][:10]}.\n"
    )
    sizes = [
        {
            "": name,
            "test error": f"{row['error']:.2f} %",
            "images with 1 decisive memory": f"{100 * row['decisive']:.0f} %",
            "smallest change, median": f"{row['smallest_change'][1]:.2f}",
            "quartiles": "{:.2f} to {:.2f}".format(*row["smallest_change"][::2]),
            f"change by a margin of {settings['margin']:g}": (
                f"{row['change_by_margin']:.2f}"
            ),
            "reached": f"{100 * row['succeeded']:.0f} %",
            "noise taken for a digit": f"{100 * row['rubbish']:.0f} %",
        }
        for name, row in networks.items()
    ]
    blocks = {"sizes": f"{first}\n{table(sizes)}"}
    for key in "transfer", "transfer_at_length":
        rows = [
            {"made for": name}
            | {other: f"{100 * share:.0f} %" for other, share in row[key].items()}
            for name, row in networks.items()
        ]
        if key == "transfer_at_length":
            some = networks["MLP"]["random_at_length"]
            rows.append(
                {"made for": "random"}
                | {other: f"{100 * share:.0f} %" for other, share in some.items()}
            )
        blocks[key.replace("_", "-")] = table(rows)
    fill(path, blocks)


if __name__ == "__main__":
    main()
