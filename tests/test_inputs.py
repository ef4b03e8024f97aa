"""The states of the visible neurons: noise, dropout, intercept, missing values."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemoryClassifier
from skdam._backends.inputs import (
    POOL_SIZE,
    InputNoise,
    inputs,
    is_sparse,
    noise_pool,
    sample_hashes,
)
from skdam._devices import to_numpy
from skdam._resolve import auto_intercept
from skdam._samples import describe
from skdam.inspection import contributions


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def with_holes(X, share=0.2):
    return np.where(np.random.default_rng(0).random(X.shape) < share, np.nan, X)


def small(**parameters):
    parameters = {"max_iter": 5, "random_state": 0} | parameters
    return DenseAssociativeMemoryClassifier(20, **parameters)


def networks(clf):
    return clf.memories_, clf.thresholds_, clf.recognition_connections_


def assert_same_network(clf, other, **tolerance):
    for one, another in zip(networks(clf), networks(other), strict=True):
        assert_allclose(one, another, **tolerance)


# --- noise and dropout ---


def test_noise_is_read_from_the_pool_at_the_hash_of_the_sample():
    """Sample by sample and feature by feature, in Python's integers."""
    hashes, shifts = [3, 2**32 - 70_000], (2**31 + 5, 77)
    noise = InputNoise(0.1, 0.4, shifts)
    pool = noise_pool(9, np.float64).tolist()
    samples = np.ones((2, 9))
    noise.apply(samples, np.array(hashes, np.uint32))
    for row, number in enumerate(hashes):
        for i in range(9):
            drawn = pool[(number + shifts[0]) % 2**32 % POOL_SIZE + i]
            place = (number * 0x9E3779B1 + shifts[1]) % 2**32 % POOL_SIZE + i
            kept = pool[place] >= 2 * 0.4 - 1
            expected = (1 + 0.1 * np.sqrt(3) * drawn) / 0.6 if kept else 0
            assert_allclose(samples[row, i], expected, rtol=1e-12)


def test_pool_goes_round():
    pool = noise_pool(POOL_SIZE + 3)
    assert_array_equal(pool[:5], noise_pool(5)[:5])
    assert_array_equal(pool[POOL_SIZE : 2 * POOL_SIZE], pool[:POOL_SIZE])
    assert_allclose([pool.min(), pool.max()], [-1, 1], atol=1e-4)
    counts, _ = np.histogram(pool[:POOL_SIZE], bins=20)
    assert np.abs(counts / counts.mean() - 1).max() < 0.02


