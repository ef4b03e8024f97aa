"""The classifier for tables: columns, coding, and the blend."""

import pickle
import warnings
from datetime import date

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdam import DenseAssociativeMemoryClassifier, make_tabular_classifier
from skdam.tabular import (
    BlendedClassifier,
    ImportanceScaler,
    PiecewiseLinearEncoder,
    default_kinds,
)
from skdam.tabular.blend import (
    _calibrate,
    _calibrated,
    _greedy_weights,
    _log_probabilities,
)
from skdam.tabular.columns import (
    category_columns,
    make_column_transformer,
    number_columns,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NETWORK = DenseAssociativeMemoryClassifier(20, max_iter=5)
KINDS = [("linear", LogisticRegression()), ("bayes", GaussianNB())]


@parametrize_with_checks(
    [
        BlendedClassifier([("linear", LogisticRegression()), ("memory", NETWORK)]),
        ImportanceScaler(random_state=0),
        PiecewiseLinearEncoder(random_state=0),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture
def table():
    """Return a frame with columns of all types, and labels that they decide."""
    rng = np.random.default_rng(0)
    n = 120
    size = rng.normal(size=n)
    shop = rng.choice(["corner", "market", "online"], n)
    frame = pd.DataFrame(
        {
            "size": size,
            "stock": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "shop": shop,
            "open": rng.random(n) < 0.5,
            "grade": pd.Categorical(rng.choice([1, 2, 3], n)),
            "code": [f"code {i}" for i in range(n)],
            "mixed": rng.choice(np.array(["a", 1, 2.5], dtype=object), n),
            "constant": 1.0,
            "empty": np.nan,
            "prices": rng.choice(np.array([1, 2.5, None], dtype=object), n),
        }
    )
    for column in frame.columns:
        frame[column] = frame[column].mask(rng.random(n) < 0.05)
    frame["shop"] = frame["shop"].astype("category")
    return frame, np.where((size > 0) ^ (shop == "online"), "buy", "sell")


def columns_of(pipeline, name):
    return list(pipeline["columns"].transformers_[name][2])


def test_columns_of_all_types(table):
    X, y = table
    clf = make_tabular_classifier(KINDS, random_state=0).fit(X, y)
    numbers, categories = (list(X.columns[columns_of(clf, i)]) for i in (0, 1))
    assert numbers == ["size", "stock", "constant", "empty", "prices"]
    assert categories == ["shop", "open", "grade", "code", "mixed"]
    names = clf["columns"].get_feature_names_out()
    assert "categories__shop_online" in names
    assert sum(name.startswith("categories__code") for name in names) == 30
    assert np.isfinite(clf["columns"].transform(X)).all()
    # Categories that were never seen, and columns in another order.
    new = X.iloc[::-1, ::-1].copy()
    new["shop"] = "elsewhere"
    assert clf.predict(new).shape == y.shape
    assert set(clf.predict(X)) == {"buy", "sell"}


@pytest.mark.parametrize("kind", ["list", "objects", "floats", "strings"])
def test_tables_without_names(kind, table):
    X, y = table
    X = X[["size", "shop"]].astype(object).where(X.notna(), None)
    data = {
        "list": X.to_numpy().tolist(),
        "objects": X.to_numpy(),
        "floats": X[["size"]].to_numpy(dtype=float, na_value=np.nan),
        "strings": X[["shop"]].to_numpy().astype(str),
    }[kind]
    clf = make_tabular_classifier(KINDS, random_state=0).fit(data, y)
    n_numbers = {"list": 1, "objects": 1, "floats": 1, "strings": 0}[kind]
    assert len(columns_of(clf, 0)) == n_numbers
    assert_allclose(clf.predict_proba(data).sum(axis=1), 1)


@pytest.mark.parametrize(
    "dates",
    [
        pd.date_range("2020", periods=12),
        pd.timedelta_range("1h", periods=12),
        [date(2020, 1, 1)] * 12,
        pd.period_range("2020", periods=12, freq="D"),
        pd.date_range("2020", periods=12, tz="UTC"),
    ],
    ids=lambda dates: str(getattr(dates, "dtype", "date")),
)
def test_dates_are_refused_by_name(dates):
    X = pd.DataFrame({"size": range(12), "sold": dates})
    with pytest.raises(TypeError, match="'sold' holds dates or times"):
        make_tabular_classifier(KINDS).fit(X, [0, 1] * 6)


def test_default_kinds_beat_chance_by_far(table):
    X, y = table
    X = X[["size", "shop"]]
    clf = make_tabular_classifier(random_state=0)
    assert cross_val_score(clf, X, y, cv=3).mean() > 0.9


def test_default_kinds_are_in_single_precision(table):
    X, y = table
    clf = make_tabular_classifier(cv=2, random_state=0).fit(X[["size", "shop"]], y)
    for models in clf["blend"].estimators_.values():
        for model in models:
            assert model[-1].memories_.dtype == np.float32


def test_default_kinds_are_silent_where_transformers_return_tables():
    X, y = load_iris(return_X_y=True, as_frame=True)
    for _, model in default_kinds():
        with config_context(transform_output="pandas"), warnings.catch_warnings():
            warnings.simplefilter("error")
            before = model[:-1].fit_transform(X, y)
        assert set(before.dtypes) == {np.dtype(np.float32)}


def test_linear_kind_is_linear():
    X, y = load_iris(return_X_y=True)
    X = X - X.mean(axis=0)
    linear = dict(default_kinds())["linear"]
    linear.set_params(denseassociativememoryclassifier__random_state=0).fit(X, y)
    ends = linear.decision_function(X[:50]), linear.decision_function(X[100:])
    between = linear.decision_function(0.25 * X[:50] + 0.75 * X[100:])
    least = 1e-5 * np.abs(between).max()
    assert_allclose(between, 0.25 * ends[0] + 0.75 * ends[1], rtol=1e-4, atol=least)
    assert linear.score(X, y) > 0.9


def test_parameters_are_visible(table):
    X, y = table
    clf = make_tabular_classifier([("memory", NETWORK)], cv=2, random_state=0)
    grid = {"blend__memory__power": [2, 3], "columns__categories": ["drop"]}
    search = GridSearchCV(clf, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 2
    assert clf.set_params(blend__memory__power=5)["blend"].kinds[0][1].power == 5


def test_blends_warn_of_columns_that_tell_nothing():
    X, y = np.random.default_rng(1).normal(size=(200, 3)), np.arange(200) % 2
    with pytest.warns(ConvergenceWarning, match="hardly tell the classes apart"):
        make_tabular_classifier(random_state=0).fit(X, y)
    # A network that finds little is no failure where another kind finds more.
    y = X[:, 0] * X[:, 1] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = make_tabular_classifier(random_state=0).fit(X, y)
    assert clf["blend"].weights_["coded"] > 0.8
    # Neither weights nor repetition are evidence.
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(400, 3)), np.arange(400) % 2
    weights = rng.lognormal(0, 2.5, 400)
    repeated = RepeatedKFold(n_repeats=10, random_state=0)
    for cv, weight in ((4, weights), (repeated, None)):
        blend = BlendedClassifier(KINDS[:1], cv=cv, random_state=0)
        with pytest.warns(ConvergenceWarning, match="hardly tell the classes apart"):
            blend.fit(X, y, sample_weight=weight)
    # Other classifiers warn as usual.
    kinds = [("linear", LogisticRegression(max_iter=1))]
    with pytest.warns(ConvergenceWarning, match="lbfgs"):
        BlendedClassifier(kinds, random_state=0).fit(X, X[:, 0] > 0)


def test_blends_in_threads_leave_the_filters_of_warnings_alone():
    X, y = np.random.default_rng(1).normal(size=(100, 3)), np.arange(100) % 2
    before = list(warnings.filters)
    with parallel_config(backend="threading"), pytest.warns(ConvergenceWarning) as all_:
        make_tabular_classifier(n_jobs=4, random_state=0).fit(X, y)
    assert warnings.filters == before
    assert len(all_) == 1


# Scaling


def test_columns_are_scaled_by_their_importance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)) * [1, 1, 1, 1, 1e6, 1e-6]
    y = np.array(["low", "high"])[(X[:, 0] + 1e-6 * X[:, 4] > 0).astype(int)]
    scaler = ImportanceScaler(n_estimators=20, random_state=0).fit(X, y)
    # Importances sum up to 1: over their mean, to the number of columns.
    assert_allclose(scaler.scale_.mean(), 2)
    irrelevant = scaler.scale_[[1, 2, 3, 5]]
    assert irrelevant.min() >= 1
    assert scaler.scale_[[0, 4]].min() > 2 * irrelevant.max()
    assert_allclose(scaler.transform(X[:5]), X[:5] * scaler.scale_)
    again = ImportanceScaler(n_estimators=20, random_state=0).fit(X, y)
    assert_array_equal(again.scale_, scaler.scale_)


@pytest.mark.parametrize(
    "X, labels",
    [
        (np.ones((20, 3)), [0] * 20),
        (np.ones((20, 3)), [0, 1] * 10),
        # Every split leaves the classes as they were.
        (np.tile([[0.0], [1.0]], (200, 1)), [0, 0, 1, 1] * 100),
    ],
    ids=["one class", "constant", "no gain"],
)
def test_columns_without_importance_are_not_scaled(X, labels):
    assert_array_equal(ImportanceScaler(random_state=0).fit(X, labels).scale_, 1)


def test_importances_depend_neither_on_units_nor_on_means():
    X = np.random.default_rng(0).normal(size=(60, 3))
    expected = ImportanceScaler(random_state=0).fit(X, X[:, 0] > 0).scale_
    assert expected[0] > 2
    for changed in (X * 1e-8, X * [1e-8, 1, 1], X * 1e39, X * 1e-300, X + 1e6):
        scaler = ImportanceScaler(random_state=0).fit(changed, X[:, 0] > 0)
        assert_allclose(scaler.scale_, expected, rtol=1e-3)


def test_rows_without_weight_decide_nothing():
    X, y = make_classification(200, 6, random_state=0)
    weights = np.repeat([1.0, 0.0], 100)
    others = y.copy()
    others[100:] = 1 - y[100:]
    fitted = [
        make_tabular_classifier(random_state=0).fit(
            X, labels, blend__sample_weight=weights
        )
        for labels in (y, others)
    ]
    assert_array_equal(*(clf.predict_proba(X) for clf in fitted))
    # Nor does a class that has no weight at all.
    X, y = load_iris(return_X_y=True)
    linear = [("linear", LogisticRegression(max_iter=500))]
    cv = KFold(5, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = BlendedClassifier(linear, cv=cv).fit(X, y, sample_weight=(y < 2) * 1.0)
    assert_array_equal(np.unique(clf.predict(X)), [0, 1])


def test_failed_fit_leaves_a_fitted_scaler_as_it_was():
    X, y = load_iris(return_X_y=True)
    scaler = ImportanceScaler(random_state=0).fit(X, y)
    expected = scaler.transform(X)
    for bad_X, bad_y in ((X * np.inf, y), (X[:, :2], y[:-1]), (X[:, :2], y + 0.5)):
        with pytest.raises(ValueError):
            scaler.fit(bad_X, bad_y)
        assert_array_equal(scaler.transform(X), expected)


# Coding


def test_coding_is_piecewise_linear():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [3 * rng.normal(size=200), rng.integers(0, 2, 200), np.ones(200)]
    )
    encoder = PiecewiseLinearEncoder(n_edges=4, random_state=0).fit(X)
    edges = encoder.edges_[0]
    assert len(edges) == 6
    assert edges[0] == X[:, 0].min() and edges[-1] == X[:, 0].max()
    assert not len(encoder.edges_[1]) and not len(encoder.edges_[2])
    Z = encoder.transform(X)
    assert_array_equal(Z[:, :3], X)
    assert_allclose(Z[:, 3:].mean(axis=0), 0, atol=1e-12)
    assert_allclose(Z[:, 3:].var(axis=0).sum(), X[:, 0].var())
    # The literal states, whose sum of lengths gives the column again.
    states = np.zeros((200, 5))
    for i, x in enumerate(X[:, 0]):
        for j in range(5):
            width = edges[j + 1] - edges[j]
            states[i, j] = min(max((x - edges[j]) / width, 0), 1)
    scale = np.sqrt(states.var(axis=0).sum() / X[:, 0].var())
    assert_allclose(Z[:, 3:], (states - states.mean(axis=0)) / scale)
    assert_allclose(edges[0] + states @ np.diff(edges), X[:, 0])
    # Beyond the edges nothing changes.
    far = encoder.transform([[1e9, 0, 0], [edges[-1], 0, 0]])
    assert_array_equal(far[0, 3:], far[1, 3:])


@pytest.mark.parametrize("unit", [1e-25, 1e200])
def test_coding_follows_the_unit_of_a_column(unit):
    X = np.random.default_rng(0).normal(size=(50, 1))
    Z = PiecewiseLinearEncoder(random_state=0).fit_transform(X)
    scaled = PiecewiseLinearEncoder(random_state=0).fit_transform(unit * X)
    assert_allclose(scaled / unit, Z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-50, 1e-170, 1e-310])
