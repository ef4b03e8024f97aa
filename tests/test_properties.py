"""Whatever is given, in any order: clear errors, whole results, nothing lost.

``pytest tests/test_properties.py --hypothesis-profile=thorough`` tries many more cases.
"""

import copy
import pickle
import re
import warnings
from numbers import Integral

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions

from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier

NAMED = re.compile(
    r"\b(X|y|X_val|y_val|sample_weight|sample_weight_val|classes|features?|samples?|"
    + "|".join(
        DenseAssociativeMemoryClassifier._parameter_constraints
        | DenseAssociativeMemory._parameter_constraints
    )
    + r")\b"
)
"""What an error has to name: a parameter or an array."""

SMALL = {"n_memories": 12, "max_iter": 4, "batch_size": 40}
"""Largest values that are drawn where a number decides how long a test takes."""


@pytest.fixture(autouse=True)
def no_raw_warnings():
    """Turn warnings of NumPy, which say nothing to users, into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        yield


def attempt(call, *args, **kwargs):
    """Call; return the result, or None after an error that names what is wrong."""
    try:
        return call(*args, **kwargs)
    except (TypeError, ValueError) as error:
        assert NAMED.search(str(error)), error


def values_of(name, constraints):
    """Return a strategy for one parameter: what its constraints allow."""
    choices = []
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            choices.append(st.sampled_from(sorted(constraint.options)))
        elif isinstance(constraint, Interval):
            choices.append(numbers_in(name, constraint))
        elif constraint == "boolean":
            choices.append(st.booleans())
        elif constraint is None:
            choices.append(st.none())
    return st.one_of(choices)


def numbers_in(name, interval):
    """Return a strategy for numbers of an interval, as Python's or NumPy's."""
    least = 0 if interval.left is None else interval.left
    if interval.type is Integral:
        numbers = st.integers(least, SMALL.get(name, 30))
        types = [int, np.uint8, np.int8, np.int64]
    else:
        most = 1e300 if interval.right is None else interval.right
        usual = st.floats(least, min(most, least + 10), width=16)
        numbers = usual | st.sampled_from([least + 1e-300, least + 1.0, most])
        types = [float, np.float64, np.float32, np.float16]
    typed = st.builds(as_kind, numbers, st.sampled_from(types))
    return typed.filter(lambda number: number in interval)


def as_kind(number, kind):
    with np.errstate(over="ignore"):
        return kind(number)


def parameters_of(estimator, *fixed):
    """Return a strategy for a few parameters, which the constraints allow."""
    constraints = estimator._parameter_constraints
    free = sorted(set(constraints) - {"random_state", "verbose", "device", *fixed})
    every = {name: values_of(name, constraints[name]) for name in free}
    some = st.lists(st.sampled_from(free), max_size=4, unique=True)
    return some.flatmap(
        lambda names: st.fixed_dictionaries({n: every[n] for n in names})
    )


parameters = parameters_of(
    DenseAssociativeMemoryClassifier, "init", "temperature_ramp", "class_weight"
)
compound = st.fixed_dictionaries(
    {},
    optional={
        "temperature_ramp": st.tuples(
            st.sampled_from([0.5, np.float16(3), 1e300]),
            st.sampled_from([0, 2, np.uint8(200)]),
        ),
        "init": st.tuples(
            st.sampled_from([-0.3, 0, np.float32(0.5)]),
            st.sampled_from([0, 0.1, np.float16(2), 1e300]),
        ),
        "class_weight": st.dictionaries(
            st.sampled_from([0, 1, "a", True, (0, 1), np.int64(1), 2.5]),
            st.sampled_from([0, 1, 1e-300, 1e300, np.float16(2), np.nan]),
            max_size=3,
        ),
    },
)


@st.composite
def samples(draw):
    """Draw samples of any scale and offset: repeated, constant, or with holes."""
    n_samples, n_features = draw(st.integers(2, 30)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    X = rng.normal(size=(n_samples, n_features))
    exponents = st.sampled_from([0, 0, 0, -300, -160, -100, -20, 20, 100, 160, 300])
    X = X * 10.0 ** draw(exponents) + draw(st.sampled_from([0, 0, 1, -1e9, 1e300]))
    with np.errstate(over="ignore"):
        X[:, 0] *= 10.0 ** draw(st.sampled_from([0, 0, 0, -3, 3, 9]))
    if draw(st.booleans()):
        X[:, draw(st.integers(0, n_features - 1))] = draw(st.sampled_from([0, 7.0]))
    if draw(st.booleans()):
        X[n_samples // 2 :] = X[0]
    if draw(st.booleans()):
        X[rng.random(X.shape) < 0.3] = np.nan
    return X


CONTAINERS = {
    "array": np.asarray,
    "Fortran order": np.asfortranarray,
    "single": lambda X: single(X),
    "list": lambda X: X.tolist(),
    "CSR": sparse.csr_array,
    "duplicates": lambda X: halves(sparse.csr_matrix(X)),
    "CSC": sparse.csc_matrix,
    "frame": pd.DataFrame,
    "nullable frame": lambda X: pd.DataFrame(X).astype("Float64"),
    "categories": lambda X: pd.DataFrame(X).astype("category"),
    "objects": lambda X: X.astype(object),
    "missing objects": lambda X: np.where(np.isnan(X), pd.NA, X.astype(object)),
}
containers = st.sampled_from(sorted(CONTAINERS))


def single(X):
    with np.errstate(over="ignore", under="ignore"):
        return X.astype(np.float32)


def halves(X):
    """Return a matrix that stores each number twice, by halves."""
    data, indices = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2)
    return sparse.csr_matrix((data, indices, 2 * X.indptr), X.shape)


LABELS = {
    "int": np.asarray,
    "uint8": lambda codes: codes.astype(np.uint8),
    "bool": lambda codes: codes > 0,
    "str": lambda codes: np.array(["a", "b", "c"])[codes],
    "object": lambda codes: np.array(["a", "b", "c"], object)[codes],
    "float": lambda codes: codes - 1.0,
    "dates": lambda codes: codes.astype("M8[D]"),
    "series": lambda codes: pd.Series(codes, dtype="Int64"),
    "category": lambda codes: pd.Series(
        np.array(["a", "b", "c"])[codes], dtype="category"
    ),
    "list": lambda codes: codes.tolist(),
}
labels = st.sampled_from(sorted(LABELS))


@st.composite
def data(draw):
    """Draw samples and labels, in any containers; a class may have one sample."""
    X = draw(samples())
    n_classes = draw(st.integers(2, 3))
    rare = draw(st.booleans())
    codes = np.arange(len(X)) % n_classes
    codes[n_classes:] *= not rare
    return CONTAINERS[draw(containers)](X), LABELS[draw(labels)](codes)


def classifier(params):
    chosen = {"n_memories": 7, "max_iter": 2, "random_state": 0} | params
    return DenseAssociativeMemoryClassifier(**chosen)


def check_predictions(clf, X):
    """Check that all that is predicted is whole, and goes together."""
    scores, p = clf.decision_function(X), clf.predict_proba(X)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    assert np.isfinite(scores).all()
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    assert np.abs(p.sum(axis=1) - 1).max() <= 4 * np.finfo(p.dtype).eps
    order = np.argsort(scores, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(p, order, axis=1), axis=1) >= 0).all()
    assert not np.isnan(clf.predict_log_proba(X)).any()
    assert set(clf.predict(X)) <= set(clf.classes_)
    assert np.isfinite(clf.loss_curve_).all()
    assert np.isfinite(clf.memories_).all()


@given(parameters, compound, data())
def test_fit_works_or_names_what_is_wrong(params, more, Xy):
    clf = classifier(params | more)
    if attempt(clf.fit, *Xy) is None:
        assert not hasattr(clf, "network_")
        return
    check_predictions(clf, Xy[0])


@given(parameters, data(), st.data())
def test_weights_and_validation_data_of_any_size(params, Xy, choice):
    X, y = Xy
    n_samples = len(y)
    sizes = st.sampled_from([0, 1e-300, 1e-160, 0.3, 1, 1e160, 1e300])
    weights = st.none() | st.lists(sizes, min_size=n_samples, max_size=n_samples)
    validation = {"X_val": X, "y_val": y, "sample_weight_val": choice.draw(weights)}
    clf = classifier(params)
    if attempt(clf.fit, X, y, choice.draw(weights), **validation) is not None:
        check_predictions(clf, X)
        assert np.isfinite(clf.validation_loss_curve_).all()
        assert 0 <= min(clf.validation_scores_) <= max(clf.validation_scores_) <= 1


@given(parameters, data())
def test_same_seed_same_bits(params, Xy):
    clf = classifier(params)
    if attempt(clf.fit, *Xy) is not None:
        again = clone(clf).fit(*Xy)
        assert_array_equal(clf.memories_, again.memories_)
        assert_array_equal(clf.predict_proba(Xy[0]), again.predict_proba(Xy[0]))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["fit", "partial_fit", "set_params", "pickle", "fail", "clone"]
            ),
            parameters,
            samples(),
        ),
        max_size=6,
    )
)
def test_any_order_of_calls(calls):
    """Only fit and partial_fit change what is fitted, and only if they succeed."""
    clf, probe = classifier({}), np.zeros((3, 2))

    def fitted():
        return copy.deepcopy({k: v for k, v in vars(clf).items() if k.endswith("_")})

    for name, params, X in calls:
        X = np.resize(X, (len(X), 2))
        y = np.arange(len(X)) % 2
        before = fitted()
        scores = clf.decision_function(probe) if before else None
        changed = None
        if name == "fit":
            changed = attempt(clf.fit, X, y)
        elif name == "partial_fit":
            changed = attempt(clf.partial_fit, X, y, classes=[0, 1])
        elif name == "set_params":
            clf.set_params(**params)
        elif name == "pickle":
            clf = pickle.loads(pickle.dumps(clf))
        elif name == "clone":
            assert not hasattr(clone(clf), "network_")
        else:
            assert attempt(clf.fit, X, np.full(len(y), np.nan)) is None
            if before:
                assert attempt(clf.predict, np.full((2, 3), 1j)) is None
        if changed is None:
            assert fitted().keys() == before.keys()
            if before:
                assert_array_equal(clf.decision_function(probe), scores)
                assert clf.loss_curve_ == before["loss_curve_"]
                assert clf.n_iter_ == before["n_iter_"]
        else:
            check_predictions(clf, X)


# The memory of binary patterns.

BINARY = {
    "signs": lambda states: states,
    "bits": lambda states: (states > 0) * 1.0,
    "bool": lambda states: states > 0,
    "int8": lambda states: states.astype(np.int8),
    "single": single,
    "list": lambda states: states.tolist(),
    "frame": pd.DataFrame,
    "nullable frame": lambda states: pd.DataFrame(states > 0).astype("boolean"),
    "rounded": lambda states: states * (1 - 2e-16),
}


@given(
    parameters_of(DenseAssociativeMemory, "n_jobs"),
    st.sampled_from(sorted(BINARY)),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_memory_recalls_or_names_what_is_wrong(params, kind, n_memories, n, seed):
    rng = np.random.default_rng(seed)
    states = rng.choice([-1.0, 1.0], (n_memories, n))
    memory = DenseAssociativeMemory(random_state=0, **params)
    X = BINARY[kind](states)
    if attempt(memory.fit, X) is None:
        assert not hasattr(memory, "memories_")
        return
    stored = memory.memories_.copy()
    cues = np.where(rng.random(states.shape) < 0.3, np.nan, states)
    for call in (memory.recall, memory.transform, memory.predict):
        for cue in (X, cues):
            recalled = attempt(call, cue)
            if recalled is not None:
                assert np.isin(recalled, [-1, 1]).all()
                assert_array_equal(recalled, call(cue))
    energies = attempt(memory.compute_energy, X)
    if energies is not None:
        assert np.isfinite(energies).all()
    nearest, overlaps = memory.overlap(X)
    assert (np.abs(overlaps) <= 1).all()
    assert set(nearest) <= set(range(n_memories))
    assert attempt(memory.partial_fit, np.full((2, n), 0.5j)) is None
    assert attempt(memory.fit, np.full((2, n), np.nan)) is None
    assert_array_equal(memory.memories_, stored)
    copied = pickle.loads(pickle.dumps(memory))
    assert_array_equal(copied.memories_, stored)
    memory.partial_fit(X)
    assert_array_equal(memory.memories_, np.concatenate([stored, stored]))