def test_stored_features_get_the_noise_of_dense_ones():
    """Those that are not 0; the others get none, whether they are stored or not."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(50, 30)) * (rng.random((50, 30)) < 0.3)
    thin = sparse.csr_array(dense)
    thin.data[::7] = 0
    dense = thin.toarray()
    hashes = sample_hashes(dense)
    noise = InputNoise.of_epoch(0.2, 0.4, 1, 2)
    expected = dense.copy()
    noise.apply(expected, hashes)
    expected[dense == 0] = 0
    noise.apply_to_stored(thin, hashes)
    assert_array_equal(thin.toarray(), expected)


def drawn(std, dropout, epoch):
    hashes = sample_hashes(np.random.default_rng(0).random((4000, 3)))
    samples = np.ones((4000, 300), np.float32)
    InputNoise.of_epoch(std, dropout, 1, epoch).apply(samples, hashes)
    return samples - 1 if std else samples > 0


@pytest.mark.parametrize("std, dropout", [(0.5, 0.0), (0.0, 0.3)])
def test_noise_is_independent(std, dropout):
    values = drawn(std, dropout, epoch=1)
    expected_std = std or np.sqrt(0.21)
    assert_allclose(values.std(), expected_std, rtol=0.01)
    for axis in (0, 1):
        # Means spread as those of independent draws do.
        spread = values.mean(axis=axis).std()
        assert_allclose(spread, expected_std / np.sqrt(values.shape[axis]), rtol=0.2)
    correlation = np.corrcoef(values[:, ::10].T)
    assert np.abs(correlation - np.eye(30)).max() < 5 / np.sqrt(4000)
    other = drawn(std, dropout, epoch=2)
    assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.005


def test_noise_says_nothing_about_dropout():
    noise, kept = drawn(0.5, 0.0, epoch=1), drawn(0.0, 0.3, epoch=1)
    assert abs(np.corrcoef(noise.ravel(), kept.ravel())[0, 1]) < 0.005
    assert abs(kept.mean() - 0.7) < 0.002


def test_noise_goes_by_the_sample_and_not_by_its_place():
    noise = InputNoise(0.1, 0.5, (7, 8))
    hashes = np.arange(10, dtype=np.uint32)
    whole, order = np.ones((10, 6)), np.array([5, 2, 9])
    some = whole[order]
    noise.apply(whole, hashes)
    noise.apply(some, hashes[order])
    assert_array_equal(some, whole[order])


def test_hashes_of_samples_follow_from_their_features():
    X = np.random.default_rng(0).integers(-3, 4, (2500, 7)) / 2
    X[5] = X[4]
    hashes = sample_hashes(X)
    different = np.unique(X, axis=0)
    assert len(np.unique(sample_hashes(different))) == len(different)
    assert_array_equal(hashes[[4, 5]], hashes[[5, 4]])
    for same in (X.astype(np.float32), sparse.csr_array(X), np.asfortranarray(X)):
        assert_array_equal(sample_hashes(same), hashes)
    permuted = X[:, ::-1]
    assert (sample_hashes(permuted) == hashes).mean() < 0.01
    assert_array_equal(sample_hashes(X[::-1]), hashes[::-1])


@pytest.mark.parametrize(
    "parameters", [{}, {"input_dropout": 0.3}, {"input_noise": 0.5}]
)
def test_a_weight_is_a_repetition(parameters, iris):
    X, y = iris[0][::5], iris[1][::5]
    weights = np.arange(30) % 3
    clf = small(**parameters).fit(X, y, sample_weight=weights)
    repeated = np.random.default_rng(0).permutation(np.repeat(np.arange(30), weights))
    other = small(**parameters).fit(X[repeated], y[repeated])
    assert_same_network(clf, other, rtol=1e-6, atol=1e-9)


def test_a_share_close_to_one_drops_nearly_all():
    samples = np.ones((100, 100))
    noise = InputNoise(0, np.nextafter(1.0, 0), (0, 0))
    noise.apply(samples, np.arange(100, dtype=np.uint32) * np.uint32(12345))
    assert (samples > 0).sum() <= 1


@pytest.mark.parametrize("offset", [0, 1, 1.7e9, 1.7e12])
@pytest.mark.parametrize("width", [1.0, 120.0])
def test_sizes_of_sparse_and_dense_samples_are_the_same(offset, width):
    rng = np.random.default_rng(0)
    X = np.c_[offset + width * rng.random((400, 2)), rng.normal(size=400)]
    X[X < 0] = 0
    for one, other in zip(describe(X), describe(sparse.csr_array(X)), strict=True):
        assert_allclose(one, other, rtol=1e-3)


def test_sizes_are_the_same_in_slices(monkeypatch):
    X = np.random.default_rng(0).normal(3, 1, size=(50, 4)).round()
    containers = X, sparse.csr_array(X)
    together = [(*describe(Z), sample_hashes(Z)) for Z in containers]
    monkeypatch.setattr("skdam._samples.ELEMENTS_AT_ONCE", 12)
    monkeypatch.setattr("skdam._backends.inputs.ELEMENTS_AT_ONCE", 12)
    for Z, expected in zip(containers, together, strict=True):
        for one, other in zip((*describe(Z), sample_hashes(Z)), expected, strict=True):
            assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("at_once", [12, 2**16])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_sizes_are_the_formulas(container, at_once, monkeypatch):
    monkeypatch.setattr("skdam._samples.ELEMENTS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    X = rng.normal(1, 1, size=(50, 4)).round() * [1, 3e3, -0.2, 1e-3]
    X[rng.random(X.shape) < 0.1] = np.nan
    weights = np.linspace(0.1, 5, 50)
    p, v = weights / weights.sum(), np.nan_to_num(X)
    mean, l1 = p @ v, abs(v).sum(axis=1)
    length = np.linalg.norm(mean)
    expected = (
        1 / (p**2).sum(),
        np.sqrt(p @ (v**2).sum(axis=1)),
        p @ l1,
        l1.max(),
        np.sqrt(p @ (v - mean) ** 2),
        length,
        np.sqrt(p @ (v @ mean / length - length) ** 2),
        abs(mean).sum(),
        mean.sum(),
        np.nanmin(X, axis=0),
        np.nanmax(X, axis=0),
    )
    for one, other in zip(describe(container(X), weights), expected, strict=True):
        assert_allclose(one, other, rtol=1e-9)


def test_a_constant_beside_tiny_features_has_an_intercept_of_0():
    X = np.c_[1e-300 * np.random.default_rng(0).normal(size=(9, 4)), np.full(9, 7.0)]
    assert auto_intercept(describe(X)) == 0


def test_sizes_of_each_feature_keep_their_digits():
    X = np.random.default_rng(0).normal(size=(50, 4))
    sizes = np.array([1e-250, 1e-5, 1.0, 1e250])
    for Z in (X * sizes, sparse.csr_array(X * sizes)):
        assert_allclose(describe(Z).std, X.std(axis=0) * sizes, rtol=1e-12)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("scale", [1, 50])
def test_an_epoch_with_noise_is_one_on_noisy_samples(scale, formulation, iris):
    X, y = iris
    X = scale * X
    parameters = {
        "max_iter": 1,
        "batch_size": 40,
        "temperature": 2.0 * scale,
        "intercept_scaling": 1.5,
        "formulation": formulation,
        "gradient_tolerance": 0,
        "reinit_dead": 0,
    }
    clf = small(input_dropout=0.3, input_noise=0.2, **parameters).fit(X, y)
    # The features' standard deviation is the scale.
    noisy = X.copy()
    InputNoise.of_epoch(0.2 * scale, 0.3, 0, 0).apply(noisy, sample_hashes(X))
    assert (noisy == 0).any()
    other = small(input_noise=0, **parameters).fit(noisy, y)
    assert_same_network(clf, other, rtol=1e-9)
    assert_array_equal(clf.predict(X), clf.predict(X.copy()))


@pytest.mark.parametrize("factors", [(1, 9, 1, 1), (1, 1, 1, 1)])
def test_noise_is_in_units_of_the_root_mean_square_deviation(factors, iris):
    X, y = iris[0] * factors, iris[1]
    parameters = {"max_iter": 1, "temperature": 9.0, "reinit_dead": 0, "batch_size": 40}
    clf = small(input_noise=0.2, **parameters).fit(X, y)
    noisy = X.copy()
    std = 0.2 * np.sqrt(X.var(axis=0).mean())
    noise = InputNoise.of_epoch(std, 0.0, 0, 0)
    noise.apply(noisy, sample_hashes(X))
    settings = {"input_noise": 0, "intercept_scaling": clf.intercept_scaling_}
    other = small(**settings, **parameters).fit(noisy, y)
    assert_same_network(clf, other, rtol=1e-6, atol=1e-9)


def test_noise_is_another_in_every_epoch():
    shifts = {InputNoise.of_epoch(0.3, 0.0, 4, epoch).shifts for epoch in range(100)}
    assert len({a for a, _ in shifts}) == len({b for _, b in shifts}) == 100


def test_given_memories_are_trained_by_the_plain_rule(iris):
    X, y = iris
    start = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    plain = {"intercept_scaling": 0, "input_noise": 0, "reinit_dead": 0}
    clf = small(init=start).fit(X, y)
    assert_same_network(clf, small(init=start, **plain).fit(X, y), rtol=0)
    other = small(init=start, input_noise=0.1).fit(X, y)
    assert not np.array_equal(clf.memories_, other.memories_)


def test_plain_where_the_order_is_the_users(iris):
    X, y = iris
    plain = {"input_noise": 0, "reinit_dead": 0}
    clf, other = small(shuffle=False), small(shuffle=False, **plain)
    assert_same_network(clf.fit(X, y), other.fit(X, y), rtol=0)
    clf, other = small(), small(**plain)
    for part in (clf, other):
        part.partial_fit(X, y, classes=np.unique(y))
    assert_same_network(clf, other, rtol=0)


def test_disturbed_fit_is_partial_fit_over_the_same_batches(iris):
    X, y = iris
    parameters = {
        "input_dropout": 0.2,
        "input_noise": 0.1,
        "temperature": 2.0,
        "shuffle": False,
        "batch_size": 150,
        "max_iter": 3,
    }
    clf, parts = small(**parameters).fit(X, y), small(**parameters)
    for _ in range(3):
        parts.partial_fit(X, y, classes=np.unique(y))
    assert_same_network(clf, parts, rtol=0)


def test_hash_of_what_contributes_nothing_is_that_of_zero():
    X = np.array([[1, 0.0], [1, -0.0], [1, np.nan]])
    for form in (X, X.astype(np.float32), sparse.csr_array(X)):
        assert len(set(sample_hashes(form).tolist())) == 1


def test_noise_follows_the_seed(iris):
    start = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    rule = {"init": start, "shuffle": False, "input_noise": 0.2}
    one, same, other = (
        small(random_state=seed, **rule).fit(*iris).memories_ for seed in (1, 1, 2)
    )
    assert_array_equal(one, same)
    assert not np.array_equal(one, other)


# --- the intercept ---


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_intercept_is_a_constant_feature(formulation, dtype, iris):
    X, y = iris[0].astype(dtype), iris[1]
    parameters = {
        "formulation": formulation,
        "input_noise": 0,
        "temperature": 2.0,
    }
    clf = small(intercept_scaling=2.0, **parameters).fit(X, y)
    wide = np.column_stack([X, np.full(len(X), 2.0, dtype)])
    other = small(intercept_scaling=0, **parameters).fit(wide, y)
    assert clf.memories_.shape == (20, 4)
    assert_array_equal(clf.memories_, other.memories_[:, :4])
    assert_array_equal(clf.thresholds_, other.memories_[:, 4])
    assert_array_equal(other.thresholds_, np.zeros(20))
    assert_array_equal(clf.decision_function(X), other.decision_function(wide))
    assert_allclose(clf.compute_energy(X, y), other.compute_energy(wide, y))
    assert_allclose(contributions(clf, X), contributions(other, wide), rtol=1e-6)


def test_automatic_intercept(iris):
    X, y = iris

    def intercept(X, **parameters):
        return small(max_iter=1, **parameters).fit(X, y).intercept_scaling_

    # Standardised, so of length 2, and a mean of 0.
    assert intercept(X) == 2
    assert intercept(64 * X) == 128
    assert intercept(X + 0.1) == 2
    # Samples that have much in common need less of another constant,
    assert intercept(X + 4) == 0.5
    # unless that is all in which they differ.
    assert intercept(X[:, :1] + 4) == 1
    assert intercept(sparse.csr_array(X)) == 2
    assert intercept(X, intercept_scaling=0.7) == 0.7
    assert intercept(np.zeros_like(X)) == 0
    # The given start says nothing about thresholds.
    assert intercept(X, init=np.zeros((20, 7))) == 0


@pytest.mark.parametrize("offset", [0, 1])
def test_intercept_tells_near_from_far(offset):
    """Without one, a class around the origin cannot be told from one around it."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 600)
    y = np.arange(600) % 2
    X = (0.4 + 1.2 * y)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    X += offset
    clf = DenseAssociativeMemoryClassifier(random_state=0)
    assert clf.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.97
    clf.set_params(intercept_scaling=0).fit(X[:300], y[:300])
    assert clf.score(X[300:], y[300:]) < 0.93


