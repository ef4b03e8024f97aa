"""Checks of what the estimators are given, each with an error that names the array."""

from __future__ import annotations

import datetime
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
)
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    validate_data,
)

from . import _gpu
from ._devices import Device, to_numpy
from ._samples import Samples, Statistics

__all__ = [
    "as_numbers",
    "as_python",
    "check_dense",
    "check_init",
    "check_known_labels",
    "check_labels",
    "check_room",
    "check_samples",
    "check_training_data",
    "check_validation_data",
    "columns_of",
    "decode",
    "dominant_features",
    "encode",
    "in_type",
    "is_missing",
    "naming",
    "on_device",
    "python_parameters",
    "restored_on_error",
    "warn_if_batch_differs",
    "warn_if_scales_differ",
]

DOMINANT_SHARE = 0.99
"""Share of the variance in a few features above which a warning is due."""

GAP = 100.0
"""Ratio of standard deviations that sets features of another scale apart."""

MOST_CHANGE = 5.0
"""Ratio of the lengths of samples above which a warning is due."""

DATES = "date", "time", "duration", "period", "month"
"""How the types of dates and durations begin, in pandas, Arrow and polars."""

SAMPLES = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": "allow-nan"}
"""What samples may be: NaN is a neuron of unknown state."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Let the errors of what is called name the array that was given."""
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, NotFittedError) or re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from error


@contextmanager
def naming_columns(X: Any, name: str, estimator: Any) -> Iterator[None]:
    """Let errors name the columns of a table that hold anything but numbers."""
    try:
        yield
    except (TypeError, ValueError) as error:
        strangers = {}
        for column, values in columns_of(X):
            values = np.asarray(values)
            if values.dtype.kind in "OUS":
                found = [v for v in values.ravel().tolist() if _is_no_number(v)]
                if found:
                    strangers[column] = found[0]
        if not strangers:
            raise
        example = next(iter(strangers.values()))
        reason = "" if isinstance(example, str | bytes) else f" ({error})"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        remedy = "Encode them first."
        if is_classifier(estimator):
            remedy = (
                "Encode them first, or use skdam.make_tabular_classifier, which takes "
                "tables with categories and missing values as they are."
            )
        raise kind(
            f"{name} must hold numbers, but its columns {list(strangers)} hold "
            f"{example!r}, for example{reason}. {remedy}"
        ) from error


def _is_no_number(value: Any) -> bool:
    """Tell whether a value is neither missing nor read as a number."""
    if is_missing(value):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return False


