"""From scores to what training follows: the error signal, and the epoch's tally."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from ..devices import Place
from ..objectives import Objective

__all__ = ["ErrorSignal", "Tally", "error_signal", "widest_float"]

Array = Any

MANY = 0.9
"""Share of samples worth following above which all are followed."""


class ErrorSignal(NamedTuple):
    """Gradient of the objective with respect to the scores of a minibatch.

    Attributes
    ----------
    delta : array of shape (n_samples, n_classes)
        dC/ds, divided for each sample by ``exp(log_weight)``.
    log_weight : array of shape (n_samples,)
        Log-scale of each row of ``delta``, with the weight of the sample.
    samples : array of int or None
        Samples with a gradient worth following; None for all.
    """

    delta: Array
    log_weight: Array
    samples: Array | None = None


@dataclass
class Tally:
    """What an epoch adds up, where the arrays live.

    Attributes
    ----------
    loss : array of shape ()
        Weighted sum of the objective.
    weight : array of shape ()
        Sum of the samples' weights.
    hits : array of shape ()
        Number of correct predictions.
    """

    loss: Array
    weight: Array
    hits: Array

    @classmethod
    def empty(cls, like: Array) -> Tally:
        """Return a tally of nothing, in the namespace and on the device of an array."""
        xp, wide = array_namespace(like), widest_float(like)
        zeros = [xp.zeros((), dtype=wide, device=device(like)) for _ in range(3)]
        return cls(*zeros)


def widest_float(like: Array) -> Any:
    """Return double precision, or single on a device that has no double.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.kernels.signal import widest_float
    >>> np.dtype(widest_float(np.zeros(1, np.float32)))
    dtype('float64')
    """
    place = Place.of_array(like)
    return place.xp.float64 if place.has_double else place.xp.float32


def error_signal(
    objective: Objective,
    scores: Array,
    labels: Array,
    weights: Array | None,
    tolerance: float,
    tally: Tally,
) -> ErrorSignal:
    """Evaluate the objective, add to the tally, and return what to follow.

    Parameters
    ----------
    objective : Objective
        What to minimise.
    scores : array of shape (n_samples, n_classes)
        Arguments of the classification units' tanh.
    labels : array of shape (n_samples,)
        Number of each sample's class.
    weights : array of shape (n_samples,) or None
        Positive weights of the samples.
    tolerance : float
        Samples whose gradient is below this share of the largest are left out.
    tally : Tally
        Grows in place.
    """
    xp = array_namespace(scores)
    wide = tally.hits.dtype
    classes = xp.arange(scores.shape[1], dtype=labels.dtype, device=device(labels))
    is_true = labels[:, None] == classes
    one = xp.ones_like(scores)
    losses, delta, log_scale = objective.evaluate(scores, xp.where(is_true, one, -one))
    # A sample that no memory responds to has no gradient, whatever its error.
    responds = xp.any(scores != 0, axis=1)
    followed = responds | ~xp.any(responds)
    log_scale = xp.where(followed, log_scale, xp.full_like(log_scale, -math.inf))
    samples = _worth_following(log_scale, tolerance)

    losses = xp.astype(losses, wide)
    if weights is None:
        tally.weight = tally.weight + scores.shape[0]
    else:
        losses = losses * weights
        log_scale = log_scale + xp.log(weights)
        tally.weight = tally.weight + xp.sum(weights)
    tally.loss = tally.loss + xp.sum(losses)
    hits = xp.argmax(scores, axis=1) == labels
    tally.hits = tally.hits + xp.sum(xp.astype(hits, wide))
    return ErrorSignal(delta, log_scale, samples)


def _worth_following(log_scale: Array, tolerance: float) -> Array | None:
    """Return the samples whose gradient is not negligible, or None for all."""
    xp = array_namespace(log_scale)
    if tolerance == 0:
        samples = xp.nonzero(log_scale > -math.inf)[0]
    else:
        samples = xp.nonzero(log_scale >= xp.max(log_scale) + math.log(tolerance))[0]
    n_samples, n_followed = log_scale.shape[0], samples.shape[0]
    # Leaving out a few costs more in copies than it saves in products.
    many = tolerance > 0 and n_followed > MANY * n_samples
    return None if many or n_followed == n_samples else samples