def test_columns_too_small_for_single_precision_are_learned(unit):
    X = np.random.default_rng(0).normal(size=(100, 1))
    states = PiecewiseLinearEncoder(random_state=0).fit_transform(unit * X)[:, 1:]
    assert_allclose(states.var(axis=0).sum(), 1)
    clf = make_tabular_classifier(random_state=0).fit(unit * X, X[:, 0] > 0)
    assert clf.score(unit * X, X[:, 0] > 0) > 0.95


def test_states_at_the_edge_of_doubles_are_finite():
    X = np.array([-1.7e308, 0, 1.7e308] * 5)[:, None]
    with np.errstate(over="ignore"):
        Z = PiecewiseLinearEncoder(random_state=0).fit_transform(X)
    assert np.isfinite(Z).all()


@pytest.mark.parametrize(
    "n_rows, n_columns, n_edges",
    [(200, 40, 3), (160, 40, 3), (120, 40, 2), (30, 40, 1)],
)
def test_no_more_states_than_rows(n_rows, n_columns, n_edges):
    X = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    # Columns of two values have no states.
    X = np.hstack([X, X > 0])
    encoder = PiecewiseLinearEncoder(random_state=0).fit(X)
    assert {len(edges) for edges in encoder.edges_} == {n_edges + 2, 0}


