import pickle
import re
import tracemalloc
import warnings

import literal
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdam import DenseAssociativeMemory, _fixed_points
from skdam._backends import overlap_tables
from skdam._fixed_points import (
    MOST_PATTERNS,
    MOST_WORK,
    POWERS,
    choose_power,
    sample_memories,
)
from skdam.energies import RectifiedPolynomial, get_energy
from skdam.recall import update

# Many tests store more than a memory keeps.
pytestmark = pytest.mark.filterwarnings("ignore:Not all stored patterns:UserWarning")

XOR = [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]


@parametrize_with_checks(
    [
        # The suite feeds real numbers; with NaN, it would feed NaN to fit, too.
        DenseAssociativeMemory(binarize=0.0, allow_unknown=False),
        DenseAssociativeMemory(
            2, energy="polynomial", binarize=0.0, allow_unknown=False
        ),
        DenseAssociativeMemory("auto", binarize=0.0, allow_unknown=False),
    ]
)
def test_check_estimator(estimator, check):
    check(estimator)


def random_patterns(n_memories, n_neurons, seed=0):
    return np.random.default_rng(seed).choice([-1, 1], (n_memories, n_neurons))


def corrupted(X, share, seed=1):
    flips = np.random.default_rng(seed).random(X.shape) < share
    return np.where(flips, -X, X)


# XOR


def can_compute_xor(power, energy):
    """Tell what the paper says: rectified from 2 on, else odd powers from 3 on."""
    if energy == "rectified_polynomial":
        return power >= 2
    return power >= 3 and power % 2 == 1


@pytest.mark.parametrize("energy", ["polynomial", "rectified_polynomial"])
@pytest.mark.parametrize("power", range(1, 13))
def test_xor(power, energy):
    memory = DenseAssociativeMemory(power, energy=energy, clamp="known").fit(XOR)
    inputs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    unknown = np.full((4, 1), np.nan)
    recalled = memory.recall(np.hstack([inputs, unknown]))
    assert_array_equal(recalled[:, :2], inputs)
    low, high = (
        memory.compute_energy(np.hstack([inputs, np.full((4, 1), z)])) for z in (-1, 1)
    )
    if can_compute_xor(power, energy):
        z = -inputs.prod(axis=1)
        assert_array_equal(recalled[:, 2], z)
        assert_array_equal(np.sign(low - high), z)
        assert memory.score(np.hstack([inputs, unknown]), XOR) == 1
    else:
        # The energy does not depend on z; an unknown neuron becomes +1.
        assert_array_equal(low, high)
        assert_array_equal(recalled[:, 2], 1)


# Recall


@pytest.mark.parametrize("power, n_memories", [(2, 5), (3, 100), (4, 2000)])
@pytest.mark.parametrize("energy", ["polynomial", "rectified_polynomial"])
def test_stored_patterns_are_fixed_points_below_capacity(power, energy, n_memories):
    X = random_patterns(n_memories, 100)
    memory = DenseAssociativeMemory(power, energy=energy).fit(X)
    assert memory.score(X) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        {"power": 3},
        {"power": 5, "energy": "polynomial"},
        {"power": 100},
        {"energy": "exponential"},
        {"energy": "log_cosh", "temperature": 80.0},
        {"energy": literal.Quartic()},
    ],
    ids=str,
)
def test_corrupted_patterns_are_recalled(parameters):
    X = random_patterns(4, 80)
    memory = DenseAssociativeMemory(**parameters, random_state=0).fit(X)
    assert memory.score(corrupted(X, 0.15), X) == 1


@pytest.mark.parametrize("clamp", ["known", None])
def test_any_part_completes_any_other(clamp):
    X = random_patterns(30, 60)
    memory = DenseAssociativeMemory(4, clamp=clamp, random_state=0).fit(X)
    for part in (slice(0, 30), slice(30, 60), slice(0, 60, 2)):
        cues = np.full(X.shape, np.nan)
        cues[:, part] = X[:, part]
        assert memory.score(cues, X) == 1


def test_clamped_neurons_keep_their_state():
    X = random_patterns(10, 50)
    cues = corrupted(X, 0.2).astype(float)
    cues[:, 40:] = np.nan
    clamped = DenseAssociativeMemory(clamp="known", random_state=0).fit(X)
    assert_array_equal(clamped.recall(cues)[:, :40], cues[:, :40])
    assert_array_equal(clamped.recall(corrupted(X, 0.2)), corrupted(X, 0.2))
    free = clone(clamped).set_params(clamp=None).fit(X)
    assert free.score(cues, X) == 1


def test_nothing_known():
    X = random_patterns(5, 30)
    cue = np.full((1, 30), np.nan)
    recalled = DenseAssociativeMemory(2, random_state=0).fit(X).recall(cue)
    assert set(np.unique(recalled)) <= {-1, 1}