def columns_of(X: Any) -> list[tuple[Any, Any]]:
    """Return the names of the columns of a table, or their numbers, and the columns."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return [(name, X.iloc[:, place]) for place, name in enumerate(X.columns)]
    if hasattr(X, "columns") and hasattr(X, "__array__"):
        return [(name, X[name]) for name in X.columns]
    values = np.empty(0) if sparse.issparse(X) else np.asarray(X)
    return list(enumerate(values.T)) if values.ndim == 2 else []


def check_samples(
    estimator: Any, X: Any, *, reset: bool = False, name: str = "X"
) -> Any:
    """Return samples that suit an estimator.

    Features are compared by their names, where X is a data frame.
    """
    # NumPy would warn of the sum of what is infinite, which is refused.
    with (
        naming(name),
        naming_columns(X, name, estimator),
        np.errstate(invalid="ignore"),
    ):
        X = as_numbers(X, name)
        if name == "X":
            X = validate_data(estimator, X, **SAMPLES, reset=reset)
        else:
            _check_feature_names(estimator, X, reset=False)
            X = check_array(X, **SAMPLES, input_name=name)
            if X.shape[1] != estimator.n_features_in_:
                raise ValueError(
                    f"{name} has {X.shape[1]} features, but X has "
                    f"{estimator.n_features_in_}."
                )
        if is_numpy_array(X) and X.dtype.kind == "O":
            # scikit-learn leaves some columns of extension types as they are.
            X = as_numbers(X, name).astype(np.float64)
            assert_all_finite(X, allow_nan=True, input_name=name)
    if sparse.issparse(X):
        with naming(name):
            # Indices beyond the matrix would be read and written.
            X.check_format(full_check=True)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X


def check_dense(X: Any, purpose: str) -> None:
    """Refuse sparse samples, for a purpose that changes any of their features."""
    if sparse.issparse(X):
        raise TypeError(f"X is sparse, but {purpose}; pass X.toarray().")


def check_room(completed: Any, X: Any) -> None:
    """Refuse samples whose precision cannot hold what was completed in them."""
    xp = array_namespace(completed)
    if not xp.all(xp.isfinite(completed)):
        raise ValueError(
            f"X is of type {X.dtype}, in which what was recalled is not finite; pass X "
            "in double precision."
        )


def as_numbers(X: Any, name: str) -> Any:
    """Return X with NaN for what pandas calls NA, if it holds no dates.

    Dates among Python objects would become numbers, or errors that say nothing.
    """
    if hasattr(X, "collect"):
        raise TypeError(
            f"{name} is a {type(X).__name__}, whose values are yet to be computed; "
            "pass what its method collect() returns."
        )
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        dates, has_objects = [], False
        for place, (column, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
            dtype = getattr(getattr(dtype, "categories", None), "dtype", dtype)
            if str(dtype) == "object":
                has_objects = True
                if _holds_dates(X.iloc[:, place]):
                    dates.append(column)
            elif str(dtype).lower().startswith(DATES):
                dates.append(column)
        _refuse(dates, f"Columns {dates} of {name} hold")
        return X.where(X.notna(), np.nan) if has_objects else X
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "mM":
            _refuse(True, f"{name} holds")
        if np.ma.is_masked(X):
            X = np.where(X.mask, np.nan, X.data)
        if not X.dtype.isnative:
            X = X.astype(X.dtype.newbyteorder("="))
        if X.dtype.kind == "O":
            _refuse(_holds_dates(X.flat), f"{name} holds")
            missing = [type(value).__name__ == "NAType" for value in X.flat]
            return np.where(np.reshape(missing, X.shape), np.nan, X)
    return X


def _holds_dates(values: Any) -> bool:
    kinds = datetime.date, datetime.time, datetime.timedelta
    return any(isinstance(v, (*kinds, np.datetime64, np.timedelta64)) for v in values)


def _refuse(dates: Any, what: str) -> None:
    if dates:
        raise ValueError(
            f"{what} dates or durations, which are not numbers; convert them first, to "
            "the days since a date for example."
        )


def check_labels(y: Any, name: str = "y", *, multilabel: bool = False) -> np.ndarray:
    """Return labels on the host, none of them missing.

    They are a vector or, where a sample may have several, an indicator matrix of int32.
    """
    with naming(name):
        y = y.toarray() if sparse.issparse(y) else to_numpy(y)
        if np.ma.is_masked(y):
            raise ValueError(f"{name} has masked labels.")
        labels = _without_nesting(y, name)
        if labels.ndim == 2 and labels.shape[1] > 1:
            return _check_indicators(labels, name, multilabel)
        # Of the nullable numbers of pandas, scikit-learn would make floats.
        y = column_or_1d(labels if labels.dtype.kind in "biu" else y, warn=True)
        y = _without_missing(y, name)
        check_classification_targets(y)
    return y


def _without_nesting(y: Any, name: str) -> np.ndarray:
    """Return labels as an array, or say that they are sequences."""
    kinds = list | tuple | set | frozenset | np.ndarray
    try:
        labels = np.asarray(y)
        nested = labels.dtype == object and any(
            isinstance(x, kinds) for x in labels.flat
        )
    except ValueError:
        # Of different lengths.
        nested = True
    if nested:
        raise ValueError(
            f"{name} holds sequences of labels; scikit-learn's MultiLabelBinarizer "
            "makes an indicator matrix of them."
        )
    return labels


def _check_indicators(y: np.ndarray, name: str, multilabel: bool) -> np.ndarray:
    """Return a matrix of 1 for each label that a sample has, and 0."""
    if not multilabel:
        raise ValueError(
            f"{name} has the shape {y.shape}, and several labels a sample are "
            "not supported here; scikit-learn's MultiOutputClassifier trains one "
            "classifier for each column."
        )
    y = _without_missing(y, name)
    is_true = y == 1
    is_known = is_true | (y == 0) if y.dtype.kind in "biufO" else np.zeros(y.shape)
    if not np.all(is_known):
        others = np.unique(y[is_known == 0].astype(str))[:5].tolist()
        raise ValueError(
            f"{name} has the shape {y.shape}, and must be an indicator matrix: 1 for "
            f"each label that a sample has, and 0; it holds {', '.join(others)}. For "
            "several classes a sample (multiclass-multioutput), scikit-learn's "
            "MultiOutputClassifier trains one classifier for each column."
        )
    return np.ascontiguousarray(is_true, np.int32)


def check_known_labels(y: Any, classes: np.ndarray) -> np.ndarray:
    """Return the number of each label's class, and -1 where the label is missing."""
    if isinstance(y, np.ma.MaskedArray):
        y = np.where(np.ma.getmaskarray(y), None, y.data.astype(object))
    with naming("y"):
        # NumPy would write NaN among strings as "nan".
        is_list = isinstance(y, list | tuple)
        y = column_or_1d(np.array(y, object) if is_list else to_numpy(y), warn=True)
        known = np.array([not is_missing(label) for label in y], bool)
        labels = np.asarray(y[known].tolist()) if y.dtype.kind == "O" else y[known]
        codes = np.full(len(y), -1)
        if known.any():
            codes[known] = encode(labels, classes)
    return codes