def test_names_of_states():
    X = pd.DataFrame({"size": [1.0, 2, 3, 4], "open": [0, 1, 0, 1]})
    encoder = PiecewiseLinearEncoder(n_edges=1, random_state=0).fit(X)
    names = ["size", "open", "size[0]", "size[1]"]
    assert_array_equal(encoder.get_feature_names_out(), names)
    assert encoder.transform(X).shape == (4, 4)


# The blend


def test_blend_is_what_its_parts_say():
    X, y = make_classification(300, n_informative=4, n_classes=3, random_state=0)
    labels = np.array(["a", "b", "c"])[y]
    splits = list(ShuffleSplit(3, test_size=0.3, random_state=0).split(X))
    clf = BlendedClassifier(KINDS, cv=splits, random_state=0).fit(X, labels)
    expected = np.zeros((len(X), 3))
    losses = {}
    left_out = np.concatenate([rows for _, rows in splits])
    prior = np.bincount(y[left_out]) / len(left_out)
    for name, model in KINDS:
        power, share = clf.calibrations_[name]
        parts = []
        for (kept, rows), fitted in zip(splits, clf.estimators_[name], strict=True):
            model = clone(model).fit(X[kept], labels[kept])
            log_p = np.log(model.predict_proba(X))
            assert_allclose(fitted.predict_proba(X), np.exp(log_p))
            p = (1 - share) * softmax(power * log_p, axis=1) + share * prior
            expected += clf.weights_[name] * p / 3
            parts.append(p[rows])
        losses[name] = log_loss(y[left_out], np.concatenate(parts))
        assert_allclose(clf.left_out_loss_[name], losses[name])
        # Calibration can only lower the loss of these rows.
        raw = [
            fitted.predict_proba(X[rows])
            for (_, rows), fitted in zip(splits, clf.estimators_[name], strict=True)
        ]
        assert losses[name] <= log_loss(y[left_out], np.concatenate(raw)) + 1e-9
    expected **= 1 + 0.15 * (1 - 1 / 3)
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(clf.predict_proba(X), expected)
    assert_array_equal(clf.predict(X), clf.classes_[expected.argmax(axis=1)])
    assert_allclose(sum(clf.weights_.values()), 1)
    assert clf.left_out_loss_["blend"] <= min(losses.values())


