"""What the visible neurons show: unknown and hidden features, and the bias neuron."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemoryClassifier
from skdam.inspection import contributions
from skdam.kernels.cues import Disturbance, cues, sample_keys
from skdam.temperature import auto_bias, sample_sizes
from skdam.training import Descent


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
    return clf.memories_, clf.bias_connections_, clf.recognition_connections_


def assert_same_network(clf, other, **tolerance):
    for one, another in zip(networks(clf), networks(other), strict=True):
        assert_allclose(one, another, **tolerance)


# --- hiding ---


def test_hash_is_the_one_written_down():
    """Sample by sample and feature by feature, in Python's integers."""

    def hashed(number):
        number ^= number >> 16
        number = number * 0x7FEB352D % 2**32
        number ^= number >> 15
        number = number * 0x846CA68B % 2**32
        return number ^ (number >> 16)

    samples, key = [3, 2**32 - 70_000], 2**31 + 5
    disturbance = Disturbance(0.4, 0.1, key, np.array(samples, np.uint32))
    noise, factors = disturbance.draw(slice(0, 2), 9, np.float64)
    for row, sample in enumerate(samples):
        start = hashed((key + hashed(sample)) % 2**32)
        for i in range(9):
            bits = hashed((start + i * 0x9E3779B9) % 2**32)
            shown = hashed(bits) >= 0.4 * 2**32
            assert factors[row, i] == (1 / 0.6 if shown else 0)
            expected = 0.1 * np.sqrt(3) * (2 * bits / 2**32 - 1)
            assert_allclose(noise[row, i], expected, rtol=1e-12, atol=1e-15)


def drawn(masked, key, noise=0.0):
    samples = sample_keys(np.random.default_rng(0).random((4000, 3)))
    disturbance = Disturbance(masked, noise, key, samples)
    parts = disturbance.draw(slice(0, 4000), 300, np.float32)
    return parts[0] if noise else parts[1]


def test_noise_is_even_and_independent():
    noise = drawn(0, key=1, noise=0.5) / (0.5 * np.sqrt(3))
    assert_allclose([noise.min(), noise.max()], [-1, 1], atol=1e-4)
    counts, _ = np.histogram(noise, bins=20)
    assert np.abs(counts / counts.mean() - 1).max() < 0.02
    correlation = np.corrcoef(noise[:, ::10].T)
    assert np.abs(correlation - np.eye(30)).max() < 5 / np.sqrt(4000)
    # It says nothing about what is hidden.
    shown = drawn(0.3, key=1) > 0
    assert abs(np.corrcoef(noise.ravel(), shown.ravel())[0, 1]) < 0.005


def test_hidden_features_are_independent():
    shown = drawn(0.3, key=1) > 0
    assert abs(shown.mean() - 0.7) < 0.002
    for axis in (0, 1):
        # Means spread as those of independent draws do.
        spread = shown.mean(axis=axis).std()
        assert_allclose(spread, np.sqrt(0.21 / shown.shape[axis]), rtol=0.15)
    correlation = np.corrcoef(shown[:, ::10].T)
    assert np.abs(correlation - np.eye(30)).max() < 5 / np.sqrt(4000)
    other = drawn(0.3, key=2) > 0
    assert abs((shown == other).mean() - (0.49 + 0.09)) < 0.002


def test_disturbance_goes_by_the_sample_and_not_by_its_place():
    disturbance = Disturbance(0.5, 0.1, 7, np.arange(10, dtype=np.uint32))
    order = np.array([5, 2, 9])
    for whole, some in zip(
        disturbance.draw(slice(0, 10), 6, np.float64),
        disturbance.draw(order, 6, np.float64),
        strict=True,
    ):
        assert_array_equal(some, whole[order])


def test_keys_of_samples_follow_from_their_features():
    X = np.random.default_rng(0).integers(-3, 4, (2500, 7)) / 2
    X[5] = X[4]
    keys = sample_keys(X)
    different = np.unique(X, axis=0)
    assert len(np.unique(sample_keys(different))) == len(different)
    assert_array_equal(keys[[4, 5]], keys[[5, 4]])
    for same in (X.astype(np.float32), sparse.csr_array(X), np.asfortranarray(X)):
        assert_array_equal(sample_keys(same), keys)
    permuted = X[:, ::-1]
    assert (sample_keys(permuted) == keys).mean() < 0.01
    assert_array_equal(sample_keys(X[::-1]), keys[::-1])