def _without_missing(labels: np.ndarray, name: str) -> np.ndarray:
    """Return labels, or say that some are missing."""
    if labels.dtype.kind in "OMm" and any(map(is_missing, labels.flat)):
        raise ValueError(f"Input {name} contains NaN, or other missing labels.")
    with np.errstate(invalid="ignore"):
        assert_all_finite(labels, input_name=name)
    return labels


def is_missing(value: Any) -> bool:
    """Tell whether a value is None, pandas' NA, or NaN or NaT."""
    if value is None or type(value).__name__ == "NAType":
        return True
    try:
        # NaN and NaT differ from themselves.
        return bool(value != value)
    except ArithmeticError:
        return True
    except (TypeError, ValueError):
        # Neither true nor false, as of an array.
        return False


def check_training_data(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    classes: Any,
    incremental: bool,
    previous: Any,
) -> tuple[Samples, np.ndarray]:
    """Return checked samples, and the classes of the network in order.

    Samples of weight 0 are left out. The classes of an indicator matrix are the numbers
    of its columns.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier
        The classifier, with its parameters.
    X, y, sample_weight : array-like
        What the user gave.
    classes : array-like or None
        Classes that ``partial_fit`` was told.
    incremental : bool
        Whether y may lack some of the classes.
    previous : array or None
        Classes of the network with which training goes on.
    """
    X = check_samples(estimator, X, reset=previous is None)
    y = check_labels(y, multilabel=True)
    with naming("X and y"):
        check_consistent_length(X, y)
    classes = _check_classes(y, classes, previous, incremental)
    multilabel = y.ndim == 2 if previous is None else estimator.multilabel_
    codes = encode(y, classes, multilabel=multilabel)
    if multilabel and estimator.class_weight is not None:
        raise ValueError(
            "class_weight is not supported with an indicator matrix y; weigh the "
            "samples instead, for example by sample_weight="
            "sklearn.utils.class_weight.compute_sample_weight('balanced', y)."
        )
    weights = _check_weights(sample_weight, estimator.class_weight, codes, classes)
    samples = Samples(X, codes.astype(np.int32), weights)
    if sample_weight is not None:
        samples.sample_weights = _check_weights(sample_weight, None, codes, classes)
    if weights is not None and not (weights > 0).all():
        samples = samples.take(np.flatnonzero(weights > 0))
    if len(classes) < 2:
        raise ValueError(
            f"y must hold at least two classes, but holds only one class: "
            f"{classes.tolist()[0]!r}."
        )
    return samples, classes