@pytest.mark.parametrize("n_parts", [1, 5])
def test_a_mean_of_several_is_more_certain(n_parts):
    X, y = make_classification(4000, flip_y=0.1, random_state=0)
    train, test = slice(0, 600), slice(600, None)
    cv = ShuffleSplit(n_parts, test_size=0.5, random_state=0)
    tree = DecisionTreeClassifier(min_samples_leaf=5, max_features=3)
    clf = BlendedClassifier([("tree", tree)], cv=cv, random_state=0)
    p = clf.fit(X[train], y[train]).predict_proba(X[test])
    models = clf.estimators_["tree"]
    log_p = [_log_probabilities(model, X[test], clf.classes_) for model in models]
    calibration = clf.calibrations_["tree"]
    mean = np.mean([_calibrated(x, calibration, clf.prior_) for x in log_p], axis=0)
    if n_parts == 1:
        assert_allclose(p, mean)
    else:
        assert log_loss(y[test], p) < log_loss(y[test], mean)


def test_a_useless_kind_gets_no_weight():
    X, y = load_iris(return_X_y=True)
    kinds = [("chance", DummyClassifier()), *KINDS]
    clf = BlendedClassifier(kinds, random_state=0).fit(X, y)
    assert clf.weights_["chance"] == 0
    assert_allclose(clf.left_out_loss_["chance"], np.log(3), rtol=1e-2)


