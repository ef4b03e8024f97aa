"""Recall from a binary dense associative memory, against two plainer ways.

    python examples/benchmarks/recall.py

writes ``results/recall.json`` and a plot of it beside this script; ``--quick`` tries
everything at small sizes in a few seconds. Needs PyTorch for its rows.

What is measured
----------------
updates
    Seconds in which 100 corrupted patterns of 200 neurons reach fixed points of a
    network of 10 000 memories, and unit updates per second, on one core. A sweep over
    all neurons of a state counts as that many updates for all implementations. n = 3 is
    above capacity: states wander, with many flips. n = 10 is far below: a sweep of
    corrections, and one without flips.
cores
    The same with ``n_jobs``, in worker processes of one thread each; beside it as many
    plain loops, which tell how many cores were free.
capacity
    Seconds to find the K at which half of the trials recover, N = 100, n = 3, to 10 %.

The implementations follow the same orders and take the same decisions, which is
checked on a few of the states. They take turns; ratios are formed within a round.

naive
    The textbook: each update computes the overlaps of all memories with the state, 2 K
    N flop and 8 K N bytes of memories, then F twice for each. Timed on some updates,
    and multiplied: its time does not depend on the state.
torch
    PyTorch, all states at once, unit by unit; overlaps are kept and changed by flips.
    F twice for each memory and state. Timed on some units, and multiplied.
"""

from __future__ import annotations

from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
from _measure import Options, Report, ratio, ratios, round_robin, seconds_of, spreads
from _peers import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from skdam import DenseAssociativeMemory
from skdam._backends import recall_cpu
from skdam._backends.overlap_tables import overlap_tables
from skdam.capacity import half_recall_capacity, recovery_capacity
from skdam.energies import RectifiedPolynomial

SEED = 0


# How large everything is.
Scale = namedtuple(
    "Scale",
    "n_neurons n_memories n_states naive_updates torch_steps rounds jobs half_neurons "
    "half_trials loop",
)
FULL = Scale(200, 10_000, 100, 100, 100, 3, (1, 2), 100, 40, 20_000_000)
QUICK = Scale(40, 200, 10, 20, 20, 2, (1, 2), 30, 4, 100_000)


def naive(memories, states, power: int, orders, max_updates: float = np.inf):
    """Recall from states one by one, as it is written."""

    def F(x):
        return np.maximum(x, 0.0) ** power

    states = states.astype(float)
    n_updates = 0
    for state in states:
        for order in orders():
            flipped = False
            for i in order:
                if n_updates >= max_updates:
                    return states
                rest = memories @ state - memories[:, i] * state[i]
                field = (F(rest + memories[:, i]) - F(rest - memories[:, i])).sum()
                n_updates += 1
                if field * state[i] < 0:
                    state[i] = -state[i]
                    flipped = True
            if not flipped:
                break
    return states


def batched(memories, states, power: int, orders, max_steps: float = np.inf):
    """Recall from all states together in PyTorch, from (1 or S, K, N) memories."""
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


def updates(report: Report, scale: Scale) -> None:
    """Time recall on one core."""
    part = report.part("updates", **scale._asdict())
    memories, states = problem(scale)
    patterns = np.ascontiguousarray(memories.T.astype(np.int8))
    # The seed that the estimator draws.
    seed = np.random.RandomState(SEED).randint(2**31 - 1)
    orders = partial(recall_cpu.sweep_orders, seed, scale.n_neurons)
    for power in (3, 10):
        fitted = DenseAssociativeMemory(power, random_state=SEED).fit(memories)
        tables = overlap_tables(RectifiedPolynomial(power), scale.n_neurons)
        end = recall_cpu.recall(patterns, states.astype(np.int8), tables, orders())
        check(memories, states, power, orders, end.states)
        n_updates = int(end.n_sweeps.sum()) * scale.n_neurons
        # PyTorch updates all states until the last has converged.
        n_steps = int(end.n_sweeps.max()) * scale.n_neurons
        tasks = {
            "skdam": partial(seconds_of, fitted.recall, states),
            "naive, extrapolated": extrapolated(
                naive, scale.naive_updates, n_updates, memories, states, power, orders
            ),
        }
        if torch is not None:
            tasks["torch, extrapolated"] = extrapolated(
                batched,
                scale.torch_steps,
                n_steps,
                memories[None],
                states,
                power,
                orders,
            )
        recovered = (end.states == memories[: len(states)]).all(axis=1).mean()
        for values in round_robin(tasks, scale.rounds):
            rates = {name: np.divide(n_updates, values[name]) for name in tasks}
            part[f"n = {power}"] = {
                "updates": n_updates,
                "sweeps": float(end.n_sweeps.mean()),
                "recovered": float(recovered),
                "seconds": spreads(values),
                "updates_per_second": spreads(rates),
                "times_as_fast_as": ratios(values, "skdam"),
            }
            report.save()
        for name, found in part[f"n = {power}"]["updates_per_second"].items():
            print(f"n = {power:2}  {name:22}{found['median']:14.0f} updates/s")


