"""A trained classifier as a memory: the energy falls, and what is known stays."""

import warnings

import literal
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neural_network import MLPClassifier

from skdam import DenseAssociativeMemoryClassifier, from_mlp
from skdam._devices import Device, to_numpy
from skdam.completion import descend
from skdam.energies import NamedEnergy, get_energy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Ripples:
    """An energy that is neither convex nor concave."""

    def value(self, x):
        return np.sin(3 * x)

    def activation(self, x):
        return 3 * np.cos(3 * x)

    def slope(self, x):
        return -9 * np.sin(3 * x)


ENERGIES = [
    *(("rectified_polynomial", n) for n in (1, 1.5, 2, 3, 30, 300)),
    *(("polynomial", n) for n in (1, 2, 3, 5, 30)),
    ("log_cosh", 1),
    ("softplus", 1),
    ("exponential", 1),
    (literal.Quartic(), 1),
    (Ripples(), 1),
]


def classifier(X, y, **parameters):
    """Return a network that has hardly been trained."""
    parameters = {"n_memories": 9, "max_iter": 2, "random_state": 0} | parameters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DenseAssociativeMemoryClassifier(**parameters).fit(X, y)


def data(n=40, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, n_features)), np.resize(["a", "b", "c"], n)


def energy(clf, v, x):
    """Return the energy by loops."""
    total = 0.0
    for mu in range(clf.n_memories_):
        overlap = clf.thresholds_[mu] * clf.intercept_scaling_ / clf.network_.unit
        for i in range(len(v)):
            overlap += clf.memories_[mu, i] * v[i] / clf.network_.unit
        for a in range(len(x)):
            overlap += clf.recognition_connections_[mu, a] * x[a] / clf.temperature_
        total -= clf.network_.energy.value(np.float64(overlap))
    return total


def slopes(clf, v, x, h=1e-6):
    """Return the derivatives of the energy by all units, by differences of loops."""
    sigma, N = np.concatenate([v, x]), len(v)
    found = []
    for i in range(len(sigma)):
        up, down = sigma.copy(), sigma.copy()
        up[i] += h
        down[i] -= h
        rise = energy(clf, up[:N], up[N:]) - energy(clf, down[:N], down[N:])
        found.append(rise / 2 / h)
    return np.array(found)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("kind, power", [e for e in ENERGIES if e[1] < 30])
def test_each_step_follows_the_slope_of_the_energy(kind, power, formulation):
    X, y = data()
    X[::7, 1] += 3
    if isinstance(kind, Ripples) and formulation == "energy":
        pytest.skip("the training has no use for ripples")
    clf = classifier(X, y, energy=kind, power=power, formulation=formulation)
    assert clf.intercept_scaling_ > 0
    low, high = X.min(axis=0), X.max(axis=0)
    low, high = np.append(low, [-1] * 3), np.append(high, [1] * 3)
    v = np.array([0.5, np.nan, np.nan, -0.2, np.nan])
    found = [clf.recall(v[None], step=0.05, max_iter=k) for k in (4, 5)]
    before, after = (np.append(f.X[0], f.states[0]) for f in found)
    slope = slopes(clf, before[:5], before[5:])
    free = np.append(np.isnan(v), [True] * 3)
    # Steps that were not taken, each of which halves the next.
    n_refused = int((np.diff(found[0].energies[0]) == 0).sum())
    share = 0.05 * 0.5**n_refused * (high - low)
    expected = np.clip(before - share * np.sign(slope), low, high)
    expected = np.where(free & (abs(slope) > 1e-7), expected, before)
    before_E, after_E = energy(clf, before[:5], before[5:]), found[1].energies[0, -1]
    if energy(clf, expected[:5], expected[5:]) <= before_E:
        assert_allclose(after, expected, atol=1e-12)
    else:
        assert_array_equal(after, before)
    assert_allclose(after_E, energy(clf, after[:5], after[5:]), rtol=1e-9)


