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
    Test error against seconds of training, evaluation not counted, also of skdam with
    the settings of the least time to 1.65 %. ``--tune`` first chooses the peers'
    settings on the last 10 000 training images.
changes
    Error on the last 10 000 training images, after training on the others, of skdam as
    it is in the curves and with one parameter changed; ``--epochs 12`` is what it was
    chosen for.
growth
    Seconds of an epoch against the number of memories, features and samples, and the
    memory that fit and predict take beyond the data, on made-up data; seconds of
    predictions on the test images.
"""

from __future__ import annotations

import argparse
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _growth import growth
from _measure import (
    EpochClock,
    Options,
    Report,
    held_out,
    load_images,
    ratio,
    ratios,
    round_robin,
    sgemm_peak,
    spread,
    spreads,
)
from _peers import fit_mlp, fit_skdam, fit_torch, tiled_seconds, torch
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from skdam.datasets import MNIST
from skdam.figures import COLORS

# Selected on 10 000 held-out training images, for 2000 memories.
SKDAM = {
    2: {"temperature": 32, "error_exponent": 3},
    3: {"temperature": 79, "error_exponent": 10},
    20: {"temperature": 350, "error_exponent": 5},
    30: {"temperature": 447, "error_exponent": 3},
}
# The same, for curves: more and smaller steps, and dead memories reinitialised.
CURVES = {"batch_size": 500, "reinit_dead": 0.4}
SKDAM_CURVES = {
    2: CURVES | {"learning_rate_init": 0.005, "init": (0.0, 0.3)},
    3: CURVES
    | {"temperature": 33, "error_exponent": 2, "gradient_tolerance": 0.1}
    | {"learning_rate_init": 0.007, "momentum": 0.93},
}
# The least time to the last of the thresholds. Chosen on the same images among a dozen
# settings of about the same time, with 600 to 1200 memories and 12 to 18 epochs.
QUICK = {
    3: {"n_memories": 800, "max_iter": 18, "batch_size": 1000}
    | {"temperature": 31, "error_exponent": 2, "gradient_tolerance": 0.2}
    | {"learning_rate_init": 0.012, "momentum": 0.93}
    | {"init": (0.0, 0.2), "reinit_dead": 0.4},
}
# No regularisation.
SKDAM_COMMON = {
    "learning_rate_init": 0.02,
    "momentum": 0.9,
    "init": (0.0, 0.1),
    "intercept_scaling": 0,
    "reinit_dead": 0,
    "input_noise": 0,
    "tol": None,
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
        {"reinit_dead": 0},
    ],
}
"""What is changed of the parameters of the curves, each in turn."""

QUICK_CHANGES = {
    3: [
        {"temperature": 28},
        {"temperature": 28, "max_iter": 16},
        {"temperature": 28, "n_memories": 900},
        {"temperature": 28, "max_iter": 16, "momentum": 0.9}
        | {"learning_rate_init": 0.014},
    ],
}
"""The same, of the settings of the least time."""

# The first of each is used where --tune has not chosen another. PyTorch may take few
# epochs, with which it gets to an error sooner, or many, which end lower.
STEPS = ((1000, 3e-3), (500, 3e-3), (500, 5e-3), (250, 2e-3), (250, 3e-3))
CANDIDATES = {
    f"PyTorch, {max_iter} epochs": [
        {"max_lr": max_lr, "batch_size": batch_size, "max_iter": max_iter}
        for batch_size, max_lr in STEPS
    ]
    for max_iter in (12, 20, 30)
}
CANDIDATES["MLPClassifier"] = [
    {"learning_rate_init": 1e-3, "batch_size": 1000, "max_iter": 30}
]

PARTS = ("epochs", "changes", "curves", "growth")

DRAWN = {
    # Network: its name in the picture.
    "skdam, quick": "skdam, 800 memories, 18 epochs",
    "PyTorch, 12 epochs": "PyTorch, 12 epochs",
    "PyTorch, 20 epochs": "PyTorch, 20 epochs",
    "PyTorch, 30 epochs": "PyTorch, 30 epochs",
}

THRESHOLDS = (2.0, 1.65)
"""Test errors in percent, the time to which is reported."""


def main() -> None:
    options = Options(__doc__, parts=PARTS)
    add = options.add_argument
    options.size("epochs", "of skdam", 60, quick=3)
    options.size("seeds", "runs of each curve", 3, quick=1)
    options.size("memories", "K, and the peers' hidden units", 2000, quick=64)
    options.size("batch-size", "where it is not chosen", 1000, quick=100)
    options.size("rounds", "of the timings", 5, quick=2)
    add("--power", type=int, default=3, help="n; default %(default)s")
    add("--formulations", default="feedforward,energy", help="to draw curves of")
    add("--peers", default="PyTorch,MLPClassifier", help="default: both")
    add("--tune", action="store_true", help="choose the peers' settings first")
    add("--resume", action="store_true", help="keep curves with unchanged settings")
    args = options.parse()
    # Some epochs are only timed, and not meant to converge.
    warnings.simplefilter("ignore", ConvergenceWarning)
    report = Report(args.output / "mnist_cpu.json", "digits" if args.quick else "mnist")
    if torch is None:
        print("PyTorch is not installed; its rows are left out.")
    elif args.quick:
        torch.set_num_threads(1)  # Its threads wait longer than so small steps take.
    data = load_images(args)
    if "epochs" in args.parts:
        epochs(report, data, args)
    if args.tune:
        tune(report, data, args)
    if "changes" in args.parts:
        changes(report, data, args)
    if "curves" in args.parts:
        curves(report, data, args)
    if "growth" in args.parts:
        growth(report, data, args)
    plot(report.results, report.path.with_suffix(".png"))
    print(f"Results are in {args.output}.")


def settings(args: argparse.Namespace) -> dict:
    names = ("epochs", "seeds", "power", "memories")
    return {name: getattr(args, name) for name in names}


def skdam_parameters(args, formulation: str, **others) -> dict:
    tuned = SKDAM.get(args.power, {})
    if args.memories != 2000:
        tuned = tuned | {"temperature": "auto"}
    return {
        "n_memories": args.memories,
        "power": args.power,
        "formulation": formulation,
        "batch_size": args.batch_size,
        "max_iter": args.epochs,
        **SKDAM_COMMON,
        **tuned,
        **others,
    }


def curve_parameters(args, formulation: str, **others) -> dict:
    chosen = {} if args.quick else SKDAM_CURVES.get(args.power, {})
    return skdam_parameters(args, formulation, **chosen | others)


def quick(args) -> dict:
    return {} if args.quick else QUICK.get(args.power, {})


def peers(args) -> dict:
    """Return the training function of each peer and the parameters to choose from."""
    fixed = {
        "PyTorch": (fit_torch, {"hidden_units": args.memories}),
        "MLPClassifier": (fit_mlp, {"hidden_layer_sizes": (args.memories,)}),
    }
    wanted = set(args.peers.split(",")) - ({"PyTorch"} if torch is None else set())
    found = {}
    for name, candidates in CANDIDATES.items():
        peer = name.partition(",")[0]
        if peer in wanted:
            fit, common = fixed[peer]
            found[name] = (
                fit,
                [
                    common | c | {"batch_size": min(c["batch_size"], args.batch_size)}
                    for c in candidates
                ],
            )
    return found


# Epochs


def epochs(report: Report, data: MNIST, args) -> None:
    """Time the implementations in turn, and the peak of the machine with them."""
    X, y = data.X_train, data.y_train
    part = report.part("epochs", **settings(args), batch_size=args.batch_size)
    runs = {}
    for formulation in ("feedforward", "energy"):
        name = f"skdam {formulation}"
        parameters = skdam_parameters(args, formulation)
        clock = EpochClock()
        model = fit_skdam(parameters, X, y, 0, clock)
        part.setdefault("mean_over_training", {})[name] = (
            clock.seconds[-1] / args.epochs
        )
        early = parameters | {"max_iter": 2, "learning_rate": "constant"}
        late = early | {
            "learning_rate_init": 0.02 * parameters["learning_rate_init"],
            "temperature": model.temperature_,
            "init": np.hstack([model.memories_, model.recognition_connections_]),
        }
        runs[name] = (fit_skdam, early)
        runs[f"{name}, late"] = (fit_skdam, late)
        if formulation == "feedforward":
            exact = early | {"gradient_tolerance": 0}
            runs[f"{name}, every gradient"] = (fit_skdam, exact)
        report.save()
        print(f"epochs: trained {name}", flush=True)
    for name, (fit, candidates) in peers(args).items():
        # The number of epochs makes no difference to one of them.
        runs[name.partition(",")[0]] = (fit, candidates[0] | {"max_iter": 2})

    def last_epoch(fit, parameters) -> float:
        clock = EpochClock()
        fit(parameters, X, y, 0, clock)
        return clock.last_epoch

    tasks = {name: partial(last_epoch, *run) for name, run in runs.items()}
    parameters = skdam_parameters(args, "energy")
    n_steps = part["tiled_minibatches_timed"] = 1 if args.quick else 2
    tasks["tiled energy, extrapolated"] = partial(
        tiled_seconds, parameters, model.temperature_, X, y, n_steps
    )
    flop = 4 * X.size * args.memories
    tasks["peak"] = partial(sgemm_peak, 512 if args.quick else 4096)
    for values in round_robin(tasks, args.rounds):
        seconds = dict(values)
        peak = np.array(seconds.pop("peak"))
        part["sgemm_peak"] = spread(peak)
        part["seconds"] = spreads(seconds)
        part["fraction_of_peak"] = {
            name: ratio(flop / peak, times) for name, times in seconds.items()
        }
        part["seconds_over"] = {
            base: ratios(seconds, base)
            for base in ("skdam feedforward", "skdam feedforward, late")
        }
        report.save()
    for name, values in part["seconds"].items():
        fraction = part["fraction_of_peak"][name]["median"]
        print(f"{name:38}{values['median']:9.3f} s{100 * fraction:5.0f} % of peak")


# Choices


def held_out_run(fit, parameters: dict, data: MNIST, seed: int) -> EpochClock:
    """Train on five sixths of the training images, and test on the others."""
    X, y, *rest = held_out(data.X_train, data.y_train)
    clock = EpochClock(*rest)
    fit(parameters, X, y, seed, clock)
    return clock


def changes(report: Report, data: MNIST, args) -> None:
    """Change one parameter of ours at a time, and score on held-out images."""
    changes_of(report, data, args, "changes", {}, CHANGES)
    changes_of(report, data, args, "quick_changes", quick(args), QUICK_CHANGES)


def changes_of(
    report: Report, data: MNIST, args, name: str, parameters: dict, table: dict
) -> None:
    part = report.part(name, **settings(args), parameters=parameters)
    some = [{}, *table.get(args.power, [])][: 2 if args.quick else None]
    part["runs"] = [{"change": change, "error": [], "seconds": []} for change in some]
    for seed in range(args.seeds):
        for run in part["runs"]:
            changed = curve_parameters(
                args, "feedforward", **parameters | run["change"]
            )
            clock = held_out_run(fit_skdam, changed, data, seed)
            run["error"].append(clock.test_error[-1])
            run["seconds"].append(clock.seconds[-1])
            print(f"{name}: {run['change']} {run['error'][-1]:.2f} %", flush=True)
        report.save()


def tune(report: Report, data: MNIST, args) -> None:
    """Choose the peers' settings on held-out images."""
    part = report.part("tuning", **settings(args))
    for name, (fit, candidates) in peers(args).items():
        results = part[name] = []
        candidates = candidates[: 2 if args.quick else None]
        for candidate in candidates if len(candidates) > 1 else []:
            error = held_out_run(fit, candidate, data, 0).test_error[-1]
            results.append({"candidate": candidate, "validation_error": error})
            report.save()
            print(f"tune: {name} {candidate} {error:.2f} %", flush=True)