def test_training_continues_with_the_same_intercept(iris):
    X, y = iris
    clf = small(warm_start=True, intercept_scaling=1.5).fit(X, y)
    clf.set_params(intercept_scaling="auto").fit(X, y)
    assert clf.intercept_scaling_ == 1.5
    before = clf.memories_.copy()
    for fit in (clf.fit, clf.partial_fit):
        with pytest.raises(
            ValueError, match=r"intercept_scaling=0 .*previous call, 1\.5"
        ):
            clf.set_params(intercept_scaling=0)
            fit(X, y)
    assert_array_equal(clf.memories_, before)


def test_automatic_temperature_grows_with_the_intercept(iris):
    X, y = iris
    length = np.sqrt((X**2).sum(axis=1).mean())
    T, larger = (
        small(intercept_scaling=scale * length, max_iter=1).fit(X, y).temperature_
        for scale in (0, 2)
    )
    assert_allclose(larger / T, np.sqrt(5))


@pytest.mark.parametrize("n_features", [2, 3, 8, 32, 512])
def test_automatic_intercept_is_the_same_for_all_folds(n_features):
    """Standardised features are at no edge of the rounding."""
    rng = np.random.default_rng(0)
    X = StandardScaler().fit_transform(rng.normal(size=(200, n_features)))
    found = {
        auto_intercept(describe(X[rng.permutation(200)[:160]].astype(dtype)))
        for dtype in (np.float32, np.float64)
        for _ in range(10)
    }
    assert len(found) == 1