def _check_classes(
    y: np.ndarray, classes: Any, previous: np.ndarray | None, incremental: bool
) -> np.ndarray:
    if classes is not None:
        with naming("classes"):
            classes = column_or_1d(np.asarray(to_numpy(classes)))
            classes = np.unique(_without_missing(classes, "classes"))
    if previous is not None:
        if classes is not None and not np.array_equal(previous, classes):
            raise ValueError(
                f"classes={classes.tolist()} differs from those of the first call, "
                f"{previous.tolist()}."
            )
        return previous
    present = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
    if not incremental:
        return present
    if classes is None:
        raise ValueError("classes must be given in the first call of partial_fit.")
    if len(classes) < 2:
        raise ValueError(f"classes must name two or more; got {classes.tolist()}.")
    if y.ndim == 2 and not np.array_equal(classes, present):
        raise ValueError(
            f"classes={classes.tolist()} must be the numbers of the columns of the "
            f"indicator matrix y, from 0 to {y.shape[1] - 1}."
        )
    return classes


def _check_weights(
    sample_weight: Any,
    class_weight: Any,
    codes: np.ndarray,
    classes: np.ndarray,
    name: str = "sample_weight",
) -> np.ndarray | None:
    """Return the product of sample and class weights over the largest, or None."""
    weights = None
    if sample_weight is not None:
        with naming(name):
            weights = _check_sample_weight(
                to_numpy(sample_weight),
                codes,
                dtype=np.float64,
                ensure_non_negative=True,
            )
        # Products and squares of what follows must neither overflow nor underflow.
        weights = weights / (weights.max() or 1)
    if class_weight is not None:
        share = _share_of_classes(class_weight, codes, classes)
        share = share / (share.max() or 1)
        weights = share[codes] if weights is None else weights * share[codes]
    if weights is None:
        return None
    if not weights.any():
        given = name if class_weight is None else f"{name} and class_weight"
        raise ValueError(f"The weights by {given} are zero for all samples.")
    return weights / weights.max()


