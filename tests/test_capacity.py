import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtr
from scipy.stats import binom, norm
from sklearn.exceptions import ConvergenceWarning

from skdam import DenseAssociativeMemory
from skdam.capacity import (
    alpha,
    expected_bit_error,
    half_recall_capacity,
    max_memories,
    max_memories_without_errors,
    recovery_capacity,
    simulate_bit_error,
    simulate_recall,
)

POLYNOMIALS = ["polynomial", "rectified_polynomial"]


# Theory


def double_factorial(k):
    return math.prod(range(k, 0, -2))


@pytest.mark.parametrize("n", range(1, 8))
def test_alpha_is_the_paper_s(n):
    z = norm.isf(0.005)
    expected = 1 / (double_factorial(2 * n - 3) * z**2)
    assert_allclose(alpha(n), expected)
    assert_allclose(alpha(n, energy="rectified_polynomial"), 2 * expected)


def test_alpha_of_the_hopfield_network():
    # The paper quotes 0.14, from the leading term of Q's expansion for small errors.
    assert abs(alpha(2) - 0.14) < 0.012
    x = alpha(2)
    leading = math.sqrt(x / (2 * math.pi)) * math.exp(-1 / (2 * x))
    assert_allclose(leading, 0.005, rtol=0.2)
    # Amit, Gutfreund and Sompolinsky's 0.138 has 0.36 % errors.
    assert_allclose(alpha(2, 0.0036), 0.138, rtol=0.01)


def literal_signal_and_noise(N, n, rectified):
    """Return D(N - 1) and the mean of D(r)^2 over all states of the other neurons."""

    def F(x):
        return 0 if rectified and x < 0 else x**n

    def D(r):
        return F(r + 1) - F(r - 1)

    states = itertools.product([-1, 1], repeat=N - 1)
    return D(N - 1), np.mean([D(sum(state)) ** 2 for state in states])


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("N", [7, 10])
def test_bit_error_of_a_finite_network(N, n, rectified):
    signal, variance = literal_signal_and_noise(N, n, rectified)
    energy = POLYNOMIALS[rectified]
    for K in (2.5, 9.5, 1000.5):  # A fraction of a memory makes no ties.
        expected = norm.sf(signal / math.sqrt((K - 1) * variance))
        assert_allclose(expected_bit_error(N, K, n, energy), expected)
    assert expected_bit_error(N, 1, n, energy) == 0


@pytest.mark.parametrize("energy", POLYNOMIALS)
@pytest.mark.parametrize("n", [2, 2.5, 3, 4, 7])
def test_finite_networks_tend_to_the_limit(n, energy):
    if n != int(n) and energy == "polynomial":
        with pytest.raises(ValueError, match="not a whole number"):
            alpha(n)
        return
    N = 20_000
    assert_allclose(
        max_memories(N, n, 0.01, energy),
        max_memories(N, n, 0.01, energy, asymptotic=True),
        rtol=0.005,
    )
    assert_allclose(
        max_memories(N, n, 0.01, energy, asymptotic=True),
        alpha(n, 0.01, energy) * N ** (n - 1),
    )


def test_max_memories_is_the_inverse_of_the_error():
    for n, energy, asymptotic in itertools.product([2, 5], POLYNOMIALS, [False, True]):
        K = max_memories(80, n, 0.02, energy, asymptotic=asymptotic)
        error = expected_bit_error(80, K, n, energy, asymptotic=asymptotic)
        assert_allclose(error, 0.02)


def test_capacity_without_errors():
    for n in (2, 3, 4):
        K = max_memories_without_errors(1000, n)
        expected = 1000 ** (n - 1) / (2 * double_factorial(2 * n - 3) * math.log(1000))
        assert_allclose(K, expected)
        # The expected number of wrong bits is below 1 and falls with N.
        wrong = [
            N
            * expected_bit_error(
                N, max_memories_without_errors(N, n), n, asymptotic=True
            )
            for N in (100, 1000, 10_000)
        ]
        assert wrong[0] < 0.2 and wrong == sorted(wrong, reverse=True)


@pytest.mark.parametrize("K", [33, 34, 51, 52])
def test_ties_are_no_errors(K):
    # At power 2 the sum is one of (K - 1) (N - 1) signs, and its distribution known.
    N = 100
    signs = (K - 1) * (N - 1)
    most = math.ceil((signs - (N - 1)) / 2) - 1
    assert_allclose(expected_bit_error(N, K, 2), binom.cdf(most, signs, 0.5), rtol=5e-3)


def test_recovery_capacity():
    K = recovery_capacity(100, 3, 0.3)
    assert_allclose((1 - expected_bit_error(100, K, 3)) ** 100, 0.3)
    assert recovery_capacity(100, 3, 0.9) < K
    assert 0 < recovery_capacity(2, 3, 0.26) < math.inf
    # Each of the two neurons is stable with a probability of 1/2 or more.
    assert math.isnan(recovery_capacity(2, 3, 0.24))