def test_sizes_do_not_lose_digits():
    X = np.random.default_rng(0).normal(size=(3000, 4))
    for dtype in (np.float32, np.float64):
        sizes = describe((X + [0, 1e3, -1e4, 3e4]).astype(dtype))
        assert_allclose(sizes.std, X.std(axis=0), rtol=0.01)
        assert_allclose(sizes.std_along_mean, 1, rtol=0.1)
    expected = describe(X, np.arange(3000))
    for found in (
        describe(sparse.csr_array(X), np.arange(3000)),
        describe(X[np.repeat(np.arange(3000), np.arange(3000) // 500)]),
    ):
        assert_allclose(found.mean_length, expected.mean_length, atol=0.05)
        assert_allclose(found.std, expected.std, rtol=0.02)
        assert_allclose(found.l2_norm, expected.l2_norm, rtol=0.02)


@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1.0, 1e100, 1e300])
def test_sizes_of_any_scale(scale):
    X = np.random.default_rng(0).normal(size=(100, 4))
    one = describe(X)
    for container in (np.asarray, sparse.csr_array):
        found = describe(container(scale * X))
        assert_allclose(found.l2_norm, scale * one.l2_norm)
        assert_allclose(found.max_l1_norm, scale * one.max_l1_norm)
        assert_allclose(found.std, scale * one.std)
        assert_allclose(found.total_std, scale * one.total_std)
    # A common offset takes nothing away but what it rounds off.
    assert_allclose(describe(X + 1e6).std, one.std, rtol=1e-6)


def test_effective_number_of_samples():
    X = np.random.default_rng(0).normal(size=(100, 4))
    assert describe(X).n_samples == 100
    assert_allclose(describe(X, np.full(100, 7.0)).n_samples, 100)
    assert_allclose(describe(X, np.repeat([1.0, 1e-9], 50)).n_samples, 50)


# --- missing values ---


def test_unknown_states_contribute_nothing(iris):
    holes, y = with_holes(iris[0]), iris[1]
    filled = np.nan_to_num(holes)
    plain = {"input_noise": 0}
    clf, other = small(**plain).fit(holes, y), small(**plain).fit(filled, y)
    assert_same_network(clf, other, rtol=0)
    assert (clf.temperature_, clf.intercept_scaling_) == (
        other.temperature_,
        other.intercept_scaling_,
    )
    for method in (clf.predict_proba, lambda X: contributions(clf, X)):
        assert_array_equal(method(holes), method(filled))
    assert_array_equal(clf.compute_energy(holes, y), clf.compute_energy(filled, y))


@pytest.mark.parametrize(
    "made", [pd.DataFrame, sparse.csr_matrix, lambda X: X.astype(np.float32)]
)
def test_unknown_states_in_other_containers(made, iris):
    holes, y = with_holes(iris[0]), iris[1]
    clf, other = small().fit(holes, y), small().fit(made(holes), y)
    assert_same_network(clf, other, rtol=1e-3, atol=1e-4)
    given = made(holes)
    other.predict(given)
    # What was given keeps its holes.
    given = given.toarray() if sparse.issparse(given) else np.asarray(given)
    assert_array_equal(np.isnan(given), np.isnan(holes))


@pytest.mark.parametrize("name", ["array_api_strict", "array_api_compat.torch"])
@pytest.mark.parametrize("intercept", [0.0, 3.0])
def test_unknown_states_in_other_namespaces(name, intercept):
    xp = pytest.importorskip(name, exc_type=ImportError)
    X = np.array([[1.0, np.nan], [2.0, 4.0]])
    found = inputs(xp.asarray(X), slice(2), xp.float64, 2.0, intercept)
    expected = np.column_stack([[[0.5, 0], [1, 2]], [intercept / 2] * 2])
    assert_allclose(to_numpy(found), expected[:, : 3 if intercept else 2])


def test_a_feature_that_is_never_known(iris):
    X, y = iris
    X = X.copy()
    X[:, 1] = np.nan
    clf = small(max_iter=40).fit(X, y, X_val=X, y_val=y)
    assert clf.score(X, y) == clf.validation_scores_[-1] > 0.9


def test_learns_with_holes(iris):
    X, y = iris
    holes = with_holes(X, 0.4)
    fit = DenseAssociativeMemoryClassifier(random_state=0).fit
    assert fit(holes[::2], y[::2]).score(holes[1::2], y[1::2]) > 0.75


def test_inputs_do_not_overflow_on_the_way():
    large = np.full((1, 3), 3e38, dtype=np.float32)
    with np.errstate(all="raise"):
        v = inputs(large.copy(), slice(1), np.float32, temperature=2.0)
    assert_allclose(v, large / 2)


# --- scales ---


@pytest.mark.parametrize("factor", [1e-3, 1, 1e3])
def test_the_scale_of_all_features_makes_no_difference(factor, digits):
    X_train, X_test, y_train, y_test = digits
    clf = DenseAssociativeMemoryClassifier(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(factor * X_train, y_train)
    assert clf.score(factor * X_test, y_test) > 0.97


def test_one_feature_that_drowns_the_others_is_named():
    X, y = load_wine(return_X_y=True)
    with pytest.warns(UserWarning, match="Feature 12 of X has 99.7.% of the variance"):
        DenseAssociativeMemoryClassifier(random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scaled in (StandardScaler().fit_transform(X), X[:, [12]]):
            small(max_iter=60).fit(scaled, y)


@pytest.mark.parametrize(
    "n_samples, n_features, n_classes",
    [
        (20, 2, 2),
        (20, 10_000, 2),
        (100, 1, 2),
        (300, 1, 3),
        (1000, 300, 30),
        (3000, 20, 100),
        pytest.param(60_000, 10, 5, marks=pytest.mark.slow),
    ],
)
def test_no_warning_whatever_the_shape(n_samples, n_features, n_classes):
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(n_classes, n_features))
    if n_features == 1:
        centres = 8.0 * np.arange(n_classes)[:, None]
    y = np.arange(2 * n_samples) % n_classes
    X = centres[y] + rng.normal(size=(2 * n_samples, n_features))
    X = StandardScaler().fit_transform(X)
    clf = DenseAssociativeMemoryClassifier(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.fit(X[:n_samples], y[:n_samples])
    assert clf.score(X[n_samples:], y[n_samples:]) > 0.9


# --- sparse samples ---


def text(n_samples=120, n_features=700, n_words=5, seed=0):
    """Return bags of words from topics, as CSR, and their topics."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_samples)
    topics = rng.random((3, n_features)) ** 4 / (1 + np.arange(n_features))
    topics /= topics.sum(axis=1, keepdims=True)
    X = np.stack([rng.multinomial(n_words, topics[topic]) for topic in y])
    X[::17] = 0
    return sparse.csr_array(np.log1p(X)), y


def with_zeros_and_parts(X):
    """Return X with zeros stored, in no order, and some features in two parts."""
    rng = np.random.default_rng(0)
    coo = X.tocoo()
    rows, columns = coo.row, coo.col
    zeros = rng.integers(X.shape[0], size=40), rng.integers(X.shape[1], size=40)
    order = rng.permutation(2 * X.nnz + 40)
    rows = np.concatenate([rows, rows, zeros[0]])[order]
    columns = np.concatenate([columns, columns, zeros[1]])[order]
    values = np.concatenate([2 * coo.data, -coo.data, np.zeros(40)])[order]
    by_row = np.argsort(rows, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(rows, minlength=X.shape[0])))
    return sparse.csr_array((values[by_row], columns[by_row], edges), X.shape)


def with_long_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def test_few_stored_features_stay_sparse():
    X, _ = text()
    assert is_sparse(X)
    assert not is_sparse(X.toarray())
    assert not is_sparse(sparse.csr_array(np.ones((3, 1000))))
    # Nor does a table of a few categories gain.
    assert not is_sparse(sparse.csr_array(np.eye(100)))
    v = inputs(X, slice(4), np.float32, temperature=2.0, intercept=3.0)
    assert sparse.issparse(v)
    assert v.dtype == np.float32
    expected = inputs(X.toarray(), slice(4), np.float32, 2.0, 3.0)
    assert_array_equal(v.toarray(), expected)


@pytest.mark.parametrize(
    "container",
    [
        *(getattr(sparse, f"{kind}_matrix") for kind in "csr csc coo bsr dia".split()),
        *(getattr(sparse, f"{kind}_array") for kind in "csr csc coo bsr dia".split()),
        with_zeros_and_parts,
        with_long_indices,
    ],
)
def test_any_sparse_container_is_its_dense_array(container):
    X, y = text()
    plain = {"input_noise": 0, "input_dropout": 0.3, "batch_size": 17}
    dense = small(**plain).fit(X.toarray(), y)
    given = container(X)
    clf = small(**plain).fit(given, y)
    assert_same_network(clf, dense, rtol=1e-9, atol=1e-9)
    for method in ("decision_function", "predict_proba"):
        assert_allclose(
            getattr(clf, method)(given), getattr(dense, method)(X.toarray()), rtol=1e-7
        )
    assert_allclose(clf.compute_energy(given, y), dense.compute_energy(X.toarray(), y))
    # With noise, too, only the numbers count, and not how they are stored.
    assert_same_network(
        small(input_noise=0.3).fit(given, y),
        small(input_noise=0.3).fit(X, y),
        rtol=1e-9,
        atol=1e-9,
    )
    assert_array_equal(given.toarray(), X.toarray())


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"power": 20, "gradient_tolerance": 0.1},
        {"loss": "log_loss", "class_weight": "balanced", "momentum": 0.5},
        {"temperature_ramp": (3.0, 4), "intercept_scaling": 0},
        {"energy": "exponential", "loss": "log_loss"},
    ],
    ids=str,
)
def test_sparse_text_is_learned_as_dense(parameters, formulation):
    X, y = text()
    X.data[::11] = np.nan
    full = X.toarray()
    parameters = {"formulation": formulation, "input_noise": 0} | parameters
    weights = np.arange(len(y)) % 4
    thin, dense = small(**parameters), small(**parameters)
    for clf, part in ((thin, X), (dense, full)):
        own = "early_stopping" in parameters
        validation = {} if own else {"X_val": part, "y_val": y}
        clf.fit(part, y, weights, **validation)
    assert_same_network(thin, dense, rtol=1e-8, atol=1e-8)
    assert_allclose(thin.loss_curve_, dense.loss_curve_, rtol=1e-8)
    assert_allclose(thin.validation_loss_curve_, dense.validation_loss_curve_)
    assert thin.best_iter_ == dense.best_iter_
    assert_allclose(thin.predict_proba(X), dense.predict_proba(full), rtol=1e-6)


def test_features_of_earlier_calls_go_on_moving():
    """Their velocity is still there, though later calls do not store them."""
    X, y = text()
    halves = X.copy(), X.copy()
    halves[0].data[halves[0].indices % 2 == 0] = 0
    halves[1].data[halves[1].indices % 2 == 1] = 0
    for half in halves:
        half.eliminate_zeros()
    thin, dense = small(temperature=2.0), small(temperature=2.0)
    for half in (*halves, *halves):
        thin.partial_fit(half, y, classes=np.unique(y))
        dense.partial_fit(half.toarray(), y, classes=np.unique(y))
    assert_same_network(thin, dense, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shape", [(40, 400), (40, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_samples_without_anything(shape, dtype):
    X, y = sparse.csr_array(shape, dtype=dtype), np.arange(40) % 2
    for intercept in (0, 1.0):
        thin, dense = (
            small(intercept_scaling=intercept, max_iter=2).fit(part, y)
            for part in (X, X.toarray())
        )
        assert_same_network(thin, dense, rtol=1e-4, atol=1e-5)
        assert_allclose(
            thin.decision_function(X), dense.decision_function(X), atol=1e-5
        )


def test_predictions_of_wide_samples_take_little_memory():
    n_features = 2**15
    X, y = text(n_features=600)
    X = sparse.csr_array((X.data, X.indices * 50, X.indptr), (len(y), n_features))
    clf = small(max_iter=1).fit(X, y)
    clf.predict(X)
    tracemalloc.start()
    clf.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * clf.network_.weights.nbytes


@pytest.mark.parametrize("index", [10**6, 6, -1])
def test_indices_beyond_a_sparse_matrix(index):
    X = sparse.csr_array(np.eye(6)[np.arange(30) % 6])
    clf = DenseAssociativeMemoryClassifier(5, max_iter=1).fit(X, np.arange(30) % 2)
    bad = X.copy()
    bad.indices[3] = index
    for call in (clf.predict, lambda X: clf.fit(X, np.arange(30) % 2)):
        with pytest.raises(ValueError, match="X: .*ind"):
            call(bad)
