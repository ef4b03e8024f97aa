"""What the benchmarks share: options, small data, the clock, rounds and the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_info

import skdam
from skdam._gpu import count_devices, cupy
from skdam.datasets import MNIST, load_mnist

FOLDER = Path(__file__).resolve().parent


class Options(argparse.ArgumentParser):
    """Command line options, with those that all benchmarks have.

    Parameters
    ----------
    docstring : str
        Docstring of the script; its first line describes it.
    parts : sequence of str, optional
        Parts of the benchmark, of which ``--parts`` chooses some.
    mnist : bool, default=True
        Whether the benchmark reads MNIST, from the files or from OpenML.
    docs : bool, default=False
        Whether the benchmark writes to the folder ``docs``, too.
    """

    def __init__(self, docstring: str, *, parts=(), mnist=True, docs=False):
        super().__init__(description=docstring.partition("\n")[0])
        self.known_parts, self.sizes = parts, {}
        add = self.add_argument
        add("--quick", action="store_true", help="small data, to a new folder")
        add("--output", type=Path, metavar="DIR", help="default: results, beside this")
        if mnist:
            add("--mnist", metavar="FOLDER", help="IDX files; or SKDAM_MNIST, OpenML")
        if parts:
            add("--parts", default=",".join(parts), help="default: %(default)s")
        if docs:
            add("--docs", type=Path, metavar="DIR", help="default: docs, or --output")

    def size(self, flag: str, about: str, default, quick=None, type=int) -> None:
        """Add a number that has another default with --quick."""
        self.sizes[flag.replace("-", "_")] = default, quick
        self.add_argument(f"--{flag}", type=type, help=f"{about}; default {default}")

    def parse(self) -> argparse.Namespace:
        """Return the options; with --quick, results go to a new folder."""
        args = self.parse_args()
        for name, (default, quick) in self.sizes.items():
            if getattr(args, name) is None:
                setattr(args, name, quick if args.quick else default)
        if self.known_parts:
            args.parts = [part for part in args.parts.split(",") if part]
            if unknown := set(args.parts) - set(self.known_parts):
                self.error(f"unknown parts: {', '.join(sorted(unknown))}")
        if args.quick and args.output is None:
            args.output = Path(tempfile.mkdtemp())
        if "docs" in args:
            args.docs = args.docs or args.output or FOLDER.parents[1] / "docs"
        args.output = args.output or FOLDER / "results"
        return args


def load_images(args: argparse.Namespace) -> MNIST:
    """Return MNIST; with --quick, scikit-learn's digits, scaled alike."""
    if not args.quick:
        return load_mnist(args.mnist)
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32) / 8 - 1
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    return MNIST(X_train, y_train, X_test, y_test)


