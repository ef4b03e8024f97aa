"""Recall from a binary dense associative memory, against two plainer ways.

    python examples/benchmarks/recall.py

writes ``results/recall.json`` and a plot of it beside this script; ``--quick`` tries
everything at small sizes in a few seconds. Needs PyTorch for its rows.

What is measured
----------------
updates
    Seconds in which 100 corrupted patterns of 200 neurons relax to fixed points of a
    network of 10 000 memories, and unit updates per second, on one core. A sweep over
    all neurons of a state counts as that many updates for all implementations. n = 3 is
    above capacity: states wander, with many flips. n = 10 is far below: a sweep of
    corrections, and one without flips.
cores
    The same with ``n_jobs``, in worker processes of one thread each; beside it as many
    plain loops, which tell how many cores there really were to be had.
capacity
    Seconds to find the K at which half of the trials recover, N = 100, n = 3, to 10 %.

The implementations follow the same orders and take the same decisions, which is
checked on a few of the states. They take turns; ratios are formed within a round.

naive
    The textbook: for each update the overlaps of all memories with the state are
    recomputed, 2 K N flop and 8 K N bytes of memories, then F twice for each. Timed on
    some updates, and multiplied: its time does not depend on the state.
torch
    PyTorch, all states at once, unit by unit; overlaps are kept and changed by flips.
    F twice for each memory and state. Timed on some units, and multiplied.

The work of an update
---------------------
skdam's sweep without flips is one product of states and memories, 2 K flop for each
update, and 8 K / S bytes for the memories, where S states share a window. With
K = 10 000 and 30 Gflop/s that would be 0.7 microseconds, or 1.5 million updates a
second. A flip changes the K overlaps of its state (16 K bytes), looks each up in two
tables (32 K), and computes the window again (32 K flop, 8 K bytes): 56 K bytes, of
which most come from the cache; at 20 Gbyte/s, 28 microseconds. The naive update reads
16 Mbyte: 1.6 ms at 10 Gbyte/s, and longer with F.

What was found
--------------
- Updates that bring no flip are nearly free, as predicted; a flip takes some 60
  microseconds, twice the prediction: NumPy's temporaries are passes of their own.
- Overlaps in machine words are looked up in half a nanosecond, narrower ones in several
  times that, since NumPy widens them first. Counting them instead took longer.
- Blocks of half a million overlaps are best, as smaller ones read the memories too
  often. More units in a window make quiet sweeps faster, and flips slower.
- Two BLAS threads never helped the thin products of a window, and on a busy machine
  took several times as long; skdam keeps to one in each process.
- Networks of some hundred memories, as in the search for the half-recall capacity, are
  bound by calls, not by arithmetic: there the naive way is closer.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from _measure import Report, ratio, round_robin, spread
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from skdam import DenseAssociativeMemory
from skdam.capacity import half_recall_capacity, recovery_capacity
from skdam.energies import RectifiedPolynomial
from skdam.kernels.recall import relax, sweep_orders
from skdam.overlap_tables import overlap_tables

try:
    import torch
except ImportError:
    torch = None

SEED = 0


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    n_neurons: int
    n_memories: int
    n_states: int
    naive_updates: int
    torch_steps: int
    rounds: int
    jobs: tuple
    half_neurons: int
    half_trials: int
    loop: int


FULL = Scale(200, 10_000, 100, 100, 100, 3, (1, 2), 100, 40, 20_000_000)
QUICK = Scale(40, 200, 10, 20, 20, 2, (1, 2), 30, 4, 100_000)


def naive(memories, states, power: int, orders, max_updates: float = np.inf):
    """Relax states one by one, as it is written; return them and the updates made."""

    def F(x):
        return np.maximum(x, 0.0) ** power

    states = states.astype(float)
    n_updates = 0
    for state in states:
        for order in orders():
            flipped = False
            for i in order:
                if n_updates >= max_updates:
                    return states, n_updates
                rest = memories @ state - memories[:, i] * state[i]
                field = (F(rest + memories[:, i]) - F(rest - memories[:, i])).sum()
                n_updates += 1
                if field * state[i] < 0:
                    state[i] = -state[i]
                    flipped = True
            if not flipped:
                break
    return states, n_updates


def batched(memories, states, power: int, orders, max_steps: float = np.inf):
    """Relax states together in PyTorch, from (1 or S, K, N) memories."""
    xi = torch.from_numpy(memories).movedim(-1, 0).contiguous()
    states = torch.from_numpy(states.astype(float))
    h = torch.einsum("nsk,sn->sk", xi.expand(-1, len(states), -1), states)

    def F(x):
        return x.clamp(min=0) ** power

    n_steps = 0
    for order in orders():
        flipped = False
        for i in order:
            if n_steps >= max_steps:
                return states.numpy()
            n_steps += 1
            rest = h - xi[i] * states[:, i, None]
            field = (F(rest + xi[i]) - F(rest - xi[i])).sum(dim=1)
            flips = field * states[:, i] < 0
            if flips.any():
                flipped = True
                h[flips] -= (2 * xi[i] * states[:, i, None])[flips]
                states[flips, i] *= -1
        if not flipped:
            break
    return states.numpy()


def problem(scale: Scale, corruption: float = 0.1):
    rng = np.random.default_rng(SEED)
    memories = rng.choice([-1.0, 1.0], (scale.n_memories, scale.n_neurons))
    states = memories[: scale.n_states].copy()
    states[rng.random(states.shape) < corruption] *= -1
    return memories, states


def seconds_of(function) -> float:
    begin = perf_counter()
    function()
    return perf_counter() - begin


def updates(report: Report, scale: Scale) -> None:
    """Time recall on one core."""
    part = report.part("updates", **vars(scale))
    memories, states = problem(scale)
    patterns = np.ascontiguousarray(memories.T.astype(np.int8))
    # The seed that the estimator draws.
    seed = np.random.RandomState(SEED).randint(2**31 - 1)
    orders = partial(sweep_orders, seed, scale.n_neurons)
    for power in (3, 10):
        fitted = DenseAssociativeMemory(power, random_state=SEED).fit(memories)
        tables = overlap_tables(RectifiedPolynomial(power), scale.n_neurons)
        end = relax(patterns, states.astype(np.int8), tables, orders())
        n_updates = int(end.sweeps.sum()) * scale.n_neurons
        check(memories, states, power, orders, end.states)

        def naive_seconds(power=power, n_updates=n_updates):
            timed = scale.naive_updates
            run = partial(naive, memories, states, power, orders, timed)
            return seconds_of(run) * n_updates / timed

        tasks = {
            "skdam": partial(seconds_of, partial(fitted.recall, states)),
            "naive, extrapolated": naive_seconds,
        }
        if torch is not None:
            # All states take part until the last has settled.
            n_steps = int(end.sweeps.max()) * scale.n_neurons

            def torch_seconds(power=power, n_steps=n_steps):
                timed = scale.torch_steps
                run = partial(batched, memories[None], states, power, orders, timed)
                return seconds_of(run) * n_steps / timed

            tasks["torch, extrapolated"] = torch_seconds
        for values in round_robin(tasks, scale.rounds):
            part[f"n = {power}"] = {
                "updates": n_updates,
                "sweeps": float(end.sweeps.mean()),
                "recovered": float(
                    (end.states == memories[: len(states)]).all(1).mean()
                ),
                "seconds": {name: spread(values[name]) for name in tasks},
                "updates_per_second": {
                    name: spread(np.divide(n_updates, values[name])) for name in tasks
                },
                "times_as_fast_as": {
                    name: ratio(values[name], values["skdam"])
                    for name in tasks
                    if name != "skdam"
                },
            }
            report.save()
        for name in tasks:
            rate = part[f"n = {power}"]["updates_per_second"][name]["median"]
            print(f"n = {power:2}  {name:22}{rate:14.0f} updates/s", flush=True)


def check(memories, states, power: int, orders, expected) -> None:
    """Let all implementations come to the same states."""
    single, _ = naive(memories, states[:1], power, orders)
    assert (single == expected[:1]).all()
    if torch is not None:
        assert (
            batched(memories[None], states[:4], power, orders) == expected[:4]
        ).all()


def loop(count: int) -> int:
    """Keep one core busy, without memory."""
    total = 0
    for i in range(count):
        total += i
    return total


def cores(report: Report, scale: Scale) -> None:
    """Time recall by worker processes, started beforehand."""
    part = report.part("cores", **vars(scale))
    memories, states = problem(scale)
    states = np.tile(states, (8, 1))

    def recall(n_jobs: int) -> float:
        model = DenseAssociativeMemory(3, random_state=SEED, n_jobs=n_jobs)
        model.fit(memories)
        model.recall(states[:n_jobs])
        return seconds_of(partial(model.recall, states))

    def loops(n_jobs: int) -> float:
        with Parallel(n_jobs) as parallel:
            parallel(delayed(loop)(1) for _ in range(n_jobs))
            run = partial(parallel, (delayed(loop)(scale.loop) for _ in range(n_jobs)))
            return seconds_of(run) / n_jobs

    tasks = {f"n_jobs = {n}": partial(recall, n) for n in scale.jobs}
    tasks |= {f"{n} loops": partial(loops, n) for n in scale.jobs}
    for values in round_robin(tasks, scale.rounds):
        part["seconds"] = {name: spread(values[name]) for name in tasks}
        part["speed_up"] = {
            name.format(n): ratio(values[name.format(1)], values[name.format(n)])
            for name in ("n_jobs = {}", "{} loops")
            for n in scale.jobs
        }
        report.save()
    for name in tasks:
        print(f"{name:12}{part['speed_up'][name]['median']:6.2f} times as fast as one")


def capacity(report: Report, scale: Scale) -> None:
    """Time the search for the half-recall capacity; extrapolate the others."""
    part = report.part("capacity", **vars(scale))
    N, power = scale.half_neurons, 3
    found = {}

    def search() -> float:
        run = partial(
            half_recall_capacity, N, power, "rectified_polynomial", random_state=SEED
        )
        begin = perf_counter()
        found["half"] = run()
        return perf_counter() - begin

    search_once = search()
    half = found["half"]
    work = sum(K * total for K, (_, total) in half.trials.items())
    K = round(half.n_memories)
    orders = partial(sweep_orders, SEED, N)

    def networks(count: int):
        rng = np.random.default_rng(SEED)
        return rng.choice([-1.0, 1.0], (count, K, N))

    def naive_trials():
        for memories in networks(scale.half_trials // 4):
            naive(memories, memories[:1], power, orders)

    def torch_trials():
        memories = networks(scale.half_trials)
        batched(memories, memories[:, 0].copy(), power, orders)

    tasks = {
        "skdam": search,
        "naive, extrapolated": lambda: (
            seconds_of(naive_trials) * work / (K * (scale.half_trials // 4))
        ),
    }
    if torch is not None:
        tasks["torch, extrapolated"] = lambda: (
            seconds_of(torch_trials) * work / (K * scale.half_trials)
        )
    part["first_search_seconds"] = search_once
    part["half_recall"] = {
        "n_memories": half.n_memories,
        "interval": list(half.interval),
        "trials": sum(total for _, total in half.trials.values()),
        "theory": recovery_capacity(N, power, 0.5, "rectified_polynomial"),
    }
    for values in round_robin(tasks, scale.rounds):
        part["seconds"] = {name: spread(values[name]) for name in tasks}
        part["times_as_fast_as"] = {
            name: ratio(values[name], values["skdam"])
            for name in tasks
            if name != "skdam"
        }
        report.save()
    print(f"K_half = {half.n_memories:.0f} in {half.interval}")
    for name in tasks:
        print(f"{name:22}{part['seconds'][name]['median']:9.2f} s")


def plot(results: dict, path: Path) -> None:
    """Draw updates per second and seconds to the half-recall capacity."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    rate_ax, half_ax = figure.subplots(1, 2)
    rates = {
        f"{name.partition(',')[0]}, {case}": values["median"]
        for case in ("n = 10", "n = 3")
        for name, values in results["updates"][case]["updates_per_second"].items()
    }
    rate_ax.barh(list(rates), list(rates.values()))
    rate_ax.set(xscale="log", xlim=100, xlabel="unit updates per second, one core")
    seconds = results["capacity"]["seconds"]
    names = [name.partition(",")[0] for name in seconds]
    half_ax.barh(names, [values["median"] for values in seconds.values()])
    half_ax.set(xlabel="seconds to the half-recall capacity")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure recall against plainer ways.")
    parser.add_argument("--quick", action="store_true", help="small, to a new folder")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: results")
    args = parser.parse_args()
    scale = QUICK if args.quick else FULL
    if args.output is None:
        beside = Path(__file__).parent / "results"
        args.output = Path(tempfile.mkdtemp()) if args.quick else beside
    report = Report(args.output / "recall.json", "random patterns")
    if torch is None:
        print("PyTorch is not installed; its rows are left out.")
    else:
        torch.set_num_threads(1)
    with threadpool_limits(1):
        updates(report, scale)
        cores(report, scale)
        capacity(report, scale)
    plot(report.results, report.path.with_suffix(".png"))
    print(f"Results are in {args.output}.")


if __name__ == "__main__":
    main()
