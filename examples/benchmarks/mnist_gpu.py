"""Dense associative memory on MNIST on a GPU, against PyTorch compiled for it.

    python examples/benchmarks/mnist_gpu.py --mnist FOLDER
    CUPY_TF32=1 python examples/benchmarks/mnist_gpu.py --mnist FOLDER

writes ``results/mnist_gpu.json`` beside this script: first with matrix products in full
single precision, then in TF32. If MNIST is not available, made-up data of its size is
timed, and no errors are reported. ``--quick`` tries everything in seconds, on the CPU
if CuPy sees no device. Needs PyTorch for its row.

What is measured
----------------
epochs
    Seconds of a training epoch against the number of memories K, for both formulations;
    a PyTorch network of the same shape (Linear, ReLU, Linear, fused Adam), its step
    compiled with CUDA graphs; and the peak of cuBLAS on a square product, in the same
    rounds.
paper
    The paper's whole training at n = 3 and K = 2000, of 3000 epochs: seconds and test
    error.
search
    Eight candidates of K = 100, one after the other and in threads.
"""

from __future__ import annotations

import os
import warnings
from functools import partial

import joblib
import numpy as np
from _measure import (
    Options,
    Report,
    gpu,
    load_images,
    ratio,
    ratios,
    round_robin,
    seconds_of,
    sgemm_peak,
    spread,
    spreads,
)
from _peers import torch
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from skdam import DenseAssociativeMemoryClassifier, preset
from skdam._gpu import cupy
from skdam.datasets import MNIST

PRECISION = "tf32" if os.environ.get("CUPY_TF32") == "1" else "full"
"""Precision of matrix products, which CuPy chooses once in a process."""


def main() -> None:
    options = Options(__doc__, parts=("epochs", "paper", "search"))
    add = options.add_argument
    add("--made-up", action="store_true", help="made-up data of MNIST's size")
    options.size("rounds", "of the timings", 3, quick=2)
    args = options.parse()
    device = gpu()
    if device is None and not args.quick:
        options.error("CuPy sees no CUDA device; --quick tries the script on the CPU.")
    args.device = "cpu" if device is None else "cuda"
    args.memories = (16, 64) if args.quick else (100, 500, 2000, 10000)
    args.batch_size = 50 if args.quick else 1000
    warnings.simplefilter("ignore", ConvergenceWarning)
    data, name = load(args)
    report = Report(args.output / "mnist_gpu.json", name)
    report.results["device"] = device or "none: tried on the CPU"
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
            return load_images(args), "mnist"
        except OSError as error:
            print(f"Made-up data instead of MNIST: {error}")
    n_samples, n_features = (700, 20) if args.quick else (70000, 784)
    X, y = make_blobs(n_samples, n_features, centers=10, random_state=0)
    X = np.tanh(X / 5).astype(np.float32)
    test = n_samples // 7
    return MNIST(X[test:], y[test:], X[:test], y[:test]), "made up"


def classifier(args, **parameters) -> DenseAssociativeMemoryClassifier:
    common = {"batch_size": args.batch_size, "power": 3, "tol": None}
    common |= {"device": args.device, "random_state": 0}
    # The published rule, in which all epochs are alike.
    common |= {"intercept_scaling": 0, "reinit_dead": 0, "input_noise": 0}
    return DenseAssociativeMemoryClassifier(**common | parameters)


# Epochs


