"""Losses: what training minimises, as a function of the scores.

The score ``s`` of a class is the argument of its unit's tanh, ``c = tanh(s)``. All
losses return the gradient with a logarithmic scale of its own for every sample, so that
no power of the error, however high, underflows. A sample has one class or, if the loss
is a ``multilabel`` one, any number of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from array_api_compat import array_namespace, device

__all__ = [
    "BinaryLogLoss",
    "LogLoss",
    "Loss",
    "PowerError",
    "followed",
    "get_loss",
    "is_right",
    "targets_of",
]

Array = Any


class Evaluation(NamedTuple):
    """A loss and its gradient at the scores of a minibatch.

    Attributes
    ----------
    loss : array of shape (n_samples,)
        The loss, sample by sample.
    delta : array of shape (n_samples, n_classes)
        Gradient with respect to the scores, divided by ``exp(log_scale)``: the largest
        entry of each row is 1 in magnitude.
    log_scale : array of shape (n_samples,)
        Natural logarithm of the scale of each row of ``delta``.
    """

    loss: Array
    delta: Array
    log_scale: Array


@dataclass(frozen=True)
class PowerError:
    """C = sum_alpha ((c_alpha - t_alpha) / 2)^(2m), with c = tanh(s).

    The objective of the paper, divided by 4^m: the error of one unit lies between 0
    (right) and 1 (wrong and sure of it).

    Parameters
    ----------
    exponent : float, default=1
        m, at least 1/2. m = 1 is least squares; a larger m works on the examples that
        are barely right.
    multilabel : bool, default=False
        Whether a sample may have any number of labels, so that each unit has a
        probability by itself.

    Notes
    -----
    In margin form, with ``u = t s``: ``(c - t) / 2 = -t expit(-2u)`` and
    ``1 - c^2 = 4 expit(2u) expit(-2u)``, so that ``C = exp(-2m softplus(2u))`` and
    ``dC/ds = -t 4m exp(-2m softplus(2u) - softplus(-2u))``. Nothing here saturates,
    where c itself is rounded to 1 beyond s = 9 in single precision.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import PowerError
    >>> PowerError(1).evaluate(np.zeros((1, 2)), np.array([[1.0, -1.0]])).loss.tolist()
    [0.5]
    """

    exponent: float = 1
    multilabel: bool = False

    def evaluate(self, scores: Array, targets: Array) -> Evaluation:
        """Return the loss and gradient at ``scores`` for ``targets`` of +1 and -1."""
        xp = array_namespace(scores)
        margin = 2 * targets * scores
        size = xp.abs(margin)
        tail = xp.log1p(xp.exp(-size))
        # softplus(x) = max(x, 0) + tail
        above = (size + margin) / 2 + tail
        below = (size - margin) / 2 + tail
        log_error = -2 * self.exponent * above
        loss = xp.sum(xp.exp(log_error), axis=1)
        delta, log_scale = _scale_rows(
            -targets, log_error - below + math.log(4 * self.exponent)
        )
        return Evaluation(loss, delta, log_scale)

    def log_probabilities(self, scores: Array) -> Array:
        """Return ln P(class).

        The expected error of a unit whose class has probability P is least where
        ``ln(P / (1 - P)) = (4m - 2) s``. Of classes only one can be right: where two
        units claim more than even odds, all are lowered until the second best is at
        even odds. Two classes hold the same information twice, and their mean is taken.
        """
        xp = array_namespace(scores)
        # Beyond this range only the order of the classes matters.
        limit = float(xp.finfo(scores.dtype).max) / 8
        factor = min(4 * self.exponent - 2, limit)
        limit /= max(factor, 1)
        log_odds = factor * xp.clip(scores, -limit, limit)
        if self.multilabel:
            return _log_expit(log_odds)
        if scores.shape[1] == 2:
            return log_softmax(log_odds / 2)
        second = xp.sort(log_odds, axis=1)[:, -2:-1]
        log_odds = log_odds - xp.clip(second, min=0)
        return log_softmax(_log_expit(log_odds))


@dataclass(frozen=True)
class LogLoss:
    """Cross-entropy of the softmax of the scores, for one class a sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import LogLoss
    >>> loss = LogLoss().evaluate(np.zeros((1, 4)), np.array([[1.0, -1, -1, -1]])).loss
    >>> bool(np.isclose(loss[0], np.log(4)))
    True
    """

    multilabel: ClassVar[bool] = False

    def evaluate(self, scores: Array, targets: Array) -> Evaluation:
        """Return the loss and gradient at ``scores`` for ``targets`` of +1 and -1."""
        xp = array_namespace(scores)
        true = targets > 0
        log_p = log_softmax(scores)
        loss = -xp.sum(xp.where(true, log_p, xp.zeros_like(log_p)), axis=1)
        # 1 - p of the true class is the sum of the others: no digit is lost to p = 1.
        log_others = _log_sum_exp(xp.where(true, xp.full_like(log_p, -math.inf), log_p))
        log_gradient = xp.where(true, log_others, log_p)
        delta, log_scale = _scale_rows(-targets, log_gradient)
        return Evaluation(loss, delta, log_scale)

    def log_probabilities(self, scores: Array) -> Array:
        """Return ln P(class)."""
        xp = array_namespace(scores)
        limit = float(xp.finfo(scores.dtype).max) / 4
        return log_softmax(xp.clip(scores, -limit, limit))


@dataclass(frozen=True)
class BinaryLogLoss:
    """Sum over the units of the cross-entropy of ``P = (1 + c) / 2 = expit(2 s)``.

    For any number of labels a sample. A unit that is +1 with probability P has the mean
    state c.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import BinaryLogLoss
    >>> targets = np.array([[1.0, -1.0, 1.0]])
    >>> loss = BinaryLogLoss().evaluate(np.zeros((1, 3)), targets).loss
    >>> bool(np.isclose(loss[0], 3 * np.log(2)))
    True
    """

    multilabel: ClassVar[bool] = True

    def evaluate(self, scores: Array, targets: Array) -> Evaluation:
        """Return the loss and gradient at ``scores`` for ``targets`` of +1 and -1."""
        xp = array_namespace(scores)
        log_odds = 2 * targets * scores
        loss = -xp.sum(_log_expit(log_odds), axis=1)
        delta, log_scale = _scale_rows(-targets, _log_expit(-log_odds) + math.log(2))
        return Evaluation(loss, delta, log_scale)

    def log_probabilities(self, scores: Array) -> Array:
        """Return ln P(label)."""
        xp = array_namespace(scores)
        limit = float(xp.finfo(scores.dtype).max) / 4
        return _log_expit(2 * xp.clip(scores, -limit, limit))


Loss = PowerError | LogLoss | BinaryLogLoss


def get_loss(loss: str, error_exponent: float = 1, multilabel: bool = False) -> Loss:
    """Return the loss named "power" or "log_loss".

    Examples
    --------
    >>> from skdam.losses import get_loss
    >>> get_loss("power", error_exponent=10)
    PowerError(exponent=10, multilabel=False)
    >>> get_loss("log_loss", multilabel=True)
    BinaryLogLoss()
    """
    if loss == "power":
        return PowerError(error_exponent, multilabel)
    return BinaryLogLoss() if multilabel else LogLoss()


def targets_of(codes: Array, like: Array) -> Array:
    """Return what the states of the classification units should be: +1 or -1.

    Parameters
    ----------
    codes : array of shape (n_samples,) or (n_samples, n_labels)
        Numbers of the classes; or 1 for each label that a sample has, and 0.
    like : array of shape (n_samples, n_units)
        Scores, whose type and shape the targets have.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import targets_of
    >>> targets_of(np.array([2, 0]), np.zeros((2, 3))).tolist()
    [[-1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]
    >>> targets_of(np.array([[1, 0, 1]]), np.zeros((1, 3))).tolist()
    [[1.0, -1.0, 1.0]]
    """
    xp = array_namespace(like)
    if codes.ndim == 1:
        units = xp.arange(like.shape[1], dtype=codes.dtype, device=device(like))
        is_true = codes[:, None] == units
    else:
        is_true = codes > 0
    one = xp.ones_like(like)
    return xp.where(is_true, one, -one)


def is_right(scores: Array, codes: Array) -> Array:
    """Tell which samples are predicted right, of several labels all of them.

    Parameters
    ----------
    scores : array of shape (n_samples, n_units)
        Scores. The class is that of the first of the largest; a label is one that has a
        score above 0.
    codes : array of shape (n_samples,) or (n_samples, n_labels)
        As in :func:`targets_of`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import is_right
    >>> scores = np.array([[1.0, 3.0], [2.0, -1.0]])
    >>> is_right(scores, np.array([1, 1])).tolist()
    [True, False]
    >>> is_right(scores, np.array([[1, 1], [1, 1]])).tolist()
    [True, False]
    """
    xp = array_namespace(scores)
    if codes.ndim == 1:
        return xp.argmax(scores, axis=1) == codes
    return xp.all((scores > 0) == (codes > 0), axis=1)


MANY = 0.9
"""Share of followed samples above which all are followed.

Leaving out a few costs more in copies than it saves in products.
"""


def followed(log_scale: Array, scores: Array, tolerance: float) -> Array:
    """Tell which samples of a minibatch have a gradient worth following.

    Parameters
    ----------
    log_scale : array of shape (n_samples,)
        Logarithm of the size of each sample's gradient, without its weight.
    scores : array of shape (n_samples, n_classes)
        Scores. A sample that no memory responds to has scores of 0 and no gradient
        with respect to the memories, whatever its error.
    tolerance : float
        Samples whose gradient is below this share of the largest are left out.

    Returns
    -------
    array of bool of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.losses import followed
    >>> scores = np.array([[0.0, 0.0], [1.0, -1.0], [0.1, -0.1]])
    >>> followed(np.log([9.0, 1.0, 0.01]), scores, tolerance=0.1).tolist()
    [False, True, False]
    """
    xp = array_namespace(log_scale)
    responds = xp.any(scores != 0, axis=1)
    responds = responds | ~xp.any(responds)
    none = xp.full_like(log_scale, -math.inf)
    largest = xp.max(xp.where(responds, log_scale, none))
    log_tolerance = math.log(tolerance) if tolerance else -math.inf
    worth = responds & (log_scale >= largest + log_tolerance)
    if int(xp.count_nonzero(worth)) > MANY * worth.shape[0]:
        return responds
    return worth


def _scale_rows(signs: Array, logarithms: Array) -> tuple[Array, Array]:
    """Return ``signs * exp(logarithms)`` with the largest logarithm of a row apart."""
    xp = array_namespace(logarithms)
    largest = xp.max(logarithms, axis=1, keepdims=True)
    return signs * xp.exp(logarithms - largest), largest[:, 0]


def _log_expit(x: Array) -> Array:
    """Return -ln(1 + e^-x), finite where x is."""
    xp = array_namespace(x)
    return xp.clip(x, max=0) - xp.log1p(xp.exp(-xp.abs(x)))


def _log_sum_exp(x: Array) -> Array:
    xp = array_namespace(x)
    largest = xp.max(x, axis=1, keepdims=True)
    return largest + xp.log(xp.sum(xp.exp(x - largest), axis=1, keepdims=True))


def log_softmax(x: Array) -> Array:
    """Return the logarithm of the softmax of each row, finite where x is."""
    xp = array_namespace(x)
    # The maximum is subtracted first: the logarithm of the sum would be lost beside it.
    # In halves, because a difference may be twice the largest number.
    half = x / 2 - xp.max(x, axis=1, keepdims=True) / 2
    x = 2 * xp.clip(half, min=-float(xp.finfo(x.dtype).max) / 4)
    # One of the maxima, whose exponential is 1, is apart: the others would be lost.
    below = xp.where(x < 0, xp.exp(x), xp.zeros_like(x))
    ties = xp.sum(xp.astype(x == 0, x.dtype), axis=1, keepdims=True) - 1
    return x - xp.log1p(ties + xp.sum(below, axis=1, keepdims=True))
