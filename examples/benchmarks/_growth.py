"""How time and memory grow with the memories, features and samples.

Epochs and memory are measured on made-up data with the exact gradient
(``gradient_tolerance=0``), so that the work depends on the shapes alone.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from _measure import EpochClock, Report, ratio, round_robin, seconds_of, spreads
from _peers import fit_mlp, fit_skdam
from sklearn.exceptions import ConvergenceWarning

N_CLASSES = 10

SIZES = {"n_memories": 2000, "n_features": 784, "n_samples": 20000}
SWEEPS = {
    "n_memories": (250, 500, 1000, 2000, 4000),
    "n_features": (98, 196, 392, 784, 1568),
    "n_samples": (5000, 10000, 20000, 40000, 60000),
}
QUICK_SIZES = {"n_memories": 64, "n_features": 64, "n_samples": 500}


def made_up(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uniform features in [-1, 1], and the classes of a linear rule."""
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features), dtype=np.float32)
    X *= 2
    X -= 1
    rule = rng.standard_normal((n_features, N_CLASSES), dtype=np.float32)
    return X, (X @ rule).argmax(axis=1)


def methods(n_memories: int, batch_size: int) -> dict[str, Callable]:
    """Return what trains each method for two epochs, given X, y and a clock."""
    common = {"batch_size": batch_size, "max_iter": 2}
    mlp = common | {"hidden_layer_sizes": (n_memories,)}
    skdam = common | {
        "n_memories": n_memories,
        "power": 3,
        "intercept_scaling": 0,
        "reinit_dead": 0,
        "input_noise": 0,
        "tol": None,
        "gradient_tolerance": 0,
    }
    fits = {
        "skdam feedforward": (fit_skdam, skdam),
        "skdam energy": (fit_skdam, skdam | {"formulation": "energy"}),
        "MLPClassifier": (fit_mlp, mlp),
    }
    return {
        name: lambda X, y, clock, fit=fit, own=own: fit(own, X, y, 0, clock)
        for name, (fit, own) in fits.items()
    }


def growth(report: Report, data, args) -> None:
    """Measure seconds per epoch against each size, predictions, and memory."""
    sizes, sweeps = SIZES, SWEEPS
    if args.quick:
        sizes = QUICK_SIZES
        sweeps = {name: (size // 2, size) for name, size in sizes.items()}
    batch_size = args.batch_size
    part = report.part("growth", sizes=sizes, batch_size=batch_size)
    for name, values in sweeps.items():
        tasks = {
            str(value): partial(epoch_seconds, batch_size, **sizes | {name: value})
            for value in values
        }
        for seconds in round_robin(tasks, args.rounds):
            part[f"epoch_seconds_by_{name}"] = spreads(seconds)
        report.save()
        print(f"growth: epochs by {name}", flush=True)
    part["prediction"] = prediction(data, sizes["n_memories"], args)
    report.save()
    largest = sizes | {"n_samples": max(sweeps["n_samples"])}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        measured = process.submit(peak_bytes, batch_size, **largest)
        part["peak_bytes"] = measured.result()
    report.save()
    print("growth: predictions and memory", flush=True)


def epoch_seconds(
    batch_size: int, n_memories: int, n_features: int, n_samples: int
) -> float:
    """Return the seconds of the second epoch, when all buffers exist."""
    clock = EpochClock()
    fit = methods(n_memories, batch_size)["skdam feedforward"]
    fit(*made_up(n_samples, n_features), clock)
    return clock.last_epoch


def prediction(data, n_memories: int, args) -> dict:
    """Time predictions of the test set, in turn with MLPClassifier's."""
    some = slice(10 * args.batch_size)
    X, y = data.X_train[some], data.y_train[some]
    tasks = {
        name: partial(seconds_of, fit(X, y, EpochClock()).predict, data.X_test)
        for name, fit in methods(n_memories, args.batch_size).items()
    }
    *_, seconds = round_robin(tasks, args.rounds)
    peer = seconds["MLPClassifier"]
    return {
        "n_samples": len(data.X_test),
        "seconds": spreads(seconds),
        "MLPClassifier_over": {
            name: ratio(peer, rounds)
            for name, rounds in seconds.items()
            if name.startswith("skdam")
        },
    }


def peak_bytes(
    batch_size: int, n_memories: int, n_features: int, n_samples: int
) -> dict:
    """Measure the memory of fit and predict beyond the data; run in a new process."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = made_up(n_samples, n_features)
    resident_before = resident_peak()
    result = {
        "data": X.nbytes,
        "memories": 4 * n_memories * (X.shape[1] + N_CLASSES),
        "overlaps_of_1000_samples": 4 * 1000 * n_memories,
        "fit": {},
        "predict": {},
    }
    for name, fit in methods(n_memories, batch_size).items():
        if name == "skdam energy":
            continue
        result["fit"][name], model = traced_peak(fit, X, y, EpochClock())
        if name == "skdam feedforward":
            result["resident_growth_of_skdam_fit"] = resident_peak() - resident_before
        result["predict"][name] = {
            n: traced_peak(model.predict, X[:n])[0]
            for n in (n_samples // 60, n_samples // 6)
        }
    return result


def traced_peak(function: Callable, *arguments) -> tuple[int, object]:
    """Return the most bytes that a call had allocated at once, and its result."""
    tracemalloc.start()
    try:
        result = function(*arguments)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def resident_peak() -> int:
    """Return the largest resident size of this process in bytes; 0 outside Linux.

    ``ru_maxrss`` begins at the parent's where a process is started from a large one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(1024 * int(line.split()[1]) for line in lines if "VmHWM" in line)
