"""Dense associative memory on MNIST against its peers, on the CPU.

    python examples/benchmarks/mnist_cpu.py --mnist FOLDER

writes ``results/mnist_cpu.json`` and a plot of it beside this script; ``--quick`` tries
everything on scikit-learn's digits in a few seconds. Needs scikit-learn 1.9, and
PyTorch for its rows.

What is measured
----------------
epochs
    Seconds of a training epoch with K hidden units or memories: skdam's two
    formulations, early and late in training (where fewer samples have a gradient worth
    following), skdam with every gradient followed, a PyTorch network and MLPClassifier
    of the same shape, and a literal double-precision step of the associative memory
    that tiles each minibatch once for each class (timed on a few minibatches and
    extrapolated). The implementations take turns and so does the peak of the machine's
    single-precision matrix product; ratios are formed within a round.
curves
    Test error against seconds of training, evaluation not counted. ``--tune`` first
    chooses the peers' settings on the last 10 000 training images.
changes
    Error on the last 10 000 training images, after training on the others, of skdam as
    it is in the curves and with one parameter changed; ``--epochs 12`` is what it was
    chosen for.
growth
    Seconds of an epoch against the number of memories, features and samples, and the
    memory that fit and predict take beyond the data, on made-up data; seconds of
    predictions on the test images.

The work of a step
------------------
For a minibatch of B samples, N features, K memories and C classes, n = power:

- forward product, 2 B N K flop; backward product, 2 B N K flop, of which skdam skips
  the share of the samples whose gradient is negligible;
- thin products with the C classes: 6 B K C flop in the feedforward formulation (scores,
  gradient of the recognition connections, gradient of the overlaps), 2 (3n - 1) B K C
  in the energy formulation for whole n up to 4 (its binomial series);
- passes over the B K overlaps, in single precision: written by the forward product,
  read for the scores, read and written for the gradient, read by the backward product:
  5 passes of 4 B K bytes, the arithmetic in between on tiles that stay in the cache;
- update: velocity and memories read and written, 16 K (N + C) bytes, and the gradient
  written and read while it is in the cache.

"Fraction of peak" is 4 B N K flop for each step, the two large products, over the time
and the measured peak; skipped samples count as if they had been computed.

What was found
--------------
- A product split into blocks of some 500 memories, one BLAS thread each, runs within a
  few percent of one that BLAS splits itself, and what is done to each block element by
  element then runs in parallel. The tiled step takes C + 1 large products for one.
- Beside the products, not bytes but hand-overs of the interpreter's lock cost most:
  a whole block is moved at once, not in pieces for the cache. Fresh temporaries cost a
  page fault for each 4 kB, more than the arithmetic on them.
- A fifth of the pixels is the same in all images of a minibatch of 1000; leaving those
  out brings the step to 85 % of the peak that counts them.
- Following every gradient costs little more at first, and late in training a sixth of
  the step: that is when most samples have none to speak of. A tolerance of a tenth, not
  a thousandth, takes another sixth off 12 epochs, and in them ends lower, at 1.68
  instead of 1.78 % (``changes``, two seeds).
- A small error exponent and the low temperature that goes with it do most to be quick:
  m = 2 at T = 33 ends 12 epochs at 1.68 %, m = 5 at T = 63 at 2.00 %. With revived
  memories and smaller steps, 12 epochs then do what 60 do by the paper's rule.
- To 1.65 % on the test images PyTorch needs 13 to 16 epochs of a cycle of 20; 12 are
  too few for two of three seeds. skdam needs 9 or 10, each in 0.7 of the time.
- In the energy form np.power took a third of the scores' time: powers of the flips are
  products now.
- With the paper's rule a third of the memories falls silent in the first epoch, and
  half of them by the tenth: no image gives them a positive overlap. Drawing the silent
  ones anew after each of the first epochs helps by a tenth of a percent (``changes``).
  Revived memories mostly fall silent again once that ends, so that it is not their
  number alone that helps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from _growth import growth
from _measure import (
    EpochClock,
    Report,
    digits,
    held_out,
    ratio,
    round_robin,
    sgemm_peak,
    spread,
)
from _peers import fit_mlp, fit_skdam, fit_torch, tiled_seconds, torch
from _plot import plot
from sklearn.exceptions import ConvergenceWarning

from skdam.datasets import MNIST, load_mnist

# Selected on 10 000 held-out training images, for 2000 memories.
SKDAM = {
    2: {"temperature": 32, "error_exponent": 3},
    3: {"temperature": 79, "error_exponent": 10},
    20: {"temperature": 350, "error_exponent": 5},
    30: {"temperature": 447, "error_exponent": 3},
}
# The same, for curves: more and smaller steps, and silent memories drawn anew.
SKDAM_REVIVED = {
    2: {
        "learning_rate_init": 0.005,
        "batch_size": 500,
        "init_std": 0.3,
        "revival": 0.4,
    },
    3: {
        "temperature": 33,
        "error_exponent": 2,
        "learning_rate_init": 0.007,
        "momentum": 0.93,
        "batch_size": 500,
        "gradient_tolerance": 0.1,
        "revival": 0.4,
    },
}

CHANGES = {
    3: [
        {"gradient_tolerance": 1e-3},
        {"gradient_tolerance": 0.01},
        {"gradient_tolerance": 0.3},
        {"temperature": 26},
        {"temperature": 42},
        {"temperature": 63, "error_exponent": 5},
        {"learning_rate_init": 0.01},
        {"momentum": 0.9},
        {"batch_size": 250},
        {"revival": 0},
    ],
}
"""What is changed of the parameters of the curves, each in turn."""

# No regularisation.
SKDAM_COMMON = {
    "learning_rate_init": 0.02,
    "momentum": 0.9,
    "init_std": 0.1,
    "bias": 0,
    "revival": 0,
    "cue_noise": 0,
}

# The first of each is used where --tune has not chosen another. PyTorch may take few
# epochs, with which it gets to an error sooner, or many, which end lower.
CANDIDATES = {
    **{
        f"PyTorch, {max_iter} epochs": [
            {"max_lr": max_lr, "batch_size": batch_size, "max_iter": max_iter}
            for batch_size, max_lr in (
                (1000, 3e-3),
                (500, 3e-3),
                (500, 5e-3),
                (250, 2e-3),
                (250, 3e-3),
            )
        ]
        for max_iter in (12, 20, 30)
    },
    "MLPClassifier": [{"learning_rate_init": 1e-3, "batch_size": 1000, "max_iter": 30}],
}

PARTS = ("epochs", "changes", "curves", "growth")

THRESHOLDS = (2.0, 1.65)
"""Test errors in percent, the time to which is reported."""


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    batch_size: int
    rounds: int
    gemm: int
    tiled_steps: int
    sizes: dict
    sweeps: dict
    predicted: tuple


FULL = Scale(
    batch_size=1000,
    rounds=5,
    gemm=4096,
    tiled_steps=2,
    sizes={"n_memories": 2000, "n_features": 784, "n_samples": 20000},
    sweeps={
        "n_memories": (250, 500, 1000, 2000, 4000),
        "n_features": (98, 196, 392, 784, 1568),
        "n_samples": (5000, 10000, 20000, 40000, 60000),
    },
    predicted=(1000, 10000),
)
QUICK = Scale(
    batch_size=100,
    rounds=2,
    gemm=512,
    tiled_steps=1,
    sizes={"n_memories": 64, "n_features": 64, "n_samples": 500},
    sweeps={
        "n_memories": (32, 64),
        "n_features": (32, 64),
        "n_samples": (500, 1000),
    },
    predicted=(500, 2000),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure skdam on MNIST against its peers, on the CPU."
    )
    add = parser.add_argument
    add("--mnist", metavar="FOLDER", help="IDX files; default: SKDAM_MNIST or OpenML")
    add("--epochs", type=int, help="of skdam; default 60")
    add("--seeds", type=int, help="runs of each curve; default 3")
    add("--power", type=int, default=3, help="n; default 3")
    add("--memories", type=int, help="K, and the peers' hidden units; default 2000")
    add("--quick", action="store_true", help="digits, in seconds, to a new folder")
    add("--parts", default=",".join(PARTS), help="default: all")
    add("--formulations", default="feedforward,energy", help="to draw curves of")
    add("--peers", default="PyTorch,MLPClassifier", help="default: both")
    add("--tune", action="store_true", help="choose the peers' settings first")
    add("--resume", action="store_true", help="keep curves with unchanged settings")
    add("--output", type=Path, metavar="DIR", help="default: results, beside this")
    args = parser.parse_args()
    args.parts = [part for part in args.parts.split(",") if part]
    args.formulations = args.formulations.split(",")
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    args.epochs = args.epochs or (3 if args.quick else 60)
    args.seeds = args.seeds or (1 if args.quick else 3)
    args.memories = args.memories or (64 if args.quick else 2000)
    if args.output is None:
        beside = Path(__file__).parent / "results"
        args.output = Path(tempfile.mkdtemp()) if args.quick else beside
    return args


def main() -> None:
    args = arguments()
    scale = QUICK if args.quick else FULL
    report = Report(args.output / "mnist_cpu.json", "digits" if args.quick else "mnist")
    if torch is None:
        print("PyTorch is not installed; its rows are left out.")
    elif args.quick:
        torch.set_num_threads(1)  # Its threads wait longer than so small steps take.
    data = digits() if args.quick else load_mnist(args.mnist)
    if "epochs" in args.parts:
        epochs(report, data, args, scale)
    if args.tune:
        tune(report, data, args, scale)
    if "changes" in args.parts:
        changes(report, data, args, scale)
    if "curves" in args.parts:
        curves(report, data, args, scale)
    if "growth" in args.parts:
        growth(report, data, scale)
    plot(report.results, report.path.with_suffix(".png"))
    print(f"Results are in {args.output}.")


def settings(args: argparse.Namespace) -> dict:
    names = ("epochs", "seeds", "power", "memories")
    return {name: getattr(args, name) for name in names}


def skdam_parameters(args, scale: Scale, formulation: str, **others) -> dict:
    tuned = SKDAM.get(args.power, {})
    if args.memories != 2000:
        tuned = tuned | {"temperature": "auto"}
    return {
        "n_memories": args.memories,
        "power": args.power,
        "formulation": formulation,
        "batch_size": scale.batch_size,
        "max_iter": args.epochs,
        "tol": None,
        "dtype": "float32",
        **SKDAM_COMMON,
        **tuned,
        **others,
    }


def curve_parameters(args, scale: Scale, formulation: str, **others) -> dict:
    revived = {} if args.quick else SKDAM_REVIVED.get(args.power, {})
    return skdam_parameters(args, scale, formulation, **revived | others)


def peers(args, scale: Scale) -> dict:
    """Return the training function of each peer and the parameters to choose from."""
    fixed = {
        "PyTorch": (fit_torch, {"hidden_units": args.memories}),
        "MLPClassifier": (fit_mlp, {"hidden_layer_sizes": (args.memories,)}),
    }
    wanted = set(args.peers.split(",")) - ({"PyTorch"} if torch is None else set())
    found = {}
    for name, candidates in CANDIDATES.items():
        peer = name.partition(",")[0]
        if peer not in wanted:
            continue
        fit, common = fixed[peer]
        candidates = [common | candidate for candidate in candidates]
        for candidate in candidates:
            candidate["batch_size"] = min(candidate["batch_size"], scale.batch_size)
        found[name] = fit, candidates
    return found


# Epochs


def epochs(report: Report, data: MNIST, args, scale: Scale) -> None:
    """Time the implementations in turn, and the peak of the machine with them."""
    X, y = data.X_train, data.y_train
    part = report.part("epochs", **settings(args), batch_size=scale.batch_size)
    runs = {}
    for formulation in ("feedforward", "energy"):
        name = f"skdam {formulation}"
        parameters = skdam_parameters(args, scale, formulation)
        clock = EpochClock()
        model = fit_skdam(parameters, X, y, 0, clock)
        part.setdefault("mean_over_training", {})[name] = (
            clock.seconds[-1] / args.epochs
        )
        early = parameters | {"max_iter": 2, "learning_rate": "constant"}
        late = early | {
            "learning_rate_init": 0.02 * parameters["learning_rate_init"],
            "temperature": model.temperature_,
            "initial_temperature": None,
            "memories_init": np.hstack(
                [model.memories_, model.recognition_connections_]
            ),
        }
        runs[name] = (fit_skdam, early)
        runs[f"{name}, late"] = (fit_skdam, late)
        if formulation == "feedforward":
            exact = early | {"gradient_tolerance": 0}
            runs[f"{name}, every gradient"] = (fit_skdam, exact)
        report.save()
        print(f"epochs: trained {name}", flush=True)
    for name, (fit, candidates) in peers(args, scale).items():
        # The number of epochs makes no difference to one of them.
        runs[name.partition(",")[0]] = (fit, candidates[0] | {"max_iter": 2})

    def last_epoch(fit, parameters) -> float:
        clock = EpochClock()
        with warnings.catch_warnings():
            # Two epochs are not meant to converge.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit(parameters, X, y, 0, clock)
        return clock.last_epoch

    tasks = {name: partial(last_epoch, *run) for name, run in runs.items()}
    parameters = skdam_parameters(args, scale, "energy")
    tasks["tiled energy, extrapolated"] = partial(
        tiled_seconds, parameters, model.temperature_, X, y, scale.tiled_steps
    )
    part["tiled_minibatches_timed"] = scale.tiled_steps
    flop = 4 * X.size * args.memories
    tasks["peak"] = partial(sgemm_peak, scale.gemm)
    for values in round_robin(tasks, scale.rounds):
        peak = np.array(values["peak"])
        seconds = {name: values[name] for name in values if name != "peak"}
        part["sgemm_peak"] = spread(peak)
        part["seconds"] = {name: spread(times) for name, times in seconds.items()}
        part["fraction_of_peak"] = {
            name: ratio(flop / peak, times) for name, times in seconds.items()
        }
        part["seconds_over"] = {
            base: {name: ratio(seconds[name], seconds[base]) for name in seconds}
            for base in ("skdam feedforward", "skdam feedforward, late")
        }
        report.save()
    for name, values in part["seconds"].items():
        fraction = part["fraction_of_peak"][name]["median"]
        print(f"{name:38}{values['median']:9.3f} s{100 * fraction:5.0f} % of peak")


# Choices


def changes(report: Report, data: MNIST, args, scale: Scale) -> None:
    """Change one parameter of ours at a time, and score on held-out images."""
    part = report.part("changes", **settings(args))
    X, y, *rest = held_out(data.X_train, data.y_train)
    some = [{}, *CHANGES.get(args.power, [])][: 2 if args.quick else None]
    runs = [{"change": change, "error": [], "seconds": []} for change in some]
    for seed in range(args.seeds):
        for run in runs:
            parameters = curve_parameters(args, scale, "feedforward", **run["change"])
            clock = EpochClock(*rest)
            fit_skdam(parameters, X, y, seed, clock)
            run["error"].append(clock.test_error[-1])
            run["seconds"].append(clock.seconds[-1])
            print(f"changes: {run['change']} {run['error'][-1]:.2f} %", flush=True)
        part["runs"] = runs
        report.save()


def tune(report: Report, data: MNIST, args, scale: Scale) -> None:
    """Choose the peers' settings on the last sixth of the training images."""
    part = report.part("tuning", **settings(args))
    X, y, *rest = held_out(data.X_train, data.y_train)
    for name, (fit, candidates) in peers(args, scale).items():
        results = part[name] = []
        candidates = candidates[: 2 if args.quick else None]
        for candidate in candidates if len(candidates) > 1 else []:
            clock = EpochClock(*rest)
            fit(candidate, X, y, 0, clock)
            error = clock.test_error[-1]
            results.append({"candidate": candidate, "validation_error": error})
            report.save()
            print(f"tune: {name} {candidate} {error:.2f} %", flush=True)


