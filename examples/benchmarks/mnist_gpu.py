"""Dense associative memory on MNIST on a GPU, against PyTorch compiled for it.

    python examples/benchmarks/mnist_gpu.py --mnist FOLDER

writes ``results/mnist_gpu.json`` beside this script. Where MNIST is not to be had, data
of its size is made up for the times, and nothing is said of errors. ``--quick`` tries
everything in seconds, on the CPU if CuPy sees no device. Needs PyTorch for its row.

What is measured
----------------
epochs
    Seconds of a training epoch against the number of memories K, for both formulations,
    with products in full single precision and in TF32; a PyTorch network of the same
    shape (Linear, ReLU, Linear, fused Adam), its step compiled with CUDA graphs; and
    the peak of cuBLAS on a square product of each precision, in the same rounds.
paper
    The paper's whole training at n = 3 and K = 2000, of 3000 epochs: seconds and test
    error, in both precisions.
search
    Eight candidates of K = 100, one after the other and in threads.

The work of a step
------------------
For a minibatch of B samples, N features, K memories and C classes: two products of
2 B N K flop; five passes over the B K overlaps (written, read twice for the scores if
their scale is to be found first, read for the gradient, written) of 4 B K bytes, and
one more read by the second product; velocity and memories read and written, and the
gradient written and read, 24 K N bytes. At B = 1000, N = 784, K = 2000 that is 6.3
Gflop, and 48 + 38 MB that mostly stay in the second-level cache of a large GPU: the
products decide in full precision, and the passes count beside them in TF32. At K = 100
it is the nine launches of a step, which is why an epoch is recorded as one graph.

What was found
--------------
Nothing yet: this script has not been run on a GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter

import joblib
import numpy as np
from _measure import Report, ratio, round_robin, spread
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdam import DenseAssociativeMemoryClassifier, preset
from skdam.datasets import MNIST, load_mnist
from skdam.gpu import count_devices, cupy

try:
    import torch
except ImportError:
    torch = None

PRECISIONS = ("full", "tf32")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure skdam on a GPU.")
    add = parser.add_argument
    add("--mnist", metavar="FOLDER", help="IDX files; default: SKDAM_MNIST or OpenML")
    add("--made-up", action="store_true", help="made-up data of MNIST's size")
    add("--parts", default="epochs,paper,search", help="default: all three")
    add("--rounds", type=int, default=3, help="default 3")
    add("--quick", action="store_true", help="little data, to a new folder")
    add("--output", type=Path, metavar="DIR", help="default: results, beside this")
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    if unknown := set(args.parts) - {"epochs", "paper", "search"}:
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if args.output is None:
        beside = Path(__file__).parent / "results"
        args.output = Path(tempfile.mkdtemp()) if args.quick else beside
    args.device = "cuda" if count_devices() else "cpu"
    if args.device == "cpu" and not args.quick:
        parser.error("CuPy sees no CUDA device; --quick tries the script on the CPU.")
    args.memories = (16, 64) if args.quick else (100, 500, 2000, 10000)
    args.batch_size = 50 if args.quick else 1000
    return args


def main() -> None:
    args = arguments()
    warnings.simplefilter("ignore", ConvergenceWarning)
    data, name = load(args)
    report = Report(args.output / "mnist_gpu.json", name)
    report.results["device"] = describe(args.device)
    if "epochs" in args.parts:
        epochs(report, data, args)
    if "paper" in args.parts:
        paper(report, data, args, name)
    if "search" in args.parts:
        search(report, data, args)
    print(f"Results are in {args.output}.")


def load(args) -> tuple[MNIST, str]:
    """Return MNIST, or data of its size if that is not to be had; and the name."""
    if not args.quick and not args.made_up:
        try:
            return load_mnist(args.mnist), "mnist"
        except OSError as error:
            print(f"Made-up data instead of MNIST: {error}")
    n_samples, n_features = (700, 20) if args.quick else (70000, 784)
    X, y = make_blobs(n_samples, n_features, centers=10, random_state=0)
    X = np.tanh(X / 5).astype(np.float32)
    test = n_samples // 7
    return MNIST(X[test:], y[test:], X[:test], y[:test]), "made up"


def describe(device: str) -> dict | str:
    if device == "cpu":
        return "none: tried on the CPU"
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(),
        "memory_bytes": properties["totalGlobalMem"],
        "cuda_runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cuda_driver": cupy.cuda.runtime.driverGetVersion(),
        "cupy": cupy.__version__,
    }


def classifier(args, **parameters) -> DenseAssociativeMemoryClassifier:
    common = {"batch_size": args.batch_size, "dtype": "float32", "tol": None}
    common |= {"device": args.device, "random_state": 0}
    # The published rule, in which all epochs are alike.
    common |= {"power": 3, "bias": 0, "revival": 0, "cue_noise": 0}
    return DenseAssociativeMemoryClassifier(**common | parameters)


# Epochs


def epochs(report: Report, data: MNIST, args) -> None:
    part = report.part("epochs", batch_size=args.batch_size, rounds=args.rounds)
    X, y = data.X_train, data.y_train
    for n_memories in args.memories:
        tasks = {}
        for formulation in ("feedforward", "energy"):
            for precision in PRECISIONS:
                model = classifier(
                    args,
                    n_memories=n_memories,
                    formulation=formulation,
                    matmul_precision=precision,
                )
                tasks[f"skdam {formulation}, {precision}"] = partial(
                    seconds_per_epoch, lambda n, m=model: m.set_params(max_iter=n), X, y
                )
        for precision in PRECISIONS:
            if torch is not None:
                tasks[f"PyTorch, {precision}"] = partial(
                    torch_epoch, X, y, n_memories, args, precision
                )
            tasks[f"peak, {precision}"] = partial(peak, args, precision)
        flop = 4 * X.size * n_memories
        for values in round_robin(tasks, args.rounds):
            peaks = {p: np.array(values[f"peak, {p}"]) for p in PRECISIONS}
            seconds = {k: v for k, v in values.items() if not k.startswith("peak")}
            part[f"K={n_memories}"] = {
                "peak": {p: spread(peaks[p]) for p in PRECISIONS},
                "seconds": {name: spread(times) for name, times in seconds.items()},
                "fraction_of_peak": {
                    name: ratio(flop / peaks[name.rpartition(", ")[2]], times)
                    for name, times in seconds.items()
                },
                "over_skdam_feedforward": {
                    name: ratio(
                        times, seconds[f"skdam feedforward, {name.rpartition(', ')[2]}"]
                    )
                    for name, times in seconds.items()
                },
            }
            report.save()
        for name, values in part[f"K={n_memories}"]["seconds"].items():
            print(f"K={n_memories:<6} {name:28}{1e3 * values['median']:10.2f} ms")


def seconds_per_epoch(model, X, y) -> float:
    """Return the seconds of an epoch, without what a fit takes once."""
    few, many = 3, 13
    seconds = []
    for n_epochs in (few, many):
        begin = perf_counter()
        model(n_epochs).fit(X, y)
        seconds.append(perf_counter() - begin)
    return (seconds[1] - seconds[0]) / (many - few)


def torch_epoch(X, y, n_hidden: int, args, precision: str) -> float:
    """Return the seconds of an epoch of a compiled PyTorch network, all on the device.

    "reduce-overhead" is the compiler's mode that replays CUDA graphs.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch._dynamo.reset()  # It gives up on a function compiled too often.
    X = torch.as_tensor(X, device=args.device)
    y = torch.as_tensor(y, device=args.device)
    network = torch.nn.Sequential(
        torch.nn.Linear(X.shape[1], n_hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(n_hidden, 10),
    ).to(args.device)
    on_gpu = args.device == "cuda"
    optimizer = torch.optim.Adam(network.parameters(), fused=True, capturable=on_gpu)

    def step(inputs, labels):
        loss = torch.nn.functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    if on_gpu:
        step = torch.compile(step, mode="reduce-overhead")

    def epoch():
        order = torch.randperm(len(X), device=args.device)
        for start in range(0, len(X), args.batch_size):
            rows = order[start : start + args.batch_size]
            step(X[rows], y[rows])
        if on_gpu:
            torch.cuda.synchronize()

    for _ in range(3):
        epoch()
    begin = perf_counter()
    for _ in range(10):
        epoch()
    return (perf_counter() - begin) / 10


def peak(args, precision: str) -> float:
    """Return the flop/s of cuBLAS on a square product; NumPy's without a device."""
    size = 256 if args.quick else 8192
    if args.device == "cpu":
        a = np.ones((size, size), np.float32)
        begin = perf_counter()
        a @ a
        return 2 * size**3 / (perf_counter() - begin)
    from skdam.energies import RectifiedPolynomial
    from skdam.formulations import Feedforward
    from skdam.kernels.cuda import CudaKernel

    network = Feedforward(RectifiedPolynomial(2), 1.0)
    kernel = CudaKernel(network, 2, np.float32, precision=precision)
    a, out = cupy.random.random((2, size, size), dtype=np.float32)
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    for _ in range(3):
        kernel.gemm(False, size, size, size, a, a, out)
    begin.record()
    for _ in range(5):
        kernel.gemm(False, size, size, size, a, a, out)
    end.record()
    end.synchronize()
    return 5 * 2 * size**3 / (cupy.cuda.get_elapsed_time(begin, end) / 1e3)


# The paper's training


def paper(report: Report, data: MNIST, args, name: str) -> None:
    parameters = preset("krotov-hopfield-2016", power=3)
    if args.quick:
        parameters |= {"n_memories": 32, "max_iter": 20}
    starts = {"the paper's start": {}, "start of zero mean": {"init_mean": 0.0}}
    starts["start of zero mean"]["init_std"] = 0.1
    part = report.part("paper", parameters=parameters)
    for start, changes in starts.items():
        for precision in PRECISIONS:
            model = classifier(
                args, **parameters | changes | {"matmul_precision": precision}
            )
            begin = perf_counter()
            model.fit(data.X_train, data.y_train)
            result = {"seconds": perf_counter() - begin, "epochs": model.n_iter_}
            if name != "made up":
                wrong = model.predict(data.X_test) != data.y_test
                result["test_error"] = 100 * float(wrong.mean())
            part[f"{start}, {precision}"] = result
            report.save()
            print(f"paper, {start}, {precision}: {result}", flush=True)


# A search


def search(report: Report, data: MNIST, args) -> None:
    part = report.part("search", candidates=8)
    model = classifier(args, n_memories=16 if args.quick else 100, max_iter=10)
    grid = {"power": [2, 3, 4, 5], "error_exponent": [3, 10]}
    split = ShuffleSplit(1, test_size=1 / 6, random_state=0)

    def seconds(n_jobs: int) -> float:
        begin = perf_counter()
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            search = GridSearchCV(model, grid, cv=split, refit=False)
            search.fit(data.X_train, data.y_train)
        return perf_counter() - begin

    tasks = {"one after the other": partial(seconds, 1), "threads": partial(seconds, 8)}
    for values in round_robin(tasks, args.rounds):
        part["seconds"] = {name: spread(times) for name, times in values.items()}
        part["threads_over_one_after_the_other"] = ratio(
            values["threads"], values["one after the other"]
        )
        report.save()
    print(f"search: threads take {part['threads_over_one_after_the_other']['median']}")


if __name__ == "__main__":
    main()
