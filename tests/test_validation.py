"""What the classifier is given: frames, weights, dates, labels, batches."""

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier
from skdam._diagnosis import dominant_features, likeliest_cause
from skdam._resolve import auto_confidence
from skdam._samples import describe
from skdam._validation import as_python
from skdam.capacity import simulate_bit_error
from skdam.losses import LogLoss
from skdam.network import Network


def small(**parameters):
    parameters = {"max_iter": 20, "random_state": 0} | parameters
    return DenseAssociativeMemoryClassifier(20, **parameters)


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True, as_frame=True)
    return (X - X.mean()) / X.std(), y


def test_validation_frames_are_checked_by_name(iris):
    X, y = iris
    for other in (X[X.columns[::-1]], X.rename(columns={X.columns[0]: "other"})):
        with pytest.raises(ValueError, match="feature names"):
            small().fit(X, y, X_val=other, y_val=y)
    clf = small().fit(X, y, X_val=X, y_val=y)
    assert clf.validation_scores_[-1] == clf.score(X, y)


def test_validation_data_are_weighted_by_sample_weights_alone(iris):
    X, y = iris
    weights = np.where(y == 0, 3.0, 0.5)
    clf = small(class_weight={0: 100.0})
    clf.fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)
    assert_allclose(clf.validation_scores_[-1], clf.score(X, y, weights))
    with pytest.raises(ValueError, match="sample_weight_val needs X_val"):
        small().fit(X, y, sample_weight_val=weights)


def test_keys_of_class_weight(iris):
    X, y = iris

    def fit(labels, weight):
        return small(max_iter=2, class_weight=weight).fit(X, labels).memories_

    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[D]")[y]
    assert_array_equal(fit(days, {days[0]: 9.0}), fit(y, {0: 9.0}))
    assert_array_equal(fit(y, {0: 9.0, 1: 1.0, 2: 1.0, "x": 2.0}), fit(y, {0: 9.0}))
    for weight in ({(0, 1): 5.0}, {(0,): 5.0}, {"0": 5.0}, {np.int64(7): 2.0}):
        with pytest.raises(ValueError, match=r"class_weight names \[[^n]"):
            fit(y, weight)
    for labels in (days, np.array(y, "m8[D]")):
        with pytest.raises(ValueError, match=r"class_weight names \[1\]"):
            fit(labels, {1: 5.0})
    for weight in ("a", None, -1.0, np.inf):
        with pytest.raises(ValueError, match=r"class_weight\[0\]"):
            fit(y, {0: weight})


@pytest.mark.parametrize("weight", [5e-324, 1e-300, 1e160, 1e308])
def test_equal_weights_of_any_size_change_nothing(weight, iris):
    X, y = iris
    expected = small().fit(X, y)
    clf = small().fit(X, y, sample_weight=np.full(len(y), weight))
    assert clf.temperature_ == expected.temperature_
    assert_allclose(clf.memories_, expected.memories_, atol=1e-9)
    assert np.isfinite(clf.loss_curve_).all()


def test_a_single_class_with_positive_weight_is_learned(iris):
    X, y = iris
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = small().fit(X, y, sample_weight=(y == 1) * 1.0)
    assert (clf.predict(X) == 1).all()
    with pytest.raises(ValueError, match="only one class: 1"):
        small().fit(X[y == 1], y[y == 1])


def test_dates_are_refused_by_name(iris):
    X, y = iris
    frame = X.assign(day=pd.Timestamp("2020-01-01"), gap=pd.Timedelta("1h"))
    with pytest.raises(ValueError, match=r"Columns \['day', 'gap'\] of X hold dates"):
        small().fit(frame, y)
    days = np.full((150, 2), np.datetime64("2020-01-01"))
    moments = np.array([datetime.date(2020, 1, 1), pd.NaT, np.datetime64("2020-01-01")])
    for value in (days, days.astype(object), np.resize(moments, (150, 3)).tolist()):
        with pytest.raises(ValueError, match="X holds dates"):
            small().fit(value, y)
    for column in (
        pd.Series([datetime.time(1)] * 150),
        pd.Series(pd.date_range("2020", periods=150)).astype("category"),
        pd.Series(pd.period_range("2020", periods=150)),
    ):
        with pytest.raises(ValueError, match=r"Columns \['day'\] of X hold dates"):
            small().fit(X.assign(day=column), y)