def chosen(report: Report, name: str, candidates: list[dict]) -> dict:
    results = report.results.get("tuning", {}).get(name)
    if not results:
        return candidates[0]
    return min(results, key=lambda result: result["validation_error"])["candidate"]


# Curves


def curves(report: Report, data: MNIST, args, scale: Scale) -> None:
    """Follow the test error of every method and seed, in turn."""
    part = report.part("curves", keep=True, thresholds=THRESHOLDS, **settings(args))
    methods = {
        f"skdam {formulation}, n={args.power}, {args.epochs} epochs": (
            fit_skdam,
            curve_parameters(args, scale, formulation),
        )
        for formulation in args.formulations
    }
    for name, (fit, candidates) in peers(args, scale).items():
        methods[name] = (fit, chosen(report, name, candidates))
    runs = part.setdefault("runs", {})
    for name, (_, parameters) in methods.items():
        described = json.loads(json.dumps(parameters))
        if not args.resume or runs.get(name, {}).get("parameters") != described:
            runs[name] = {"parameters": described, "seeds": {}}
    warm_up(methods.values(), data, scale)
    for seed in range(args.seeds):
        for name, (fit, parameters) in methods.items():
            seeds = runs[name]["seeds"]
            if str(seed) in seeds:
                continue
            clock = EpochClock(data.X_test, data.y_test)
            fit(parameters, data.X_train, data.y_train, seed, clock)
            seeds[str(seed)] = {"seconds": clock.seconds, "error": clock.test_error}
            runs[name]["summary"] = summary(list(seeds.values()))
            report.save()
            print(f"{name}, seed {seed}: {clock.test_error[-1]:.2f} %", flush=True)
    ratios = part.setdefault(f"peer_time_to_{THRESHOLDS[-1]}_over", {})
    for ours in methods:
        if ours.startswith("skdam"):
            ratios[ours] = {
                peer: time_ratio(
                    runs[peer]["seeds"], runs[ours]["seeds"], THRESHOLDS[-1]
                )
                for peer in peers(args, scale)
            }
    report.save()


