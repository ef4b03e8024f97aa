"""A memory of real vectors: against plain loops, attention and theory."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_continuous_energies import literal_value, literal_weights

from skdam import ContinuousAssociativeMemory, attention
from skdam._devices import Device, to_numpy
from skdam.continuous_energies import Entmax, LogSumExp, LogSumPower
from skdam.energies import RectifiedPolynomial

NAMES = [
    "log_sum_exp",
    "log_sum_relu",
    "rectified_polynomial",
    "entmax",
    "sparsemax",
]
SIMILARITIES = ["euclidean", "dot_product"]


@parametrize_with_checks(
    [
        ContinuousAssociativeMemory(),
        ContinuousAssociativeMemory(clamp=None),
        ContinuousAssociativeMemory(energy="log_sum_relu", clamp=None),
        ContinuousAssociativeMemory(0.5, energy="entmax", similarity="dot_product"),
    ]
)
def test_check_estimator(estimator, check):
    check(estimator)


def similarity(kind, xi, sigma):
    """Return s of one stored vector and one state."""
    if kind == "euclidean":
        return -sum((a - b) ** 2 for a, b in zip(xi, sigma, strict=True)) / 2
    products = sum(a * b for a, b in zip(xi, sigma, strict=True))
    return products - sum(b * b for b in sigma) / 2


def literal_step(energy, kind, beta, memories, sigma, free):
    """Return the state after one step, and its energy before."""
    x = [beta * similarity(kind, xi, sigma) for xi in memories]
    weights = literal_weights(energy, x)
    after = list(sigma)
    for i in range(len(sigma)):
        if free[i]:
            after[i] = sum(w * xi[i] for w, xi in zip(weights, memories, strict=True))
    return after, -literal_value(energy, x) / beta


def data(n_memories=12, n_features=5, seed=0):
    return np.random.default_rng(seed).normal(3, 2, (n_memories, n_features))


def saved(memory):
    return {name: pickle.dumps(value) for name, value in vars(memory).items()}


def halves(X):
    cues = np.array(X, float)
    cues[:, X.shape[1] // 2 :] = np.nan
    return cues


# Steps


@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("name", NAMES)
def test_steps_and_energies_are_the_formulas(name, kind):
    X = data()
    beta = 0.05
    clamp = np.array([True, False, False, True, False])
    memory = ContinuousAssociativeMemory(
        beta, energy=name, similarity=kind, clamp=clamp, max_iter=3, tol=0
    ).fit(X)
    cues = X[:6] + np.random.default_rng(1).normal(0, 0.5, (6, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        recalled, energies = memory.recall(cues, return_trajectory=True)
    for cue, end, found in zip(cues, recalled, energies, strict=True):
        state = cue.tolist()
        for n in range(min(3, len(found) - 1)):
            after, energy = literal_step(
                memory.energy_, kind, beta, X.tolist(), state, ~clamp
            )
            assert_allclose(found[n], energy, rtol=1e-9)
            state = after
        assert_allclose(end, state, rtol=1e-9)
    assert_allclose(memory.compute_energy(cues), energies[:, 0])
    assert_allclose(memory.compute_energy(recalled), energies[:, -1])
    assert_array_equal(recalled[:, clamp], cues[:, clamp])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_step_is_attention(dtype):
    """Softmax attention of queries over keys that are the values, too."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    keys = rng.normal(0, 1, (50, 16)).astype(dtype)
    queries = rng.normal(0, 1, (20, 16)).astype(dtype)
    memory = ContinuousAssociativeMemory(
        0.7, similarity="dot_product", clamp=None, max_iter=1
    ).fit(keys)
    with pytest.warns(ConvergenceWarning, match="20 of 20 rows were still moving"):
        recalled = memory.recall(queries)
    q, k = torch.tensor(queries)[None], torch.tensor(keys)[None]
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, k, scale=0.7)
    assert recalled.dtype == dtype
    assert_allclose(recalled, expected[0].numpy(), atol=20 * np.finfo(dtype).eps)
    log_density = torch.logsumexp(0.7 * q[0] @ k[0].T, 1) / 0.7
    energy = (q[0] ** 2).sum(1) / 2 - log_density
    found = memory.compute_energy(queries)
    assert_allclose(found, energy.numpy(), atol=40 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["sparsemax", "entmax"])
