"""What a trained network is made of, as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from ..checks import check_samples
from ..classifier import DenseAssociativeMemoryClassifier
from ..devices import take, to_numpy
from ..energies import Energy, Exponential, Polynomial, RectifiedPolynomial, get_energy
from ..kernels.cues import cues_at
from ..prediction import SAMPLES_AT_ONCE

__all__ = [
    "contributions",
    "decisive_memories",
    "fitted_classifier",
    "recognition_units",
]


def recognition_units(estimator: BaseEstimator, cutoff: float = 0.9) -> np.ndarray:
    """Count the classes that each memory votes for.

    After training, most recognition connections xi_alpha are near -1 or +1.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one.
    cutoff : float, default=0.9
        A memory votes for class alpha if its xi_alpha is above the cutoff, in [-1, 1].

    Returns
    -------
    ndarray of shape (n_memories,)
        Numbers of classes, from 0 to n_classes.

    Raises
    ------
    ValueError
        If the cutoff is not in [-1, 1].
    TypeError
        If the estimator is not such a classifier or pipeline.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import recognition_units
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> recognition_units(clf).shape
    (50,)
    """
    if not isinstance(cutoff, Real) or not -1 <= cutoff <= 1:
        raise ValueError(f"cutoff={cutoff!r} must be a number in [-1, 1].")
    clf, _ = fitted_classifier(estimator)
    return (to_numpy(clf.recognition_connections_) > cutoff).sum(axis=1)


def contributions(estimator: BaseEstimator, X: Any) -> np.ndarray:
    """Return what each memory contributes to the energy of each recognised sample.

    The contribution of memory mu is F of its overlap with the state of the network,
    ``F(sum_i xi_i v_i + sum_alpha xi_alpha x_alpha)`` with the overlap in units of the
    temperature. The visible neurons are clamped to the sample, and the classification
    neurons to the network's answer: +1 for the predicted class and -1 for the others.
    This is the state whose energy ``compute_energy(X, predict(X))`` returns.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    ndarray of shape (n_samples, n_memories)
        Contributions, each row divided by its largest; 0 where no memory of the row has
        a positive one. In double precision.

    Raises
    ------
    TypeError
        If the estimator is not such a classifier or pipeline.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    OverflowError
        If an energy function of one's own is not finite at the overlaps.

    Notes
    -----
    Powers of the overlaps are never formed, only powers of their ratios, so that no n
    is too large. The division hides the temperature where F is a power.

    The paper says that contributions to the energy are compared, and not where the
    classification neurons are then. They add at most the number of classes to an
    overlap, which hardly counts beside hundreds of pixels while n is small. But at
    n = 30 a hundredth of an overlap is a quarter of a contribution.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import contributions
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> contributions(clf, X[:3] / 8 - 1).max(axis=1)
    array([1., 1., 1.])
    """
    clf, X = fitted_classifier(estimator, X)
    return np.concatenate(list(_contributions_by_batch(clf, X)))


def decisive_memories(
    estimator: BaseEstimator, X: Any, ratio: float = 0.9
) -> np.ndarray:
    """Count the memories that decide about each sample.

    Those are the ones whose contribution to the energy is more than ``ratio`` times the
    largest; see :func:`contributions`.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples. Some thousand are worked on at once, so that the memory needed does not
        grow with their number.
    ratio : float, default=0.9
        Share of the largest contribution, in [0, 1).

    Returns
    -------
    ndarray of shape (n_samples,)
        Numbers of memories, at least 1; 0 where no memory has a positive contribution.

    Raises
    ------
    ValueError
        If the ratio is not in [0, 1).
    TypeError, NotFittedError, OverflowError
        As for :func:`contributions`.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import decisive_memories
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> decisive_memories(clf, X / 8 - 1).shape
    (1797,)
    """
    if not isinstance(ratio, Real) or not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio!r} must be a number in [0, 1).")
    clf, X = fitted_classifier(estimator, X)
    counts = [(part > ratio).sum(axis=1) for part in _contributions_by_batch(clf, X)]
    return np.concatenate(counts)


def _contributions_by_batch(clf: BaseEstimator, X: Any) -> Iterator[np.ndarray]:
    """Yield relative contributions, (n_samples, n_memories), for some rows of X."""
    energy = get_energy(clf.energy, clf.power)
    memories, thresholds, connections, classes = (
        to_numpy(array)
        for array in (
            clf.memories_,
            clf.bias_connections_,
            clf.recognition_connections_,
            clf.classes_,
        )
    )
    if clf.bias_:
        memories = np.column_stack([memories, thresholds])
    memories, connections = memories.astype(float), connections.astype(float)
    predicted = to_numpy(clf.predict(X))
    states = 2.0 * (predicted[:, None] == classes) - 1
    X = check_samples(clf, X)
    for rows in gen_batches(X.shape[0], SAMPLES_AT_ONCE):
        samples = to_numpy(take(X, rows))
        v = cues_at(samples, slice(None), float, clf.temperature_, clf.bias_)
        overlaps = v @ memories.T
        overlaps += states[rows] @ connections.T / clf.temperature_
        yield _relative(energy, overlaps)


def _relative(energy: Energy, x: np.ndarray) -> np.ndarray:
    """Return F of the overlaps x over the largest F of the row."""
    if isinstance(energy, Polynomial | RectifiedPolynomial):
        # F(x) / F(y) = F(x / y)
        largest = np.abs(x).max(axis=1, keepdims=True)
        x = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)
    elif isinstance(energy, Exponential):
        # F(x) / F(y) = F(x - y)
        x = x - x.max(axis=1, keepdims=True)
    values = energy.value(x)
    if not np.isfinite(values).all():
        raise OverflowError(
            f"The energy {energy!r} is not finite at overlaps of up to "
            f"{np.abs(x).max():.4g} temperatures."
        )
    largest = values.max(axis=1, keepdims=True)
    return np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)


def fitted_classifier(
    estimator: BaseEstimator, X: Any = None
) -> tuple[BaseEstimator, Any]:
    """Return the classifier at the end of a pipeline, and X as it comes there."""
    while isinstance(estimator, Pipeline):
        if X is not None and len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    if not isinstance(estimator, DenseAssociativeMemoryClassifier):
        raise TypeError(
            "estimator must be a DenseAssociativeMemoryClassifier, or a pipeline that "
            f"ends in one; got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    return estimator, X