@pytest.mark.parametrize("parameters", [{}, {"cue_masking": 0.3}, {"cue_noise": 0.5}])
def test_a_weight_is_a_repetition(parameters, iris):
    X, y = iris[0][::5], iris[1][::5]
    weights = np.arange(30) % 3
    clf = small(**parameters).fit(X, y, sample_weight=weights)
    repeated = np.random.default_rng(0).permutation(np.repeat(np.arange(30), weights))
    other = small(**parameters).fit(X[repeated], y[repeated])
    assert_same_network(clf, other, rtol=1e-6, atol=1e-9)


def test_a_share_close_to_one_hides_nearly_all():
    almost = np.nextafter(1.0, 0)
    disturbance = Disturbance(almost, 0, 0, np.arange(100, dtype=np.uint32))
    _, factors = disturbance.draw(slice(0, 100), 100, np.float64)
    assert (factors > 0).sum() <= 1


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("scale", [1, 50])
def test_a_disturbed_epoch_is_one_on_disturbed_samples(scale, formulation, iris):
    X, y = iris
    X = scale * X
    parameters = {
        "max_iter": 1,
        "batch_size": 40,
        "temperature": 2.0 * scale,
        "bias": 1.5,
        "formulation": formulation,
        "gradient_tolerance": 0,
    }
    clf = small(cue_masking=0.3, cue_noise=0.2, **parameters).fit(X, y)
    # The features' standard deviation is the scale.
    descent = Descent(*[None] * 6, masked=0.3, noise=0.2 * scale, seed=0)
    disturbance = descent.disturbance(0, sample_keys(X))
    noise, factors = disturbance.draw(slice(0, len(X)), X.shape[1], np.float64)
    assert (factors == 0).any()
    other = small(cue_noise=0, **parameters).fit((X + noise) * factors, y)
    assert_same_network(clf, other, rtol=1e-9)
    assert_array_equal(clf.predict(X), clf.predict(X.copy()))


def test_disturbance_is_another_in_every_epoch():
    descent = Descent(*[None] * 6, masked=0.3, seed=4)
    assert len({descent.disturbance(epoch, None).key for epoch in range(100)}) == 100


def test_given_memories_are_trained_by_the_plain_rule(iris):
    X, y = iris
    start = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    plain = {"bias": 0, "cue_noise": 0, "revival": 0}
    clf = small(memories_init=start).fit(X, y)
    assert_same_network(clf, small(memories_init=start, **plain).fit(X, y), rtol=0)
    other = small(memories_init=start, cue_noise=0.1).fit(X, y)
    assert not np.array_equal(clf.memories_, other.memories_)


def test_plain_where_the_order_is_the_users(iris):
    X, y = iris
    plain = {"cue_noise": 0, "revival": 0}
    clf, other = small(shuffle=False), small(shuffle=False, **plain)
    assert_same_network(clf.fit(X, y), other.fit(X, y), rtol=0)
    clf, other = small(), small(**plain)
    for part in (clf, other):
        part.partial_fit(X, y, classes=np.unique(y))
    assert_same_network(clf, other, rtol=0)


def test_disturbed_fit_is_partial_fit_over_the_same_batches(iris):
    X, y = iris
    parameters = {
        "cue_masking": 0.2,
        "cue_noise": 0.1,
        "temperature": 2.0,
        "shuffle": False,
        "batch_size": 150,
        "max_iter": 3,
    }
    clf, parts = small(**parameters).fit(X, y), small(**parameters)
    for _ in range(3):
        parts.partial_fit(X, y, classes=np.unique(y))
    assert_same_network(clf, parts, rtol=0)


@pytest.mark.parametrize("share", [-0.1, 1, "some"])
def test_share_to_mask_is_checked(share, iris):
    with pytest.raises(ValueError, match="cue_masking"):
        small(cue_masking=share).fit(*iris)


@pytest.mark.parametrize("noise", [-0.1, np.inf, "some"])
def test_noise_is_checked(noise, iris):
    with pytest.raises(ValueError, match="cue_noise"):
        small(cue_noise=noise).fit(*iris)


# --- the bias neuron ---


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bias_is_a_constant_feature(formulation, dtype, iris):
    X, y = iris
    parameters = {
        "formulation": formulation,
        "dtype": dtype,
        "cue_noise": 0,
        "temperature": 2.0,
    }
    clf = small(bias=2.0, **parameters).fit(X, y)
    wide = np.column_stack([X, np.full(len(X), 2.0)])
    other = small(bias=0, **parameters).fit(wide, y)
    assert clf.memories_.shape == (20, 4)
    assert_array_equal(clf.memories_, other.memories_[:, :4])
    assert_array_equal(clf.bias_connections_, other.memories_[:, 4])
    assert_array_equal(other.bias_connections_, np.zeros(20))
    assert_array_equal(clf.decision_function(X), other.decision_function(wide))
    assert_allclose(clf.compute_energy(X, y), other.compute_energy(wide, y))
    assert_allclose(contributions(clf, X), contributions(other, wide), rtol=1e-6)