def test_unknown_components_start_at_attention_over_known_ones(name):
    X = data()
    beta, known = 0.3, np.array([True, True, False, False, False])
    cue = np.where(known, X[0] + 0.3, np.nan)
    memory = ContinuousAssociativeMemory(beta, energy=name, max_iter=1, tol=0).fit(X)
    start = -((cue[known] - X[:, known]) ** 2).sum(axis=1) / 2 * 5 / 2
    weights = literal_weights(memory.energy_, (beta * start).tolist())
    state = np.where(known, cue, np.array(weights) @ X)
    assert_allclose(
        memory.compute_energy([cue]), memory.compute_energy([state]), rtol=1e-12
    )
    expected, _ = literal_step(
        memory.energy_, "euclidean", beta, X.tolist(), state.tolist(), ~known
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert_allclose(memory.recall([cue])[0], expected, rtol=1e-9)


energies = st.one_of(
    st.just(LogSumExp()),
    st.floats(1, 20).map(LogSumPower),
    st.floats(1.1, 2).map(Entmax),
)


@given(
    energies,
    st.sampled_from(SIMILARITIES),
    st.sampled_from([np.float32, np.float64]),
    st.floats(-3, 3),
    st.sampled_from(["known", None, [True, False, True, False]]),
    st.integers(0, 1000),
)
def test_no_step_raises_the_energy(energy, kind, dtype, log_beta, clamp, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 2), 10 ** rng.uniform(-2, 2), (9, 4)).astype(dtype)
    unit = float(np.square(X - (X.mean(0) if kind == "euclidean" else 0)).sum(1).mean())
    cues = rng.permutation(X) + rng.normal(0, unit**0.5 / 3, X.shape).astype(dtype)
    cues[rng.random(X.shape) < 0.3] = np.nan
    beta = 10**log_beta / unit
    memory = ContinuousAssociativeMemory(
        beta, energy=energy, similarity=kind, clamp=clamp, max_iter=30
    ).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        _, found = memory.recall(cues, return_trajectory=True)
    # Infinite until a stored vector is near enough.
    assert not np.isnan(found).any()
    before, after = found[:, :-1], found[:, 1:]
    rounding = (
        200 * np.finfo(dtype).eps * (unit + (1 + abs(np.log(beta * unit))) / beta)
    )
    assert (after[np.isinf(before)] <= np.inf).all()
    finite = np.isfinite(before)
    assert (after[finite] <= before[finite] + rounding).all()


def test_a_row_does_not_depend_on_the_others(monkeypatch):
    X = data(60, 8)
    cues = halves(data(50, 8, seed=1))
    memory = ContinuousAssociativeMemory(0.1).fit(X)
    expected, energies = memory.recall(cues, return_trajectory=True)
    alone = np.concatenate([memory.recall(cue[None]) for cue in cues])
    assert_allclose(alone, expected, rtol=1e-12)
    monkeypatch.setattr(attention, "BLOCK_SIZE", 200)
    monkeypatch.setattr(attention, "LEAST_BLOCK_SIZE", 1)
    again, energies_again = memory.recall(cues, return_trajectory=True)
    assert_allclose(again, expected, rtol=1e-12)
    assert_allclose(energies_again, energies, rtol=1e-12)