def test_half_of_an_image_completes_the_other():
    # Images resemble each other, unlike random patterns, and want a large power.
    X = load_digits().data[:100] > 7
    upper = X.astype(float)
    upper[:, 32:] = np.nan
    memory = DenseAssociativeMemory(30, clamp="known", random_state=0).fit(X)
    recalled = memory.recall(upper)
    _, m = memory.overlap(recalled)
    assert_array_equal(m, 1)
    # Of images with the same upper half only one can be found.
    n_upper_halves = len(np.unique(upper[:, :32], axis=0))
    assert memory.score(upper, X) >= n_upper_halves / 100 - 0.02 > 0.9


def test_result_is_a_fixed_point_of_lower_energy():
    X = random_patterns(60, 40)
    memory = DenseAssociativeMemory(3, random_state=0).fit(X)
    cues = random_patterns(20, 40, seed=2)
    recalled, energies = memory.recall(cues, return_trajectory=True)
    assert (np.diff(energies) <= 0).all()
    assert_allclose(energies[:, 0], memory.compute_energy(cues))
    assert_allclose(energies[:, -1], memory.compute_energy(recalled))
    assert_array_equal(memory.recall(recalled), recalled)


def test_recall_predict_and_transform_are_one():
    X = random_patterns(20, 40)
    memory = DenseAssociativeMemory(random_state=0).fit(X)
    cues = corrupted(X, 0.3)
    assert_array_equal(memory.predict(cues), memory.recall(cues))
    assert_array_equal(memory.transform(cues), memory.recall(cues))


def test_rows_that_did_not_converge_are_counted():
    X = random_patterns(60, 40)
    cues = random_patterns(20, 40, seed=2)
    memory = DenseAssociativeMemory(2, max_iter=1, random_state=0).fit(X)
    for method in (memory.recall, memory.predict, memory.transform, memory.score):
        with pytest.warns(ConvergenceWarning, match="20 of 20.*max_iter=1") as caught:
            method(cues)
        assert caught[0].filename == __file__


def test_orders_follow_the_seed():
    X = random_patterns(60, 40)
    cues = random_patterns(50, 40, seed=2)

    def recalled(seed):
        return DenseAssociativeMemory(2, random_state=seed).fit(X).recall(cues)

    assert_array_equal(recalled(0), recalled(0))
    assert not np.array_equal(recalled(0), recalled(1))


def test_jobs_and_blocks_do_not_change_results(monkeypatch):
    X = random_patterns(60, 40)
    cues = random_patterns(50, 40, seed=2)
    memory = DenseAssociativeMemory(2, random_state=0).fit(X)
    expected, energies = memory.recall(cues, return_trajectory=True)
    parallel = clone(memory).set_params(n_jobs=2).fit(X)
    assert_array_equal(parallel.recall(cues), expected)
    monkeypatch.setattr("skdam._backends.recall_cpu.BLOCK_SIZE", 200)
    again, energies_again = memory.recall(cues, return_trajectory=True)
    assert_array_equal(again, expected)
    assert_array_equal(energies_again, energies)
    assert_array_equal(memory.overlap(cues)[0], (cues @ X.T).argmax(axis=1))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("n_memories, n_neurons", [(2000, 20), (2, 2000)])
def test_memory_does_not_grow_with_the_number_of_cues(n_memories, n_neurons, device):
    memory = DenseAssociativeMemory(random_state=0, device=device)
    memory.fit(random_patterns(n_memories, n_neurons))
    cues = np.ones((3000, n_neurons), np.int8)
    cues[::2, ::3] = -1
    tracemalloc.start()
    memory.recall(cues)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Cues and results are of the size of X; overlaps of all would be 48 MB more.
    assert peak < 40e6 + 20 * cues.size


# Fixed points


def n_changed(F, X, temperature=1.0):
    """Count the patterns that the plain text changes in the first update of a unit."""
    X = np.asarray(X)
    changed = [update(F, X, X, i, temperature) != X[:, i] for i in range(X.shape[1])]
    return np.any(changed, axis=0).sum()


def images(n):
    return np.where(load_digits().data[:n] > 7, 1, -1)


def n_warned_of(caught):
    """Return the number of unstable patterns in the only warning, 0 without any."""
    messages = [str(warning.message) for warning in caught]
    assert len(messages) <= 1
    return int(re.search(r"from (\d+) of", messages[0])[1]) if messages else 0