def test_overconfident_probabilities_are_calibrated():
    X, y = make_classification(400, flip_y=0.4, random_state=0)
    clf = BlendedClassifier([("near", KNeighborsClassifier(1))], random_state=0)
    _, share = clf.fit(X, y).calibrations_["near"]
    # One in three is wrong, at a probability of 0.
    assert share > 0.3
    assert clf.left_out_loss_["near"] < 1
    assert_allclose(clf.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize(
    "n_rows, cv, n_parts", [(300, {}, 4), (300, {"cv": 5}, 5), (4, {"cv": 5}, 4)]
)
def test_number_of_parts(n_rows, cv, n_parts):
    X, y = make_classification(n_rows, random_state=0)
    clf = BlendedClassifier(KINDS, random_state=0, **cv).fit(X, y)
    assert len(clf.estimators_["linear"]) == n_parts


def test_rare_classes():
    X, y = load_iris(return_X_y=True)
    y = y.astype(object)
    y[0], y[1:3] = "single", "pair"
    y = y.astype(str)
    clf = BlendedClassifier(KINDS[:1], random_state=0).fit(X, y)
    # The only row of a class is never left out.
    assert all("single" in model.classes_ for model in clf.estimators_["linear"])
    assert clf.predict_proba(X).shape == (150, 5)
    with pytest.raises(ValueError, match="classes of one sample each"):
        clf.fit(X[:3], ["a", "b", "c"])


def test_a_class_that_a_part_misses():
    X, y = load_iris(return_X_y=True)
    splits = [(np.arange(100), np.arange(100, 150)), (np.arange(150), np.arange(100))]
    clf = BlendedClassifier(KINDS, cv=splits).fit(X, y)
    assert len(clf.estimators_["bayes"][0].classes_) == 2
    assert np.isfinite(clf.predict_proba(X)).all()


def test_weights_count_as_repeated_rows():
    X, y = load_iris(return_X_y=True)
    weights = np.where(y == 0, 3.0, 1.0)
    clf = BlendedClassifier(KINDS, random_state=0).fit(X, y, weights)
    unweighted = BlendedClassifier(KINDS, random_state=0).fit(X, y)
    assert_allclose(clf.prior_, [0.6, 0.2, 0.2])
    assert (clf.predict_proba(X) != unweighted.predict_proba(X)).any()
    coded = BlendedClassifier(
        make_tabular_classifier()["blend"].kinds[-1:], cv=2, random_state=0
    )
    coded.fit(X, y, sample_weight=weights)


def test_same_seed_same_probabilities(table):
    X, y = table
    kinds = [("memory", NETWORK), ("coded", clone(NETWORK))]
    first, second = (
        make_tabular_classifier(kinds, cv=2, n_jobs=n, random_state=3).fit(X, y)
        for n in (None, 2)
    )
    expected = first.predict_proba(X)
    assert_array_equal(second.predict_proba(X), expected)
    assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(X), expected)


