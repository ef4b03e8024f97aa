"""Weights of samples and of classes."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from ._devices import to_numpy
from ._validation import as_python, is_date, naming


def check_weights(
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
        # So that products and squares of weights neither overflow nor underflow.
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
        # NumPy would read the number 1 as a day.
        if not is_date(key):
            return np.empty(0, int)
        key = np.asarray(key, classes.dtype.kind + "8")[()]
    with warnings.catch_warnings():
        # NumPy warns where it compares what cannot be compared.
        warnings.simplefilter("ignore")
        same = [label == key for label in classes]
    # A key that is a sequence is compared element by element, and is no label.
    return np.flatnonzero([isinstance(x, bool | np.bool_) and bool(x) for x in same])