@pytest.mark.parametrize(
    "energy, power, temperature",
    [
        ("rectified_polynomial", 3, 1.0),
        ("rectified_polynomial", 10, 1.0),
        ("rectified_polynomial", 12.5, 1.0),
        ("rectified_polynomial", 30, 1.0),
        ("polynomial", 15, 1.0),
        ("exponential", 3, 2.0),
        ("exponential", 3, 6.0),
        ("softplus", 3, 8.0),
        (literal.Quartic(), 3, 1.0),
        (RectifiedPolynomial(8), 3, 1.0),
    ],
    ids=str,
)
def test_unstable_patterns_are_counted(energy, power, temperature):
    X = images(60)
    memory = DenseAssociativeMemory(power, energy=energy, temperature=temperature)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        memory.fit(X)
    expected = n_changed(get_energy(energy, power), X, temperature)
    assert n_warned_of(caught) == expected
    assert memory.score(X) == pytest.approx(1 - expected / 60)
    assert all(warning.filename == __file__ for warning in caught)


def test_default_memory_of_digits_warns():
    with pytest.warns(UserWarning, match=r"from 200 of 200 .* power larger than 3"):
        DenseAssociativeMemory().fit(images(200))
    with pytest.warns(UserWarning, match="Not all .* lower temperature") as caught:
        DenseAssociativeMemory(energy="exponential").fit(images(200))
    assert n_warned_of(caught) == 5


def test_stable_patterns_cause_no_warning():
    X = random_patterns(40, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DenseAssociativeMemory().fit(X).partial_fit(X[:1] * -1)


def test_partial_fit_warns():
    X = random_patterns(500, 40)
    memory = DenseAssociativeMemory().fit(X[:10])
    with pytest.warns(
        UserWarning, match=r"from \d+ of 200 .a sample of 500."
    ) as caught:
        memory.partial_fit(X[10:])
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"from \d+ of 3 .a sample of 503."):
        memory.partial_fit(X[:3])