def test_automatic_bias_is_what_is_lacking(iris):
    X, y = iris

    def bias(X, **parameters):
        return small(max_iter=1, **parameters).fit(X, y).bias_

    # Standardised, so of length 2, and a mean of 0.
    assert bias(X) == 2
    assert bias(64 * X) == 128
    assert bias(X + 0.1) == 2
    # Samples that have much in common need less of another constant,
    assert bias(X + 4) == 0.5
    # unless that is all in which they differ.
    assert bias(X[:, :1] + 4) == 1
    assert bias(sparse.csr_array(X)) == 2
    assert bias(X, bias=0.7) == 0.7
    assert bias(np.zeros_like(X)) == 0
    # The given start says nothing about thresholds.
    assert bias(X, memories_init=np.zeros((20, 7))) == 0


@pytest.mark.parametrize("offset", [0, 1])
def test_bias_tells_near_from_far(offset):
    """Without one, a class around the origin cannot be told from one around it."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 600)
    y = np.arange(600) % 2
    X = (0.4 + 1.2 * y)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    X += offset
    clf = DenseAssociativeMemoryClassifier(random_state=0)
    assert clf.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.97
    clf.set_params(bias=0).fit(X[:300], y[:300])
    assert clf.score(X[300:], y[300:]) < 0.93


def test_training_goes_on_with_the_same_bias(iris):
    X, y = iris
    clf = small(warm_start=True, bias=1.5).fit(X, y)
    clf.set_params(bias="auto").fit(X, y)
    assert clf.bias_ == 1.5
    before = clf.memories_.copy()
    for fit in (clf.fit, clf.partial_fit):
        with pytest.raises(ValueError, match=r"bias=0.* previous call, 1\.5"):
            clf.set_params(bias=0)
            fit(X, y)
    assert_array_equal(clf.memories_, before)


@pytest.mark.parametrize("n_features", [2, 3, 8, 32, 512])
def test_automatic_bias_is_the_same_for_all_folds(n_features):
    """Standardised features are at no edge of the rounding."""
    rng = np.random.default_rng(0)
    X = StandardScaler().fit_transform(rng.normal(size=(200, n_features)))
    found = {
        auto_bias(sample_sizes(X[rng.permutation(200)[:160]].astype(dtype)))
        for dtype in (np.float32, np.float64)
        for _ in range(10)
    }
    assert len(found) == 1


def test_sizes_do_not_lose_digits():
    X = np.random.default_rng(0).normal(size=(3000, 4))
    for dtype in (np.float32, np.float64):
        sizes = sample_sizes((X + [0, 1e3, -1e4, 3e4]).astype(dtype))
        assert_allclose(sizes.variance, X.var(axis=0), rtol=0.01)
        assert_allclose(sizes.variance_along_mean, 1, rtol=0.1)
    expected = sample_sizes(X, np.arange(3000))
    for found in (
        sample_sizes(sparse.csr_array(X), np.arange(3000)),
        sample_sizes(X[np.repeat(np.arange(3000), np.arange(3000) // 500)]),
    ):
        assert_allclose(found.mean, expected.mean, atol=0.02)
        assert_allclose(found.variance, expected.variance, rtol=0.02)


def test_squares_that_overflow_are_refused():
    X = 1e200 * np.random.default_rng(0).normal(size=(30, 3))
    with pytest.raises(ValueError, match="X holds numbers whose squares"):
        small().fit(X, np.arange(30) % 2)


@pytest.mark.parametrize("bias", [-1.0, "some", np.nan])
def test_bias_is_checked(bias, iris):
    with pytest.raises(ValueError, match="bias"):
        small(bias=bias).fit(*iris)


# --- unknown features ---


def test_unknown_states_contribute_nothing(iris):
    holes, y = with_holes(iris[0]), iris[1]
    filled = np.nan_to_num(holes)
    plain = {"cue_noise": 0}
    clf, other = small(**plain).fit(holes, y), small(**plain).fit(filled, y)
    assert_same_network(clf, other, rtol=0)
    assert (clf.temperature_, clf.bias_) == (other.temperature_, other.bias_)
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


def test_cues_do_not_overflow_on_the_way():
    large = np.full((1, 3), 3e38, dtype=np.float32)
    with np.errstate(all="raise"):
        assert_allclose(cues(large.copy(), 2.0), large / 2)


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