def exact_signal_to_noise(N, n, rectified):
    """Return D(N - 1)^2 / <D^2>, from whole numbers."""

    def D(r):
        up, down = r + 1, r - 1
        if rectified:
            up, down = max(up, 0), max(down, 0)
        return up**n - down**n

    total = sum(math.comb(N - 1, k) * D(2 * k - N + 1) ** 2 for k in range(N))
    return Fraction(D(N - 1) ** 2 * 2 ** (N - 1), total)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(
    "N, n", [(2, 3), (3, 4), (30, 1), (31, 200), (400, 2), (401, 50), (1500, 3)]
)
def test_max_memories_is_exact(N, n, rectified):
    K = max_memories(N, n, ndtr(-1), POLYNOMIALS[rectified])
    assert_allclose(K - 1, float(exact_signal_to_noise(N, n, rectified)), rtol=1e-10)


@pytest.mark.parametrize("energy", POLYNOMIALS)
@pytest.mark.parametrize("N, n", [(10**7, 3), (10**9, 4), (10**12, 2), (2**53, 6)])
def test_theory_of_large_networks(N, n, energy):
    limit = max_memories(N, n, energy=energy, asymptotic=True)
    assert_allclose(max_memories(N, n, energy=energy), limit, rtol=2e-6)


@pytest.mark.parametrize("n", [1000, 1e5, 1e300])
def test_theory_of_large_powers(n):
    # The mean of D^2 is that of the two states in which it is largest.
    assert_allclose(max_memories(40, n, ndtr(-1)) - 1, 2.0**38)
    assert expected_bit_error(40, 50, n) == 0
    assert alpha(n) < 1e-300
    assert max_memories(10**6, n) == math.inf
    for N in (2, 3):
        errors = [expected_bit_error(N, 50, power) for power in (n, 100)]
        assert_allclose(*errors)


# Simulation against theory


@pytest.mark.parametrize(
    "power, energy, n_memories, n_trials",
    [
        # Errors near 4 %, where the first correction to the Gaussian, by the fourth
        # cumulant of the noise, vanishes.
        (2, "polynomial", 33, 600),
        (3, "polynomial", 1111, 300),
        (4, "polynomial", 22221, 60),
        (2, "rectified_polynomial", 65, 600),
        (3, "rectified_polynomial", 2223, 300),
        (4, "rectified_polynomial", 44443, 60),
    ],
)
def test_bit_error_rate(power, energy, n_memories, n_trials):
    rate, error = simulate_bit_error(
        100, n_memories, power, energy, n_trials, random_state=0
    )
    theory = expected_bit_error(100, n_memories, power, energy)
    # 99 % for each of six comparisons.
    assert abs(rate - theory) < norm.isf(0.005) * error
    assert error < 0.03 * theory


@pytest.mark.parametrize("energy", POLYNOMIALS)
def test_recovery_below_and_above_capacity(energy):
    K = recovery_capacity(60, 3, 0.5, energy)
    few = simulate_recall(60, int(K / 3), 3, energy, 50, random_state=0)
    many = simulate_recall(60, int(3 * K), 3, energy, 50, random_state=0)
    assert few.recovered.mean() > 0.95
    assert many.recovered.mean() < 0.05
    assert few.converged.all()
    assert_array_equal(few.overlaps[few.recovered], 1)
    assert_array_equal(few.sweeps[few.recovered], 1)
    assert many.overlaps.mean() < 0.9


def test_corrupted_cues():
    trials = simulate_recall(80, 20, 3, n_trials=40, corruption=0.2, random_state=0)
    assert trials.recovered.mean() > 0.95
    assert (trials.sweeps[trials.recovered] >= 2).all()


@pytest.mark.parametrize("corruption", [0.52, 0.6, 0.75, 1.0])
def test_corruption_is_the_share_of_flipped_neurons(corruption):
    # Cues beyond one half overlap with no memory, and a rectified energy is flat there.
    trials = simulate_recall(
        100, 1, 3, "rectified_polynomial", 5, corruption=corruption, random_state=0
    )
    assert_allclose(trials.overlaps, 1 - 2 * corruption)


def test_random_cues():
    trials = simulate_recall(40, 3, 2, n_trials=40, corruption=None, random_state=0)
    assert 0 < trials.recovered.mean() < 0.8
    # Half of the cues are nearer to the negative of a memory, at the same energy.
    assert (trials.overlaps < 1).any()


def test_even_powers_store_negatives_too():
    for energy, recovered in zip(POLYNOMIALS, [False, True], strict=True):
        trials = simulate_recall(60, 1, 2, energy, 20, corruption=0.6, random_state=0)
        assert (trials.overlaps == -1).all() != recovered


def test_simulation_does_not_depend_on_jobs():
    one = simulate_recall(30, 40, 3, n_trials=30, random_state=5)
    two = simulate_recall(30, 40, 3, n_trials=30, random_state=5, n_jobs=2)
    for name in vars(one):
        assert_array_equal(getattr(one, name), getattr(two, name))