def extrapolated(function, timed: int, total: int, *arguments):
    """Return a task that is timed on a part of its work, and multiplied."""
    return lambda: seconds_of(function, *arguments, timed) * total / timed


def check(memories, states, power: int, orders, expected) -> None:
    """Let all implementations come to the same states."""
    assert (naive(memories, states[:1], power, orders) == expected[:1]).all()
    if torch is not None:
        found = batched(memories[None], states[:4], power, orders)
        assert (found == expected[:4]).all()


def loop(count: int) -> int:
    """Keep one core busy, without memory."""
    total = 0
    for i in range(count):
        total += i
    return total


def cores(report: Report, scale: Scale) -> None:
    """Time recall by worker processes, started beforehand."""
    part = report.part("cores", **scale._asdict())
    memories, states = problem(scale)
    states = np.tile(states, (8, 1))

    def recall(n_jobs: int) -> float:
        model = DenseAssociativeMemory(3, random_state=SEED, n_jobs=n_jobs)
        model.fit(memories)
        model.recall(states[:n_jobs])
        return seconds_of(model.recall, states)

    def loops(n_jobs: int) -> float:
        with Parallel(n_jobs) as parallel:
            parallel(delayed(loop)(1) for _ in range(n_jobs))
            tasks = [delayed(loop)(scale.loop)] * n_jobs
            return seconds_of(parallel, tasks) / n_jobs

    tasks = {f"n_jobs = {n}": partial(recall, n) for n in scale.jobs}
    tasks |= {f"{n} loops": partial(loops, n) for n in scale.jobs}
    for values in round_robin(tasks, scale.rounds):
        part["seconds"] = spreads(values)
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
    part = report.part("capacity", **scale._asdict())
    N, power, energy = scale.half_neurons, 3, "rectified_polynomial"
    search = partial(half_recall_capacity, N, power, energy, random_state=SEED)
    found = []
    part["first_search_seconds"] = seconds_of(lambda: found.append(search()))
    half = found[0]
    work = sum(K * total for K, (_, total) in half.trials.items())
    K = round(half.n_memories)
    orders = partial(recall_cpu.sweep_orders, SEED, N)

    def networks(count: int):
        rng = np.random.default_rng(SEED)
        return rng.choice([-1.0, 1.0], (count, K, N))

    def naive_trials(count: int):
        for memories in networks(count):
            naive(memories, memories[:1], power, orders)

    def torch_trials(count: int):
        memories = networks(count)
        batched(memories, memories[:, 0].copy(), power, orders)

    few, total = scale.half_trials // 4, work / K
    tasks = {
        "skdam": partial(seconds_of, search),
        "naive, extrapolated": extrapolated(naive_trials, few, total),
    }
    if torch is not None:
        tasks["torch, extrapolated"] = extrapolated(
            torch_trials, scale.half_trials, total
        )
    part["half_recall"] = {
        "n_memories": half.n_memories,
        "interval": list(half.interval),
        "trials": sum(total for _, total in half.trials.values()),
        "theory": recovery_capacity(N, power, 0.5, energy),
    }
    for values in round_robin(tasks, scale.rounds):
        part["seconds"] = spreads(values)
        part["times_as_fast_as"] = ratios(values, "skdam")
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
    args = Options(__doc__, mnist=False).parse()
    scale = QUICK if args.quick else FULL
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