def test_sparse_data():
    X, y = load_iris(return_X_y=True)
    kinds = [("linear", LogisticRegression()), ("memory", NETWORK)]
    dense = BlendedClassifier(kinds, cv=2, random_state=0).fit(X, y)
    clf = BlendedClassifier(kinds, cv=2, random_state=0).fit(sparse.csr_array(X), y)
    assert_allclose(
        clf.predict_proba(sparse.csr_array(X)), dense.predict_proba(X), atol=0.05
    )


@pytest.mark.parametrize("dtype", ["int64", "Int64", "bool", "str"])
def test_categories_do_not_depend_on_what_is_missing(dtype):
    codes = np.arange(90) % 2 if dtype == "bool" else np.arange(90) % 3
    values = pd.Series(codes).astype(dtype)
    X = pd.DataFrame({"a": values.astype("category"), "b": values.astype(object)})
    clf = make_tabular_classifier(KINDS, cv=3, random_state=0).fit(X, codes)
    holes = X.copy()
    holes.loc[0, :] = None
    assert clf.score(holes[1:], codes[1:]) == 1
    assert_allclose(clf.predict_proba(holes)[1:], clf.predict_proba(X)[1:])
    as_floats = X.astype(bool if dtype == "bool" else float).astype(float)
    assert clf.score(as_floats.astype(object), codes) == 1


@pytest.mark.parametrize("names", [[1, 0], ["x", "y"], [1.5, 0.5]])
def test_names_of_columns_are_not_places(names):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    numbers = y + 0.1 * rng.normal(size=90)
    X = pd.DataFrame(
        {names[0]: numbers, names[1]: pd.Categorical(rng.integers(7, size=90))}
    )
    clf = make_tabular_classifier(KINDS, cv=3, random_state=0).fit(X, y)
    assert columns_of(clf, 0) == [0] and columns_of(clf, 1) == [1]
    assert clf.score(X, y) > 0.9


def test_numbers_in_strings_warn():
    X = pd.DataFrame({"price": [f"{i / 7:.3f}" for i in range(89)] + ["?"]})
    with pytest.warns(UserWarning, match="'price' holds 90 categories that read as"):
        make_tabular_classifier(KINDS).fit(X, np.arange(90) % 3)


@pytest.mark.parametrize(
    "value, match",
    [
        ("abc", "'size' must hold numbers"),
        (np.inf, "'size' holds inf"),
        (-1e200, "'size' holds 1e\\+200"),
        (1e200, "'size' holds 1e\\+200"),
        (10**400, "'size' must hold numbers"),
        (pd.Timestamp("2020"), "'size' must hold numbers"),
        (1 + 2j, "'size' must hold numbers"),
    ],
    ids=str,
)
def test_bad_numbers_are_named_at_predict(value, match):
    X = pd.DataFrame({"size": np.arange(30.0), "shop": list("abc") * 10})
    clf = make_tabular_classifier(KINDS, cv=2).fit(X, np.arange(30) % 2)
    bad = X.astype(object)
    bad.loc[3, "size"] = value
    with pytest.raises(ValueError, match=match):
        clf.predict(bad)
    dates = X.assign(shop=pd.date_range("2020", periods=30))
    with pytest.raises(TypeError, match="'shop' holds dates"):
        clf.predict(dates)


