import itertools

import literal
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import skdam.recall
from skdam._backends import recall_cpu
from skdam._backends.overlap_tables import overlap_tables, quick_tables
from skdam._backends.recall_cpu import overlaps, recall, sweep_orders, unstable
from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)


def integer_energy(energy):
    """Return F of Python integers, without rounding."""
    n = energy.power
    if isinstance(energy, Polynomial):
        return lambda h: h**n
    return lambda h: h**n if h > 0 else 0


def random_network(rng, n_neurons, n_memories, n_states):
    """Return memories in columns, and states of which some units are unknown."""
    patterns = rng.choice([-1, 1], (n_neurons, n_memories)).astype(np.int8)
    states = rng.choice([-1, 1], (n_states, n_neurons)).astype(np.int8)
    return patterns, states


def network_with_unknowns(seed):
    """Return a random network, and which units may change, None for all."""
    rng = np.random.default_rng(seed)
    n_neurons, n_memories = rng.integers(1, [25, 40])
    patterns, states = random_network(rng, n_neurons, n_memories, 4)
    states[rng.random(states.shape) < 0.2] = 0
    free = None if seed % 3 else rng.random(states.shape) < 0.7
    return patterns, states, free


def first_orders(seed, n_neurons):
    return itertools.islice(sweep_orders(seed, n_neurons), 100)


@pytest.mark.parametrize("seed", range(60))
def test_recall_is_the_literal_loop(seed):
    patterns, states, free = network_with_unknowns(seed)
    n_neurons = len(patterns)
    energy = (Polynomial, RectifiedPolynomial)[seed % 2](1 + seed // 2 % 6)
    tables = overlap_tables(energy, n_neurons)
    result = recall(patterns, states, tables, sweep_orders(seed, n_neurons), free=free)
    for number, state in enumerate(states):
        expected, n_sweeps, _ = literal.recall(
            integer_energy(energy),
            patterns.T,
            state,
            first_orders(seed, n_neurons),
            None if free is None else free[number],
        )
        assert result.states[number].tolist() == expected
        assert result.n_sweeps[number] == n_sweeps
    assert result.converged.all()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "energy",
    [
        Polynomial(2),
        Polynomial(5),
        RectifiedPolynomial(2.5),
        RectifiedPolynomial(4),
        LogCosh(),
        Softplus(),
        Exponential(),
        literal.Quartic(),
    ],
    ids=repr,
)
def test_recall_is_the_plain_text(energy, seed):
    patterns, states, free = network_with_unknowns(seed)
    n_neurons = len(patterns)
    temperature = np.random.default_rng(seed).uniform(0.8, 4)
    result = recall(
        patterns,
        states,
        overlap_tables(energy, n_neurons, temperature),
        sweep_orders(seed, n_neurons),
        free=free,
    )
    expected, n_sweeps = skdam.recall.recall(
        energy,
        patterns.T,
        states,
        first_orders(seed, n_neurons),
        free=True if free is None else free,
        temperature=temperature,
    )
    assert_array_equal(result.states, expected)
    assert result.n_sweeps.max() == n_sweeps
    for number in range(len(states)):
        alone, n_sweeps = skdam.recall.recall(
            energy,
            patterns.T,
            states[number],
            first_orders(seed, n_neurons),
            free=True if free is None else free[number],
            temperature=temperature,
        )
        assert_array_equal(alone, expected[number])
        assert result.n_sweeps[number] == n_sweeps


def update_one_unit(patterns, states, units, energy):
    """Return the states after one update of one unit in each."""
    free = np.zeros(states.shape, bool)
    free[np.arange(len(states)), units] = True
    n_neurons = len(patterns)
    tables = overlap_tables(energy, n_neurons)
    orders = [np.arange(n_neurons)]
    return recall(patterns, states, tables, orders, free=free, max_sweeps=1).states