def test_a_warning_as_an_error_leaves_a_fitted_memory_alone():
    memory = DenseAssociativeMemory(random_state=0).fit(random_patterns(3, 64))
    before = pickle.dumps(memory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (memory.fit, memory.partial_fit):
            with pytest.raises(UserWarning):
                method(images(200))
    assert pickle.dumps(memory) == before


@pytest.mark.parametrize(
    "n_memories, n_neurons", [(1, 1), (150, 30), (10**6, 1), (10**4, 784), (1, 10**6)]
)
def test_few_patterns_are_looked_at(n_memories, n_neurons):
    memories = np.zeros((n_memories, n_neurons), np.int8)
    memories[:, 0] = np.arange(n_memories) % 127
    sample = sample_memories(memories, n_memories)
    assert 1 <= len(sample) <= min(MOST_PATTERNS, n_memories)
    assert len(sample) == 1 or sample.size * n_memories <= MOST_WORK
    assert_array_equal(sample_memories(memories, n_memories), sample)
    assert len(sample_memories(memories, 1)) == 1
    if n_memories <= MOST_PATTERNS:
        assert_array_equal(sample, memories)


class Failing(literal.Quartic):
    def value(self, x):
        raise TypeError("no value")


class Undefined(literal.Quartic):
    def value(self, x):
        return np.sqrt(x)


@pytest.mark.parametrize(
    "parameters",
    [
        {"energy": Failing()},
        {"energy": Undefined()},
        {"energy": "exponential", "temperature": 1e-300},
        {"energy": "exponential", "temperature": 1e300},
        {"energy": "log_cosh", "temperature": 5e-324},
        {"energy": "softplus", "temperature": 1e-20},
        {"power": 1e308},
        {"power": 1e308, "energy": "polynomial"},
        {"power": "auto", "temperature": 1e-300},
    ],
    ids=str,
)
def test_no_energy_fails_in_fit(parameters):
    X = random_patterns(3, 50)
    memory = DenseAssociativeMemory(**parameters).fit(X)
    assert_array_equal(memory.partial_fit(X).memories_, np.vstack([X, X]))


# power="auto"


@pytest.mark.parametrize("energy", ["rectified_polynomial", "polynomial"])
@pytest.mark.parametrize("n_memories", [1, 20, 50])
def test_automatic_power_is_the_smallest(energy, n_memories):
    X = images(n_memories)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory = DenseAssociativeMemory("auto", energy=energy).fit(X)
    n = memory.power_
    # Overlaps in units of N, so that no power of them overflows.
    assert n == next(p for p in POWERS if not n_changed(get_energy(energy, p), X, 64.0))
    assert memory.score(X) == 1
    fixed = DenseAssociativeMemory(n, energy=energy).fit(X)
    assert fixed.power_ == n
    for method in ("compute_energy", "predict", "transform"):
        assert_array_equal(getattr(memory, method)(X), getattr(fixed, method)(X))
    assert_array_equal(
        memory.recall(X, return_trajectory=True)[1],
        fixed.recall(X, return_trajectory=True)[1],
    )


def test_no_power_keeps_all_patterns():
    # Stored twice, a pattern has a lower energy than its neighbour for every power.
    X = random_patterns(1, 20).repeat(3, axis=0)
    X[2, 0] *= -1
    memory = DenseAssociativeMemory("auto")
    with pytest.warns(UserWarning, match="from 1 of 3 .* keeps more than power_=2"):
        memory.fit(X)
    # Others still need a larger one.
    X = np.vstack([X, random_patterns(30, 20, seed=1)])
    with pytest.warns(UserWarning, match="Not all .* keeps more than power_="):
        memory.fit(X)
    counts = {p: n_changed(RectifiedPolynomial(p), X) for p in POWERS[:9]}
    assert memory.power_ == min(counts, key=counts.get) > 2


def test_partial_fit_chooses_the_power_anew():
    X = images(50)
    memory = DenseAssociativeMemory("auto", random_state=0)
    powers = [memory.partial_fit(part).power_ for part in np.split(X, [5, 20])]
    expected = [DenseAssociativeMemory("auto").fit(X[:n]).power_ for n in (5, 20, 50)]
    assert powers == expected == sorted(powers)
    assert powers[0] < powers[-1]
    assert memory.fit(X[:5]).power_ == powers[0]


def test_power_at_recall():
    X = images(50)
    memory = DenseAssociativeMemory("auto").fit(X)
    assert memory.set_params(power=2).score(X) == 0
    assert memory.set_params(power="auto").score(X) == 1
    copy = pickle.loads(pickle.dumps(memory))
    assert copy.power_ == memory.power_
    assert copy.score(X) == 1
    assert not hasattr(clone(memory), "power_")


@pytest.mark.parametrize("energy", ["exponential", literal.Quartic()], ids=str)
def test_automatic_power_of_an_energy_without_power(energy):
    X = random_patterns(4, 80)
    memory = DenseAssociativeMemory("auto", energy=energy).fit(X)
    assert memory.power_ is None
    assert memory.score(X) == 1
    memory.set_params(energy="polynomial")
    with pytest.raises(ValueError, match="power='auto' is chosen by fit"):
        memory.score(X)
    assert memory.set_params(power=3).score(X) == 1


# Energy, overlap, score


def test_energy_is_the_paper_s():
    X = random_patterns(10, 12)
    states = random_patterns(5, 12, seed=2)
    memory = DenseAssociativeMemory(3, energy="polynomial").fit(X)
    expected = [literal.binary_energy(lambda h: h**3, X, s) for s in states]
    assert_array_equal(memory.compute_energy(states), expected)
    warm = clone(memory).set_params(temperature=2.0).fit(X)
    assert_allclose(warm.compute_energy(states), np.array(expected) / 8)


def test_energy_that_overflows_is_refused_before_any_work():
    X = random_patterns(3, 2000)
    memory = DenseAssociativeMemory(100).fit(X)
    assert memory.score(X) == 1
    with pytest.raises(ValueError, match="overflow at temperature=1.0"):
        memory.compute_energy(X)
    with pytest.raises(ValueError, match="overflow"):
        memory.recall(X, return_trajectory=True)
    memory.set_params(temperature=2000.0)
    assert_allclose(memory.compute_energy(X), -1)


def test_overlap():
    X = random_patterns(10, 20)
    memory = DenseAssociativeMemory().fit(X)
    nearest, m = memory.overlap(X[[3, 7]])
    assert_array_equal(nearest, [3, 7])
    assert_array_equal(m, 1)
    half = X[[5]].astype(float)
    half[:, 10:] = np.nan
    assert memory.overlap(half)[1] == 0.5


def test_overlap_has_a_sign():
    X = np.array([[1, 1, 1, 1], [-1, 1, 1, -1]])
    nearest, m = DenseAssociativeMemory().fit(X).overlap([[-1, -1, -1, -1]])
    assert (nearest.tolist(), m.tolist()) == ([1], [0])


def test_score():
    X = random_patterns(4, 50)
    memory = DenseAssociativeMemory(random_state=0).fit(X)
    assert memory.score(X, X[[0, 1, 3, 2]]) == 0.5
    assert memory.score(X, np.zeros(4)) == memory.score(X) == 1
    with pytest.raises(ValueError, match="inconsistent numbers of samples: .4, 3"):
        memory.score(X, X[:3])
    cues = np.where(np.arange(50) < 25, X, np.nan)
    with pytest.raises(ValueError, match="y must hold the complete patterns"):
        memory.score(cues)
    with pytest.raises(ValueError, match="y has 49 features, but X has 50"):
        memory.score(X, X[:, :49])
    with pytest.raises(ValueError, match="contains NaN"):
        memory.score(cues, cues)


@pytest.mark.parametrize(
    "rows, targets, message",
    [
        (slice(10, 20), None, "10 of 10 rows of X are not .* leaves as they are"),
        (slice(4, 20), None, "10 of 16 rows of X"),
        (slice(10, 20), slice(10, 20), "10 of 10 rows of y .* by chance only"),
        (slice(0, 20), slice(0, 20), None),
        (slice(0, 10), None, None),
        (slice(10, 20), slice(0, 10), None),
    ],
)
def test_score_of_patterns_that_were_never_stored(rows, targets, message):
    X = random_patterns(20, 60)
    memory = DenseAssociativeMemory(random_state=0).fit(X[:10])
    y = None if targets is None else X[targets]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        memory.score(X[rows], y)
    assert len(caught) == (message is not None)
    for warning in caught:
        assert re.search(message, str(warning.message))
        assert warning.filename == __file__


def test_search_of_the_power():
    # As in the user guide.
    X = images(50) > 0
    flips = np.random.default_rng(0).random(X.shape) < 0.1

    def share_recalled(memory, X, y=None):
        return memory.score(X ^ flips, X)

    memory = DenseAssociativeMemory(random_state=0)
    everything = np.arange(len(X))
    grid = {"power": [3, 10, "auto"]}
    search = GridSearchCV(
        memory, grid, scoring=share_recalled, cv=[(everything, everything)]
    )
    with pytest.warns(UserWarning, match="Not all") as caught:
        search.fit(X)
    assert not any("rows of" in str(warning.message) for warning in caught)
    scores = [
        clone(memory).set_params(power=p).fit(X).score(X ^ flips, X)
        for p in grid["power"]
    ]
    assert_allclose(search.cv_results_["mean_test_score"], scores)
    assert search.best_params_ == {"power": "auto"}
    assert search.best_score_ > 0.9
    with pytest.warns(UserWarning, match="GridSearchCV needs a scorer"):
        GridSearchCV(memory, grid, cv=3).fit(X)


# Input


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X,
        lambda X: X > 0,
        lambda X: (X + 1) // 2,
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.int8),
        lambda X: (X > 0).astype(np.uint8),
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X > 0),
    ],
)
def test_binary_input_of_any_kind(convert):
    X = random_patterns(6, 30)
    cues = corrupted(X, 0.1)
    memory = DenseAssociativeMemory(random_state=0).fit(convert(X))
    assert_array_equal(memory.memories_, X)
    assert memory.score(convert(cues), convert(X)) == 1
    assert_array_equal(memory.recall(convert(cues)), X)


