"""Columns of a table: numbers are standardised, everything else is a category."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from .._validation import columns_of, is_date, is_missing, reads_as_number

__all__ = ["category_columns", "make_column_transformer", "number_columns"]

MAX_CATEGORIES = 30
"""Categories of a column that are told apart; the rarest ones are put together."""

LARGEST = 1e150
"""What no number exceeds, since squares are summed."""


def make_column_transformer() -> ColumnTransformer:
    """Return what turns a table into an array of numbers.

    Numbers are standardised, and categories one-hot. Missing numbers are imputed by the
    median, and marked by columns of their own.
    """
    numbers = make_pipeline(
        FunctionTransformer(_as_floats, feature_names_out="one-to-one"),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    categories = make_pipeline(
        FunctionTransformer(_as_strings, feature_names_out="one-to-one"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MAX_CATEGORIES,
            sparse_output=False,
        ),
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, number_columns),
            ("categories", categories, category_columns),
        ]
    )


def number_columns(X: Any) -> list[int]:
    """Return the places of the columns of a table that hold numbers.

    Raises
    ------
    TypeError
        If X is no table, or a column holds dates.
    """
    columns = enumerate(_columns(X))
    return [place for place, (name, column) in columns if _is_number(column, name)]


def category_columns(X: Any) -> list[int]:
    """Return the places of the columns that hold anything but numbers.

    Warns of columns that seem to hold numbers written as strings.
    """
    places = []
    for place, (name, column) in enumerate(_columns(X)):
        if not _is_number(column, name):
            places.append(place)
            _warn_of_numbers_in_strings(column, name)
    return places


def _columns(X: Any) -> list[tuple[Any, Any]]:
    """Return the names of the columns, and the columns."""
    is_table = not sparse.issparse(X) and not isinstance(X, dict)
    if not is_table or np.ndim(X) != 2:
        raise TypeError(
            "X must be a data frame or a dense array of two dimensions; got "
            f"{type(X).__name__}."
        )
    return columns_of(X)


def _known(column: Any) -> list:
    """Return what is not missing in a column."""
    values = np.asarray(column)
    if values.dtype.kind in "mM":
        return values[~np.isnat(values)].tolist()
    return [value for value in values.ravel().tolist() if not is_missing(value)]


def _is_number(column: Any, name: Any) -> bool:
    values = np.asarray(column)
    is_category = str(getattr(column, "dtype", "")) == "category"
    if values.dtype.kind in "iufb" and not is_category:
        return values.dtype.kind != "b"
    known = _known(column)
    if values.dtype.kind in "mM" or any(map(is_date, known)):
        raise TypeError(
            f"Column {name!r} holds dates or times. Replace it by numbers that mean "
            "something for the classes, such as the month, the hour or an age."
        )
    if is_category:
        return False
    # Numbers that pandas keeps as objects, as with missing values.
    return bool(known) and all(
        isinstance(value, Real | Decimal) and not isinstance(value, bool | np.bool_)
        for value in known
    )


def _warn_of_numbers_in_strings(column: Any, name: Any) -> None:
    values = set(map(str, _known(column)))
    if len(values) <= MAX_CATEGORIES:
        return
    n_numbers = sum(map(reads_as_number, values))
    if n_numbers > 0.9 * len(values):
        warnings.warn(
            f"Column {name!r} holds {len(values)} categories that read as numbers. If "
            "they are numbers, convert the column, for example by pandas.to_numeric.",
            stacklevel=2,
        )


def _by_column(X: Any, convert: Callable, dtype: type) -> np.ndarray:
    columns = [convert(column, name) for name, column in _columns(X)]
    n_rows = len(X)
    return np.array(columns, dtype=dtype).reshape(len(columns), n_rows).T


def _as_floats(X: Any) -> np.ndarray:
    """Return numbers in double precision; what is missing is NaN."""

    def convert(column, name):
        values = np.asarray(column)
        if values.dtype.kind not in "iufb":
            values = [np.nan if is_missing(v) else v for v in values.tolist()]
        try:
            with warnings.catch_warnings():
                # NumPy only warns of complex numbers.
                warnings.simplefilter("error")
                values = np.asarray(values).astype(np.float64)
        except (TypeError, ValueError, OverflowError, Warning) as error:
            raise ValueError(
                f"Column {name!r} must hold numbers, as where the classifier was "
                f"fitted, below {LARGEST:g}: {error}."
            ) from error
        if (np.abs(values) > LARGEST).any():
            raise ValueError(
                f"Column {name!r} holds {np.nanmax(np.abs(values)):.4g}; numbers must "
                f"be finite and below {LARGEST:g}."
            )
        return values

    return _by_column(X, convert, np.float64)


def _as_strings(X: Any) -> np.ndarray:
    """Return categories as strings; what is missing is None."""

    def convert(column, name):
        # Refuses dates by name.
        _is_number(column, name)
        return [_category(value) for value in np.asarray(column).tolist()]

    return _by_column(X, convert, object)


def _category(value: Any) -> str | None:
    """Return a category's name, which is the same for 1, 1.0, True and "1".

    A missing value turns a column of numbers into one of floats, and of truth values
    into one of objects.
    """
    if is_missing(value):
        return None
    if isinstance(value, Real) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)