@pytest.mark.parametrize("missing", [pd.NA, None, np.nan])
def test_missing_values_among_objects_are_unknown(missing, iris):
    X, y = iris
    X = np.array(X)
    X[::7, 1] = np.nan
    expected = small(max_iter=2).fit(X, y)
    objects = np.where(np.isnan(X), missing, X.astype(object))
    frame = pd.DataFrame(objects, columns=list("abcd"))
    for values in (objects, objects.tolist(), frame, frame.astype({"a": float})):
        clf = small(max_iter=2).fit(values, y, X_val=values, y_val=y)
        assert_array_equal(clf.memories_, expected.memories_)
        assert_array_equal(clf.predict_proba(values), expected.predict_proba(X))


@pytest.mark.parametrize(
    "labels",
    [
        [0, None, 1],
        [0, pd.NA, 1],
        ["a", None, "b"],
        [0.0, np.nan, 1.0],
        np.array(["2020-01-01", "NaT", "2020-01-02"], "M8[D]"),
        pd.array([0, None, 1], "Int64"),
        pd.Series(["a", None, "b"], dtype="category"),
    ],
    ids=repr,
)
def test_missing_labels_are_refused_by_name(labels, iris):
    X, y = iris
    y_bad = pd.Series(labels)[list(y)].reset_index(drop=True)
    with pytest.raises(ValueError, match="y contains NaN"):
        small().fit(X, y_bad)
    with pytest.raises(ValueError, match="y_val contains NaN"):
        small().fit(X, y, X_val=X, y_val=y_bad)
    with pytest.raises(ValueError, match="y contains NaN"):
        small(max_iter=1).fit(X, y).compute_energy(X, y_bad)
    with pytest.raises(ValueError, match="classes contains NaN"):
        small().partial_fit(X, y, classes=labels)


def test_labels_of_another_kind_are_unknown(iris):
    X, y = iris
    for other in (y.astype(str), np.array(y, "m8[D]")):
        with pytest.raises(ValueError, match="y_val holds labels"):
            small().fit(X, y, X_val=X, y_val=other)
        with pytest.raises(ValueError, match="y_val holds labels"):
            small().fit(X, other, X_val=X, y_val=y)


def test_what_is_no_number_is_named(iris):
    X, y = iris
    for change in ("text", pd.Interval(0, 1), 1j):
        with pytest.raises((TypeError, ValueError), match=r"^X\b"):
            small().fit(X.assign(other=change), y)
    with pytest.raises(ValueError, match=r"^X\b"):
        small().fit([[1, 2], [3]], [0, 1])
    for weights in (y - 1.0, np.full(len(y), "heavy"), y[:5], 0 * y):
        with pytest.raises(ValueError, match="sample_weight_val"):
            small().fit(X, y, X_val=X, y_val=y, sample_weight_val=weights)


def test_duplicate_entries_of_sparse_samples_are_summed(iris):
    X, y = np.asarray(iris[0]), iris[1]
    twice = sparse.csr_array(
        (np.repeat(X.ravel() / 2, 2), np.repeat(np.tile(range(4), 150), 2)
         , np.arange(0, 1201, 8)), shape=X.shape,
    )  # fmt: skip
    expected = small().fit(sparse.csr_array(X), y)
    assert_allclose(small().fit(twice, y).memories_, expected.memories_, atol=1e-9)


def test_partial_fit_warns_of_another_scale(iris):
    X, y = np.asarray(iris[0]), iris[1]
    clf = small().partial_fit(X, y, classes=[0, 1, 2])
    first = clf.temperature_
    with pytest.warns(UserWarning, match="Scale all batches alike"):
        clf.partial_fit(100 * X, y)
    assert clf.temperature_ > 2 * first
    with pytest.warns(UserWarning, match="Scale all batches alike"):
        small().fit(X, y).partial_fit(100 * X, y)


