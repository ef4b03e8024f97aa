"""Samples that deceive a network, by the gradient of its scores."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from .._devices import HOST, to_numpy
from .._labels import check_labels, encode
from .._validation import check_dense, check_equal_length, check_samples
from ..network import Network
from ._display import fitted_classifier

__all__ = [
    "AdversarialExamples",
    "adversarial_examples",
    "input_gradient",
    "rubbish_images",
]

CONSTRAINTS = {
    "margin": [Interval(Real, 0, 1, closed="left")],
    "step": [Interval(Real, 0, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
}

N_BISECTIONS = 30
"""Times that the way to an example is halved, to find where the decision changes."""


@dataclass(frozen=True, eq=False)
class AdversarialExamples:
    """Samples that were changed until a network takes them for another class.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        The changed samples.
    labels : ndarray of shape (n_samples,)
        Classes that the network predicts for the samples before the change.
    targets : ndarray of shape (n_samples,)
        Classes that it was to predict after the change.
    distances : ndarray of shape (n_samples,)
        Euclidean lengths of the changes.
    succeeded : ndarray of bool of shape (n_samples,)
        Whether it predicts them, by the margin.
    """

    X: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    distances: np.ndarray
    succeeded: np.ndarray


def input_gradient(estimator: BaseEstimator, X: Any, target: Any) -> np.ndarray:
    """Return the gradient of a class's score by the features of each sample.

    It is exact for both formulations and every energy: of the score s_alpha, the
    argument of the classification unit's tanh.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier
        Fitted classifier.
    X : array-like of shape (n_samples, n_features)
        Samples.
    target : label or array-like of shape (n_samples,)
        Class of each sample, or one of all, by whose score to differentiate. With
        several labels a sample, the number of a label's column.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        ``ds_target / dv_i`` in double precision; 0 for unknown features (NaN), on which
        no score depends.

    Raises
    ------
    TypeError
        If the estimator is not such a classifier, or X is sparse.
    ValueError
        If X or the target does not suit it, or the gradient is not finite.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import input_gradient
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 8 - 1
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0).fit(X, y)
    >>> gradient = input_gradient(clf, X[:3], target=8)
    >>> after = clf.decision_function(X[:3] + 1e-3 * gradient)
    >>> bool((after > clf.decision_function(X[:3]))[:, 8].all())
    True
    """
    clf, X = _opened(estimator, X)
    delta = np.eye(clf.network_.n_classes)[_codes(target, clf, len(X))]
    return _finite(clf.network_.at(HOST).input_gradient(X, delta))


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def adversarial_examples(
    estimator: BaseEstimator,
    X: Any,
    target: Any = None,
    *,
    margin: float = 0.1,
    bounds: tuple[float, float] | None = None,
    step: float = 0.01,
    max_iter: int = 300,
) -> AdversarialExamples:
    """Change samples as little as possible, until they are taken for another class.

    Each sample follows the gradient of the difference of two scores, that of its target
    and the largest of the others, until the probability of the target is larger than
    all others by the margin. The example is the point of the straight line from the
    sample to where that ends at which the margin is reached.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier
        Fitted classifier.
    X : array-like of shape (n_samples, n_features)
        Samples. Unknown features (NaN) remain unknown.
    target : label or array-like of shape (n_samples,), default=None
        Class of each example, or one of all. None: the class whose decision boundary is
        nearest, to first order.
    margin : float, default=0.1
        How much more probable the target is to be than any other class, in [0, 1). At 0
        examples are on the decision boundary.
    bounds : (low, high), default=None
        Range that features may not leave; one that is beyond it in the sample may stay
        there, and moves no further out. None: from the smallest to the largest value in
        the training data, or (-1, 1) for a network that was made of a perceptron.
    step : float, default=0.01
        Length of a step, as a share of the sample's length; for a sample of zeros, of
        the longest one within the range of the training data.
    max_iter : int, default=300
        Largest number of steps.

    Returns
    -------
    AdversarialExamples
        Changed samples ``X``, classes ``labels`` before and ``targets`` after,
        ``distances`` and ``succeeded``. Where it did not succeed, a sample is where the
        steps ended: the gradient was 0, or they were too few.

    Raises
    ------
    TypeError
        If the estimator is not such a classifier, or X is sparse.
    ValueError
        If X or a parameter is not usable, the gradient is not finite, or the classifier
        is fitted with several labels a sample.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    References
    ----------
    D. Krotov and J. J. Hopfield, "Dense Associative Memory is Robust to Adversarial
    Inputs", 2017, arXiv:1701.00939.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import adversarial_examples
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 8 - 1
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X, y)
    >>> found = adversarial_examples(clf, X[:20])
    >>> bool((clf.predict(found.X) != clf.predict(X[:20])).all())
    True
    """
    clf, X = _opened(estimator, X)
    codes = None if target is None else _codes(target, clf, len(X))
    low, high = _bounds(clf, bounds)
    name = "adversarial_examples"
    return _deceive(name, clf, X, codes, low, high, margin, step, max_iter)


@validate_params(CONSTRAINTS, prefer_skip_nested_validation=True)
def rubbish_images(
    estimator: BaseEstimator,
    target: Any,
    *,
    margin: float = 0.8,
    bounds: tuple[float, float] | None = None,
    step: float = 0.01,
    max_iter: int = 300,
    random_state: Any = None,
) -> AdversarialExamples:
    """Change random noise until it is taken for a class with confidence.

    Krotov and Hopfield find that what a network of a small power recognises with
    confidence need not look like anything, and that what one of a large power
    recognises resembles its prototypes.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier
        Fitted classifier.
    target : array-like of shape (n_images,)
        Class of each image.
    margin : float, default=0.8
        How much more probable the target is to be than any other class, in [0, 1).
    bounds : (low, high), default=None
        Range of all features, from which the noise is drawn uniformly. None: as in
        :func:`adversarial_examples`.
    step, max_iter
        As in :func:`adversarial_examples`.
    random_state : int, RandomState instance or None, default=None
        Seed of the noise.

    Returns
    -------
    AdversarialExamples
        Images ``X``, ``labels`` that the noise had before, ``targets``, ``distances``
        from the noise, and ``succeeded``.

    Raises
    ------
    TypeError, ValueError, NotFittedError
        As in :func:`adversarial_examples`; also if the bounds are not finite.

    References
    ----------
    D. Krotov and J. J. Hopfield, "Dense Associative Memory is Robust to Adversarial
    Inputs", 2017, arXiv:1701.00939.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import rubbish_images
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> rubbish_images(clf, range(10), random_state=0).X.shape
    (10, 64)
    """
    clf = _classifier(estimator)
    low, high = _bounds(clf, bounds)
    if not np.isfinite([low, high]).all():
        raise ValueError(f"bounds={bounds!r} must be finite, to draw noise from them.")
    codes = _codes(target, clf)
    rng = check_random_state(random_state)
    noise = low + (high - low) * rng.uniform(size=(len(codes), clf.n_features_in_))
    name = "rubbish_images"
    return _deceive(name, clf, noise, codes, low, high, margin, step, max_iter)


# Checks


def _classifier(estimator: BaseEstimator) -> Any:
    if isinstance(estimator, Pipeline):
        raise TypeError(
            "estimator is a pipeline, whose other steps have no gradient; pass "
            "estimator[-1], and as X what estimator[:-1].transform returns."
        )
    return fitted_classifier(estimator)[0]


def _opened(estimator: BaseEstimator, X: Any) -> tuple[Any, np.ndarray]:
    """Return the classifier, and checked samples on the host as floats of their own."""
    clf = _classifier(estimator)
    X = check_samples(clf, X)
    check_dense(X, "any feature may have a gradient")
    X = to_numpy(X)
    return clf, X.astype(X.dtype if X.dtype.kind == "f" else np.float64)


def _codes(target: Any, clf: Any, n_samples: int | None = None) -> np.ndarray:
    """Return the number of each target's class."""
    if n_samples is not None and np.ndim(target) == 0:
        target = np.full(n_samples, target)
    labels = check_labels(target, "target")
    if not len(labels):
        raise ValueError("target holds no labels.")
    if n_samples is not None:
        check_equal_length("X and target", np.empty(n_samples), labels)
    return encode(labels, to_numpy(clf.classes_), "target")


