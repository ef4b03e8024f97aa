"""The samples to train on and to validate on, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from ._devices import Device
from ._labels import check_classes, check_labels, encode
from ._samples import Samples
from ._validation import check_equal_length, check_samples
from ._weights import check_weights


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
    of its columns; ``previous`` are those of the network with which training goes on.
    """
    X = check_samples(estimator, X, reset=previous is None)
    y = check_labels(y, multilabel=True)
    check_equal_length("X and y", X, y)
    classes = check_classes(y, classes, previous, incremental)
    multilabel = y.ndim == 2 if previous is None else estimator.multilabel_
    codes = encode(y, classes, multilabel=multilabel)
    if multilabel and estimator.class_weight is not None:
        raise ValueError(
            "class_weight is not supported with an indicator matrix y; weigh the "
            "samples instead, for example by sample_weight="
            "sklearn.utils.class_weight.compute_sample_weight('balanced', y)."
        )
    weights = check_weights(sample_weight, estimator.class_weight, codes, classes)
    own_weights = check_weights(sample_weight, None, codes, classes)
    samples = Samples(X, codes.astype(np.int32), weights, own_weights)
    if weights is not None and not (weights > 0).all():
        samples = samples.take(np.flatnonzero(weights > 0))
    if len(classes) < 2:
        raise ValueError(
            "y must hold at least two classes, but holds only one class: "
            f"{classes.tolist()[0]!r}."
        )
    return samples, classes


def check_validation_data(
    estimator: Any,
    X_val: Any,
    y_val: Any,
    sample_weight_val: Any,
    *,
    classes: np.ndarray,
    multilabel: bool,
    home: Device,
) -> Samples | None:
    """Return the validation data that the user gave, if any, checked."""
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val must be given together.")
    if X_val is None:
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val.")
        return None
    if Device.of(X_val) != home:
        raise ValueError(
            f"X_val must live where X does, on {home.device} in {home.xp.__name__}."
        )
    X_val = check_samples(estimator, X_val, name="X_val")
    y_val = check_labels(y_val, "y_val", multilabel=True)
    check_equal_length("X_val and y_val", X_val, y_val)
    codes = encode(y_val, classes, "y_val", multilabel=multilabel)
    name = "sample_weight_val"
    return Samples(
        X_val, codes, check_weights(sample_weight_val, None, codes, classes, name)
    )


def set_aside(samples: Samples, fraction: float, rng: Any) -> tuple[Samples, Samples]:
    """Return the samples to train on, and a share of them to validate on."""
    held_out = _held_out_rows(samples.codes, fraction, rng)
    kept = np.setdiff1d(np.arange(len(samples)), held_out)
    validation = samples.take(held_out)
    validation.weights = validation.sample_weights
    return samples.take(kept), validation


def _held_out_rows(codes: np.ndarray, fraction: float, rng: Any) -> np.ndarray:
    """Draw the samples to validate on; each class keeps one to train on."""
    if codes.ndim == 2:
        if len(codes) < 2:
            raise ValueError(
                "early_stopping=True cannot set the only sample aside; pass X_val "
                "and y_val."
            )
        most = min(len(codes) - 1, math.ceil(fraction * len(codes)))
        return rng.permutation(len(codes))[:most]
    # A class of a single sample cannot be divided, and stays in training.
    common = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if not common.size:
        raise ValueError(
            "early_stopping=True cannot set samples aside, as every class has a "
            "single one; pass X_val and y_val."
        )
    try:
        return train_test_split(
            common, test_size=fraction, stratify=codes[common], random_state=rng
        )[1]
    except ValueError:
        # Too few samples for one of each class on each side.
        first_of_each_class = np.unique(codes, return_index=True)[1]
        rest = rng.permutation(np.setdiff1d(common, first_of_each_class))
        return rest[: math.ceil(fraction * len(common))]