def epochs(report: Report, data: MNIST, args) -> None:
    settings = {"batch_size": args.batch_size, "rounds": args.rounds}
    part = report.part(f"epochs, {PRECISION}", **settings)
    X, y = data.X_train, data.y_train
    for n_memories in args.memories:
        tasks = {"peak": partial(peak, args)}
        for formulation in ("feedforward", "energy"):
            model = classifier(args, n_memories=n_memories, formulation=formulation)
            tasks[f"skdam {formulation}"] = partial(seconds_per_epoch, model, X, y)
        if torch is not None:
            tasks["PyTorch"] = partial(torch_epoch, X, y, n_memories, args)
        flop = 4 * X.size * n_memories
        for seconds in round_robin(tasks, args.rounds):
            seconds = dict(seconds)
            peaks = np.array(seconds.pop("peak"))
            part[f"K={n_memories}"] = {
                "peak": spread(peaks),
                "seconds": spreads(seconds),
                "fraction_of_peak": {
                    name: ratio(flop / peaks, times) for name, times in seconds.items()
                },
                "over_skdam_feedforward": ratios(seconds, "skdam feedforward"),
            }
            report.save()
        for name, values in part[f"K={n_memories}"]["seconds"].items():
            print(f"K={n_memories:<6} {name:28}{1e3 * values['median']:10.2f} ms")


def seconds_per_epoch(model, X, y) -> float:
    """Return the seconds of an epoch, without what a fit takes once."""
    few, many = (
        seconds_of(model.set_params(max_iter=n_epochs).fit, X, y)
        for n_epochs in (3, 13)
    )
    return (many - few) / 10


def torch_epoch(X, y, n_hidden: int, args) -> float:
    """Return the seconds of an epoch of a compiled PyTorch network, all on the device.

    "reduce-overhead" is the compiler's mode that replays CUDA graphs.
    """
    torch.backends.cuda.matmul.allow_tf32 = PRECISION == "tf32"
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

    def train(n_epochs: int):
        for _ in range(n_epochs):
            order = torch.randperm(len(X), device=args.device)
            for rows in order.split(args.batch_size):
                step(X[rows], y[rows])
        if on_gpu:
            torch.cuda.synchronize()

    train(3)
    return seconds_of(train, 10) / 10


def peak(args) -> float:
    """Return the flop/s of cuBLAS on a square product; NumPy's without a device."""
    if args.device == "cpu":
        return sgemm_peak(256)
    size = 8192
    a, b = cupy.random.random((2, size, size), dtype=np.float32)
    out = cupy.empty_like(a)

    def products(count: int):
        for _ in range(count):
            cupy.matmul(a, b, out=out)
        cupy.cuda.get_current_stream().synchronize()

    products(3)
    return 5 * 2 * size**3 / seconds_of(products, 5)


# The paper's training


def paper(report: Report, data: MNIST, args, name: str) -> None:
    parameters = preset("krotov-hopfield-2016", power=3)
    if args.quick:
        parameters |= {"n_memories": 32, "max_iter": 20}
    starts = {"the paper's start": (-0.3, 0.3), "start of zero mean": (0.0, 0.1)}
    part = report.part(f"paper, {PRECISION}", parameters=parameters)
    for start, init in starts.items():
        model = classifier(args, **parameters | {"init": init})
        seconds = seconds_of(model.fit, data.X_train, data.y_train)
        part[start] = {"seconds": seconds, "epochs": model.n_iter_}
        if name != "made up":
            wrong = model.predict(data.X_test) != data.y_test
            part[start]["test_error"] = 100 * float(wrong.mean())
        report.save()
        print(f"paper, {start}: {part[start]}", flush=True)


# A search


def search(report: Report, data: MNIST, args) -> None:
    part = report.part(f"search, {PRECISION}", candidates=8)
    model = classifier(args, n_memories=16 if args.quick else 100, max_iter=10)
    grid = {"power": [2, 3, 4, 5], "error_exponent": [3, 10]}
    split = ShuffleSplit(1, test_size=1 / 6, random_state=0)

    def seconds(n_jobs: int) -> float:
        search = GridSearchCV(model, grid, cv=split, refit=False)
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            return seconds_of(search.fit, data.X_train, data.y_train)

    tasks = {"one after the other": partial(seconds, 1), "threads": partial(seconds, 8)}
    for values in round_robin(tasks, args.rounds):
        over = ratio(values["threads"], values["one after the other"])
        part["seconds"] = spreads(values)
        part["threads_over_one_after_the_other"] = over
        report.save()
    print(f"search: threads take {over['median']:.2f} of the time")


if __name__ == "__main__":
    main()