def test_rows_of_ones_mean_the_same_everywhere():
    ones = np.ones((1, 5))
    for X in (np.eye(5), 2 * np.eye(5) - 1):
        memory = DenseAssociativeMemory().fit(X)
        memory.partial_fit(ones)
        assert_array_equal(memory.memories_[:5], 2 * np.eye(5) - 1)
        assert_array_equal(memory.memories_[5:], ones)
        assert memory.overlap(ones)[0] == 5


def test_partial_fit_adds_memories():
    X = random_patterns(20, 50)
    parts = DenseAssociativeMemory(random_state=0)
    for part in (X[:5], X[5:6], X[6:]):
        parts.partial_fit(part)
    whole = DenseAssociativeMemory(random_state=0).fit(X)
    assert_array_equal(parts.memories_, whole.memories_)
    assert (parts.n_iter_, whole.n_iter_) == (3, 1)
    assert_array_equal(parts.recall(X), whole.recall(X))
    assert len(parts.fit(X[:3]).memories_) == 3


def test_repeated_rows_are_kept():
    X = np.array([[1, 1, -1], [1, 1, -1]])
    memory = DenseAssociativeMemory(2).fit(X)
    assert_array_equal(memory.memories_, X)
    assert memory.compute_energy(X[:1]) == -18


def test_threshold():
    X = random_patterns(6, 30)
    measured = 5.0 + X * np.random.default_rng(0).uniform(0.1, 4, X.shape)
    memory = DenseAssociativeMemory(binarize=5.0, random_state=0).fit(measured)
    assert_array_equal(memory.memories_, X)
    measured[:, 20:] = np.nan
    assert_array_equal(memory.recall(measured), X)


def test_threshold_itself_is_below():
    assert_array_equal(
        DenseAssociativeMemory(binarize=5.0).fit([[5.0, 5.1, 4.9]]).memories_,
        [[-1, 1, -1]],
    )


def test_rounding_of_a_users_energy_decides_no_tie():
    class Scaled(literal.Quartic):
        def value(self, x):
            return 1000.1 + x**2 / 3

    X, cues = random_patterns(4, 40), random_patterns(200, 40, seed=1)
    expected, recalled = (
        DenseAssociativeMemory(2, energy=energy, random_state=0).fit(X).recall(cues)
        for energy in ("polynomial", Scaled())
    )
    assert_array_equal(recalled, expected)