def warm_up(methods, data: MNIST, scale: Scale) -> None:
    """Train briefly, so that no clock sees what is only loaded at first use."""
    some = slice(2 * scale.batch_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fit, parameters in methods:
            brief = parameters | {"max_iter": 2}
            fit(brief, data.X_train[some], data.y_train[some], 0, EpochClock())


def first_below(run: dict, threshold: float) -> int | None:
    """Return the number of epochs after which the error was below a threshold."""
    below = np.less(run["error"], threshold)
    return int(below.argmax()) + 1 if below.any() else None


def summary(seeds: list[dict]) -> dict:
    """Return final errors, and epochs and seconds to each threshold (None: never)."""
    final = [run["error"][-1] for run in seeds]
    result = {
        "final_error_mean": float(np.mean(final)),
        "final_error_std": float(np.std(final, ddof=1)) if len(final) > 1 else None,
        "total_seconds": [run["seconds"][-1] for run in seeds],
    }
    for threshold in THRESHOLDS:
        reached = [first_below(run, threshold) for run in seeds]
        result[f"epochs_to_{threshold}"] = reached
        result[f"seconds_to_{threshold}"] = [
            run["seconds"][epoch - 1] if epoch else None
            for run, epoch in zip(seeds, reached, strict=True)
        ]
    return result


def time_ratio(peer: dict, ours: dict, threshold: float) -> dict | None:
    """Return a peer's time to a threshold over skdam's, seed by seed.

    Where the peer never reaches it, its total time counts and the ratio is a lower
    bound; None where skdam does not.
    """
    ratios, lower_bound = [], False
    for seed in ours.keys() & peer.keys():
        epoch = first_below(ours[seed], threshold)
        if epoch is None:
            return None
        peer_epoch = first_below(peer[seed], threshold)
        lower_bound |= peer_epoch is None
        last = (peer_epoch or 0) - 1
        ratios.append(peer[seed]["seconds"][last] / ours[seed]["seconds"][epoch - 1])
    return {**spread(ratios), "is_lower_bound": lower_bound}


if __name__ == "__main__":
    main()