@settings(max_examples=700, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_neurons=st.integers(1, 40),
    n_memories=st.integers(1, 30),
    power=st.one_of(st.integers(1, 12), st.integers(13, 100), st.just(100)),
    rectified=st.booleans(),
)
def test_energy_never_rises(seed, n_neurons, n_memories, power, rectified):
    # 16 updates in each of 700 networks, judged by energies in whole numbers.
    rng = np.random.default_rng(seed)
    patterns, states = random_network(rng, n_neurons, n_memories, 16)
    # States near memories, where the terms differ most in size, and far ones.
    near = patterns.T[rng.integers(0, n_memories, 8)]
    states[:8] = np.where(rng.random(near.shape) < 0.1, -near, near)
    energy = (RectifiedPolynomial if rectified else Polynomial)(power)
    F = integer_energy(energy)
    units = rng.integers(0, n_neurons, 16)
    updated = update_one_unit(patterns, states, units, energy)
    for before, after, unit in zip(states, updated, units, strict=True):
        flipped = before.copy()
        flipped[unit] *= -1
        h, h_flipped = (
            (patterns.T.astype(int) @ s).tolist() for s in (before, flipped)
        )
        fall = sum(F(b) - F(a) for a, b in zip(h, h_flipped, strict=True))
        if (after == flipped).all():
            assert fall > 0
        else:
            assert_array_equal(after, before)
            # Not flipping is right, or a tie to within the rounding of the terms.
            size = sum(abs(F(b)) + abs(F(a)) for a, b in zip(h, h_flipped, strict=True))
            assert fall * 10**11 <= size
            if size < 2**40:
                assert fall <= 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rectified", [False, True])
def test_no_overflow_at_the_largest_powers(rectified):
    # (10^4)^100 is 10^400, and overlaps here range from a few units to all of N.
    n_neurons, power = 10_000, 100
    rng = np.random.default_rng(0)
    patterns, states = random_network(rng, n_neurons, 5, 3)
    states[0] = patterns[:, 0]
    states[1] = np.where(rng.random(n_neurons) < 0.45, -1, 1) * patterns[:, 1]
    energy = (RectifiedPolynomial if rectified else Polynomial)(power)
    tables = overlap_tables(energy, n_neurons)
    assert all(np.isfinite(table).all() for table in (tables.pull, tables.rest))
    F = integer_energy(energy)
    for unit in range(20):
        updated = update_one_unit(patterns, states, np.full(3, unit), energy)
        h = states.astype(int) @ patterns
        change = -2 * states[:, unit, None].astype(int) * patterns[unit]
        for number in range(3):
            fall = sum(
                F(a + d) - F(a)
                for a, d in zip(
                    h[number].tolist(), change[number].tolist(), strict=True
                )
            )
            assert (updated[number, unit] != states[number, unit]) == (fall > 0)


def test_exponential_beyond_the_range_of_floats():
    # e^2000 overflows, and e^(-2000) underflows: only differences count.
    rng = np.random.default_rng(1)
    patterns, _ = random_network(rng, 2000, 5, 1)
    for signs in (1, -1):
        states = np.where(rng.random((5, 2000)) < 0.2, -signs, signs) * patterns.T
        tables = overlap_tables(Exponential(), 2000)
        result = recall(patterns, states.astype(np.int8), tables, sweep_orders(0, 2000))
        assert result.converged.all()
        if signs == 1:
            assert_array_equal(result.states, patterns.T)


def test_exponential_of_a_low_temperature():
    # One overlap outweighs all that are less: recall goes to the nearest memory.
    rng = np.random.default_rng(1)
    patterns, _ = random_network(rng, 60, 20, 1)
    states = np.where(rng.random((20, 60)) < 0.15, -1, 1) * patterns.T
    tables = overlap_tables(Exponential(), 60, 1e-9)
    assert 2 < len(tables.step) <= 121
    result = recall(patterns, states.astype(np.int8), tables, sweep_orders(0, 60))
    assert_array_equal(result.states, patterns.T)
    with pytest.raises(ValueError, match="too many orders of magnitude"):
        overlap_tables(Exponential(), 10_000, 1e-4)


def test_energy_of_ones_own_must_be_finite():
    class Pole(literal.Quartic):
        def value(self, x):
            return 1 / x

    with pytest.raises(ValueError, match="not finite at all overlaps of up to 10"):
        overlap_tables(Pole(), 10)


@pytest.mark.parametrize("energy", [Polynomial(3), RectifiedPolynomial(20)], ids=repr)
def test_windows_change_nothing(energy, monkeypatch):
    rng = np.random.default_rng(5)
    patterns, states = random_network(rng, 50, 60, 20)
    tables = overlap_tables(energy, 50)

    def result():
        return recall(patterns, states, tables, sweep_orders(7, 50))

    expected = result()
    for name, value in [("BUSY_WINDOW", 50), ("WINDOW_SIZE", 1), ("WINDOW_SIZE", 200)]:
        with monkeypatch.context() as patch:
            patch.setattr(recall_cpu, "SMALL", 0)
            patch.setattr(recall_cpu, name, value)
            again = result()
        assert_array_equal(again.states, expected.states)
        assert_array_equal(again.n_sweeps, expected.n_sweeps)


