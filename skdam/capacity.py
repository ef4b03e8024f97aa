"""How many random patterns a dense associative memory can store.

Start at one of K random memories of N neurons. The difference of energy that holds one
neuron in place is a sum over memories: the memory itself gives the signal
``D(N - 1) = N^n - (N - 2)^n``, and each other one a noise of mean 0 and variance
``<D(r)^2>``, where ``D(r) = F(r + 1) - F(r - 1)`` and r is the overlap of the N - 1
other neurons, a sum of random signs. If K is large the noise is Gaussian, and the
neuron is unstable with the probability

    P_error = Q(signal / noise),    noise^2 = (K - 1) <D(r)^2>.

For large N, ``<D^2> = 4 n^2 (2n - 3)!! N^(n - 1)`` for the polynomial: section 2 of
Krotov & Hopfield 2016. A rectified polynomial has ``D(r) = 0`` for all negative r,
which is half of the noise's variance, and so stores twice as many memories at the same
error. By default the functions here take the mean over r for the N at hand, not its
limit. The Gaussian remains an approximation, good while the memories that make the
noise are many and P_error is not tiny.

A polynomial of even power has the same energy at -sigma as at sigma: its memories come
in pairs, and a cue at an overlap of less than 0 leads to the negative.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from scipy.special import ndtr, ndtri
from scipy.stats import binom, binomtest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state, gen_even_slices
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)

from .energies import Energy, Polynomial, RectifiedPolynomial, get_energy
from .kernels.recall import (
    overlaps,
    relax,
    single_threaded_blas,
    sweep_orders,
    unstable,
)
from .overlap_tables import OverlapTables, overlap_tables

__all__ = [
    "HalfRecall",
    "RecallTrials",
    "alpha",
    "expected_bit_error",
    "half_recall_capacity",
    "max_memories",
    "max_memories_without_errors",
    "recovery_capacity",
    "simulate_bit_error",
    "simulate_recall",
]

MEMORIES_PER_NETWORK = 20
"""Memories of one network whose unstable neurons are counted."""

LARGEST_NETWORK = 2**26
"""Elements of the memories of one network that half_recall_capacity tries."""

FIRST_TRIALS = 64
"""Trials after which a number of memories is first judged."""

_POLYNOMIALS = [StrOptions({"polynomial", "rectified_polynomial"})]
_ENERGIES = [
    StrOptions(
        {
            "rectified_polynomial",
            "polynomial",
            "log_cosh",
            "softplus",
            "exponential",
        }
    ),
    HasMethods(["value", "activation", "slope"]),
]
_NEURONS = [Interval(Integral, 2, None, closed="left")]
_MEMORIES = [Interval(Real, 1, None, closed="left")]
_POWER = [Interval(Real, 1, None, closed="left")]
_COUNT = [Interval(Integral, 1, None, closed="left")]
_PROBABILITY = [Interval(Real, 0, 1, closed="neither")]
_ERROR = [Interval(Real, 0, 0.5, closed="neither")]
_CORRUPTION = [Interval(Real, 0, 1, closed="both"), None]


# Theory


@validate_params(
    {"power": _POWER, "bit_error": _ERROR, "energy": _POLYNOMIALS},
    prefer_skip_nested_validation=True,
)
def alpha(power: float, bit_error: float = 0.005, energy: str = "polynomial") -> float:
    """Return the coefficient of the capacity ``K_max = alpha_n N^(n - 1)``.

    Asymptotic: for N to infinity.

    Parameters
    ----------
    power : float
        n.
    bit_error : float, default=0.005
        Probability that one neuron of a stored pattern is unstable, in (0, 0.5).
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F. The rectified polynomial has twice the coefficient.

    Returns
    -------
    float
        ``alpha_n = 1 / ((2n - 3)!! Q^-1(bit_error)^2)``, twice that if rectified.

    Notes
    -----
    For n = 2 and an error of 0.5 % the tail Q of the Gaussian gives 0.151, its leading
    term as printed in the paper 0.146, and the paper rounds to 0.14.

    Examples
    --------
    >>> from skdam.capacity import alpha
    >>> round(alpha(2), 3)
    0.151
    >>> round(alpha(2, energy="rectified_polynomial"), 3)
    0.301
    """
    return float(_capacity_scale(1, power, energy) / ndtri(bit_error) ** 2)


@validate_params(
    {
        "n_neurons": _NEURONS,
        "n_memories": _MEMORIES,
        "power": _POWER,
        "energy": _POLYNOMIALS,
        "asymptotic": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def expected_bit_error(
    n_neurons: int,
    n_memories: float,
    power: float,
    energy: str = "polynomial",
    *,
    asymptotic: bool = False,
) -> float:
    """Return the probability that a neuron of a stored pattern is unstable.

    Parameters
    ----------
    n_neurons : int
        N.
    n_memories : float
        K.
    power : float
        n.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.
    asymptotic : bool, default=False
        Whether to take signal and noise for N to infinity, as the paper does.

    Returns
    -------
    float
        ``P_error = Q(<dE> / Sigma)``; the noise is taken as Gaussian. For whole K and n
        the probability of a tie, which is no error, is left out; it matters at n = 2.

    Examples
    --------
    >>> from skdam.capacity import expected_bit_error
    >>> round(expected_bit_error(100, 500, 3), 4)
    0.0052
    """
    if asymptotic:
        scale = _capacity_scale(n_neurons, power, energy)
        return float(ndtr(-math.sqrt(scale / n_memories)))
    others = n_memories - 1
    if not others:
        return 0.0
    ratio = _signal_to_noise(n_neurons, power, energy)
    ratio *= 1 + _tie_margin(n_neurons, n_memories, power, energy)
    return float(ndtr(-ratio / math.sqrt(others)))


@validate_params(
    {
        "n_neurons": _NEURONS,
        "power": _POWER,
        "bit_error": _ERROR,
        "energy": _POLYNOMIALS,
        "asymptotic": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def max_memories(
    n_neurons: int,
    power: float,
    bit_error: float = 0.005,
    energy: str = "polynomial",
    *,
    asymptotic: bool = False,
) -> float:
    """Return the number of memories at which neurons err with a given probability.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    bit_error : float, default=0.005
        Probability that one neuron of a stored pattern is unstable, in (0, 0.5).
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.
    asymptotic : bool, default=False
        Whether to return ``alpha_n N^(n - 1)``.

    Returns
    -------
    float
        K_max, the inverse of :func:`expected_bit_error` but for ties.

    Examples
    --------
    >>> from skdam.capacity import max_memories
    >>> round(max_memories(100, 3))
    496
    """
    if asymptotic:
        scale = _capacity_scale(n_neurons, power, energy)
        return float(scale / ndtri(bit_error) ** 2)
    ratio = _signal_to_noise(n_neurons, power, energy)
    return 1 + (ratio / float(ndtri(bit_error))) ** 2


@validate_params(
    {"n_neurons": _NEURONS, "power": _POWER, "energy": _POLYNOMIALS},
    prefer_skip_nested_validation=True,
)
def max_memories_without_errors(
    n_neurons: int, power: float, energy: str = "polynomial"
) -> float:
    """Return the number of memories up to which a pattern has no unstable neuron.

    Asymptotic: for N to infinity, up to terms of order ln ln N / ln N.
    :func:`recovery_capacity` is the same for a finite network and a given probability.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F. The rectified polynomial has twice the capacity.

    Returns
    -------
    float
        ``K_max = N^(n - 1) / (2 (2n - 3)!! ln N)``.

    Examples
    --------
    >>> from skdam.capacity import max_memories_without_errors
    >>> round(max_memories_without_errors(100, 3))
    362
    """
    return _capacity_scale(n_neurons, power, energy) / (2 * math.log(n_neurons))


@validate_params(
    {
        "n_neurons": _NEURONS,
        "power": _POWER,
        "recovery": _PROBABILITY,
        "energy": _POLYNOMIALS,
    },
    prefer_skip_nested_validation=True,
)
def recovery_capacity(
    n_neurons: int,
    power: float,
    recovery: float = 0.5,
    energy: str = "polynomial",
) -> float:
    """Return the number of memories at which a pattern is a fixed point by chance.

    Parameters
    ----------
    n_neurons : int
        N.
    power : float
        n.
    recovery : float, default=0.5
        Probability that all N neurons of a stored pattern are stable, in (0, 1). They
        are taken as independent: ``(1 - P_error)^N``.
    energy : {"polynomial", "rectified_polynomial"}, default="polynomial"
        F.

    Returns
    -------
    float
        K. For a recovery of one half this is the theory of
        :func:`half_recall_capacity` without corruption.

    Examples
    --------
    >>> from skdam.capacity import recovery_capacity
    >>> round(recovery_capacity(100, 3))
    542
    """
    bit_error = -math.expm1(math.log(recovery) / n_neurons)
    return max_memories(n_neurons, power, min(bit_error, 0.499), energy)


def _capacity_scale(n_neurons: int, power: float, energy: str) -> float:
    """Return ``N^(n - 1) / c``, where ``4 n^2 c N^(n - 1)`` is ``<D^2>`` for large N.

    c = (2n - 3)!! is the moment of order 2n - 2 of a standard Gaussian, which also real
    powers have. Rectified, half of it remains.
    """
    _polynomial(energy, power)
    log_c = (power - 1) * math.log(2) + math.lgamma(power - 0.5) - math.log(math.pi) / 2
    if energy == "rectified_polynomial":
        log_c -= math.log(2)
    return math.exp((power - 1) * math.log(n_neurons) - log_c)


def _signal_to_noise(n_neurons: int, power: float, energy: str) -> float:
    """Return ``D(N - 1) / <D^2>^(1/2)``, for one other memory."""
    F = _polynomial(energy, power).value
    up = np.arange(n_neurons)
    r = 2 * up - (n_neurons - 1)
    # In units of N, in which no power overflows.
    D = F((r + 1) / n_neurons) - F((r - 1) / n_neurons)
    noise = math.sqrt(binom.pmf(up, n_neurons - 1, 0.5) @ D**2)
    return float(D[-1]) / noise if noise else math.inf


def _tie_margin(n_neurons: int, n_memories: float, power: float, energy: str) -> float:
    """Return how much stronger the signal is for ties, in units of the signal.

    Sums of whole numbers lie on a lattice. The Gaussian is cut half way between the
    largest value below 0, which is an error, and the next, which is not.
    """
    if power != int(power) or n_memories != int(n_memories):
        return 0.0
    F = _polynomial(energy, int(power)).value
    r = range(1 - n_neurons, n_neurons, 2)
    # Python's integers, which do not overflow.
    ahead = F(np.array([x + 1 for x in r], dtype=object))
    D = [int(step) for step in ahead - F(np.array([x - 1 for x in r], dtype=object))]
    spacing = math.gcd(*(step - D[0] for step in D), 2 * D[0])
    least = (D[-1] + int(n_memories - 1) * D[0]) % spacing
    # A quotient of whole numbers, which may be too large for floats.
    return (spacing - 2 * least) / (2 * D[-1])


def _polynomial(energy: str, power: float) -> Polynomial | RectifiedPolynomial:
    return get_energy(energy, power)


# Simulation


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
        Sweeps made, with the last one, in which nothing flipped.
    """

    overlaps: np.ndarray
    recovered: np.ndarray
    converged: np.ndarray
    sweeps: np.ndarray