def test_type_of_the_result():
    X = random_patterns(6, 30)
    memory = DenseAssociativeMemory(random_state=0).fit(X)
    assert memory.recall(X).dtype == np.float64
    assert memory.recall(X.astype(np.float32)).dtype == np.float32
    assert memory.memories_.dtype == np.int8


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("feature_range", [(-1, 1), (0, 1)])
def test_rounding_does_not_matter(feature_range, dtype):
    rng = np.random.default_rng(0)
    X = random_patterns(20, 50)
    low, high = np.sort(rng.normal(size=(2, 50)), axis=0)
    measured = np.where(X > 0, high, low).astype(dtype)
    scaled = MinMaxScaler(feature_range).fit_transform(measured)
    assert not np.isin(scaled, [-1, 0, 1]).all()
    memory = DenseAssociativeMemory("auto", random_state=0).fit(scaled)
    assert_array_equal(memory.memories_, X)
    assert_array_equal(memory.recall(scaled), X)
    assert memory.score(scaled, scaled) == 1
    assert_array_equal(memory.compute_energy(scaled), memory.compute_energy(X))
    assert_array_equal(memory.overlap(scaled)[1], 1)


def test_rounding_of_single_precision_far_from_0():
    X = random_patterns(20, 50)
    low, high = np.sort(np.random.default_rng(0).normal(size=(2, 50)), axis=0)
    scaler = MinMaxScaler((-1, 1)).fit(np.float32([low + 100, high + 100]))
    # Measured again, the same values are one rounding off.
    measured = np.where(X > 0, high, low).astype(np.float32) + np.float32(100)
    scaled = scaler.transform(measured) * (1 + np.float32(1e-4))
    assert scaled.dtype == np.float32
    assert_array_equal(DenseAssociativeMemory().fit(scaled).memories_, X)


def test_zeros_are_no_small_measurements():
    memory = DenseAssociativeMemory().fit(np.full((1, 3), 1e-17))
    assert_array_equal(memory.memories_, [[-1, -1, -1]])
    with pytest.raises(ValueError, match="holds -2e-08, 1e-08; 2 of 2 .*binarize=-5e-"):
        memory.fit([[1e-8, -2e-8]])
    # A cue is in the unit of the patterns.
    cue = [[1e-8, np.nan, -2e-8]]
    assert_array_equal(memory.recall(cue), [[-1, -1, -1]])


@pytest.mark.parametrize(
    "X, count, threshold",
    [
        (load_digits().data, "54641 of 115008", "4.9"),
        ([[1, 2], [2, 2]], "3 of 4", "1.75"),
        (np.array([[255, 0]], np.uint8), "1 of 2", "130.0"),
        (np.float32([[2e5 + 0.1, 2e5 + 0.2]]), "2 of 2", "200000.148"),
        ([[7, 7]], "2 of 2", "7.0"),
        ([[-1e308, 1e308]], "2 of 2", "0.0"),
        ([[0.5, np.nan, 0.25]], "2 of 3", "0.38"),
        (pd.DataFrame([[3, 5], [pd.NA, 6]], dtype="Int64"), "3 of 4", "4.7"),
    ],
)
def test_a_threshold_is_suggested(X, count, threshold):
    memory = DenseAssociativeMemory()
    n_features = np.shape(X)[1]
    with pytest.raises(ValueError, match=f"{count} .* binarize={threshold}[0-9]*\\.$"):
        memory.fit(X)
    memory.fit(np.ones((1, n_features)))
    for method in (memory.recall, memory.compute_energy, memory.overlap):
        with pytest.raises(ValueError, match=f"X must .* binarize={threshold}"):
            method(X)
    memory.set_params(binarize=float(threshold)).recall(X)


def test_refused_numbers_are_shown_with_all_digits():
    with pytest.raises(ValueError, match="but holds 0.99999, 1.000002;"):
        DenseAssociativeMemory().fit([[1, -1, 1.000002], [-1, 0.99999, 1]])


@pytest.mark.parametrize(
    "unknown, dtype",
    [
        (pd.NA, object),
        (pd.NA, "Int64"),
        (pd.NA, "Float64"),
        (pd.NA, "boolean"),
        (None, object),
        (np.nan, object),
        (np.nan, np.float16),
    ],
)
def test_unknown_neurons_of_a_data_frame(unknown, dtype):
    X = random_patterns(4, 30) > 0
    memory = DenseAssociativeMemory(clamp="known", random_state=0).fit(X)
    cues = pd.DataFrame(X.astype(int)).astype(object)
    cues.iloc[:, 20:] = unknown
    cues = cues.astype({i: dtype for i in range(20, 30)})
    assert_array_equal(memory.recall(cues) > 0, X)
    complete = pd.DataFrame(X).astype("boolean" if dtype == "boolean" else "Int64")
    assert memory.score(cues, complete) == 1
    with pytest.raises(ValueError, match="X contains NaN"):
        memory.fit(cues)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        memory.score(X, cues)