@pytest.mark.parametrize("beta", [0.02, 0.3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_products_with_few_weights_are_those_with_all(name, beta, monkeypatch):
    X = data(300, 8)
    cues = halves(data(40, 8, seed=1))
    cues[0] = np.nan
    memory = ContinuousAssociativeMemory(beta, energy=name, max_iter=1000).fit(X)
    found = []
    monkeypatch.setattr(attention, "WIDE", 1)
    for share, cache in ((0, 2**20), (1, 2**20), (0, 1), (1, 1000)):
        monkeypatch.setattr(attention, "SPARSE", share)
        monkeypatch.setattr(attention, "CACHE_SIZE", cache)
        found.append(memory.recall(cues, return_trajectory=True))
    for states, energies in found[1:]:
        assert_allclose(states, found[0][0], rtol=1e-9)
        assert_allclose(energies, found[0][1], rtol=1e-9, atol=1e-9)


class OwnEnergy(LogSumExp):
    def __init__(self, change):
        self.__dict__["change"] = change

    def gradient(self, x):
        return self.change(super().gradient(x))


@pytest.mark.parametrize("n_features", [4, 140])
@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_weights_of_a_wider_type_than_the_data(factor, n_features):
    X = data(50, n_features).astype(np.float32)
    own = OwnEnergy(lambda weights: factor * weights.astype(np.float64))
    found = [
        ContinuousAssociativeMemory(0.01, energy=energy, clamp=None, max_iter=1000)
        .fit(X)
        .transform(X[:5] + 1)
        for energy in ("log_sum_exp", own)
    ]
    assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [lambda w: w[:, :1], lambda w: w[0], lambda w: w.T])
def test_weights_of_another_shape_are_refused(change):
    memory = ContinuousAssociativeMemory(energy=OwnEnergy(change)).fit(data(9, 3))
    memory.set_params(clamp=None)
    with pytest.raises(ValueError, match=r"must have that of the similarities, \(5, 9"):
        memory.transform(data(5, 3))


def test_memory_does_not_grow_with_the_number_of_cues():
    import tracemalloc

    memory = ContinuousAssociativeMemory(clamp=None, max_iter=2)
    memory.fit(np.random.default_rng(0).normal(size=(20_000, 4)))
    cues = np.random.default_rng(1).normal(size=(3000, 4))
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        memory.recall(cues)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All similarities together would be 480 MB, and are needed several times.
    assert peak < 320e6


# What memories are for


def kinds_of_data():
    X = load_digits().data[:300]
    rng = np.random.default_rng(0)
    yield "raw pixels", X / 16 * 255
    yield "pixels in [0, 1]", X / 16
    yield "single precision", (X / 16).astype(np.float32)
    yield "standardised", StandardScaler().fit_transform(X)
    yield "stored twice", np.concatenate([X, X[:150]])
    yield "a constant column", np.column_stack([X, np.full(len(X), 1e6)])
    yield "far from 0", X + 1e6
    yield "large", X * 1e160
    yield "tiny", X * 1e-170
    yield "few", X[:3]
    yield "bytes", X.astype(np.uint8)
    yield "noise", rng.normal(size=(200, 30))


@pytest.mark.parametrize("X", [pytest.param(X, id=name) for name, X in kinds_of_data()])
@pytest.mark.parametrize("name", NAMES)
def test_half_of_a_vector_completes_the_other(X, name):
    memory = ContinuousAssociativeMemory(energy=name).fit(X)
    recalled = memory.transform(halves(X))
    unit = np.abs(np.subtract(X, X[0], dtype=float)).max()
    found = np.abs((recalled - X) / unit).max(axis=1) < 0.01
    # Where two known halves are nearly alike, a sparse energy takes the mean of both.
    assert found.mean() > (0.99 if name == "log_sum_exp" else 0.9)


@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_memories", [2, 30, 1000])
def test_stored_vectors_are_recalled_as_they_are(kind, name, n_memories):
    X = np.random.default_rng(0).normal(size=(n_memories, 20))
    if kind == "dot_product":
        if "entmax" not in name and name not in ("log_sum_exp", "sparsemax"):
            pytest.skip("Powers of products cannot tell them apart.")
        X /= np.sqrt(np.square(X).sum(axis=1, keepdims=True))
    memory = ContinuousAssociativeMemory(energy=name, similarity=kind, clamp=None)
    recalled = memory.fit(X).recall(X)
    spread = np.abs(X).max()
    assert np.abs(recalled - X).max() < 0.02 * spread


@pytest.mark.parametrize("power", [1, 1.001, 1.5, 2, 2.5, 2.999, 3, 10])
@pytest.mark.parametrize("n_memories", [2, 100])
def test_vectors_of_any_power_do_not_merge(power, n_memories):
    X = np.random.default_rng(0).normal(size=(n_memories, 3))
    distances = np.linalg.norm(X[:, None] - X, axis=2)
    closest = distances[distances > 0].min()
    memory = ContinuousAssociativeMemory(
        energy="rectified_polynomial", power=power, clamp=None, tol=0, max_iter=1000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        recalled = memory.fit(X).recall(X)
    assert np.linalg.norm(recalled - X, axis=1).max() < 0.021 * closest


def test_memories_are_not_those_of_the_caller():
    X = data()
    memory = ContinuousAssociativeMemory().fit(X)
    before = X.copy()
    X[:] = 0
    assert_array_equal(memory.memories_, before)


def test_beta_is_margin_over_separation():
    X = np.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 0.0]])
    memory = ContinuousAssociativeMemory().fit(X)
    # The closest two are 3 apart; equal ones count as one.
    assert_allclose(memory.beta_, np.log(100 * 3) / (9 / 2), rtol=1e-12)
    memory.set_params(energy="sparsemax").fit(X)
    assert_allclose(memory.beta_, 1.01 / (9 / 2), rtol=1e-12)
    assert_allclose(memory.fit(100 * X).beta_, 1.01 / (9e4 / 2), rtol=1e-12)
    memory.fit(X[:3]).partial_fit([[0.0, 1.0]])
    assert_allclose(memory.beta_, 1.01 / (1 / 2), rtol=1e-12)
    memory.set_params(similarity="dot_product").fit([[3.0, 0.0], [2.0, 2.0]])
    # 9 - 6 and 8 - 6
    assert_allclose(memory.beta_, 1.01 / 2, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_beta_moves_between_the_mean_and_the_nearest(name):
    X = data(40)
    cues = data(10, seed=1)
    power = 1.5  # of which even far vectors have a weight
    memory = ContinuousAssociativeMemory(1e-6, energy=name, power=power, clamp=None)
    recalled = memory.fit(X).recall(cues)
    assert_allclose(recalled, np.tile(X.mean(0), (10, 1)), atol=1e-3)
    recalled = memory.set_params(beta=1e8).fit(X).recall(cues)
    nearest = ((cues[:, None] - X) ** 2).sum(axis=2).argmin(axis=1)
    assert_allclose(recalled, X[nearest], rtol=1e-12)


def test_new_minima_emerge_where_kernels_overlap():
    """Hoover et al.: two kernels that overlap have a minimum of their own between."""
    X = np.array([[0.0], [1.0], [5.0]])
    memory = ContinuousAssociativeMemory(
        2 / 0.9**2, energy="log_sum_relu", clamp=None
    ).fit(X)
    ends = memory.recall(np.linspace(-0.9, 5.8, 68)[:, None])
    assert_allclose(np.unique(ends.round(9)), [0, 0.5, 1, 5])
    assert_array_equal(memory.recall(X), X)
    middle, end = memory.compute_energy([[0.5], [0.0]])
    assert middle < end
    assert memory.compute_energy([[3.0]]) == np.inf
    smooth = ContinuousAssociativeMemory(2 / 0.9**2, clamp=None).fit(X)
    assert len(np.unique(smooth.recall(X).round(2))) == 2


# Missing values


def with_holes(X, share=0.1, seed=0):
    holes = np.random.default_rng(seed).random(X.shape) < share
    return np.where(holes, np.nan, X), holes


def test_known_components_stay_and_unknown_ones_are_filled():
    X, _ = with_holes(load_wine().data)
    memory = ContinuousAssociativeMemory().fit(load_wine().data)
    filled = memory.transform(X)
    known = ~np.isnan(X)
    assert_array_equal(filled[known], X[known])
    assert np.isfinite(filled).all()
    free = ContinuousAssociativeMemory(clamp=None).fit(load_wine().data)
    assert not np.array_equal(free.transform(X)[known], X[known])


def test_stored_vectors_are_completed():
    X = StandardScaler().fit_transform(load_iris().data)
    cut, holes = with_holes(X)
    memory = ContinuousAssociativeMemory(5.0)
    filled = memory.fit_transform(cut)
    assert_array_equal(memory.memories_[~holes], X[~holes])

    def error(filled):
        return np.sqrt(np.square(filled - X)[holes].mean())

    assert error(filled) < error(KNNImputer().fit_transform(cut))
    automatic = ContinuousAssociativeMemory().fit_transform(cut)
    assert error(automatic) < error(SimpleImputer().fit_transform(cut))


@pytest.mark.parametrize("energy", [LogSumExp(), Entmax(2)], ids=repr)
@pytest.mark.parametrize("beta", [0.2, 20.0, "auto"])
def test_completion_of_a_stored_vector_is_the_formula(beta, energy):
    X = data(8, 4)
    X[0, 2:] = X[1, 0] = X[2, 2] = np.nan
    memory = ContinuousAssociativeMemory(beta, energy=energy).fit(X)

    def half_squares(row):
        """Return half the squared distances from all others, as of all components."""
        for other in np.delete(X, row, axis=0):
            common = ~np.isnan(X[row]) & ~np.isnan(other)
            yield np.square(X[row] - other)[common].sum() * 2 / common.sum()

    if beta == "auto":
        closest = min(min(half_squares(row)) for row in range(3))
        beta = energy.margin(8) / closest
    x = [-beta * half_square for half_square in half_squares(0)]
    others, weights = X[1:, 2:], np.array(literal_weights(energy, x))[:, None]
    weights = weights * ~np.isnan(others)
    expected = (weights * np.nan_to_num(others)).sum(axis=0) / weights.sum(axis=0)
    assert_allclose(memory.memories_[0, 2:], expected, rtol=1e-10)


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_what_no_comparable_vector_has_is_the_mean(kind):
    X = np.array([[1, np.nan], [5, np.nan], [np.nan, 4], [np.nan, 2]])
    memory = ContinuousAssociativeMemory(similarity=kind).fit(X)
    assert_allclose(memory.memories_, [[1, 3], [5, 3], [3, 4], [3, 2]])


def test_a_row_of_nothing_but_nan_is_the_mean_and_is_not_stored():
    X = data(10)
    nothing = np.full((1, 5), np.nan)
    memory = ContinuousAssociativeMemory(1e-3).fit(np.concatenate([X, nothing]))
    assert_array_equal(memory.memories_, X)
    assert_allclose(memory.compute_energy(nothing), memory.compute_energy([X.mean(0)]))


def test_it_imputes_in_a_pipeline():
    X, y = load_iris(return_X_y=True)
    cut, _ = with_holes(X)
    from sklearn.linear_model import LogisticRegression

    model = make_pipeline(
        StandardScaler(), ContinuousAssociativeMemory(0.5), LogisticRegression()
    )
    assert model.fit(cut, y).score(cut, y) > 0.9
    frame = pd.DataFrame(cut, columns=list("abcd"))
    memory = ContinuousAssociativeMemory().set_output(transform="pandas")
    assert memory.fit_transform(frame).columns.tolist() == list("abcd")


# Scores


def test_score_is_the_share_of_the_variance():
    X = data(20)
    cues, targets = halves(X[:6] + 0.3), X[:6]
    memory = ContinuousAssociativeMemory(0.3).fit(X)
    asked = np.isnan(cues)
    wrong = np.square(memory.recall(cues) - targets)[asked].sum()
    expected = 1 - wrong / np.square(X.mean(0) - targets)[asked].sum()
    assert memory.score(cues, targets) == pytest.approx(expected)
    free = ContinuousAssociativeMemory(0.3, clamp=None).fit(X)
    noisy = X + 0.1
    wrong = np.square(free.recall(noisy) - X).sum() / np.square(X.mean(0) - X).sum()
    assert free.score(noisy, X) == pytest.approx(1 - wrong)
    # Without targets, what is known is hidden by halves.
    half = np.random.default_rng(0).permutation(5)[::2]
    new = data(6, seed=1)
    wrong = variance = 0
    for part in (half, np.setdiff1d(range(5), half)):
        cut = new.copy()
        cut[:, part] = np.nan
        wrong += np.square(memory.recall(cut) - new).sum()
        variance += np.square(X.mean(0) - new)[:, part].sum()
    assert memory.score(new) == pytest.approx(1 - wrong / variance)
    assert memory.score(new, np.zeros(6)) == memory.score(new)


def test_a_search_finds_a_beta_that_completes_new_vectors():
    X = StandardScaler().fit_transform(load_iris().data)
    automatic = ContinuousAssociativeMemory().fit(X).beta_
    search = GridSearchCV(
        ContinuousAssociativeMemory(),
        {
            "beta": automatic * np.logspace(-4, 0, 5),
            "energy": ["log_sum_exp", "entmax"],
        },
    ).fit(X, np.zeros(len(X)))
    assert 0.5 < search.best_score_ < 1
    assert search.best_params_["beta"] < automatic / 2


def test_constant_data_are_recalled():
    memory = ContinuousAssociativeMemory().fit(np.full((4, 3), 7.0))
    assert memory.score([[7.0, np.nan, np.nan]], [[7.0, 7.0, 7.0]]) == 1
    assert memory.score([[7.0, np.nan, np.nan]], [[7.0, 8.0, 7.0]]) <= 0


# The estimator


def test_partial_fit_adds():
    X = data(20)
    parts = ContinuousAssociativeMemory().partial_fit(X[:7]).partial_fit(X[7:])
    whole = ContinuousAssociativeMemory().fit(X)
    assert_array_equal(parts.memories_, X)
    assert parts.n_iter_ == 2 and whole.n_iter_ == 1
    assert parts.beta_ == whole.beta_
    assert_array_equal(parts.transform(halves(X)), whole.transform(halves(X)))
    single = ContinuousAssociativeMemory().fit(X.astype(np.float32)).partial_fit(X)
    assert single.memories_.dtype == np.float32


def test_parameters_set_later_do_not_change_what_is_stored():
    X = data(20)
    memory = ContinuousAssociativeMemory(0.3).fit(X)
    expected = memory.recall(halves(X)), memory.compute_energy(X)
    memory.set_params(beta=100, energy="sparsemax", similarity="dot_product", power=9)
    assert_array_equal(memory.recall(halves(X)), expected[0])
    assert_array_equal(memory.compute_energy(X), expected[1])
    memory.set_params(clamp=None)
    assert not np.array_equal(memory.recall(halves(X)), expected[0])


@pytest.mark.parametrize("energy", [*NAMES, RectifiedPolynomial(2)], ids=str)
def test_copies_recall_the_same(energy):
    X = data(20)
    memory = ContinuousAssociativeMemory(energy=energy, clamp=[True] * 5).fit(X)
    expected = memory.recall(halves(X))
    for other in (
        pickle.loads(pickle.dumps(memory)),
        copy.deepcopy(memory),
        clone(memory).fit(X),
    ):
        assert_array_equal(other.recall(halves(X)), expected)
        assert other.energy_ == memory.energy_


def test_skops_reads_a_memory():
    io = pytest.importorskip("skops.io")
    X = data(20)
    memory = ContinuousAssociativeMemory(energy="entmax").fit(X)
    name = "skdam.continuous_memory.ContinuousAssociativeMemory"
    again = io.loads(io.dumps(memory), trusted=[name])
    assert_array_equal(again.recall(halves(X)), memory.recall(halves(X)))


@pytest.fixture(params=["array_api_strict", "torch"])
def xp(request):
    module = "array_api_compat.torch" if request.param == "torch" else request.param
    return pytest.importorskip(module, exc_type=ImportError)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("name", NAMES)
def test_everything_follows_X(xp, name, kind):
    X, _ = with_holes(data(30))
    memory = ContinuousAssociativeMemory(0.1, energy=name, similarity=kind, clamp=None)
    expected = memory.fit(X)
    states, energies = expected.recall(X, return_trajectory=True)
    scores = expected.score(X), expected.score(X, expected.memories_)
    with config_context(array_api_dispatch=True):
        there = clone(memory).fit(xp.asarray(X))
        found = there.recall(xp.asarray(X), return_trajectory=True)
        again = expected.transform(xp.asarray(X))
        assert there.score(xp.asarray(X)) == pytest.approx(scores[0])
        score = there.score(xp.asarray(X), there.memories_)
        assert score == pytest.approx(scores[1])
        energy = there.compute_energy(xp.asarray(X))
    place = Device.of_array(xp.asarray(X))
    for array in (*found, again, energy, there.memories_):
        assert Device.of_array(array) == place
    assert_allclose(to_numpy(there.memories_), expected.memories_, rtol=1e-9)
    assert_allclose(to_numpy(found[0]), states, rtol=1e-6)
    assert_allclose(to_numpy(found[1]), energies, rtol=1e-9, atol=1e-9)
    assert_allclose(to_numpy(again), states, rtol=1e-6)
    assert_allclose(to_numpy(energy), energies[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"beta": 0}, "'beta' parameter"),
        ({"beta": -1.0}, "'beta' parameter"),
        ({"beta": "high"}, "'beta' parameter"),
        ({"beta": np.nan}, "'beta' parameter"),
        ({"energy": "softmax"}, "'energy' parameter"),
        ({"energy": LogSumExp}, "energy=.* must be a name in"),
        ({"power": 0.5}, "'power' parameter"),
        ({"similarity": "cosine"}, "'similarity' parameter"),
        ({"clamp": "all"}, "'clamp' parameter"),
        ({"clamp": [True, False]}, "clamp must be .* 5 booleans"),
        ({"clamp": [0, 1, 2, 3, 4]}, "clamp must be .* 5 booleans"),
        ({"clamp": np.ones((3, 5), bool)}, "clamp must be .* 5 booleans"),
        ({"clamp": [[True], [True, False]]}, "clamp: "),
        ({"max_iter": 0}, "'max_iter' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(parameters, message):
    X = data(10)
    memory = ContinuousAssociativeMemory().fit(X)
    before = saved(memory.set_params(**parameters))
    for method in (memory.fit, memory.partial_fit):
        with pytest.raises((ValueError, TypeError), match=message):
            method(X)
    assert saved(memory) == before
    if {"clamp", "max_iter", "tol"} & set(parameters):
        for method in (memory.recall, memory.transform, memory.score):
            with pytest.raises(ValueError, match=message):
                method(X)


@pytest.mark.parametrize(
    "X, message",
    [
        (sparse.csr_matrix(np.eye(5)), "Sparse data was passed for X"),
        (np.full((3, 5), np.inf), "infinity"),
        (np.full((3, 5), np.nan), "NaN alone in 5 of its features, such as 0"),
        (
            [[1, 2, 3, 4, np.nan]] * 3,
            "NaN alone in 1 of its features, such as 4",
        ),
        (np.full((3, 5), 1.7e308) * [[1], [-1], [1]], "X holds values too large"),
        (np.empty((0, 5)), "minimum of 1 is required"),
        (np.ones(5), "Expected 2D array"),
        ([["a", "b", "c", "d", "e"]], r"hold .a., for example. Encode them first\.$"),
        (np.ones((2, 5), complex), "Complex data not supported"),
    ],
)
def test_bad_data_leave_a_fitted_memory_alone(X, message):
    memory = ContinuousAssociativeMemory().fit(data(10))
    before = saved(memory)
    with pytest.raises((ValueError, TypeError), match=message):
        memory.fit(X)
    assert saved(memory) == before
    if "NaN alone" not in message:
        with pytest.raises((ValueError, TypeError), match=message):
            memory.partial_fit(X)
        assert saved(memory) == before


@pytest.mark.parametrize("name", NAMES)
def test_cues_too_far_for_their_precision_are_refused(name):
    X = data(10)
    memory = ContinuousAssociativeMemory(energy=name, clamp=None).fit(X)
    assert np.isfinite(memory.recall(1e100 * X)).all()
    for method in (memory.recall, memory.transform, memory.compute_energy):
        with pytest.raises(ValueError, match="X holds values too far"):
            method(1e300 * X)


def test_a_tolerance_without_a_square_ends_recall():
    X = data(10)
    memory = ContinuousAssociativeMemory(tol=1e300, clamp=None).fit(X)
    assert memory.recall(X, return_trajectory=True)[1].shape == (10, 2)


def test_calls_before_fit_and_of_other_widths():
    memory = ContinuousAssociativeMemory()
    for method in (
        memory.recall,
        memory.transform,
        memory.score,
        memory.compute_energy,
    ):
        with pytest.raises(NotFittedError):
            method(data())
    memory.fit(data())
    for method in (
        memory.recall,
        memory.transform,
        memory.score,
        memory.compute_energy,
        memory.partial_fit,
    ):
        with pytest.raises(ValueError, match="X has 4 features, but Continuous"):
            method(data(3, 4))
    with pytest.raises(ValueError, match="y has 4 features, but X has 5"):
        memory.score(data(3), data(3, 4))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        memory.score(data(3), data(4))
    with pytest.raises(ValueError, match="y holds NaN"):
        memory.score(halves(data(3)), halves(data(3)))


def test_what_does_not_fit_in_the_precision_of_X_is_refused():
    memory = ContinuousAssociativeMemory().fit(data() * 1e40)
    cue = np.array([[np.nan, 0, 0, 0, 0]], np.float32)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="X is of type"):
        memory.recall(cue)
    assert np.isfinite(memory.recall(cue.astype(float))).all()