def _bounds(clf: Any, bounds: Any) -> tuple[float, float]:
    if bounds is None:
        low, high = clf._feature_range()
        return float(low.min()), float(high.max())
    is_pair = np.ndim(bounds) == 1 and len(bounds) == 2
    if is_pair and all(isinstance(x, Real) for x in bounds) and bounds[0] < bounds[1]:
        return float(bounds[0]), float(bounds[1])
    raise ValueError(f"bounds={bounds!r} must be two numbers, the smaller one first.")


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError(
            "X or bounds hold numbers too large for the scores, or their gradient."
        )
    return values


# The way across a decision boundary


def _deceive(
    name: str,
    clf: Any,
    X: np.ndarray,
    codes: np.ndarray | None,
    low: float,
    high: float,
    margin: float,
    step: float,
    max_iter: int,
) -> AdversarialExamples:
    if clf.multilabel_:
        raise ValueError(
            f"{name} changes the class of samples that have one, but the classifier "
            "is fitted with several labels a sample; input_gradient has the gradient "
            "of each label's score."
        )
    network, classes = clf.network_.at(HOST), to_numpy(clf.classes_)
    low, high = np.fmin(X, low), np.fmax(X, high)
    with np.errstate(over="ignore", invalid="ignore"):
        before = _finite(network.scores(X)).argmax(axis=1)
    if codes is None:
        codes = _nearest_class(network, X)
    lengths = step * _unit_vectors(np.nan_to_num(X))[1]
    ends = np.maximum(*map(abs, clf._feature_range()))
    lengths[lengths == 0] = step * _unit_vectors(ends[None])[1]
    end, rows = X.copy(), np.arange(len(X))
    succeeded = np.zeros(len(X), bool)
    for n_steps in range(max_iter + 1):
        scores = network.scores(end[rows])
        deceived = _is_deceived(network, scores, codes[rows], margin)
        succeeded[rows[deceived]] = True
        rows, scores = rows[~deceived], scores[~deceived]
        if n_steps == max_iter or not rows.size:
            break
        direction = _towards(network, end[rows], scores, codes[rows])
        after = end[rows] + lengths[rows, None] * direction
        after = np.clip(after, low[rows], high[rows]).astype(X.dtype)
        moved = ((after != end[rows]) & ~np.isnan(after)).any(axis=1)
        end[rows] = after
        rows = rows[moved]
        if not rows.size:
            break
    rows = np.flatnonzero(succeeded)
    end[rows] = _bisected(network, X[rows], end[rows], codes[rows], margin)
    distances = _unit_vectors(np.nan_to_num(end - X).astype(np.float64))[1]
    return AdversarialExamples(
        end, classes[before], classes[codes], distances, succeeded
    )