@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_a_first_batch_on_another_scale_is_made_up_for(formulation, iris):
    X, y = np.asarray(iris[0]), iris[1]
    clf = small(max_iter=20, formulation=formulation)
    clf.partial_fit(X / 1000, y, classes=[0, 1, 2])
    with pytest.warns(UserWarning, match="Scale all batches alike"):
        clf.partial_fit(X, y)
    for _ in range(18):
        clf.partial_fit(X, y)
    alike = small(max_iter=20, formulation=formulation)
    for _ in range(20):
        alike.partial_fit(X, y, classes=[0, 1, 2])
    assert 0.7 < clf.network_.unit / alike.network_.unit < 1.4
    assert 0.5 <= clf.intercept_scaling_ / alike.intercept_scaling_ <= 2
    assert clf.score(X, y) > alike.score(X, y) - 0.05


def test_partial_fit_goes_on_with_the_loss_of_today(iris):
    X, y = iris
    clf = small().partial_fit(X, y, classes=[0, 1, 2]).set_params(loss="log_loss")
    assert clf.partial_fit(X, y).network_.loss == LogLoss()


def test_two_features_that_drown_the_others_are_named(iris):
    X, y = np.asarray(iris[0]), iris[1]
    stamps = 1e9 * np.random.default_rng(0).random((150, 2))
    with pytest.warns(UserWarning, match="Features [45], [45] of X have"):
        small().fit(np.column_stack([X, stamps]), y)


@pytest.mark.parametrize("n_stamps", [1, 3, 5, 7])
@pytest.mark.parametrize("n_others", [1, 4])
@pytest.mark.parametrize("size", [1e9, 1e200])
def test_any_number_of_features_on_another_scale_is_named(n_stamps, n_others, size):
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(60, n_others)), size * rng.random((60, n_stamps))])
    few, share = dominant_features(describe(X))
    assert set(few) == set(range(n_others, n_others + n_stamps))
    assert share > 0.99
    # Also beside a feature that is constant, which rounding must not set in motion.
    assert not dominant_features(describe(np.c_[X[:, -1], np.full(60, 0.1)]))[0].size


def test_a_failed_training_names_the_likeliest_cause(iris):
    X, y = np.asarray(iris[0]), iris[1]
    for Z, ratio, cause in (
        (X * [1, 1, 1, 1e6], 10, "the features differ in scale"),
        (X, 10, "the temperature is 10 times too high"),
        (X + 100, 0.1, "the temperature is 10 times too low"),
        (X + 100, 1, "the features are far from 0"),
        (X, 1, "training was too short"),
    ):
        assert likeliest_cause(describe(Z), ratio).startswith(cause)
    with pytest.warns(ConvergenceWarning, match="Most likely .* is 188 times too low"):
        small(max_iter=1, temperature=0.01).fit(X, y)


@pytest.mark.parametrize("loss", ["power", "log_loss"])
def test_probabilities_are_made_from_shrunk_scores(loss, iris):
    X, y = iris
    clf = small(loss=loss).fit(X, y)
    network = clf.network_
    assert network.confidence == auto_confidence(150, 3) < 1
    scores = network.scores(np.asarray(X))
    log_p = network.loss.log_probabilities(network.confidence * scores)
    assert_allclose(clf.predict_log_proba(X), log_p)
    assert_allclose(clf.predict_proba(X), np.exp(log_p))
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1, rtol=4e-16)


def test_early_stopping_calibrates_on_the_validation_data(digits):
    X_train, X_test, y_train, y_test = digits
    clf = small(early_stopping=True).fit(X_train, y_train, X_val=X_test, y_val=y_test)
    best = log_loss(y_test, clf.predict_proba(X_test))
    scores = clf.network_.scores(X_test)
    for factor in (0.5, 0.8, 1.25, 2.0):
        log_p = clf.network_.loss.log_probabilities(
            factor * clf.network_.confidence * scores
        )
        assert best < log_loss(y_test, np.exp(log_p))