@pytest.mark.parametrize("X", [sparse.eye_array(30).tocsr(), np.zeros(30)])
def test_no_table(X):
    with pytest.raises((TypeError, ValueError), match="X|array"):
        make_tabular_classifier(KINDS).fit(X, np.arange(30) % 2)


def test_a_failed_fit_leaves_the_blend_as_it_was():
    X, y = load_iris(return_X_y=True)
    clf = BlendedClassifier(KINDS, cv=2, random_state=0).fit(X, y)
    expected = clf.predict_proba(X)
    weights = (y == 9).astype(float)
    weights[0] = 1
    for bad in (
        (X[:, :1], ["a"] * 150),
        (X, np.linspace(0, 1, 150)),
        (X, y, -np.ones(150)),
        (X, y, weights),
    ):
        with pytest.raises(ValueError):
            clf.fit(*bad)
        assert_array_equal(clf.predict_proba(X), expected)


class NoProbabilities(LogisticRegression):
    def predict_proba(self, X):
        return np.full((len(X), 3), np.nan)


@pytest.mark.parametrize(
    "kinds, error, match",
    [
        ([], ValueError, "kinds is empty"),
        ([("a", GaussianNB()), ("a", GaussianNB())], ValueError, "not unique"),
        ([("a", RidgeClassifier())], TypeError, "'a', a RidgeClassifier without"),
        ("all", ValueError, "'kinds' parameter"),
        ([GaussianNB()], TypeError, "pairs of a name and a classifier"),
        ([("blend", GaussianNB())], ValueError, "the name of the blend"),
        ([("a", NoProbabilities())], ValueError, "not finite"),
    ],
)
def test_bad_kinds(kinds, error, match):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(error, match=match):
        BlendedClassifier(kinds).fit(X, y)


def test_the_seed_decides_the_parts():
    X, y = load_iris(return_X_y=True)
    one, other = (
        BlendedClassifier(KINDS[1:], random_state=seed).fit(X, y) for seed in (0, 1)
    )
    assert (one.predict_proba(X) != other.predict_proba(X)).any()


def test_a_blend_is_calibrated_by_the_weights():
    X, y = make_classification(400, flip_y=0.4, random_state=0)
    weights = np.where(np.random.default_rng(0).random(400) < 0.5, 0.001, 1.0)
    cv = [(np.arange(200), np.arange(200, 400))]
    clf = BlendedClassifier(KINDS[1:], cv=cv).fit(X, y, weights)
    log_p = np.log(clf.estimators_["bayes"][0].predict_proba(X[200:]))
    expected = _calibrate(log_p, y[200:], clf.prior_, weights[200:])
    assert_allclose(clf.calibrations_["bayes"], expected)


def test_kinds_are_added_to_those_before_by_the_weighted_loss():
    own = {"a": np.array([0.9, 0.1]), "b": np.array([0.1, 0.9])}
    assert _greedy_weights(own, np.ones(2), 4) == {"a": 0.5, "b": 0.5}
    assert _greedy_weights(own, np.array([1.0, 3.0]), 4) == {"a": 0.25, "b": 0.75}


def test_parts_are_trained_with_their_own_weights():
    X, y = load_iris(return_X_y=True)
    weights = np.random.default_rng(0).uniform(0.1, 9, 150)
    kept, left_out = np.arange(1, 150, 2), np.arange(0, 150, 2)
    clf = BlendedClassifier(KINDS[1:], cv=[(kept, left_out)]).fit(X, y, weights)
    model = GaussianNB().fit(X[kept], y[kept], weights[kept])
    fitted = clf.estimators_["bayes"][0]
    assert_allclose(fitted.predict_proba(X), model.predict_proba(X))


def test_losses_of_left_out_rows_are_weighted():
    X, y = load_iris(return_X_y=True)
    weights, part = np.where(y == 0, 3.0, 1.0), np.arange(150)
    clf = BlendedClassifier(KINDS[1:], cv=[(part, part)]).fit(X, y, weights)
    expected = log_loss(y, clf.predict_proba(X), sample_weight=weights)
    assert_allclose([*clf.left_out_loss_.values()], expected)