def _is_deceived(
    network: Network, scores: np.ndarray, codes: np.ndarray, margin: float
) -> np.ndarray:
    """Tell which samples are taken for their target, by the margin."""
    with np.errstate(under="ignore"):
        p = np.exp(network.log_probabilities(scores))
    p /= p.sum(axis=1, keepdims=True)
    own = np.arange(len(p)), codes
    lead = p[own].copy()
    p[own] = -np.inf
    lead -= p.max(axis=1)
    return (scores.argmax(axis=1) == codes) & (lead >= margin)


def _towards(
    network: Network, X: np.ndarray, scores: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """Return the directions in which the target's score gains on its rival's."""
    rows, rivals, delta = np.arange(len(X)), scores.copy(), np.zeros(scores.shape)
    rivals[rows, codes] = -np.inf
    delta[rows, codes] = 1
    delta[rows, rivals.argmax(axis=1)] = -1
    return _unit_vectors(_finite(network.input_gradient(X, delta)))[0]


def _unit_vectors(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors over their lengths, and the lengths; 0 remains 0."""
    largest = abs(vectors).max(axis=1, keepdims=True)
    # Squares of what is divided first neither overflow nor underflow.
    vectors = vectors / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1), (largest * lengths)[:, 0]


def _nearest_class(network: Network, X: np.ndarray) -> np.ndarray:
    """Return the class whose decision boundary is nearest, to first order."""
    scores = network.scores(X).astype(np.float64)
    rows, own = np.arange(len(X)), scores.argmax(axis=1)
    distances = np.full(scores.shape, np.inf)
    for code in range(scores.shape[1]):
        delta = np.zeros(scores.shape)
        delta[:, code] = 1
        delta[rows, own] -= 1
        _, slopes = _unit_vectors(_finite(network.input_gradient(X, delta)))
        gaps = scores[rows, own] - scores[:, code]
        np.divide(gaps, slopes, out=distances[:, code], where=slopes > 0)
    # Where no gradient says more, the second largest score; never the class itself.
    scores[rows, own] = -np.inf
    distances[rows, own] = np.inf
    blind = np.isinf(distances).all(axis=1)
    return np.where(blind, scores.argmax(axis=1), distances.argmin(axis=1))


def _bisected(
    network: Network, X: np.ndarray, end: np.ndarray, codes: np.ndarray, margin: float
) -> np.ndarray:
    """Return where on the straight lines from X to the ends the margin is reached."""
    if not len(X):
        return X
    inside, outside, best = np.zeros((len(X), 1)), np.ones((len(X), 1)), end
    for _ in range(N_BISECTIONS):
        share = (inside + outside) / 2
        middle = (X + share * (end - X)).astype(X.dtype)
        scores = network.scores(middle)
        deceived = _is_deceived(network, scores, codes, margin)[:, None]
        best = np.where(deceived, middle, best)
        inside = np.where(deceived, inside, share)
        outside = np.where(deceived, share, outside)
    return best
