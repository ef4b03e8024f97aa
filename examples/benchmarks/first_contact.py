"""First contact with a GPU: is everything right there, and how fast is it?

    python examples/benchmarks/first_contact.py --output FOLDER --mnist FOLDER

Each stage is a process of its own with a limit of time, and none stops the others. What
they print is appended to ``FOLDER/log.txt``; ``FOLDER/summary.json`` is rewritten after
each, and a line says whether it passed. ``--quick`` tries the script on the CPU.

versions
    What is installed, and whether the package can be imported.
smoke
    Trainings and recall against the CPU, in all precisions and from all containers.
tests
    The tests that need a GPU, recall first.
kernels
    Microseconds of each kernel of a step of the paper's size, and of an epoch.
paper
    The paper's training of 3000 epochs: seconds and test error, with matrix products
    in TF32 and then in full single precision.
sweep
    Seconds of an epoch against the number of memories, the share of the rate of a
    product of matrices, and a PyTorch network that is compiled to CUDA graphs.
search
    Eight candidates in threads, against one after the other.
recall
    Binary recall against two cores of the CPU.
sanitizer
    Three epochs under compute-sanitizer's tools.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from functools import partial
from itertools import cycle
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

LIMITS = {
    "versions": 30,
    "smoke": 100,
    "tests": 200,
    "kernels": 60,
    "paper": 120,
    "sweep": 120,
    "search": 60,
    "recall": 60,
    "sanitizer": 120,
}
"""Seconds that each stage may take."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, metavar="FOLDER", help="of results; or a new folder")
    add("--mnist", metavar="FOLDER", help="IDX files; by default, made-up data")
    add("--seconds", type=float, default=560, help="of all; default %(default)s")
    add("--stages", default=",".join(LIMITS), help="default: %(default)s")
    add("--quick", action="store_true", help="small, and on the CPU")
    add("--stage", choices=LIMITS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = "cpu" if args.quick else "cuda"
    args.output = args.output or Path(tempfile.mkdtemp())
    args.output.mkdir(parents=True, exist_ok=True)
    if args.stage:
        results = globals()[args.stage](args)
        text = json.dumps(results, indent=1, default=str)
        (args.output / f"{args.stage}.json").write_text(text + "\n")
        sys.exit(any("FAIL" in str(value) for value in results.values()))
    end, summary = perf_counter() + args.seconds, {}
    for stage in args.stages.split(","):
        begin = perf_counter()
        status = run_stage(stage, args, min(LIMITS[stage], end - begin))
        seconds = perf_counter() - begin
        summary[stage] = {"status": status, "seconds": round(seconds, 1)}
        found = args.output / f"{stage}.json"
        if found.exists():
            summary[stage] |= json.loads(found.read_text())
        text = json.dumps(summary, indent=1)
        (args.output / "summary.json").write_text(text + "\n")
        print(f"{status:20} {stage:10} {seconds:6.1f} s", flush=True)
    print(f"Results are in {args.output}.")
    sys.exit(any(result["status"] != "PASS" for result in summary.values()))


def run_stage(stage: str, args: argparse.Namespace, limit: float) -> str:
    """Run a stage in a process of its own; return PASS, or what went wrong."""
    if limit < 5:
        return "FAIL: no time left"
    command = [sys.executable, __file__, "--stage", stage]
    command += ["--output", str(args.output)]
    command += ["--mnist", args.mnist] * bool(args.mnist)
    command += ["--quick"] * args.quick
    paths = str(ROOT), os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment["SCIPY_ARRAY_API"] = "1"
    with (args.output / "log.txt").open("a") as log:
        print(f"--- {stage}", file=log, flush=True)
        try:
            status = subprocess.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=limit,
                env=environment | {"PYTHONUNBUFFERED": "1"},
            ).returncode
        except subprocess.TimeoutExpired:
            return f"FAIL: over {limit:.0f} s"
    return "PASS" if status == 0 else f"FAIL: status {status}"


def checked(checks: dict) -> dict[str, str]:
    """Return what became of each check, which goes on after a failure."""
    results = {}
    for name, check in checks.items():
        begin = perf_counter()
        try:
            found = check()
            results[name] = "PASS" if found is None else f"PASS {found}"
        except Exception as error:
            traceback.print_exc()
            results[name] = f"FAIL {type(error).__name__}: {error}"[:300]
        print(f"{name:30} {perf_counter() - begin:6.1f} s {results[name]}", flush=True)
    return results


