"""Binary data: what a memory is given, read as states of -1 and 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import assert_all_finite, validate_data

from ._devices import to_numpy
from ._validation import as_numbers, naming

ROUNDING = 1e-6
"""How far from 0 and +-1 a binary feature may be, at least."""


def read_states(
    memory: Any, X: Any, name: str = "X", *, reset: bool = False, allow_nan: bool = True
) -> tuple[np.ndarray, np.dtype]:
    """Return X as states of -1, 0 (unknown) and 1, and the type of float to return.

    With ``reset`` the number and names of the features are set; otherwise they are
    checked. ``name`` is the name of X in errors.
    """
    with naming(name):
        X = as_numbers(to_numpy(X), name)
        values = check_array(
            X,
            dtype="numeric",
            ensure_all_finite="allow-nan",
            estimator=memory,
            input_name=name,
        )
    if values.dtype.kind == "O":
        # scikit-learn leaves some nullable columns as objects.
        is_pandas = hasattr(X, "iloc")
        values = X.to_numpy(np.float64, na_value=np.nan) if is_pandas else values
        values = values.astype(np.float64, copy=False)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers or booleans, not {values.dtype}.")
    if not allow_nan:
        assert_all_finite(values, input_name=name)
    if name != "X" and values.shape[1] != memory.n_features_in_:
        raise ValueError(
            f"{name} has {values.shape[1]} features, but X has {memory.n_features_in_}."
        )
    if name == "X" or hasattr(X, "columns"):
        validate_data(memory, X, reset=reset, skip_check_array=True)
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    return _as_states(values, memory.binarize, name, reset), dtype


def _as_states(
    X: np.ndarray, threshold: float | None, name: str, is_first: bool
) -> np.ndarray:
    """Return states of -1 and 1, and 0 for NaN, or say what is not binary.

    If ``is_first``, nothing but X tells what the unit of its numbers is.
    """
    is_float = X.dtype.kind == "f"
    if threshold is not None:
        states = np.where(X > threshold, 1, -1).astype(np.int8)
    else:
        nearest = X
        if is_float:
            nearest = np.rint(X)
            eps = np.finfo(X.dtype).eps
            tolerance = max(ROUNDING, np.sqrt(eps), 64 * eps)
            if is_first and not (np.abs(nearest) == 1).any():
                # Numbers near 0 may be measurements in a large unit.
                tolerance = 64 * eps
            nearest = np.where(np.abs(X - nearest) <= tolerance, nearest, X)
        one, zero, minus = nearest == 1, nearest == 0, nearest == -1
        other = X[~(one | zero | minus | np.isnan(X))]
        if len(other):
            raise ValueError(
                f"{name} must hold -1 and 1, or 0 and 1, or booleans, but holds "
                f"{_some(other)}; {len(other)} of {X.size} values are neither. Set the "
                "parameter binarize to a threshold above which values are 1, and "
                f"otherwise -1, such as binarize={_threshold(X)!r}."
            )
        if zero.any() and minus.any():
            raise ValueError(
                f"{name} must hold -1 and 1, or 0 and 1, but holds -1, 0"
                f"{' and 1' if one.any() else ''}; an unknown neuron is NaN."
            )
        states = np.where(one, 1, -1).astype(np.int8)
    if is_float:
        states[np.isnan(X)] = 0
    return states


def _some(values: np.ndarray) -> str:
    """Return the first few of the distinct values, with all their digits."""
    distinct = np.unique(values)
    return ", ".join(map(str, distinct[:4])) + (", ..." if len(distinct) > 4 else "")


def _threshold(X: np.ndarray) -> float:
    """Return about the mean of all values, with values on both sides of it."""
    values = X[~np.isnan(X)].astype(np.float64)
    low, high = values.min(), values.max()
    largest = np.abs(values).max()
    mean = float((values / largest).mean() * largest)
    if not low < high:
        return mean
    # Two digits of the range are enough; 0.0 turns -0.0 into 0.
    short = round(mean, 1 - math.floor(math.log10(high / 2 - low / 2))) + 0.0
    return short if low <= short < high else mean