@pytest.mark.parametrize("m", [1, 3, 1e300])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e7, 1e20, 1e300])
def test_probabilities_of_any_scores(scale, m):
    from skdam.losses import LogLoss, PowerError

    scores = scale * np.array([[1.0, 1.0, 1.0], [3.0, 1.0, 2.0], [-3.0, -1.0, -2.0]])
    for loss in (PowerError(m), LogLoss()):
        p = np.exp(loss.log_probabilities(scores))
        assert_allclose(p.sum(axis=1), 1, rtol=1e-14)
        assert (np.diff(np.take_along_axis(p, scores.argsort(axis=1), 1)) >= 0).all()


def test_models_of_version_0_1_say_why_they_are_not_read():
    clf = DenseAssociativeMemoryClassifier()
    with pytest.raises(ValueError, match=r"pickled by skdam 0\.1"):
        clf.__setstate__({"power": 3, "revival": 0.4, "memories_": np.ones((2, 3))})


def test_numpy_numbers_as_parameters(iris):
    X, y = iris
    for name, value in (
        ("error_exponent", np.uint8(3)),
        ("error_exponent", np.int8(60)),
        ("batch_size", np.uint8(200)),
        ("power", np.int8(70)),
        ("input_dropout", np.float16(0.25)),
        ("tol", np.float16(1e-3)),
        ("temperature_ramp", (np.float16(3), np.uint8(200))),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one, other = (
                small(**{name: v}).fit(X, y).predict_proba(X)
                for v in (value, as_python(value))
            )
        assert_array_equal(one, other)


def test_numpy_numbers_as_parameters_of_a_memory():
    X = np.random.default_rng(0).choice([-1.0, 1.0], (6, 12))
    for name, value in (("power", np.uint8(70)), ("temperature", np.float32(2.5))):
        one, other = (
            DenseAssociativeMemory(energy="polynomial", **{name: v}).fit(X)
            for v in (value, value.item())
        )
        assert_array_equal(one.compute_energy(X), other.compute_energy(X))
        assert_array_equal(one.recall(X), other.recall(X))


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 10**400},
        {"temperature": 1e306},
        {"temperature": 1e-306},
        {"temperature": 1e300, "temperature_ramp": (1e300, 2)},
        {"intercept_scaling": 1e306},
    ],
)
def test_temperatures_without_an_inverse_are_named(parameters, iris):
    with pytest.raises(ValueError, match="temperature"):
        small(**parameters).fit(*iris)


def test_what_is_not_finite_is_found_in_its_epoch(iris, monkeypatch):
    X, y = np.asarray(iris[0]), iris[1]
    # The loss of the last epoch is that before its steps.
    for noise in (1e300, 1e306):
        with pytest.raises(ValueError, match="after epoch 1: .*Raise temperature"):
            small(max_iter=1, input_noise=noise, shuffle=False).fit(1e10 * X, y)
    monkeypatch.setattr(Network, "mean_loss_and_accuracy", lambda *_: (np.nan, 0.5))
    with pytest.raises(ValueError, match="validation loss is nan after epoch 1"):
        small().fit(X, y, X_val=X, y_val=y)


# --- what neighbouring libraries are asked about ---


def test_a_subclass_may_fix_parameters(iris):
    class Small(DenseAssociativeMemoryClassifier):
        def __init__(self, note="", power=2):
            super().__init__(20, power=power, max_iter=3, random_state=0)
            self.note = note

    class Steep(DenseAssociativeMemory):
        def __init__(self, note=""):
            super().__init__(20)
            self.note = note

    X, y = iris
    expected = small(max_iter=3, power=3).fit(X, y)
    found = clone(Small("mine", power=3)).fit(X, y)
    assert_array_equal(found.memories_, expected.memories_)
    found.partial_fit(X, y)
    patterns = np.sign(np.random.default_rng(0).normal(size=(5, 30)))
    assert_array_equal(Steep().fit(patterns).recall(patterns), patterns)