def test_states_do_not_depend_on_each_other():
    rng = np.random.default_rng(6)
    patterns, states = random_network(rng, 30, 40, 12)
    tables = overlap_tables(Polynomial(4), 30)
    together = recall(patterns, states, tables, sweep_orders(0, 30)).states
    for number in range(12):
        alone = recall(patterns, states[[number]], tables, sweep_orders(0, 30))
        assert_array_equal(alone.states[0], together[number])


def test_the_last_sweep():
    rng = np.random.default_rng(8)
    patterns, states = random_network(rng, 100, 30, 20)
    tables = overlap_tables(Polynomial(2), 100)
    whole = recall(patterns, states, tables, sweep_orders(0, 100))
    assert whole.converged.all()
    cut = recall(patterns, states, tables, sweep_orders(0, 100), max_sweeps=2)
    assert_array_equal(cut.converged, whole.n_sweeps <= 2)
    assert_array_equal(cut.n_sweeps, np.minimum(whole.n_sweeps, 2))


def test_energies_by_sweep():
    rng = np.random.default_rng(9)
    patterns, states = random_network(rng, 40, 30, 10)
    F = np.arange(-40.0, 41) ** 3
    tables = overlap_tables(Polynomial(3), 40)
    result = recall(patterns, states, tables, sweep_orders(0, 40), energy_of_overlap=F)
    assert result.energies.shape == (10, result.n_sweeps.max() + 1)
    assert (np.diff(result.energies) <= 0).all()
    for number in range(10):
        _, sweeps, energies = literal.recall(
            lambda h: h**3, patterns.T, states[number], sweep_orders(0, 40)
        )
        assert_allclose(result.energies[number, 1:sweeps], energies[39:-40:40])


def test_overlaps_are_exact():
    rng = np.random.default_rng(10)
    patterns, states = random_network(rng, 300, 70, 9)
    assert_array_equal(overlaps(patterns, states), states.astype(int) @ patterns)


def test_tables_are_steps_of_the_energy():
    h = np.arange(-30, 31)
    for energy in (Polynomial(3), RectifiedPolynomial(5), LogCosh(), Softplus()):
        tables = overlap_tables(energy, 30)

        def step(h, F=energy.value):
            return F(h + 1.0) - F(h - 1.0)

        assert_allclose(tables.step[0][1:-1], step(h)[1:-1], 1e-8, 1e-12)
        pull, rest = step(h - 1) + step(h + 1), step(h - 1) - step(h + 1)
        assert_allclose(tables.pull[0][2:-2], pull[2:-2], 1e-8, 1e-12)
        assert_allclose(tables.rest[0][2:-2], rest[2:-2], 1e-8, 1e-12)
        # A stored pattern has no unit that would raise its overlap.
        assert_allclose(tables.pull[0][-1], tables.rest[0][-1], 1e-12)


def test_levels_cover_all_magnitudes():
    tables = overlap_tables(RectifiedPolynomial(100), 10_000)
    centre = tables.centre
    assert len(tables.step) == tables.level.max() + 1 == 3
    for h in (1, 3, 10, 100, 1000, 9_998):
        term = tables.step[tables.level[centre + h], centre + h]
        assert 1e-150 <= term <= 10
    assert (np.diff(tables.level[centre:-2]) <= 0).all()


@pytest.mark.parametrize("energy", [Polynomial(2), RectifiedPolynomial(100)], ids=repr)
def test_unstable_units_are_those_that_flip_first(energy):
    rng = np.random.default_rng(11)
    patterns, states = random_network(rng, 30, 20, 5)
    found = unstable(patterns, states, overlap_tables(energy, 30))
    assert 0 < found.mean() < 1
    for unit in range(30):
        updated = update_one_unit(patterns, states, np.full(5, unit), energy)
        assert_array_equal(found[:, unit], updated[:, unit] != states[:, unit])


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
@pytest.mark.parametrize(
    "energy",
    [
        *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 3, 12.5, 30, 1000)),
        *(Polynomial(n) for n in (2, 3, 4, 31)),
        LogCosh(),
        Softplus(),
        Exponential(),
    ],
    ids=repr,
)
def test_quick_tables_decide_alike_at_stored_patterns(energy, temperature):
    rng = np.random.default_rng(12)
    patterns = rng.choice(np.array([-1, 1], np.int8), (24, 40))
    # Neighbours, repetitions and negatives make ties.
    near = patterns[:, :10] * np.where(np.arange(24) == 3, -1, 1)[:, None]
    patterns = np.hstack([patterns, near, patterns[:, 5:15], -patterns[:, 30:]])
    patterns = patterns.astype(np.int8)
    quick = unstable(patterns, patterns.T, quick_tables(energy, 24, temperature))
    exact = unstable(patterns, patterns.T, overlap_tables(energy, 24, temperature))
    assert_array_equal(quick, exact)