def chosen(report: Report, name: str, candidates: list[dict]) -> dict:
    results = report.results.get("tuning", {}).get(name)
    if not results:
        return candidates[0]
    return min(results, key=lambda result: result["validation_error"])["candidate"]


# Curves


def curves(report: Report, data: MNIST, args) -> None:
    """Follow the test error of every method and seed, in turn."""
    part = report.part("curves", keep=True, thresholds=THRESHOLDS, **settings(args))
    methods = {
        f"skdam {formulation}, n={args.power}, {args.epochs} epochs": (
            fit_skdam,
            curve_parameters(args, formulation),
        )
        for formulation in args.formulations.split(",")
        if formulation
    }
    if parameters := quick(args):
        parameters = curve_parameters(args, "feedforward", **parameters)
        methods["skdam, quick"] = fit_skdam, parameters
    for name, (fit, candidates) in peers(args).items():
        methods[name] = (fit, chosen(report, name, candidates))
    runs = part.setdefault("runs", {})
    for name, (_, parameters) in methods.items():
        described = json.loads(json.dumps(parameters))
        if not args.resume or runs.get(name, {}).get("parameters") != described:
            runs[name] = {"parameters": described, "seeds": {}}
            machine = report.results["machine"]
            runs[name]["machine"] = {key: machine[key] for key in ("cpu", "versions")}
    # Train briefly, so that no clock sees what is only loaded at first use.
    some = slice(2 * args.batch_size)
    for fit, parameters in methods.values():
        brief = parameters | {"max_iter": 2}
        fit(brief, data.X_train[some], data.y_train[some], 0, EpochClock())
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
    over = part.setdefault(f"peer_time_to_{THRESHOLDS[-1]}_over", {})
    for ours in methods:
        if ours.startswith("skdam"):
            over[ours] = {
                peer: time_ratio(runs[peer]["seeds"], runs[ours]["seeds"])
                for peer in peers(args)
            }
    report.save()