@validate_params(
    {
        "n_neurons": _NEURONS,
        "n_memories": _COUNT,
        "power": _POWER,
        "energy": _ENERGIES,
        "n_trials": _COUNT,
        "corruption": _CORRUPTION,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "max_iter": _COUNT,
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
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
    random_state=None,
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
        n_neurons,
        overlap_tables(get_energy(energy, power), n_neurons, temperature),
        corruption,
        max_iter,
        check_random_state(random_state).randint(2**31 - 1),
    )
    with Parallel(n_jobs=n_jobs, verbose=int(verbose)) as parallel:
        return network.trials(n_memories, range(n_trials), parallel)


@dataclass(frozen=True)
class _Network:
    """What trials have in common."""

    n_neurons: int
    tables: OverlapTables
    corruption: float | None
    max_sweeps: int
    seed: int

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
        end = relax(
            patterns, cue[None], self.tables, orders, max_sweeps=self.max_sweeps
        )
        m = overlaps(patterns, end.states).max() / self.n_neurons
        recovered = (end.states[0] == patterns[:, 0]).all()
        return m, recovered, end.settled[0], end.sweeps[0]

    def trials(self, n_memories: int, numbers: range, parallel) -> RecallTrials:
        n_chunks = min(len(numbers), 4 * effective_n_jobs(parallel.n_jobs))
        parts = parallel(
            delayed(_run)(self, n_memories, numbers[chunk])
            for chunk in gen_even_slices(len(numbers), n_chunks)
        )
        columns = zip(*[row for part in parts for row in part], strict=True)
        return RecallTrials(*map(np.array, columns))


def _run(network: _Network, n_memories: int, numbers: range) -> list[tuple]:
    with single_threaded_blas():
        return [network.trial(n_memories, number) for number in numbers]


@validate_params(
    {
        "n_neurons": _NEURONS,
        "n_memories": _COUNT,
        "power": _POWER,
        "energy": _ENERGIES,
        "n_trials": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def simulate_bit_error(
    n_neurons: int,
    n_memories: int,
    power: float = 3,
    energy: str | Energy = "polynomial",
    n_trials: int = 100,
    *,
    random_state=None,
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
    tables = overlap_tables(get_energy(energy, power), n_neurons)
    seed = check_random_state(random_state).randint(2**31 - 1)
    network = _Network(n_neurons, tables, 0.0, 0, seed)
    rates = []
    with single_threaded_blas():
        for trial in range(n_trials):
            patterns, _ = network.draw(n_memories, trial)
            states = np.ascontiguousarray(patterns[:, :MEMORIES_PER_NETWORK].T)
            rates.append(unstable(patterns, states, tables).mean())
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


@validate_params(
    {
        "n_neurons": _NEURONS,
        "power": _POWER,
        "energy": _ENERGIES,
        "corruption": [Interval(Real, 0, 0.5, closed="left")],
        "tolerance": [Interval(Real, 0, None, closed="neither")],
        "confidence": _PROBABILITY,
        "max_trials": _COUNT,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "max_iter": _COUNT,
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
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
    random_state=None,
    n_jobs: int | None = None,
    verbose: bool | int = False,
) -> HalfRecall:
    """Find the number of memories at which half of the trials recover perfectly.

    By bisection. At each number of memories trials are added until their binomial
    (Clopper-Pearson) interval excludes one half. Where it does not after
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
        If a parameter is not usable, or the capacity is that of networks too large to
        be simulated.

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
    network = _Network(
        n_neurons,
        overlap_tables(get_energy(energy, power), n_neurons, temperature),
        corruption,
        max_iter,
        check_random_state(random_state).randint(2**31 - 1),
    )
    tried: dict[int, tuple[int, int]] = {}
    verdicts: dict[int, int] = {}
    with Parallel(n_jobs=n_jobs) as parallel:

        def verdict(n_memories: int) -> int:
            """Return 1 if more than half of the trials recover, -1 if less, or 0."""
            if n_memories < 1:
                return 1
            if n_memories in verdicts:
                return verdicts[n_memories]
            if n_memories * n_neurons > LARGEST_NETWORK:
                raise ValueError(
                    f"energy={energy!r} with power={power!r} stores more than "
                    f"{n_memories // 2} memories in {n_neurons} neurons, and larger "
                    "networks are not tried; use fewer neurons."
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
            verdicts[n_memories] = result
            if verbose:
                print(f"K = {n_memories}: {recovered} of {total} recovered", flush=True)
            return result

        low, high = _bracket(_first_guess(n_neurons, power, energy), verdict)
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


def _first_guess(n_neurons: int, power: float, energy: str | Energy) -> int:
    if energy in ("polynomial", "rectified_polynomial"):
        return max(1, round(recovery_capacity(n_neurons, power, 0.5, energy)))
    return n_neurons


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