def test_simulation_is_the_estimator():
    trials = simulate_recall(
        40, 8, energy="exponential", temperature=8.0, n_trials=20, random_state=0
    )
    X = np.random.default_rng(0).choice([-1, 1], (8, 40))
    memory = DenseAssociativeMemory(energy="exponential", temperature=8.0).fit(X)
    assert trials.recovered.mean() == memory.score(X) == 1


# Half recall


@pytest.mark.parametrize("energy", POLYNOMIALS)
def test_half_recall_capacity_is_near_theory(energy, capsys):
    half = half_recall_capacity(100, 3, energy, random_state=0, verbose=True)
    low, high = half.interval
    assert low <= half.n_memories <= high <= 1.1 * low
    assert_allclose(half.n_memories, recovery_capacity(100, 3, 0.5, energy), rtol=0.05)
    assert f"K = {low}: {half.trials[low][0]} of " in capsys.readouterr().out


def test_half_recall_capacity_of_corrupted_cues_is_lower():
    clean = half_recall_capacity(60, 3, random_state=0, tolerance=0.2)
    hard = half_recall_capacity(60, 3, corruption=0.2, random_state=0, tolerance=0.2)
    assert hard.interval[1] < clean.interval[0]


def test_too_few_trials_are_told():
    with pytest.warns(ConvergenceWarning, match="max_trials=16 leave the") as caught:
        half_recall_capacity(40, 3, max_trials=16, tolerance=0.01, random_state=0)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "energy, power, message",
    [
        ("exponential", 3, "below 60 memories in 30 .* use fewer neurons"),
        ("polynomial", 4, "stores about 432 memories in 30 .* use fewer neurons"),
    ],
)
def test_capacity_beyond_simulation(energy, power, message, monkeypatch):
    monkeypatch.setattr("skdam.capacity.simulation.LARGEST_NETWORK", 1000)
    with pytest.raises(ValueError, match=message):
        half_recall_capacity(30, power, energy, random_state=0)


def test_trials_that_can_never_decide():
    with pytest.raises(ValueError, match="max_trials=7 .* at least 8 can"):
        half_recall_capacity(10, max_trials=7)
    with pytest.warns(ConvergenceWarning):
        half_recall_capacity(10, max_trials=8, random_state=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "power, sizes",
    [(2, (50, 100, 200, 400)), (3, (30, 45, 70, 105)), (4, (16, 22, 30, 40))],
)
def test_half_recall_capacity_grows_as_a_power(power, sizes):
    # The law is N^(n - 1) / ln N; without the logarithm the slope is 0.2 to 0.3 lower
    # at these sizes, in theory and in simulation.
    half = [
        half_recall_capacity(
            N, power, tolerance=0.5, max_trials=128, random_state=0
        ).n_memories
        for N in sizes
    ]
    exponent, _ = np.polyfit(np.log(sizes), np.log(half * np.log(sizes)), 1)
    assert abs(exponent - (power - 1)) < 0.15


# Parameters


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (alpha, {"power": 0.5}, "power"),
        (alpha, {"power": 2, "bit_error": 0.5}, "bit_error"),
        (alpha, {"power": 2, "energy": "exponential"}, "energy"),
        (expected_bit_error, {"n_neurons": 1, "n_memories": 2, "power": 2}, "n_neur"),
        (expected_bit_error, {"n_neurons": 9, "n_memories": 0, "power": 2}, "n_memor"),
        (recovery_capacity, {"n_neurons": 9, "power": 2, "recovery": 1.0}, "recovery"),
        (simulate_recall, {"n_neurons": 9, "n_memories": 2.5}, "n_memories"),
        (simulate_recall, {"n_neurons": 9, "n_memories": 2, "corruption": 2}, "corrup"),
        (simulate_recall, {"n_neurons": 9, "n_memories": 2, "n_trials": 0}, "n_trials"),
        (half_recall_capacity, {"n_neurons": 9, "corruption": 0.5}, "corruption"),
        (half_recall_capacity, {"n_neurons": 9, "tolerance": 0}, "tolerance"),
    ],
)
def test_bad_parameters(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)


def test_any_number_type_and_size():
    for n, N in [(8, 1000), (3, 100)]:
        expected = max_memories(N, n, asymptotic=True)
        assert_allclose(
            max_memories(np.int64(N), np.int64(n), asymptotic=True), expected
        )
        expected = max_memories_without_errors(N, n)
        assert_allclose(max_memories_without_errors(np.int64(N), n), expected)
    assert_allclose(max_memories(1000, 8, asymptotic=True), 1.115e15, rtol=1e-3)
    assert expected_bit_error(2000, 10, 100) == 0
    assert 0 < max_memories_without_errors(2000, 100) < math.inf
    assert 0 < max_memories(2000, 100, asymptotic=True) < math.inf
