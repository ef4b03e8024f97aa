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
from time import perf_counter

import numpy as np
from _measure import EpochClock, Report, ratio, round_robin, spread
from _peers import fit_mlp, fit_skdam
from sklearn.exceptions import ConvergenceWarning

N_CLASSES = 10


def made_up(n_samples: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uniform features in [-1, 1], and the classes of a linear rule."""
    rng = np.random.default_rng(0)
    X = rng.random((n_samples, n_features), dtype=np.float32)
    X *= 2
    X -= 1
    rule = rng.standard_normal((n_features, N_CLASSES), dtype=np.float32)
    return X, (X @ rule).argmax(axis=1)


def skdam_parameters(n_memories: int, batch_size: int, **others) -> dict:
    return {
        "n_memories": n_memories,
        "power": 3,
        "batch_size": batch_size,
        "max_iter": 2,
        "bias": 0,
        "revival": 0,
        "cue_noise": 0,
        "tol": None,
        "gradient_tolerance": 0,
        "dtype": "float32",
        **others,
    }


def mlp_parameters(n_memories: int, batch_size: int) -> dict:
    return {
        "hidden_layer_sizes": (n_memories,),
        "batch_size": batch_size,
        "max_iter": 2,
    }


def growth(report: Report, data, scale) -> None:
    """Measure seconds per epoch against each size, predictions, and memory."""
    part = report.part("growth", sizes=scale.sizes, batch_size=scale.batch_size)
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name, values in scale.sweeps.items():
        tasks = {
            str(value): partial(epoch_seconds, scale.sizes | {name: value}, scale)
            for value in values
        }
        for seconds in round_robin(tasks, scale.rounds):
            part[f"epoch_seconds_by_{name}"] = {
                value: spread(rounds) for value, rounds in seconds.items()
            }
        report.save()
        print(f"growth: epochs by {name}", flush=True)
    part["prediction"] = prediction(data, scale)
    report.save()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        part["peak_bytes"] = process.submit(peak_bytes, scale).result()
    report.save()
    print("growth: predictions and memory", flush=True)


def epoch_seconds(sizes: dict, scale) -> float:
    """Return the seconds of the second epoch, when all buffers exist."""
    X, y = made_up(sizes["n_samples"], sizes["n_features"])
    clock = EpochClock()
    parameters = skdam_parameters(sizes["n_memories"], scale.batch_size)
    fit_skdam(parameters, X, y, 0, clock)
    return clock.last_epoch


def prediction(data, scale) -> dict:
    """Time predictions of the test set, in turn with MLPClassifier's."""
    n_memories = scale.sizes["n_memories"]
    feedforward = skdam_parameters(n_memories, scale.batch_size)
    fits = {
        "skdam feedforward": (fit_skdam, feedforward),
        "skdam energy": (fit_skdam, feedforward | {"formulation": "energy"}),
        "MLPClassifier": (fit_mlp, mlp_parameters(n_memories, scale.batch_size)),
    }
    some = slice(10 * scale.batch_size)
    X, y = data.X_train[some], data.y_train[some]
    tasks = {}
    for name, (fit, parameters) in fits.items():
        model = fit(parameters, X, y, 0, EpochClock())
        tasks[name] = partial(seconds_of, model.predict, data.X_test)
    *_, seconds = round_robin(tasks, scale.rounds)
    peer = seconds["MLPClassifier"]
    return {
        "n_samples": len(data.X_test),
        "seconds": {name: spread(rounds) for name, rounds in seconds.items()},
        "MLPClassifier_over": {
            name: ratio(peer, rounds)
            for name, rounds in seconds.items()
            if name.startswith("skdam")
        },
    }


def peak_bytes(scale) -> dict:
    """Measure the memory of fit and predict beyond the data; run in a new process."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    n_memories = scale.sizes["n_memories"]
    X, y = made_up(max(scale.sweeps["n_samples"]), scale.sizes["n_features"])
    resident_before = resident_peak()
    skdam = skdam_parameters(n_memories, scale.batch_size)
    mlp = mlp_parameters(n_memories, scale.batch_size)
    models = {}
    result = {
        "data": X.nbytes,
        "memories": 4 * n_memories * (X.shape[1] + N_CLASSES),
        "overlaps_of_1000_samples": 4 * 1000 * n_memories,
        "fit": {},
        "predict": {},
    }
    for name, fit, parameters in (
        ("skdam", fit_skdam, skdam),
        ("MLPClassifier", fit_mlp, mlp),
    ):

        def train(name=name, fit=fit, parameters=parameters):
            models[name] = fit(parameters, X, y, 0, EpochClock())

        result["fit"][name] = traced_peak(train)
        if name == "skdam":
            result["resident_growth_of_skdam_fit"] = resident_peak() - resident_before
        result["predict"][name] = {
            n: traced_peak(partial(models[name].predict, X[:n]))
            for n in scale.predicted
        }
    return result


def seconds_of(function: Callable, *arguments) -> float:
    begin = perf_counter()
    function(*arguments)
    return perf_counter() - begin


def traced_peak(function: Callable) -> int:
    """Return the largest number of bytes that were allocated at once."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def resident_peak() -> int:
    """Return the largest resident size of this process in bytes.

    Linux's ``ru_maxrss`` begins at the parent's where a process is started from a large
    one; ``VmHWM`` does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