def held_out(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return X and y without the last sixth, and X and y of the last sixth."""
    kept = len(X) * 5 // 6
    return X[:kept], y[:kept], X[kept:], y[kept:]


class EpochClock:
    """Seconds of training after each epoch, and the test error in percent.

    The time that ``tick`` spends on the test set is not counted. As a callback of a
    scikit-learn estimator the clock ticks at the end of each epoch of its fit.
    """

    def __init__(self, X_test: np.ndarray | None = None, y_test=None):
        self.X_test, self.y_test = X_test, y_test
        self.seconds: list[float] = []
        self.test_error: list[float] = []
        self._origin = perf_counter()

    def tick(self, model) -> None:
        now = perf_counter()
        self.seconds.append(now - self._origin)
        if self.X_test is not None:
            wrong = model.predict(self.X_test) != self.y_test
            self.test_error.append(100 * float(wrong.mean()))
        self._origin += perf_counter() - now

    @property
    def last_epoch(self) -> float:
        return self.seconds[-1] - self.seconds[-2]

    def setup(self, estimator, context) -> None: ...

    def teardown(self, estimator, context) -> None: ...

    def on_fit_task_begin(self, estimator, context) -> None: ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None) -> None:
        if context.task_name == "epoch":
            self.tick(fitted_estimator)


def seconds_of(function: Callable, *arguments) -> float:
    begin = perf_counter()
    function(*arguments)
    return perf_counter() - begin


def round_robin(
    tasks: dict[str, Callable[[], float]], n_rounds: int
) -> Iterator[dict[str, list[float]]]:
    """Run the tasks in turn; yield what each has returned so far, after each round.

    Every round begins with another task, so that none always has the same predecessor.
    """
    values: dict[str, list[float]] = {name: [] for name in tasks}
    names = list(tasks)
    for turn in range(n_rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(tasks[name]())
        yield values


def spread(values) -> dict:
    """Return the median and the range of the rounds."""
    values = [float(value) for value in values]
    return {
        "median": float(np.median(values)),
        "min": min(values),
        "max": max(values),
        "rounds": values,
    }


def spreads(seconds: dict[str, list[float]]) -> dict[str, dict]:
    return {name: spread(rounds) for name, rounds in seconds.items()}


def ratio(above, below) -> dict:
    """Return the spread of the ratios, each within one round."""
    return spread(np.divide(above, below))


def ratios(seconds: dict[str, list[float]], base: str) -> dict[str, dict]:
    """Return the spread of each task's ratio to the task ``base``."""
    return {name: ratio(rounds, seconds[base]) for name, rounds in seconds.items()}


def sgemm_peak(size: int) -> float:
    """Return the flop/s of a square float32 product: the better of two."""
    a, b = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    out = np.empty_like(a)
    seconds = [seconds_of(np.matmul, a, b, out) for _ in range(2)]
    return 2 * size**3 / min(seconds)


def gpu() -> dict | None:
    """Describe the CUDA device that CuPy sees; None without one."""
    if not count_devices():
        return None
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(),
        "memory_bytes": properties["totalGlobalMem"],
        "cuda_runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cuda_driver": cupy.cuda.runtime.driverGetVersion(),
        "cupy": cupy.__version__,
    }


def keep(value, path: Path) -> None:
    """Write a file for joblib to load; an interrupt leaves the one that was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    joblib.dump(value, unfinished)
    unfinished.replace(path)


def machine() -> dict:
    """Describe where and with what the benchmark runs."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    versions = {"python": platform.python_version(), "skdam": skdam.__version__}
    for package in ("numpy", "scipy", "scikit-learn", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    wanted = ("user_api", "internal_api", "version", "architecture", "num_threads")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "versions": versions,
        "thread_pools": [
            {key: pool[key] for key in wanted if key in pool}
            for pool in threadpool_info()
        ],
    }


class Report:
    """Results that go into one JSON file, which is written after each finished item."""

    def __init__(self, path: Path, dataset: str):
        self.path = path
        self.results = json.loads(path.read_text()) if path.exists() else {}
        if self.results.setdefault("dataset", dataset) != dataset:
            raise SystemExit(f"{path} holds results of another data set.")
        self.results["machine"] = machine()

    def part(self, name: str, *, keep: bool = False, **settings) -> dict:
        """Return the dictionary of a part, empty unless it is to be kept.

        It holds the date, how busy the machine is where it tells, and the settings.
        """
        part = self.results.get(name, {}) if keep else {}
        self.results[name] = part
        part["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        part["load_average"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        part["settings"] = settings
        return part

    def save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".part")
        text = json.dumps(rounded(self.results), indent=1)
        # Lists of numbers on one line.
        text = re.sub(r"\[\n[^][{}]*\]", lambda found: _on_one_line(found[0]), text)
        unfinished.write_text(text + "\n")
        unfinished.replace(self.path)


def _on_one_line(text: str) -> str:
    # No string holds a line break, so that strings stay as they are.
    return re.sub(r"\n *", " ", text)


def rounded(value):
    """Return a value with its floats rounded to 5 significant digits."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
