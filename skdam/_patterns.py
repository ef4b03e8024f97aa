"""Binary data: what a memory is given, read as states of -1 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import assert_all_finite, validate_data

from ._devices import to_numpy
from ._validation import as_numbers, naming

__all__ = ["read_states"]

ROUNDING = 1e-6
"""How far from 0 and +-1 a binary feature may be, in double precision."""


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
    if values.dtype.kind == "O" and hasattr(X, "to_numpy"):
        # Older versions of scikit-learn leave nullable columns as objects.
        values = X.to_numpy(dtype=np.float64, na_value=np.nan)
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
    return _as_states(values, memory.binarize, name), dtype


def _as_states(X: np.ndarray, threshold: float | None, name: str) -> np.ndarray:
    """Return states of -1 and 1, and 0 for NaN, or say what is not binary."""
    is_float = X.dtype.kind == "f"
    if threshold is not None:
        states = np.where(X > threshold, 1, -1).astype(np.int8)
    else:
        nearest = X
        if is_float:
            tolerance = max(ROUNDING, 64 * np.finfo(X.dtype).eps)
            nearest = np.rint(X)
            nearest = np.where(np.abs(X - nearest) <= tolerance, nearest, X)
        one, zero, minus = nearest == 1, nearest == 0, nearest == -1
        other = X[~(one | zero | minus | np.isnan(X))]
        if len(other):
            raise ValueError(
                f"{name} must hold -1 and 1, or 0 and 1, or booleans, but holds "
                f"{_some(other)}; with a threshold as the parameter binarize, real "
                "numbers are made binary."
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
