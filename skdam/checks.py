"""Checks of what fit is given, each with an error that names the array."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array
from scipy import sparse
from sklearn.utils import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
    compute_class_weight,
)
from sklearn.utils.validation import _check_sample_weight, validate_data

from . import gpu
from .devices import Place, to_numpy

__all__ = [
    "check_class_weight",
    "check_classes",
    "check_memories_init",
    "check_samples",
    "check_validation_data",
    "check_weights",
    "decode",
    "encode",
    "in_type",
    "placed",
    "restored_on_error",
    "warn_if_scales_differ",
]


DOMINANT_SHARE = 0.99
"""Share of the variance in one feature above which a warning is due."""

SAMPLES = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": "allow-nan"}
"""What samples may be: NaN is a neuron of unknown state."""


def check_samples(estimator: Any, X: Any, *y: Any, reset: bool = False) -> Any:
    """Return samples, and labels if given, that suit an estimator."""
    return validate_data(estimator, X, *y, **SAMPLES, reset=reset)


def encode(y: np.ndarray, classes: np.ndarray, name: str = "y") -> np.ndarray:
    """Return the number of each label's class; every label must be known."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"{name} holds labels {unknown.tolist()} that are not among the classes "
            f"{classes.tolist()}."
        )
    return np.searchsorted(classes, y)


def placed(classes: np.ndarray, place: Place) -> Any:
    """Return the classes in place, if they are numbers; names stay on the host."""
    # Of unsigned numbers, only bytes are known everywhere.
    is_known = classes.dtype.kind in "bif" or classes.dtype == np.uint8
    return place.put(classes) if is_known else classes


def decode(codes: Any, classes: Any) -> Any:
    """Return the label of each class number, where the numbers live if it can."""
    if is_numpy_array(classes):
        classes = placed(classes, Place.of_array(codes))
    if is_numpy_array(classes):
        return classes[to_numpy(codes)]
    return array_namespace(codes).take(classes, codes)


def check_classes(
    y: np.ndarray, classes: Any, known: np.ndarray | None, incremental: bool
) -> np.ndarray:
    """Return the classes of the network, in order.

    Parameters
    ----------
    y : array of shape (n_samples,)
        Labels at hand.
    classes : array-like or None
        What ``partial_fit`` was told.
    known : array or None
        Classes of the network that training goes on with.
    incremental : bool
        Whether y may lack some of the classes.
    """
    if classes is not None:
        classes = np.unique(column_or_1d(np.asarray(to_numpy(classes))))
    if known is not None:
        if classes is not None and not np.array_equal(known, classes):
            raise ValueError(
                f"classes={classes.tolist()} differs from those of the first call, "
                f"{known.tolist()}."
            )
        return known
    if not incremental:
        return np.unique(y)
    if classes is None:
        raise ValueError("classes must be given in the first call of partial_fit.")
    if len(classes) < 2:
        raise ValueError(f"classes must name two or more; got {classes.tolist()}.")
    return classes


def check_class_weight(class_weight: Any, classes: np.ndarray) -> None:
    """Check that a dict of class weights names known classes and usable weights."""
    if not isinstance(class_weight, dict):
        return
    unknown = [label for label in class_weight if label not in classes]
    if unknown:
        raise ValueError(
            f"class_weight names {unknown}, but the classes are {classes.tolist()}."
        )
    unusable = [w for w in class_weight.values() if not 0 <= w < np.inf]
    if unusable:
        raise ValueError(
            f"class_weight holds {unusable}; weights must be finite and not negative."
        )


def check_weights(
    sample_weight: Any,
    class_weight: Any,
    y: np.ndarray,
    classes: np.ndarray,
    codes: np.ndarray,
) -> np.ndarray | None:
    """Return the product of sample and class weights, or None where all are equal."""
    weights = None
    if sample_weight is not None:
        weights = _check_sample_weight(
            sample_weight, codes, dtype=np.float64, ensure_non_negative=True
        )
    if class_weight is not None:
        check_class_weight(class_weight, classes)
        if class_weight == "balanced":
            share = compute_class_weight("balanced", classes=classes, y=y)
        else:
            share = np.array([class_weight.get(c, 1) for c in classes.tolist()], float)
        weights = share[codes] if weights is None else weights * share[codes]
    if weights is not None and not weights.any():
        raise ValueError(
            "sample_weight and class_weight leave no sample with a positive weight."
        )
    return weights


def check_validation_data(
    X_val: Any, y_val: Any, n_features: int, classes: np.ndarray, place: Place
) -> tuple[Any, np.ndarray]:
    """Return X_val, and the number of the class of each label in y_val."""
    if Place.of(X_val) != place:
        raise ValueError(
            f"X_val must live where X does, on {place.device} in {place.xp.__name__}."
        )
    X_val = check_array(X_val, **SAMPLES, input_name="X_val")
    if X_val.shape[1] != n_features:
        raise ValueError(
            f"X_val has {X_val.shape[1]} features, but X has {n_features}."
        )
    y_val = column_or_1d(to_numpy(y_val), warn=True)
    check_consistent_length(X_val, y_val)
    return X_val, encode(y_val, classes, "y_val")


def check_memories_init(memories_init: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the memories to start from, features before classes."""
    memories = check_array(
        to_numpy(memories_init), dtype=np.float64, input_name="memories_init"
    )
    if memories.shape != shape:
        raise ValueError(
            f"memories_init has shape {memories.shape}, but (n_memories, n_features + "
            f"n_classes) is {shape}."
        )
    farthest = memories.flat[np.abs(memories).argmax()]
    if abs(farthest) > 1:
        raise ValueError(f"memories_init must lie in [-1, 1]; it holds {farthest:.6g}.")
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
                typed = gpu.cupy.ascontiguousarray(typed)
            values = typed
    if typed is not X:
        # A number may be finite in double precision and not in single.
        assert_all_finite(values, allow_nan=True, input_name=name)
    return typed


def warn_if_scales_differ(variance: np.ndarray, name: str) -> None:
    """Warn if one feature of several is all that overlaps can tell."""
    largest = int(variance.argmax())
    share = variance[largest] / max(variance.sum(), np.finfo(float).tiny)
    if share > DOMINANT_SHARE and (variance > 0).sum() > 1:
        warnings.warn(
            f"Feature {largest} of {name} has {share:.2%} of the variance of all "
            f"{len(variance)}, so that the others hardly count in the overlaps. Scale "
            "the features first, with StandardScaler for example.",
            UserWarning,
            stacklevel=6,
        )


@contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator back its fitted attributes if a call fails."""

    def fitted() -> dict[str, Any]:
        return {
            # Curves grow in place.
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(estimator).items()
            if name.endswith("_") or name == "_state"
        }

    before = fitted()
    try:
        yield
    except BaseException:
        for name in fitted():
            delattr(estimator, name)
        vars(estimator).update(before)
        raise