def _share_of_classes(
    class_weight: Any, codes: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return the weight of each class; 1 for those that a dict does not name."""
    if class_weight == "balanced":
        present = np.unique(codes)
        share = np.ones(len(classes))
        share[present] = compute_class_weight("balanced", classes=present, y=codes)
        return share
    share, named = np.ones(len(classes)), np.zeros(len(classes), bool)
    strangers = []
    for key, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= weight < np.inf:
            raise ValueError(
                f"class_weight[{as_python(key)!r}]={as_python(weight)!r} must be a "
                "finite number that is not negative."
            )
        which = _places_of(key, classes)
        if which.size:
            share[which] = float(weight)
            named[which] = True
        else:
            strangers.append(key)
    unnamed = classes[np.setdiff1d(codes, np.flatnonzero(named))].tolist()
    if strangers and unnamed:
        raise ValueError(
            f"class_weight names {list(map(as_python, strangers))}, which are not "
            f"among the classes, and does not name the classes {unnamed}; the classes "
            f"are {classes.tolist()}."
        )
    return share


def _places_of(key: Any, classes: np.ndarray) -> np.ndarray:
    """Return where among the classes a key of a dict is: nowhere, or at one place."""
    if classes.dtype.kind in "mM":
        # NumPy takes the number 1 for a day, or for no date at all.
        if not _holds_dates([key]):
            return np.empty(0, int)
        key = np.asarray(key, classes.dtype.kind + "8")[()]
    with warnings.catch_warnings():
        # NumPy warns where it compares what cannot be compared.
        warnings.simplefilter("ignore")
        same = [label == key for label in classes]
    # Of sequences, each element would be compared.
    return np.flatnonzero([isinstance(x, bool | np.bool_) and bool(x) for x in same])


def encode(
    y: np.ndarray, classes: np.ndarray, name: str = "y", *, multilabel: bool = False
) -> np.ndarray:
    """Return the number of each label's class; every label must be known.

    An indicator matrix, which is asked for by ``multilabel``, stays as it is.
    """
    if multilabel != (y.ndim == 2) or (multilabel and y.shape[1] != len(classes)):
        fitted = f"{len(classes)} labels" if multilabel else "one class"
        raise ValueError(
            f"{name} has the shape {y.shape}, but the classifier is fitted with "
            f"{fitted} a sample."
        )
    if multilabel:
        return y
    kinds = {
        "f" if labels.dtype.kind in "biuf" else labels.dtype.kind
        for labels in (y, classes)
    }
    # NumPy would find the number 1 among strings and durations.
    mixed = len(kinds - {"O"}) > 1
    unknown = np.unique(y) if mixed else np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"{name} holds labels {unknown.tolist()} that are not among the classes "
            f"{classes.tolist()}."
        )
    return np.searchsorted(classes, y)


def on_device(classes: np.ndarray, device: Device) -> Any:
    """Return the classes on a device, if they are numbers; names stay on the host."""
    # Of unsigned numbers, only bytes are known everywhere.
    is_known = classes.dtype.kind in "bif" or classes.dtype == np.uint8
    return device.asarray(classes) if is_known else classes


def decode(codes: Any, classes: Any) -> Any:
    """Return the label of each class number, where the numbers live if it can."""
    if type(codes) is type(classes) is np.ndarray:
        return classes[codes]
    if is_numpy_array(classes):
        classes = on_device(classes, Device.of_array(codes))
    if is_numpy_array(classes):
        return classes[to_numpy(codes)]
    return array_namespace(codes).take(classes, codes)


def check_validation_data(
    estimator: Any,
    X_val: Any,
    y_val: Any,
    sample_weight_val: Any,
    classes: np.ndarray,
    multilabel: bool,
    device: Device,
) -> Samples:
    """Return validation data, with weights if they are given."""
    if Device.of(X_val) != device:
        raise ValueError(
            f"X_val must live where X does, on {device.device} in {device.xp.__name__}."
        )
    X_val = check_samples(estimator, X_val, name="X_val")
    y_val = check_labels(y_val, "y_val", multilabel=True)
    with naming("X_val and y_val"):
        check_consistent_length(X_val, y_val)
    codes = encode(y_val, classes, "y_val", multilabel=multilabel)
    weights = None
    if sample_weight_val is not None:
        weights = _check_weights(
            sample_weight_val, None, codes, classes, "sample_weight_val"
        )
    return Samples(X_val, codes, weights)


def as_python(value: Any) -> Any:
    """Return a parameter with Python's numbers in place of NumPy's and others."""
    if isinstance(value, tuple):
        return tuple(map(as_python, value))
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def python_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, with Python's numbers."""
    own = vars(estimator)
    params = {
        name: as_python(own[name])
        # A subclass may have other parameters, and set those of its base by itself.
        for kind in type(estimator).__mro__
        if issubclass(kind, BaseEstimator)
        for name in kind._get_param_names()
        if name in own
    }
    for name, value in params.items():
        if isinstance(value, int) and value > sys.float_info.max:
            raise ValueError(f"{name} must be at most {sys.float_info.max:.4g}.")
    return params


def check_init(init: Any, n_features: int, n_classes: int, n_memories: Any) -> Any:
    """Return the start of the memories: "auto", (mean, std), or checked memories.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(init, str):
        return init
    if isinstance(init, tuple):
        if len(init) == 2 and all(isinstance(x, Real) for x in init):
            mean, std = map(float, init)
            if -1 <= mean <= 1 and 0 <= std < np.inf:
                return mean, std
        raise ValueError(
            f"init={as_python(init)!r} must be a tuple of a mean in [-1, 1] and a "
            "standard deviation that is not negative, or an array of memories."
        )
    memories = check_array(to_numpy(init), dtype=np.float64, input_name="init")
    n_rows = len(memories) if n_memories == "auto" else n_memories
    if memories.shape != (n_rows, n_features + n_classes):
        raise ValueError(
            f"init has shape {memories.shape}, but (n_memories, n_features + "
            f"n_classes) is {(n_rows, n_features + n_classes)}."
        )
    farthest = memories.flat[np.abs(memories).argmax()]
    if abs(farthest) > 1:
        raise ValueError(f"init must lie in [-1, 1]; it holds {float(farthest)!r}.")
    return memories


def in_type(X: Any, dtype: Any, name: str) -> Any:
    """Return X in the type and order in which minibatches are taken from it."""
    with np.errstate(over="ignore"):
        if sparse.issparse(X):
            typed = X.astype(dtype, copy=False)
            values = typed.data
        elif is_numpy_array(X):
            typed = values = np.ascontiguousarray(X, dtype)
        else:
            typed = array_namespace(X).astype(X, dtype, copy=False)
            if is_cupy_array(typed):
                typed = _gpu.cupy.ascontiguousarray(typed)
            values = typed
    if typed is not X:
        # A number may be finite in double precision and not in single.
        with np.errstate(invalid="ignore"):
            assert_all_finite(values, allow_nan=True, input_name=name)
    return typed


def warn_if_scales_differ(statistics: Statistics, name: str, stacklevel: int) -> None:
    """Warn if a few of the features are all that overlaps can tell."""
    few, share = dominant_features(statistics)
    if not len(few):
        return
    listed = ", ".join(map(str, few[:5])) + (", ..." if len(few) > 5 else "")
    which = (
        f"Feature {listed} of {name} has"
        if len(few) == 1
        else (f"Features {listed} of {name} have")
    )
    warnings.warn(
        f"{which} {share:.2%} of the variance of all {len(statistics.std)}, so that "
        "the others hardly count in the overlaps. Scale the features first, with "
        "StandardScaler for example.",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def dominant_features(statistics: Statistics) -> tuple[np.ndarray, float]:
    """Return the features beside which all others hardly vary, and their share.

    One, two or three are named for their share of the variance alone, if they are at
    most half of the features that vary; others if there is a gap behind them.
    """
    order = np.argsort(-statistics.std, kind="stable")
    std = statistics.std[order]
    varying = np.count_nonzero(std)
    if varying < 2:
        return order[:0], 0.0
    std = std[:varying] / std[0]
    shares = np.cumsum(std**2)[:-1] / (std**2).sum()
    numbers = np.arange(1, varying)
    is_few = (numbers == 1) | ((numbers <= 3) & (2 * numbers <= varying))
    with np.errstate(over="ignore", divide="ignore"):
        has_gap = std[:-1] / std[1:] > GAP
    found = (shares > DOMINANT_SHARE) & (is_few | has_gap)
    if not found.any():
        return order[:0], 0.0
    first = int(found.argmax())
    return order[: first + 1], float(shares[first])


def warn_if_batch_differs(new: Statistics, old: Statistics, stacklevel: int) -> None:
    """Warn if a batch of samples has another scale than those seen before."""
    if (
        not 1 / MOST_CHANGE
        <= (new.l2_norm or 1.0) / (old.l2_norm or 1.0)
        <= MOST_CHANGE
    ):
        warnings.warn(
            f"The samples of this batch have a root mean square length of "
            f"{new.l2_norm:.4g}, those of earlier ones {old.l2_norm:.4g}. Scale all "
            "batches alike.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


@contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator back its fitted attributes if a call fails."""

    def fitted() -> dict[str, Any]:
        return {
            # Curves grow in place.
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(estimator).items()
            if name.endswith("_") or name in ("_run", "_statistics", "_n_seen")
        }

    before = fitted()
    try:
        yield
    except BaseException:
        for name in fitted():
            delattr(estimator, name)
        vars(estimator).update(before)
        raise