@given(
    st.sampled_from(ENERGIES),
    st.sampled_from(["feedforward", "energy"]),
    st.sampled_from([0, "auto", 3.0]),
    st.sampled_from([1.0, 0.4, 0.01]),
    st.integers(0, 99),
    st.sampled_from([(0, 1), (0, 1e-200), (0, 1e200), (50, 1)]),
    st.sampled_from(["float64", "float32"]),
)
def test_energy_never_rises_and_what_is_known_stays(
    kind, formulation, b, step, seed, scale, dtype
):
    if dtype == "float32" and scale[1] != 1:
        scale = 0, 1
    rng = np.random.default_rng(seed)
    X, y = data(seed=seed)
    X = (scale[0] + scale[1] * X).astype(dtype)
    energy, power = kind
    parameters = {"energy": energy, "power": power, "formulation": formulation}
    temperature = scale[1] * rng.choice([1.0, 10.0])
    try:
        clf = classifier(
            X, y, temperature=temperature, intercept_scaling=b, **parameters
        )
    except ValueError:
        return  # Such a network cannot be trained.
    cues = X.copy()
    cues[rng.random(X.shape) < 0.6] = np.nan
    labels = np.where(rng.random(len(y)) < 0.5, y.astype(object), None)
    try:
        found = clf.recall(cues, labels, step=step, max_iter=60, return_trajectory=True)
    except ValueError as error:
        assert "is not finite at temperature" in str(error)
        return
    assert (np.diff(found.energies, axis=1) <= 0).all()
    known = ~np.isnan(cues)
    assert found.X.dtype == found.trajectory.dtype == X.dtype
    assert_array_equal(found.X[known], cues[known])
    assert (np.where(known, 0, found.X - X.min(axis=0)) >= 0).all()
    assert (np.where(known, 0, X.max(axis=0) - found.X) >= 0).all()
    assert (abs(found.states) <= 1).all()
    assert_array_equal(found.trajectory[:, -1], found.X)
    given_ones = labels != None  # noqa: E711
    assert_array_equal(found.y[given_ones], y[given_ones])
    codes = np.searchsorted(clf.classes_, y)
    signs = 2 * np.eye(3)[codes] - 1
    assert_array_equal(found.states[given_ones], signs[given_ones])


@pytest.mark.parametrize("kind, power", ENERGIES[:-1])
def test_it_ends_where_the_energy_is_lowest_nearby(kind, power):
    X, y = data()
    clf = classifier(X, y, energy=kind, power=power, temperature=2.0)
    found = clf.recall(np.full((1, 5), np.nan), ["b"], max_iter=2000)
    assert found.converged.all()
    v, x = found.X[0], found.states[0]
    slope = slopes(clf, v, x)[:5] * (X.max(axis=0) - X.min(axis=0))
    at_low, at_high = v == X.min(axis=0), v == X.max(axis=0)
    least = 1e-4 * max(1, abs(slope).max())
    assert (slope[at_low] >= -least).all()
    assert (slope[at_high] <= least).all()
    # Odd polynomials have minima between the ends.
    assert (abs(slope[~at_low & ~at_high]) <= 0.05 * max(1e-9, abs(slope).max())).all()
    convex = kind != "polynomial" or power % 2 == 0
    assert not convex or power == 1 or (at_low | at_high | (slope == 0)).all()


def test_energies_are_those_of_compute_energy(digits):
    X_train, X_test, y_train, y_test = digits
    clf = classifier(X_train, y_train, power=5, max_iter=20)
    halves = X_test[:50].copy()
    halves[:, 32:] = np.nan
    found = clf.recall(halves, y_test[:50])
    energies = clf.compute_energy(found.X, y_test[:50])
    assert_allclose(found.energies[:, -1], energies, rtol=1e-12)
    start = np.where(np.isnan(halves), np.clip(0, X_train.min(0), X_train.max(0)), 0)
    start += np.nan_to_num(halves)
    energies = clf.compute_energy(start, y_test[:50])
    assert_allclose(found.energies[:, 0], energies, rtol=1e-12)


@pytest.fixture(scope="module")
def prototypes(digits):
    X_train, _, y_train, _ = digits
    return DenseAssociativeMemoryClassifier(power=20, random_state=0).fit(
        X_train, y_train
    )