def test_nullable_labels_keep_type_and_digits(iris):
    X, y = iris
    labels = np.array([5, 2**53, 2**53 + 1])[y]
    clf = small(max_iter=1).fit(X, pd.Series(labels, dtype="Int64"))
    assert clf.classes_.dtype == np.int64
    assert_array_equal(clf.classes_, [5, 2**53, 2**53 + 1])
    is_first = pd.Series(y == 0, dtype="boolean")
    assert small(max_iter=1).fit(X, is_first).predict(X).dtype == bool
    for missing in (pd.NA, None):
        with pytest.raises(ValueError, match="y contains NaN"):
            small().fit(X, pd.Series([missing, *labels[1:]], dtype="Int64"))


def test_masked_values_are_unknown(iris):
    X, y = iris[0].to_numpy(), iris[1]
    masked, holes = np.ma.masked_greater(X, 1), np.where(X > 1, np.nan, X)
    clf, expected = small(max_iter=3).fit(masked, y), small(max_iter=3).fit(holes, y)
    # Their order in memory may differ, and with it the rounding of sums.
    found = clf.predict_proba(masked)
    assert_allclose(found, expected.predict_proba(holes), rtol=1e-12)
    with pytest.raises(ValueError, match="y has masked labels"):
        small().fit(X, np.ma.masked_equal(y, 2))
    patterns = np.ma.masked_array([[1, -1, 1], [1, 1, -1]], mask=False)
    memory = DenseAssociativeMemory(random_state=0).fit(patterns)
    patterns[0, 0] = np.ma.masked
    with pytest.raises(ValueError, match="X contains NaN"):
        DenseAssociativeMemory().fit(patterns)
    assert_array_equal(
        memory.recall(patterns), memory.recall([[np.nan, -1, 1], [1, 1, -1]])
    )


def test_the_order_of_bytes_makes_no_difference(iris):
    X, y = iris[0].to_numpy(np.float32), iris[1]
    foreign = X.astype(X.dtype.newbyteorder())
    clf, expected = small(max_iter=3).fit(foreign, y), small(max_iter=3).fit(X, y)
    assert_array_equal(clf.memories_, expected.memories_)
    assert_array_equal(clf.predict_proba(foreign), expected.predict_proba(X))
    states = 2 * np.eye(4, dtype=np.float32) - 1
    recalled = (
        DenseAssociativeMemory(9).fit(states).recall(states.astype(foreign.dtype))
    )
    assert recalled.dtype == np.float32
    assert_array_equal(recalled, states)


def test_frames_without_values_are_refused():
    class LazyFrame:
        columns, dtypes = ["a"], [float]

        def collect(self):
            return pd.DataFrame({"a": [1.0, -1.0]})

    for fit in (small().fit, DenseAssociativeMemory().fit):
        with pytest.raises(TypeError, match=r"X is a LazyFrame.* collect\(\)"):
            fit(LazyFrame(), [0, 1])


@pytest.mark.parametrize("energy", ["rectified_polynomial", "exponential", "log_cosh"])
def test_numpys_settings_for_errors_do_not_matter(energy, iris):
    X, y = iris
    patterns = np.sign(np.random.default_rng(0).normal(size=(10, 40)))
    with np.errstate(all="raise"):
        clf = small(energy=energy, loss="log_loss", max_iter=60).fit(X, y)
        for factor in (1, 30):
            clf.predict_proba(factor * X)
        clf.partial_fit(X, y).compute_energy(X, y)
        # Over the overlaps, F spans more orders of magnitude than a float.
        memory = DenseAssociativeMemory(
            300, energy=energy, temperature=0.1, random_state=0
        )
        recalled = memory.fit(patterns).recall(patterns)
        simulate_bit_error(40, 5, power=300, n_trials=2, random_state=0)
    assert_array_equal(recalled, memory.recall(patterns))