def test_containers_that_hold_no_dense_data():
    for X in (sparse.csr_matrix(np.eye(3)), sparse.csr_array(np.eye(3))):
        with pytest.raises(TypeError, match="^Sparse data was passed for X"):
            DenseAssociativeMemory().fit(X)


def test_frames_that_are_not_of_pandas():
    pl = pytest.importorskip("polars")
    X = random_patterns(4, 30) > 0
    memory = DenseAssociativeMemory(clamp="known", random_state=0).fit(pl.DataFrame(X))
    unknown = pl.lit(None).cast(pl.Boolean)
    cues = pl.DataFrame(X).with_columns(column_29=unknown, column_28=unknown)
    assert_array_equal(memory.recall(cues) > 0, X)
    assert memory.score(cues, pl.DataFrame(X.astype(int))) == 1


@pytest.mark.parametrize(
    "X, message",
    [
        (np.array([[1, pd.NaT]]), "X holds dates"),
        (np.array([[1, np.datetime64("NaT")]], object), "X holds dates"),
        (pd.DataFrame({"a": [pd.NaT], "b": [pd.NaT]}), "'a', 'b'. of X hold dates"),
        (np.array([["NaT", 1]], "m8[s]"), "X holds dates or durations"),
        ([[1, "up"]], "^X: .*not compatible"),
        (np.array([[1, {}]], object), "^X: .*'dict'"),
    ],
)
def test_values_that_are_no_numbers(X, message):
    memory = DenseAssociativeMemory().fit([[1, 1]])
    for method in (memory.fit, memory.recall):
        with pytest.raises((TypeError, ValueError), match=message):
            method(X)


@pytest.mark.parametrize(
    "X, message",
    [
        ([[1.0, -1.0], [0.5, 1.0]], "X must hold -1 and 1.*but holds 0.5;"),
        ([[1, 2], [3, 4]], r"but holds 2, 3, 4;.*binarize"),
        (np.arange(10).reshape(5, 2), r"holds 2, 3, 4, 5, \.\.\.;"),
        ([[1, 0], [-1, 1]], "holds -1, 0 and 1; an unknown neuron is NaN"),
        ([[0, -1]], "holds -1, 0;"),
        (
            [[1, np.nan], [1, 1]],
            "X contains NaN, but patterns to store must",
        ),
        ([[1, np.inf]], "infinity"),
        ([1, -1], "Expected 2D array"),
        (np.empty((0, 2)), "minimum of 1 is required"),
        ([["a", "b"]], "strings"),
    ],
)
def test_bad_patterns_leave_a_fitted_memory_alone(X, message):
    fresh = DenseAssociativeMemory()
    for method in (fresh.fit, fresh.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X)
        assert not hasattr(fresh, "n_features_in_")
    stored = random_patterns(3, 2)
    memory = DenseAssociativeMemory(random_state=0).fit(stored)
    before = pickle.dumps(memory)
    for method in (memory.fit, memory.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X)
    assert pickle.dumps(memory) == before


def test_bad_cues():
    memory = DenseAssociativeMemory().fit(random_patterns(3, 4))
    with pytest.raises(ValueError, match="X has 3 features, but .* expecting 4"):
        memory.recall([[1, 1, 1]])
    with pytest.raises(ValueError, match="X has 5 features"):
        memory.partial_fit(random_patterns(2, 5))
    with pytest.raises(ValueError, match="but holds 7"):
        memory.recall([[1, 1, 7, np.nan]])
    memory.set_params(allow_unknown=False)
    with pytest.raises(ValueError, match="contains NaN"):
        memory.recall([[1, 1, 1, np.nan]])
    with pytest.raises(NotFittedError):
        DenseAssociativeMemory().recall([[1, 1]])


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"power": 0}, "power"),
        ({"power": 2.5, "energy": "polynomial"}, "not a whole number"),
        ({"energy": "cubic"}, "energy"),
        ({"temperature": 0}, "temperature"),
        ({"max_iter": 0}, "max_iter"),
        ({"clamp": "all"}, "clamp"),
        ({"binarize": "yes"}, "binarize"),
        ({"device": "gpu"}, "device='gpu' must be"),
        ({"device": "cuda:99"}, "device='cuda:99'"),
    ],
)
def test_bad_parameters(parameters, message):
    X = random_patterns(3, 4)
    with pytest.raises(ValueError, match=message):
        DenseAssociativeMemory(**parameters).fit(X)
    memory = DenseAssociativeMemory().fit(X).set_params(**parameters)
    for method in (memory.partial_fit, memory.recall, memory.score):
        with pytest.raises(ValueError, match=message):
            method(X)


