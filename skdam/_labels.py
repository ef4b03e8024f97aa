"""Labels: checked, coded as numbers of classes, and decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array
from scipy import sparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from ._devices import Device, to_numpy
from ._validation import is_missing, naming


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
        # scikit-learn would turn the nullable integers of pandas into floats.
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


def _without_missing(labels: np.ndarray, name: str) -> np.ndarray:
    """Return labels, or say that some are missing."""
    if labels.dtype.kind in "OMm" and any(map(is_missing, labels.flat)):
        raise ValueError(f"Input {name} contains NaN, or other missing labels.")
    with np.errstate(invalid="ignore"):
        assert_all_finite(labels, input_name=name)
    return labels


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


def check_classes(
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
    # Of unsigned types, only uint8 exists in every namespace.
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