def test_parts_have_the_same_share_of_each_class():
    X, y = load_iris(return_X_y=True)
    clf = BlendedClassifier([("chance", DummyClassifier())], cv=5, random_state=0)
    for model in clf.fit(X, y).estimators_["chance"]:
        assert_allclose(model.class_prior_, 1 / 3)


def test_probabilities_of_a_middle_class_that_a_part_misses():
    X, y = load_iris(return_X_y=True)
    model = GaussianNB().fit(X[y != 1], y[y != 1])
    log_p = _log_probabilities(model, X, np.arange(3))
    assert (log_p[:, 1] == -50).all() and (log_p[y == 2, 2] > -1).all()


def test_what_is_missing_is_a_column():
    X = pd.DataFrame({"size": [1.0, np.nan] * 30})
    clf = make_tabular_classifier(KINDS, random_state=0).fit(X, [0, 1] * 30)
    assert clf["columns"].transform(X).shape == (60, 2)
    assert clf.score(X, [0, 1] * 30) == 1


def test_a_blend_takes_what_all_kinds_take():
    memory = ("memory", DenseAssociativeMemoryClassifier())
    tags = get_tags(BlendedClassifier([memory, KINDS[1]])).input_tags
    assert not tags.allow_nan and not tags.sparse
    tags = get_tags(BlendedClassifier([memory])).input_tags
    assert tags.allow_nan and tags.sparse


@pytest.mark.filterwarnings("error")
def test_the_only_row_of_a_class_with_a_weight_is_never_left_out():
    X, y = load_iris(return_X_y=True)
    weights = (y > 0).astype(float)
    weights[7] = 1
    clf = BlendedClassifier(KINDS[1:], random_state=0).fit(X, y, weights)
    for model in clf.estimators_["bayes"]:
        assert (model.class_prior_ > 0).all()


def test_numbers_are_standardised_and_missing_ones_the_median():
    size = np.array([1.0, 2, 3, 4, 90, np.nan])
    found = make_column_transformer().fit_transform(pd.DataFrame({"size": size}))
    filled = np.where(np.isnan(size), 3, size)
    assert_allclose(found[:, 0], (filled - filled.mean()) / filled.std())
    assert_allclose(found[:, 1], [-(0.2**0.5)] * 5 + [5**0.5])


def test_what_is_unknown_is_among_the_rarest_categories():
    codes = [f"code {i}" for i in range(40) for _ in range(2 if i < 29 else 1)]
    columns = make_column_transformer().fit(pd.DataFrame({"code": codes}))
    new = pd.DataFrame({"code": ["code 0", "code 39", "elsewhere"]})
    first, rare, unknown = columns.transform(new)
    assert first.sum() == rare.sum() == unknown.sum() == 1
    assert_array_equal(unknown, rare)
    assert (first != rare).any()


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object"])
def test_truth_values_are_a_category(dtype):
    X = pd.DataFrame({"open": pd.Series([True, False] * 6, dtype=dtype)})
    assert number_columns(X) == [] and category_columns(X) == [0]


@pytest.mark.filterwarnings("error")
def test_some_numbers_among_strings_do_not_warn():
    X = pd.DataFrame({"room": [f"{i}" if i % 2 else f"{i} b" for i in range(90)]})
    assert category_columns(X) == [0]


@pytest.mark.filterwarnings("error")
def test_equal_edges_are_taken_once():
    X = np.repeat([0.0, 1.0, 5.0], [30, 50, 20])[:, None]
    encoder = PiecewiseLinearEncoder(n_edges=40, random_state=0).fit(X)
    assert (np.diff(encoder.edges_[0]) > 0).all()
    assert np.isfinite(encoder.transform(X)).all()


def test_data_that_cannot_be_coded_leave_a_fitted_encoder_as_it_was():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
    encoder = PiecewiseLinearEncoder(random_state=0).fit(X)
    expected = encoder.transform(X)
    for bad in (X.rename(columns={"a": "c"}) * np.nan, X[["b"]] * np.inf):
        with pytest.raises(ValueError):
            encoder.fit(bad)
        assert_array_equal(encoder.transform(X), expected)
