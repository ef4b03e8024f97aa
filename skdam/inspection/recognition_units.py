"""Classes that memories vote for."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._devices import to_numpy
from ._display import _Display, fitted_classifier

__all__ = ["RecognitionUnitsDisplay", "recognition_units"]


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
        If the estimator is not fitted.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import recognition_units
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> recognition_units(clf.fit(X / 8 - 1, y)).shape
    (50,)
    """
    if not isinstance(cutoff, Real) or not -1 <= cutoff <= 1:
        raise ValueError(f"cutoff={cutoff!r} must be a number in [-1, 1].")
    clf, _ = fitted_classifier(estimator)
    return (to_numpy(clf.network_.recognition_connections) > cutoff).sum(axis=1)


@dataclass(eq=False, repr=False)
class RecognitionUnitsDisplay(_Display):
    """Histogram of the numbers of classes that memories vote for.

    It is recommended to use :meth:`from_estimator` to create a Display. All parameters
    are stored as attributes.

    Parameters
    ----------
    counts : ndarray of shape (n_memories,)
        Number of classes of each memory, from :func:`recognition_units`.
    n_classes : int
        Number of all classes.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        One bar for each number of classes, from 0 to n_classes.
    ax_ : matplotlib Axes
        Axes with the histogram.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import RecognitionUnitsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> clf = clf.fit(X / 8 - 1, y)
    >>> len(RecognitionUnitsDisplay.from_estimator(clf).bars_)
    11
    """

    counts: np.ndarray
    n_classes: int

    def plot(self, ax: Any = None, **bar_kwargs: Any) -> RecognitionUnitsDisplay:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **bar_kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        RecognitionUnitsDisplay
        """
        ax = self._axes(ax)
        bins = np.arange(self.n_classes + 1)
        heights = np.bincount(self.counts, minlength=len(bins))
        self.bars_ = ax.bar(bins, heights, **bar_kwargs)
        ax.set(xlabel="Strong recognition units", ylabel="Memories", xticks=bins)
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        cutoff: float = 0.9,
        ax: Any = None,
        **kwargs: Any,
    ) -> RecognitionUnitsDisplay:
        """Draw the histogram of a network.

        Parameters
        ----------
        estimator : DenseAssociativeMemoryClassifier or Pipeline
            Fitted classifier, or a fitted pipeline that ends in one.
        cutoff : float, default=0.9
            As in :func:`recognition_units`.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        RecognitionUnitsDisplay
        """
        cls._check_drawing("from_estimator", ax)
        counts = recognition_units(estimator, cutoff)
        clf, _ = fitted_classifier(estimator)
        return cls(counts, clf.network_.n_classes).plot(ax, **kwargs)
