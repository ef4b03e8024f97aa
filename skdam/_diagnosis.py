"""Warnings of samples that are hard to learn, and of a training that has failed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ._devices import take_rows, to_numpy
from ._samples import Samples, Statistics
from .losses import PowerError, targets_of

DOMINANT_SHARE = 0.99
"""Share of the variance in a few features above which a warning is due."""

GAP = 100.0
"""Ratio of standard deviations that sets features of another scale apart."""

MOST_CHANGE = 5.0
"""Ratio of the lengths of samples above which a warning is due."""

SATURATED = -4.5
"""Score below which tanh is -1 to within 3e-4."""

judged_elsewhere: ContextVar[bool] = ContextVar("judged_elsewhere", default=False)
"""Whether samples that a network is not trained on judge it, so that it need not warn.

Filters of warnings would be those of all threads.
"""

SAMPLES_TO_LOOK_AT = 2000
"""Samples, evenly spread over the data, that tell whether training has failed."""


def describe_failure(
    scores_of: Callable, samples: Samples, network: Any, classes: np.ndarray
) -> str | None:
    """Say what is wrong with a trained network, or return None.

    Past the edge of tanh, or with no positive overlap left, the gradient of a sample
    vanishes beside that of others, and training can lose it for good.
    """
    codes = to_numpy(samples.codes)
    step = -(-len(codes) // SAMPLES_TO_LOOK_AT)
    if codes.ndim == 1:
        first_of_each_class = np.unique(codes, return_index=True)[1]
    else:
        first_of_each_class = codes.argmax(axis=0)
    rows = np.union1d(np.arange(0, len(codes), step), first_of_each_class)
    scores = to_numpy(scores_of(take_rows(samples.X, rows)))
    # Scores well below 1 / m are all the same to the loss.
    m = network.loss.exponent if isinstance(network.loss, PowerError) else 1
    return _describe(scores, codes[rows], m, classes)


def _describe(
    scores: np.ndarray, codes: np.ndarray, m: float, classes: np.ndarray
) -> str | None:
    multilabel = codes.ndim == 2
    belongs = targets_of(codes, scores) > 0
    if multilabel:
        found = scores > 0
    else:
        found = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
    of_class = {
        code: (found[rows, code], scores[rows, code])
        for code, rows in enumerate(belongs.T)
        if rows.any()
    }
    lost = [
        code
        for code, (right, own) in of_class.items()
        if not right.any() and np.median(own) < SATURATED
    ]
    if lost:
        names = classes[lost].tolist()
        what = "labels" if multilabel else "classes"
        return (
            f"the units of {what} {names} are saturated at -1 and recognise no sample"
        )
    if not of_class:
        return None
    own = scores[belongs]
    saturated = (own < SATURATED).mean()
    if saturated > 0.1:
        if multilabel:
            return f"the units of {saturated:.0%} of all labels are saturated at -1"
        return (
            f"the true class's unit is saturated at -1 for {saturated:.0%} of samples"
        )
    if multilabel:
        # A rare label may never be the likelier case, and yet be told from chance.
        gain, chance = _mean_area(scores, belongs), 0.5
    else:
        gain = np.mean([right.mean() for right, _ in of_class.values()])
        chance = 1 / len(of_class)
    if gain - chance < 0.25 * (1 - chance):
        silent = np.median(np.abs(own)) < 0.01 / m
        state = "hardly respond to" if silent else "hardly tell apart"
        return f"the classification units {state} the samples"
    return None


def _mean_area(scores: np.ndarray, belongs: np.ndarray) -> float:
    """Return the mean area under the ROC curves of the labels, 1 if there is none."""
    n_with = belongs.sum(axis=0)
    n_pairs = n_with * (len(belongs) - n_with)
    if not n_pairs.any():
        return 1.0
    ranks = (rankdata(scores, axis=0) * belongs).sum(axis=0)
    areas = (ranks - n_with * (n_with + 1) / 2)[n_pairs > 0] / n_pairs[n_pairs > 0]
    return float(areas.mean())


def likeliest_cause(statistics: Statistics, temperature_ratio: float) -> str:
    """Say what most likely made a training fail.

    The temperature ratio is that of the training over the automatic one.
    """
    if len(dominant_features(statistics)[0]):
        return "the features differ in scale, and should be scaled first"
    if temperature_ratio > 3:
        return f"the temperature is {temperature_ratio:.3g} times too high"
    if temperature_ratio < 1 / 3:
        return f"the temperature is {1 / temperature_ratio:.3g} times too low"
    if statistics.mean_length > 3 * statistics.total_std:
        return "the features are far from 0, and should be centred first"
    return "training was too short, or the temperature does not suit"


def warn_if_scales_differ(statistics: Statistics, stacklevel: int) -> None:
    """Warn if a few of the features are all that overlaps can tell."""
    few, share = dominant_features(statistics)
    if not len(few) or judged_elsewhere.get():
        return
    listed = ", ".join(map(str, few[:5])) + (", ..." if len(few) > 5 else "")
    which, have = ("Feature", "has") if len(few) == 1 else ("Features", "have")
    warnings.warn(
        f"{which} {listed} of X {have} {share:.2%} of the variance of all "
        f"{len(statistics.std)}, so that the others hardly count in the overlaps. "
        "Scale the features first, with StandardScaler for example.",
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
