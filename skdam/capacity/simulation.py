"""How many random patterns a dense associative memory can store, by simulation."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.stats import binomtest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state, gen_even_slices
from sklearn.utils._param_validation import Interval

from .._backends.overlap_tables import overlap_tables
from .._backends.recall_cpu import overlaps, recall, sweep_orders, unstable
from .._backends.threads import WORTH_A_THREAD, thread_team
from ..energies import ENERGY_CONSTRAINT, Energy, get_energy
from . import theory
from .theory import checked, recovery_capacity

__all__ = [
    "HalfRecall",
    "RecallTrials",
    "half_recall_capacity",
    "simulate_bit_error",
    "simulate_recall",
]

MEMORIES_PER_NETWORK = 20
"""Memories of one network whose unstable neurons are counted."""

LARGEST_NETWORK = 2**26
"""Elements of the memories of one network that half_recall_capacity tries."""

FIRST_TRIALS = 64
"""Trials after which a number of memories is first judged."""

_COUNT = [Interval(Integral, 1, None, closed="left")]

CONSTRAINTS = {
    "n_neurons": theory.CONSTRAINTS["n_neurons"],
    "n_memories": _COUNT,
    "power": theory.CONSTRAINTS["power"],
    "energy": ENERGY_CONSTRAINT,
    "n_trials": _COUNT,
    "corruption": [Interval(Real, 0, 1, closed="both"), None],
    "tolerance": [Interval(Real, 0, None, closed="neither")],
    "confidence": [Interval(Real, 0, 1, closed="neither")],
    "max_trials": _COUNT,
    "temperature": [Interval(Real, 0, None, closed="neither")],
    "max_iter": _COUNT,
    "random_state": ["random_state"],
    "n_jobs": [Integral, None],
    "verbose": ["verbose"],
}


@dataclass(frozen=True)
class RecallTrials:
    """Outcome of recall in random networks, one element for each trial.

    Attributes
    ----------
    overlaps : ndarray of shape (n_trials,)
        ``m = max_mu 1/N sum_i xi_i^mu sigma_i`` of the state reached.
    recovered : bool ndarray of shape (n_trials,)
        Whether the state reached is the memory that the cue was made of.
    converged : bool ndarray of shape (n_trials,)
        Whether the state reached is a fixed point.
    sweeps : ndarray of shape (n_trials,)
        Number of sweeps, including the last one, in which nothing flipped.
    """

    overlaps: np.ndarray
    recovered: np.ndarray
    converged: np.ndarray
    sweeps: np.ndarray


@checked(CONSTRAINTS)
def simulate_recall(
    n_neurons: int,
    n_memories: int,
    power: float = 3,
    energy: str | Energy = "polynomial",
    n_trials: int = 100,
    *,
    corruption: float | None = 0.0,
    temperature: float = 1.0,
    max_iter: int = 100,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: bool | int = False,
) -> RecallTrials:
    """Store random patterns, start near one of them, and see where recall ends.

    Each trial draws a network of its own, so that trials are independent.

    Parameters
    ----------
    n_neurons : int
        N.
    n_memories : int
        K, random patterns of +-1.
    power : float, default=3
        n, for the polynomial energies.
    energy : str or Energy, default="polynomial"
        F, as in :class:`~skdam.DenseAssociativeMemory`.
    n_trials : int, default=100
        Number of trials.
    corruption : float or None, default=0.0
        Share of the neurons of the memory that are flipped in the cue; None: the cue is
        a random state.
    temperature : float, default=1.0
        T, for energies other than the polynomials.
    max_iter : int, default=100
        Largest number of sweeps.
    random_state : int, RandomState instance or None, default=None
        Seed of memories, cues and orders.
    n_jobs : int or None, default=None
        Number of worker processes. It does not change results.
    verbose : bool or int, default=False
        Verbosity of :class:`joblib.Parallel`.

    Returns
    -------
    RecallTrials

    Examples
    --------
    >>> from skdam.capacity import simulate_recall
    >>> below = simulate_recall(50, 30, power=3, n_trials=20, random_state=0)
    >>> float(below.recovered.mean())
    1.0
    >>> above = simulate_recall(50, 1000, power=3, n_trials=20, random_state=0)
    >>> float(above.recovered.mean())
    0.0
    """
    network = _Network(
        n_neurons, power, energy, random_state, corruption, temperature, max_iter
    )
    with Parallel(n_jobs=n_jobs, verbose=int(verbose)) as parallel:
        return network.trials(n_memories, range(n_trials), parallel)


@dataclass
class _Network:
    """What trials have in common."""

    n_neurons: int
    power: float
    energy: str | Energy
    random_state: Any
    corruption: float | None = 0.0
    temperature: float = 1.0
    max_sweeps: int = 100

    def __post_init__(self) -> None:
        energy = get_energy(self.energy, self.power)
        self.tables = overlap_tables(energy, self.n_neurons, self.temperature)
        self.seed = check_random_state(self.random_state).randint(2**31 - 1)

    def draw(self, n_memories: int, trial: int):
        """Return random memories, one in a column, and the generator they came of."""
        rng = np.random.default_rng([self.seed, n_memories, trial])
        bits = rng.integers(0, 2, (self.n_neurons, n_memories), dtype=np.int8)
        bits *= 2
        bits -= 1
        return bits, rng

    def trial(self, n_memories: int, trial: int) -> tuple[float, bool, bool, int]:
        patterns, rng = self.draw(n_memories, trial)
        cue = patterns[:, 0].copy()
        if self.corruption is None:
            cue = rng.choice(np.array([-1, 1], np.int8), self.n_neurons)
        elif self.corruption:
            count = round(self.corruption * self.n_neurons)
            cue[rng.choice(self.n_neurons, count, replace=False)] *= -1
        orders = sweep_orders(int(rng.integers(2**31)), self.n_neurons)
        end = recall(
            patterns, cue[None], self.tables, orders, max_sweeps=self.max_sweeps
        )
        m = overlaps(patterns, end.states).max() / self.n_neurons
        recovered = (end.states[0] == patterns[:, 0]).all()
        return m, recovered, end.converged[0], end.n_sweeps[0]

    def trials(self, n_memories: int, numbers: range, parallel) -> RecallTrials:
        n_chunks = min(len(numbers), 4 * effective_n_jobs(parallel.n_jobs))
        parts = parallel(
            delayed(_run)(self, n_memories, numbers[chunk])
            for chunk in gen_even_slices(len(numbers), n_chunks)
        )
        columns = zip(*[row for part in parts for row in part], strict=True)
        return RecallTrials(*map(np.array, columns))


def _run(network: _Network, n_memories: int, numbers: range) -> list[tuple]:
    with thread_team(WORTH_A_THREAD), np.errstate(under="ignore"):
        return [network.trial(n_memories, number) for number in numbers]


@checked({**CONSTRAINTS, "n_trials": [Interval(Integral, 2, None, closed="left")]})
def simulate_bit_error(
    n_neurons: int,
    n_memories: int,
    power: float = 3,
    energy: str | Energy = "polynomial",
    n_trials: int = 100,
    *,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[float, float]:
    """Return the share of unstable neurons in stored patterns, by simulation.

    Parameters
    ----------
    n_neurons : int
        N.
    n_memories : int
        K.
    power : float, default=3
        n.
    energy : str or Energy, default="polynomial"
        F.
    n_trials : int, default=100
        Number of random networks; in each, up to 20 memories are looked at.
    random_state : int, RandomState instance or None, default=None
        Seed of the memories.

    Returns
    -------
    rate : float
        Share of neurons that would flip if they were updated first.
    standard_error : float
        Of the rate, from its variance between networks: neurons of one network share
        their noise.

    Examples
    --------
    >>> from skdam.capacity import expected_bit_error, simulate_bit_error
    >>> rate, error = simulate_bit_error(100, 1000, power=3, random_state=0)
    >>> abs(rate - expected_bit_error(100, 1000, power=3)) < 3 * error
    True
    """
    network = _Network(n_neurons, power, energy, random_state)
    rates = []
    with thread_team(WORTH_A_THREAD), np.errstate(under="ignore"):
        for trial in range(n_trials):
            patterns, _ = network.draw(n_memories, trial)
            states = np.ascontiguousarray(patterns[:, :MEMORIES_PER_NETWORK].T)
            rates.append(unstable(patterns, states, network.tables).mean())
    return float(np.mean(rates)), float(np.std(rates, ddof=1) / math.sqrt(n_trials))


@dataclass(frozen=True)
class HalfRecall:
    """The number of memories at which half of the trials recover their memory.

    Attributes
    ----------
    n_memories : float
        The estimate: where a logistic curve in ln K, fitted to all trials, is one half.
    interval : tuple of (int, int)
        Largest number of memories at which more than half recovered, and smallest at
        which less than half did, both with confidence.
    trials : dict
        For each number of memories tried: recovered trials, and all trials.
    """

    n_memories: float
    interval: tuple[int, int]
    trials: dict[int, tuple[int, int]] = field(repr=False)


@checked({**CONSTRAINTS, "corruption": [Interval(Real, 0, 0.5, closed="left")]})
def half_recall_capacity(
    n_neurons: int,
    power: float = 3,
    energy: str | Energy = "polynomial",
    *,
    corruption: float = 0.0,
    tolerance: float = 0.1,
    confidence: float = 0.99,
    max_trials: int = 4096,
    temperature: float = 1.0,
    max_iter: int = 100,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
    verbose: bool | int = False,
) -> HalfRecall:
    """Find the number of memories at which half of the trials recover perfectly.

    The search is a bisection. At each number of memories trials are added until their
    binomial (Clopper-Pearson) interval excludes one half. If it does not after
    ``max_trials``, the ends of the interval are sought around that number.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float, default=3
        n, for the polynomial energies.
    energy : str or Energy, default="polynomial"
        F, as in :class:`~skdam.DenseAssociativeMemory`.
    corruption : float, default=0.0
        Share of the neurons that are flipped in the cue, in [0, 0.5).
    tolerance : float, default=0.1
        Width of the interval, relative to its lower end.
    confidence : float, default=0.99
        Of each single comparison with one half.
    max_trials : int, default=4096
        Most trials at one number of memories.
    temperature : float, default=1.0
        T, for energies other than the polynomials.
    max_iter : int, default=100
        Largest number of sweeps.
    random_state : int, RandomState instance or None, default=None
        Seed of memories, cues and orders.
    n_jobs : int or None, default=None
        Number of worker processes. It does not change results.
    verbose : bool or int, default=False
        Whether to print each number of memories that was judged.

    Returns
    -------
    HalfRecall

    Raises
    ------
    ValueError
        If a parameter is not usable, ``max_trials`` are too few for the confidence, or
        the capacity is that of networks too large to be simulated.

    Warns
    -----
    ConvergenceWarning
        If ``max_trials`` were too few for an interval of that width.

    Examples
    --------
    >>> from skdam.capacity import half_recall_capacity, recovery_capacity
    >>> half = half_recall_capacity(50, power=2, tolerance=0.4, random_state=0)
    >>> low, high = half.interval
    >>> low < recovery_capacity(50, power=2) < high
    True
    """
    least = math.floor(1 - math.log2(1 - confidence)) + 1
    if max_trials < least:
        raise ValueError(
            f"max_trials={max_trials} trials can never tell a share of recovered ones "
            f"from one half at confidence={confidence!r}; at least {least} can."
        )
    network = _Network(
        n_neurons, power, energy, random_state, corruption, temperature, max_iter
    )
    start = _first_guess(n_neurons, power, energy, corruption)
    tried: dict[int, tuple[int, int]] = {}
    with Parallel(n_jobs=n_jobs) as parallel:

        @cache
        def verdict(n_memories: int) -> int:
            """Return 1 if more than half of the trials recover, -1 if less, or 0."""
            if n_memories < 1:
                return 1
            if n_memories * n_neurons > LARGEST_NETWORK:
                raise ValueError(
                    f"energy={energy!r} with power={power!r}: below {n_memories} "
                    f"memories in {n_neurons} neurons no number was found at which "
                    "half of the trials fail, and larger networks are not tried; use "
                    "fewer neurons."
                )
            recovered, total, result = 0, 0, 0
            while not result and total < max_trials:
                numbers = range(total, min(max(FIRST_TRIALS, 2 * total), max_trials))
                found = network.trials(n_memories, numbers, parallel).recovered
                recovered += int(found.sum())
                total = numbers.stop
                low, high = binomtest(recovered, total).proportion_ci(confidence)
                result = 1 if low > 0.5 else -1 if high < 0.5 else 0
            tried[n_memories] = recovered, total
            if verbose:
                print(f"K = {n_memories}: {recovered} of {total} recovered", flush=True)
            return result

        low, high = _bracket(start, verdict)
        while high - low > 1 and high > (1 + tolerance) * low:
            middle = min(max(low + 1, round(math.sqrt(low * high))), high - 1)
            result = verdict(middle)
            if result > 0:
                low = middle
            elif result < 0:
                high = middle
            else:
                step = math.sqrt(1 + tolerance)
                below = above = middle
                while below > low and verdict(below) <= 0:
                    below = min(below - 1, math.ceil(below / step))
                while above < high and verdict(above) >= 0:
                    above = max(above + 1, math.floor(above * step))
                low, high = max(low, below), min(high, above)
                break
    if high - low > 2 and high > (1 + tolerance) * low:
        warnings.warn(
            f"max_trials={max_trials} leave the interval {low} to {high}, wider than "
            f"tolerance={tolerance:g}.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return HalfRecall(_half_point(tried, low, high), (low, high), dict(tried))


def _half_point(tried: dict, low: int, high: int) -> float:
    """Return where a logistic curve, fitted to all trials, falls to one half."""
    x = np.log(np.repeat(list(tried), 2))[:, None]
    recovered = np.tile([1, 0], len(tried))
    counts = np.ravel([(hits, total - hits) for hits, total in tried.values()])
    curve = LogisticRegression(C=1e6).fit(x, recovered, sample_weight=counts)
    half = math.exp(-curve.intercept_[0] / curve.coef_[0, 0])
    return float(np.clip(half, low, high))


def _first_guess(
    n_neurons: int, power: float, energy: str | Energy, corruption: float
) -> int:
    guess, most = n_neurons, LARGEST_NETWORK // n_neurons
    if energy in ("polynomial", "rectified_polynomial"):
        guess = recovery_capacity(n_neurons, power, 0.5, energy)
        if guess > most and not corruption:
            raise ValueError(
                f"energy={energy!r} with power={power!r} stores about {guess:.3g} "
                f"memories in {n_neurons} neurons by theory, too many to be simulated; "
                "use fewer neurons."
            )
    return max(1, round(min(guess, most)))


def _bracket(start: int, verdict) -> tuple[int, int]:
    """Return numbers of memories of which the first is stored and the second not."""
    first = verdict(start)
    low = high = start
    if first >= 0:
        high = 2 * start
        while verdict(high) >= 0:
            high *= 2
    if first <= 0:
        low = start // 2
        while verdict(low) <= 0:
            low //= 2
    return low, high