def versions(args) -> dict:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("numpy", "scipy", "scikit-learn", "array-api-compat", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    from _measure import gpu

    found["device"] = gpu()
    print(found)
    if found["device"] is None and not args.quick:
        found["device"] = "FAIL: CuPy sees none"
    return found


# Right


def smoke(args) -> dict:
    from sklearn.datasets import load_digits

    from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier

    warnings.simplefilter("error", RuntimeWarning)
    X, y = load_digits(return_X_y=True)
    X = X / 8 - 1

    def classifier(**parameters):
        parameters = {"n_memories": 64, "max_iter": 6, "random_state": 0} | parameters
        return DenseAssociativeMemoryClassifier(**{"device": args.device} | parameters)

    def same_curves(rtol, X=X, **parameters):
        device = classifier(**parameters).fit(X, y)
        host = classifier(**parameters | {"device": "cpu"}).fit(X, y)
        curves = np.array([device.loss_curve_, host.loss_curve_])
        error = float(np.max(np.abs(curves[0] / curves[1] - 1)))
        if not error <= rtol:
            raise AssertionError(f"the losses differ by {error:.1e}")
        return f"{error:.1e}"

    def tf32(n_features):
        os.environ["CUPY_TF32"] = "1"
        try:
            wide = np.resize(X, (len(X), n_features)).astype(np.float32)
            wide[:, : X.shape[1]] = X
            return same_curves(0.05, wide, gradient_tolerance=0)
        finally:
            os.environ["CUPY_TF32"] = "0"

    def input_on_the_device():
        import cupy
        from sklearn import config_context

        expected = classifier().fit(X, y).predict(X)
        with config_context(array_api_dispatch=True):
            clf = classifier(device="auto").fit(cupy.asarray(X), cupy.asarray(y))
            assert (clf.predict(cupy.asarray(X)).get() == expected).mean() > 0.99

    def recall_of_a_frame():
        import pandas as pd

        patterns = np.sign(np.random.default_rng(0).normal(size=(30, 40)))
        cues = pd.DataFrame(np.where(np.arange(40) < 30, patterns, 1.0))
        memory = DenseAssociativeMemory(3, device=args.device).fit(patterns)
        assert (np.asarray(memory.recall(cues)) == patterns).mean() > 0.99

    def spoilt_capture():
        from skdam import _gpu

        matmul = _gpu.Lease.matmul

        def disturb(lease, *arguments, **keywords):
            try:
                lease.stream.synchronize()
            finally:
                matmul(lease, *arguments, **keywords)

        _gpu.Lease.matmul = disturb
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                classifier(max_iter=5).fit(X, y)
        finally:
            _gpu.Lease.matmul = matmul
        assert args.quick or any("CUDA graph" in str(w.message) for w in caught)
        return same_curves(1e-6)

    def threads_that_end():
        failures = []

        def fit():
            try:
                classifier(max_iter=3).fit(X, y)
            except Exception as error:
                failures.append(error)

        for _ in range(3):
            threads = [threading.Thread(target=fit) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]

    checks = {
        "float64": partial(same_curves, 1e-6, gradient_tolerance=0),
        "float64, energy": partial(same_curves, 1e-6, formulation="energy"),
        "float64, n=20": partial(same_curves, 1e-6, power=20, gradient_tolerance=0),
        "float64, log_loss": partial(same_curves, 1e-6, loss="log_loss"),
        "float64, exponential": partial(same_curves, 1e-6, energy="exponential"),
        "float32": partial(same_curves, 0.01, X.astype(np.float32)),
        "TF32, 784 features": partial(tf32, 784),
        "TF32, 785 features": partial(tf32, 785),
        "noise and dropout": partial(
            same_curves, 1e-6, input_noise=0.2, input_dropout=0.3
        ),
        "early stopping": partial(same_curves, 1e-6, early_stopping=True),
        "arrays on the device": input_on_the_device,
        "recall of a frame": recall_of_a_frame,
        "a spoilt capture": spoilt_capture,
        "threads that end": threads_that_end,
    }
    if args.quick:
        del checks["arrays on the device"]
    return checked(checks)


def tests(args) -> dict:
    files = "recall_cuda associative_memory cuda_source gpu".split()
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["-q", "--tb=short", "-o", "addopts=--strict-markers", "-rfE"]
    # Most of the time goes into compiling kernels.
    command += ["-n", "8"]
    if args.quick:
        command += ["--collect-only"]
    command += [f"tests/test_{name}.py" for name in files]
    status = subprocess.run(command, cwd=ROOT).returncode
    return {"pytest": "PASS" if status == 0 else f"FAIL: status {status}"}


def sanitizer(args) -> dict:
    """Run three epochs under each tool, every allocation CUDA's own."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if args.quick or not Path(tool).exists():
        return {"compute-sanitizer": "missing"}
    script = (
        "import cupy, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "cupy.cuda.set_allocator(None)\n"
        "from sklearn.datasets import load_digits\n"
        "from skdam import DenseAssociativeMemoryClassifier as Classifier\n"
        "X, y = load_digits(return_X_y=True)\n"
        "for power in 3, 20:\n"
        "    Classifier(33, power=power, max_iter=3, device='cuda', input_noise=0.1,\n"
        "               random_state=0).fit(X[:300] / 8 - 1, y[:300])\n"
    )

    def run(name):
        command = [tool, "--tool", name, "--error-exitcode", "9"]
        done = subprocess.run(
            [*command, sys.executable, "-c", script],
            timeout=90,
            capture_output=True,
            text=True,
        )
        print(done.stdout[-3000:], done.stderr[-1000:])
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}")

    tools = "memcheck", "racecheck", "synccheck", "initcheck"
    return checked({name: partial(run, name) for name in tools})


# Fast


def images(args):
    """Return MNIST, or data of its size, and whether it is MNIST."""
    from mnist_gpu import load

    args.made_up = not args.mnist
    data, name = load(args)
    return data, name == "mnist"


def paper_network(args, **parameters):
    from skdam import DenseAssociativeMemoryClassifier, preset

    warnings.simplefilter("ignore")
    common = preset("krotov-hopfield-2016", power=3)
    common |= {"device": args.device, "random_state": 0}
    if args.quick:
        common |= {"n_memories": 32, "max_iter": 5, "batch_size": 100}
    return DenseAssociativeMemoryClassifier(**common | parameters)


def in_both_precisions(stage):
    """Return what a stage measures with matrix products in TF32 and in full."""
    results = {}
    for precision, flag in {"tf32": "1", "full": "0"}.items():
        os.environ["CUPY_TF32"] = flag
        results[precision] = stage(precision)
        print(precision, json.dumps(results[precision]), flush=True)
    return results


def kernels(args) -> dict:
    if args.quick:
        return {"device": "none"}
    (X, y, *_), _ = images(args)
    cases = {
        "feedforward": {},
        "energy": {"formulation": "energy"},
        "n=20": {"power": 20, "temperature": 400.0},
        "log_loss": {"loss": "log_loss"},
        "K=100": {"n_memories": 100},
        "K=10000": {"n_memories": 10000},
    }

    def measure(precision):
        return {name: timed(args, X, y, **changes) for name, changes in cases.items()}

    return in_both_precisions(measure)


def timed(args, X, y, **parameters) -> dict:
    """Return the seconds of an epoch, and the microseconds of each kernel of a step.

    Seconds are the host's, from the end of one epoch to that of the next, and the
    device's within an epoch.
    """
    import cupy

    from skdam._backends import cuda

    ends, seconds, found = [], [], {}

    def elapsed(graphs) -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        for graph in graphs:
            graph.launch()
        end.record()
        end.synchronize()
        return cupy.cuda.get_elapsed_time(begin, end) / 1e3

    class Timed(cuda.CudaTrainer):
        def epoch(self, number, *arguments):
            metrics = super().epoch(number, *arguments)
            ends.append(perf_counter())
            if number == 20:
                seconds.extend(elapsed(self._graphs) for _ in range(5))
                found.update(self._kernels_apart())
            return metrics

        def _kernels_apart(self):
            """Return the microseconds of what a step launches, by a graph of each."""
            calls, launch, matmul = {}, self._launch, self.lease.matmul

            def note(name, call):
                calls.setdefault(name, (call, dict(self._arguments)))

            products = cycle(("product of overlaps", "product of gradients"))
            lease = self.lease
            self._launch = lambda name, *a: note(name, partial(launch, name, *a))
            self.lease = SimpleNamespace(
                matmul=lambda *a, **k: note(next(products), partial(matmul, *a, **k))
            )
            self._steps(None, 0, 2)
            self.lease, self._launch = lease, launch
            times, count = {}, 100
            for name, (call, self._arguments) in calls.items():
                lease.stream.begin_capture()
                for _ in range(count):
                    call()
                graph = lease.stream.end_capture()
                graph.launch()
                times[name] = round(1e6 * elapsed([graph]) / count, 2)
            return times

    trainer, cuda.CudaTrainer = cuda.CudaTrainer, Timed
    try:
        paper_network(args, max_iter=21, **parameters).fit(X, y)
    finally:
        cuda.CudaTrainer = trainer
    print(parameters, found, flush=True)
    return {
        "epoch": float(np.median(np.diff(ends[3:-1]))),
        "epoch on the device": float(np.median(seconds)),
        "microseconds": found,
    }


def paper(args) -> dict:
    from _measure import seconds_of

    data, is_real = images(args)

    def train(precision):
        clf = paper_network(args)
        seconds = seconds_of(clf.fit, data.X_train, data.y_train)
        wrong = clf.predict(data.X_test) != data.y_test
        error = 100 * float(wrong.mean()) if is_real else None
        return {"seconds": seconds, "test_error": error, "loss": clf.loss_curve_[-1]}

    return in_both_precisions(train)


def sweep(args) -> dict:
    import mnist_gpu
    from _measure import seconds_of

    (X, y, *_), _ = images(args)
    args.batch_size = 50 if args.quick else 1000

    def rates(precision):
        mnist_gpu.PRECISION = precision
        found = {"product, flop/s": product_rate(args)}
        for n_memories in (16,) if args.quick else (100, 2000, 10000):
            if args.quick:
                clf = paper_network(args, n_memories=n_memories)
                seconds = seconds_of(clf.fit, X, y) / clf.max_iter
            else:
                seconds = timed(args, X, y, n_memories=n_memories)["epoch"]
            own = {"skdam": seconds}
            own["share"] = 4 * X.size * n_memories / seconds / found["product, flop/s"]
            if n_memories <= 2000 and mnist_gpu.torch is not None:
                own["PyTorch"] = mnist_gpu.torch_epoch(X, y, n_memories, args)
            found[f"K={n_memories}"] = own
            print(precision, n_memories, own, flush=True)
        return found

    return in_both_precisions(rates)


def product_rate(args) -> float:
    """Return the flop/s of a square product, in the precision that is set."""
    from _measure import seconds_of, sgemm_peak

    if args.quick:
        return sgemm_peak(256)
    import cupy

    from skdam._gpu import session

    size, count = 8192, 5
    with session(cupy.cuda.Device(), "") as lease:
        a, b = cupy.random.random((2, size, size), dtype=np.float32)
        out = cupy.empty_like(a)

        def multiply():
            for _ in range(count):
                lease.matmul(a, b, out)
            lease.stream.synchronize()

        multiply()
        return count * 2 * size**3 / seconds_of(multiply)


def search(args) -> dict:
    import joblib
    from _measure import seconds_of
    from sklearn.model_selection import GridSearchCV, ShuffleSplit

    (X, y, *_), _ = images(args)
    model = paper_network(args, n_memories=100, max_iter=10)
    grid = {"power": [2, 3, 4, 5], "error_exponent": [3, 10]}
    split = ShuffleSplit(1, test_size=1 / 6, random_state=0)
    found = GridSearchCV(model, grid, cv=split, refit=False)
    found.fit(X, y)
    seconds = {}
    for n_jobs in (1, 8):
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            seconds[n_jobs] = seconds_of(found.fit, X, y)
    return {"seconds": seconds, "ratio": seconds[8] / seconds[1]}


def recall(args) -> dict:
    from _measure import seconds_of

    from skdam import DenseAssociativeMemory

    sizes = (40, 60, 50) if args.quick else (200, 10000, 10000)
    n_neurons, n_memories, n_states = sizes
    rng = np.random.default_rng(0)
    patterns = rng.choice(np.array([-1.0, 1.0]), (n_memories, n_neurons))
    cues = patterns[rng.integers(n_memories, size=n_states)]
    cues = np.where(rng.random(cues.shape) < 0.1, -cues, cues)
    memory = DenseAssociativeMemory(4, device=args.device).fit(patterns)
    memory.recall(cues[:10])
    seconds = {"device": seconds_of(memory.recall, cues)}
    result = memory.recall(cues)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0, 1})
    memory.set_params(device="cpu")
    begin = perf_counter()
    expected = memory.recall(cues[: n_states // 10])
    seconds["two cores"] = 10 * (perf_counter() - begin)
    same = bool((result[: n_states // 10] == expected).all())
    return {
        "seconds": seconds,
        "ratio": seconds["two cores"] / seconds["device"],
        "agree": "PASS" if same else "FAIL",
    }


if __name__ == "__main__":
    main()