def reach(run: dict, threshold: float) -> tuple[int | None, float | None]:
    """Return the epochs and seconds until the error is below a threshold, if it is."""
    below = np.less(run["error"], threshold)
    if not below.any():
        return None, None
    return int(below.argmax()) + 1, run["seconds"][below.argmax()]


def summary(seeds: list[dict]) -> dict:
    """Return final errors, and epochs and seconds to each threshold (None: never)."""
    final = [run["error"][-1] for run in seeds]
    result = {
        "final_error_mean": float(np.mean(final)),
        "final_error_std": float(np.std(final, ddof=1)) if len(final) > 1 else None,
        "total_seconds": [run["seconds"][-1] for run in seeds],
    }
    for threshold in THRESHOLDS:
        epochs, seconds = zip(*(reach(run, threshold) for run in seeds), strict=True)
        result[f"epochs_to_{threshold}"] = epochs
        result[f"seconds_to_{threshold}"] = seconds
    return result


def time_ratio(peer: dict, ours: dict) -> dict | None:
    """Return a peer's time to the last threshold over skdam's, seed by seed.

    Where the peer never reaches it, its total time counts and the ratio is a lower
    bound; None where skdam does not.
    """
    found, lower_bound = [], False
    for seed in ours.keys() & peer.keys():
        _, seconds = reach(ours[seed], THRESHOLDS[-1])
        if seconds is None:
            return None
        _, peer_seconds = reach(peer[seed], THRESHOLDS[-1])
        lower_bound |= peer_seconds is None
        found.append((peer_seconds or peer[seed]["seconds"][-1]) / seconds)
    return {**spread(found), "is_lower_bound": lower_bound}


# Plot


def plot(results: dict, path: Path) -> None:
    """Draw the test error against the seconds of training, one seed of each network."""
    runs = results.get("curves", {}).get("runs", {})
    runs = {name: runs[name] for name in DRAWN if name in runs}
    if not runs:
        return
    figure = Figure(figsize=(8.3, 4.5), layout="constrained")
    ax = figure.subplots()
    for color, (name, run) in zip(COLORS, runs.items(), strict=False):
        curve = next(iter(run["seeds"].values()))
        ax.plot(curve["seconds"], curve["error"], color=color, label=DRAWN[name])
    ax.set(xscale="log", yscale="log", xlabel="Seconds of training")
    ax.set_ylabel("Test error (%)")
    ax.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    ax.set_yticks([1.5, 2, 3, 5, 10], ["1.5", "2", "3", "5", "10"])
    ax.minorticks_off()
    ax.legend(labelcolor="linecolor", frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