def test_digits_are_completed_with_their_labels(prototypes, digits):
    _, X, _, y = digits
    cues = X.copy()
    cues[:, 48:] = np.nan
    found = prototypes.recall(cues)
    assert found.converged.all()
    assert (found.y == y).mean() > 0.85
    assert (prototypes.predict(found.X) == found.y).mean() > 0.97
    free = np.isnan(cues)
    others = np.roll(found.X, 1, axis=0)
    assert abs(found.X - X)[free].mean() < 0.8 * abs(others - X)[free].mean()


def test_a_label_becomes_a_digit(prototypes, digits):
    X_train, _, y_train, _ = digits
    found = prototypes.recall(np.full((10, 64), np.nan), np.arange(10))
    assert_array_equal(found.y, np.arange(10))
    assert_array_equal(prototypes.predict(found.X), np.arange(10))
    means = [X_train[y_train == digit].mean(axis=0) for digit in range(10)]
    nearest = ((found.X[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == np.arange(10)).mean() >= 0.9


def test_known_samples_are_classified(prototypes, digits):
    _, X, _, y = digits
    found = prototypes.recall(X)
    assert_array_equal(found.X, X)
    assert (found.y == prototypes.predict(X)).mean() > 0.97


def test_samples_do_not_depend_on_each_other(prototypes, digits, monkeypatch):
    cues = digits[1][:30].copy()
    cues[:, 20:] = np.nan
    together = prototypes.recall(cues, return_trajectory=True)
    monkeypatch.setattr("skdam.network.ELEMENTS_AT_ONCE", 300)
    apart = prototypes.recall(cues, return_trajectory=True)
    for name, one in vars(together).items():
        if name == "energies":
            assert_allclose(getattr(apart, name), one, rtol=1e-9)
        else:
            assert_array_equal(getattr(apart, name), one)


@pytest.mark.parametrize("module", ["array_api_strict", "torch"])
def test_completion_follows_X(module, digits):
    name = "array_api_compat.torch" if module == "torch" else module
    xp = pytest.importorskip(name, exc_type=ImportError)
    X, cues, y, labels = (part[:200] for part in digits)
    cues = cues[:30].copy()
    cues[:, 40:] = np.nan
    labels = np.where(np.arange(30) % 2, labels[:30], np.nan)
    on_host = classifier(X, y).recall(cues, labels, return_trajectory=True)
    with config_context(array_api_dispatch=True):
        clf = classifier(xp.asarray(X), xp.asarray(y))
        found = clf.recall(xp.asarray(cues), xp.asarray(labels), return_trajectory=True)
        for part, expected in vars(on_host).items():
            array = getattr(found, part)
            assert Device.of_array(array) == Device.of_array(xp.asarray(cues)), part
            assert_allclose(to_numpy(array), expected, rtol=1e-6, atol=1e-9)
        # A model on the host goes where the samples are.
        found = classifier(X, y).recall(xp.asarray(cues), labels)
        assert_allclose(to_numpy(found.X), on_host.X)


CONTAINERS = {
    "list": lambda X: X.tolist(),
    "Fortran order": np.asfortranarray,
    "frame": lambda X: pd.DataFrame(X),
    "nullable frame": lambda X: pd.DataFrame(X).astype("Float64"),
    "objects": lambda X: X.astype(object),
    "missing objects": lambda X: np.where(np.isnan(X), pd.NA, X.astype(object)),
}


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_samples_in_any_container(container):
    X, y = data()
    clf, cues = classifier(X, y), X.copy()
    cues[:, 2:] = np.nan
    expected, before = clf.recall(cues), cues.copy()
    found = clf.recall(CONTAINERS[container](cues))
    assert_array_equal(found.X, expected.X)
    assert_array_equal(cues, before)


def test_frames_are_checked_by_their_names():
    X, y = data()
    frame = pd.DataFrame(X, columns=list("vwxyz"))
    clf = classifier(frame, y)
    assert_array_equal(clf.recall(frame).X, X)
    with pytest.raises(ValueError, match="feature names should match"):
        clf.recall(frame[list("zyxwv")])


LABELS = {
    "None among strings": (["a", None, "c"], ["a", "b", "c"]),
    "NaN among strings": (["a", np.nan, "c"], ["a", "b", "c"]),
    "objects": (np.array(["a", None, "c"], object), ["a", "b", "c"]),
    "series": (pd.Series(["a", pd.NA, "c"], dtype="string"), ["a", "b", "c"]),
    "categories": (pd.Series(["a", None, "c"], dtype="category"), ["a", "b", "c"]),
    "masked": (np.ma.array([0, 9, 2], mask=[0, 1, 0]), [0, 1, 2]),
    "floats": (np.array([0, np.nan, 2]), [0, 1, 2]),
    "nullable": (pd.Series([0, pd.NA, 2], dtype="Int64"), [0, 1, 2]),
    "None among numbers": ([0, None, 2], [0, 1, 2]),
    "booleans": ([False, None, True], [False, True, True]),
    "dates": (np.array(["2020", "NaT", "2022"], "M8[Y]"), ["2020", "2021", "2022"]),
}


@pytest.mark.parametrize("kind", sorted(LABELS))
def test_labels_may_be_missing(kind):
    given_labels, classes = LABELS[kind]
    classes = np.array(classes, "M8[Y]" if kind == "dates" else None)
    X, _ = data(n=39)
    clf = classifier(X, np.resize(classes, 39))
    found = clf.recall(X[:3], given_labels)
    assert found.y.dtype == clf.classes_.dtype
    free = clf.recall(X[:3])
    assert_array_equal(found.y[[0, 2]], classes[[0, 2]])
    assert found.y[1] == free.y[1]
    assert_array_equal(found.states[1], free.states[1])


@pytest.mark.parametrize(
    "labels, message",
    [
        (["a", "unknown", "b"], r"y holds labels \['unknown'\] that are not among"),
        (["a", 1, "b"], "y holds labels"),
        (["a", "b"], "X and y: .*inconsistent numbers of samples"),
        ("a", "y"),
        ([["a", "b"], ["a", "b"], ["a", "b"]], "y"),
        ([1, 2, np.nan], "y holds labels .* that are not among"),
    ],
)
def test_bad_labels_are_named(labels, message):
    X, y = data()
    with pytest.raises(ValueError, match=message):
        classifier(X, y).recall(X[:3], labels)


def test_bad_samples_and_parameters_are_named():
    X, y = data()
    clf = classifier(X, y)
    for container in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        with pytest.raises(TypeError, match="X is sparse"):
            clf.recall(container(X))
    with pytest.raises(ValueError, match="X has 4 features"):
        clf.recall(X[:, :4])
    with pytest.raises(ValueError, match="infinity"):
        clf.recall(np.full((1, 5), np.inf))
    with pytest.raises(NotFittedError):
        DenseAssociativeMemoryClassifier().recall(X)
    for wrong in (0, -1, 1.1, "1", np.nan, None):
        with pytest.raises(ValueError, match="'step' parameter of recall"):
            clf.recall(X, step=wrong)
    for wrong in (0, 1.5, "1", None):
        with pytest.raises(ValueError, match="'max_iter' parameter of recall"):
            clf.recall(X, max_iter=wrong)
    with pytest.raises(ValueError, match="not finite at temperature"):
        clf.recall(np.full((1, 5), 1e300))


def test_features_too_small_beside_the_states_of_classes_are_named():
    """A temperature in units of tiny features, by which states of 1 are divided."""
    X, y = data()
    clf = classifier(X * 1e-20, y, power=30)
    cue = np.full((1, X.shape[1]), np.nan)
    for ask in (lambda: clf.recall(cue), lambda: clf.compute_energy(X[:1] * 0, y[:1])):
        with pytest.raises(ValueError, match="if all features are far below 1, the st"):
            ask()
    assert np.isfinite(classifier(X, y, power=30).recall(cue).energies).all()


def test_samples_that_still_change_are_counted():
    X, y = data()
    clf = classifier(X, y)
    with pytest.warns(ConvergenceWarning, match="2 of 2 samples .* max_iter=1 "):
        clf.recall(np.full((2, 5), np.nan), ["a", "b"], max_iter=1)


class TestRange:
    """Unknown features keep to their range in the training data."""

    def ends(self, clf, n_features=5):
        """Return the values that unknown features take, over the labels."""
        X = clf.recall(np.full((3, n_features), np.nan), list("abc")).X
        return X.min(axis=0), X.max(axis=0)

    def test_features_of_any_unit(self):
        X, y = data(400)
        X = X * [1, 1e3, 1e-3, 0, 1] + [0, 5e3, 0, 7, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            clf = classifier(X, y)
        low, high = self.ends(clf)
        assert (low >= X.min(axis=0)).all() and (high <= X.max(axis=0)).all()
        assert low[3] == high[3] == 7

    @pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
    def test_unknown_values_are_left_out(self, container):
        X, y = data()
        X = 6 + X
        X[::3] = np.nan
        X[:, 4] = np.nan
        low, high = classifier(container(X), y)._feature_range()
        assert_array_equal(low, [*np.nanmin(X[:, :4], axis=0), 0])
        assert_array_equal(high, [*np.nanmax(X[:, :4], axis=0), 0])

    def test_zeros_of_sparse_samples_count(self):
        X, y = data()
        X = np.where(X < 0, 0, X)
        for container in (sparse.csr_array, np.asarray):
            low, high = classifier(container(X), y)._feature_range()
            assert_array_equal(low, 0)
            assert_array_equal(high, X.max(axis=0))

    def test_of_all_samples_so_far(self):
        X, y = data()
        clf = DenseAssociativeMemoryClassifier(9, random_state=0)
        for rows in (slice(20), slice(20, 40)):
            clf.partial_fit(X[rows], y[rows], classes=list("abc"))
        assert_array_equal(clf._feature_range(), [X.min(axis=0), X.max(axis=0)])

    def test_of_samples_that_are_trained_on(self):
        X, y = data()
        X[0] = 9
        clf = classifier(X, y)
        weights = np.ones(40)
        weights[0] = 0
        clf.fit(X, y, weights)
        assert clf._feature_range()[1].max() <= 1

    def test_of_a_perceptron(self):
        X, y = data()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlp = MLPClassifier(9, max_iter=5, random_state=0).fit(X, y)
        found = from_mlp(mlp).recall(np.full((3, 5), np.nan), list("abc"))
        assert (abs(found.X) <= 1).all() and (abs(found.X) == 1).any()


@pytest.mark.parametrize("kind", sorted(NamedEnergy.known))
def test_scaled_overlaps_have_the_same_ratios(kind):
    F = get_energy(kind, 5)
    x = np.random.default_rng(0).normal(size=(9, 7))
    for function in (F.value, F.activation):
        at_scale, plain = function(F.scaled(x)), function(x)
        factor = np.linalg.norm(plain, axis=1) / np.linalg.norm(at_scale, axis=1)
        assert_allclose(plain, factor[:, None] * at_scale, rtol=1e-9, atol=1e-12)


def test_a_power_that_underflows_has_a_direction():
    F = get_energy("rectified_polynomial", 300)
    found = descend(
        F,
        np.array([[1e-3], [1e-3]]),
        np.array([[1.0, 0.0]]),
        np.array([[False, True]]),
        -np.ones(2),
        np.ones(2),
        step=1.0,
        max_iter=5,
    )
    assert found.state.tolist() == [[1, 1]]


def test_a_unit_that_no_memory_knows_stays():
    """Its slope is 0, so neither end of its range is lower."""
    couplings = np.array([[1.0], [0.0]])
    ends = -np.ones(2), np.ones(2)
    start, free = np.array([[0.5, 0.3]]), np.ones((1, 2), bool)
    found = descend(
        get_energy("rectified_polynomial", 3),
        couplings,
        start,
        free,
        *ends,
        step=0.2,
        max_iter=20,
    )
    assert found.state.tolist() == [[1, 0.3]]
    assert found.converged.all()


def test_what_does_not_fit_in_the_precision_of_X_is_refused():
    X = np.random.default_rng(0).normal(size=(30, 3)) * 1e40
    clf = DenseAssociativeMemoryClassifier(5, max_iter=2, random_state=0)
    clf.fit(X, np.arange(30) % 2)
    cues = np.array([[np.nan, 0, 0]], np.float32)
    with np.errstate(all="raise"), pytest.raises(ValueError, match="X is of type"):
        clf.recall(cues)
    assert np.isfinite(clf.recall(cues.astype(float)).X).all()
