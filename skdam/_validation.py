"""Checks of samples and parameters, each with an error that names what was given."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from numbers import Integral, Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import assert_all_finite, check_array, check_consistent_length
from sklearn.utils.validation import _check_feature_names, validate_data

from . import _gpu
from ._devices import to_numpy

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
                for value in values.ravel().tolist():
                    if not (is_missing(value) or reads_as_number(value)):
                        strangers[column] = value
                        break
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


def reads_as_number(value: Any) -> bool:
    """Tell whether a value is a number, or one written as a string."""
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


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
    # NumPy would warn of infinite values, which are refused anyway.
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
            # Indices beyond the matrix would reach other memory.
            X.check_format(full_check=True)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X


def check_equal_length(name: str, one: Any, other: Any) -> None:
    """Check that two arrays, which the name is of, have as many samples."""
    with naming(name):
        check_consistent_length(one, other)


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
                if any(map(is_date, X.iloc[:, place])):
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
            _refuse(any(map(is_date, X.flat)), f"{name} holds")
            missing = [type(value).__name__ == "NAType" for value in X.flat]
            return np.where(np.reshape(missing, X.shape), np.nan, X)
    return X


def is_date(value: Any) -> bool:
    """Tell whether a value is a date, a time or a duration."""
    kinds = timedelta | np.datetime64 | np.timedelta64
    return hasattr(value, "strftime") or isinstance(value, kinds)


def _refuse(dates: Any, what: str) -> None:
    if dates:
        raise ValueError(
            f"{what} dates or durations, which are not numbers; convert them first, to "
            "the days since a date for example."
        )


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
        # The comparison has no truth value, as with arrays.
        return False


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
    """Return the start of the memories: "auto", (mean, std), or checked memories."""
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