@pytest.mark.parametrize(
    "method", ["compute_energy", "overlap", "predict", "transform"]
)
@pytest.mark.parametrize(
    "parameters",
    [{"temperature": -1.0}, {"temperature": "auto"}, {"binarize": np.nan}],
    ids=str,
)
def test_parameters_set_after_fit_are_checked(parameters, method):
    X = random_patterns(3, 4)
    memory = DenseAssociativeMemory().fit(X).set_params(**parameters)
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter"):
        getattr(memory, method)(X)


@pytest.mark.parametrize(
    "parameters", [{"power": 1e308}, {"energy": "exponential", "temperature": 1e-20}]
)
def test_energy_beyond_any_table(parameters):
    X = random_patterns(3, 4)
    with pytest.raises(ValueError, match="spans too many orders of magnitude"):
        DenseAssociativeMemory(**parameters).fit(X).recall(X)


# Life in scikit-learn


def test_pickle_and_clone():
    X = random_patterns(10, 30)
    memory = DenseAssociativeMemory(4, random_state=0).fit(X)
    cues = corrupted(X, 0.2)
    restored = pickle.loads(pickle.dumps(memory))
    assert_array_equal(restored.recall(cues), memory.recall(cues))
    assert clone(memory).get_params() == memory.get_params()
    assert not hasattr(clone(memory), "memories_")


def test_pipeline_and_names():
    X = pd.DataFrame(
        random_patterns(10, 30) * 0.7, columns=[f"neuron {i}" for i in range(30)]
    )
    model = make_pipeline(
        Binarizer(), DenseAssociativeMemory(random_state=0)
    ).set_output(transform="pandas")
    recalled = model.fit(X).transform(X)
    assert_array_equal(recalled, np.sign(X))
    assert list(recalled.columns) == list(X.columns)
    assert_array_equal(model.predict(X), np.sign(X))
    assert model.score(X, np.sign(X)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.score(X, np.arange(10)) == 1
        assert model.score(X, np.sign(X).to_numpy()) == 1
    for renamed in (X[X.columns[::-1]], X.rename(columns={"neuron 3": "three"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.score(X, np.sign(renamed))


def test_first_update_of_an_unknown_neuron_may_raise_the_energy():
    # Both states of the neuron lie higher than 0: x^3 bends down below 0.
    X = np.ones((2, 6))
    X[1, 0] = -1
    cue = [[np.nan, -1, -1, -1, -1, -1]]
    memory = DenseAssociativeMemory(3, energy="polynomial", clamp="known").fit(X)
    _, energies = memory.recall(cue, return_trajectory=True)
    assert energies.tolist() == [[250, 280, 280]]


def test_score_needs_as_many_targets_as_cues():
    X = random_patterns(3, 5)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        DenseAssociativeMemory().fit(X).score(X, X[0])


@pytest.mark.parametrize("power", [np.int64(3), np.float32(2.5), np.int32(3)])
def test_numpy_numbers_as_power(power):
    overlap_tables._decimal_tables.cache_clear()
    X = random_patterns(4, 30)
    assert DenseAssociativeMemory(power).fit(X).score(X) == 1


@pytest.mark.parametrize("namespace", ["torch", "array_api_strict"])
def test_arrays_of_other_namespaces_are_read_on_the_host(namespace):
    xp = pytest.importorskip(namespace)
    X = random_patterns(4, 30)
    expected = DenseAssociativeMemory(random_state=0).fit(X)
    with config_context(array_api_dispatch=True):
        memory = DenseAssociativeMemory(random_state=0).fit(xp.asarray(X))
        assert_array_equal(memory.recall(xp.asarray(X)), expected.recall(X))
        assert memory.score(xp.asarray(X), xp.asarray(X)) == 1


@pytest.mark.parametrize("shape, size", [((3 * 10**6, 1), 1), ((10**6, 1), 2)])
def test_narrow_patterns_take_work_too(shape, size):
    assert len(sample_memories(np.zeros(shape, np.int8), shape[0])) == size


def test_no_power_is_tried_beyond_the_first_that_is_stable(monkeypatch):
    tried = []
    monkeypatch.setattr(
        _fixed_points, "count_unstable", lambda *args: tried.append(args) or 0
    )
    memories = np.ones((2, 5), np.int8)
    assert choose_power(memories, memories, "polynomial") == (2, 0)
    assert len(tried) == 1


def test_all_patterns_are_looked_at_where_the_power_is_automatic():
    X = random_patterns(60, 20)
    memory = DenseAssociativeMemory("auto").fit(X[:59]).partial_fit(X[59:])
    assert memory.power_ == DenseAssociativeMemory("auto").fit(X).power_ > 2
