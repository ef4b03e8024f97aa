"""Contributions of memories to the energy, and the memories that decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._devices import Device, to_numpy
from .._validation import check_samples
from ..energies import Energy, NamedEnergy, _over_largest
from ._display import _Display, fitted_classifier

__all__ = ["DecisiveMemoriesDisplay", "contributions", "decisive_memories"]


def contributions(estimator: BaseEstimator, X: Any) -> np.ndarray:
    """Return what each memory contributes to the energy of each classified sample.

    The contribution of memory mu is ``F(sum_i xi_i v_i + sum_alpha xi_alpha x_alpha)``,
    with the overlap in units of the temperature. The visible units are clamped to the
    sample. The classification units are clamped to the prediction: +1 for the predicted
    class and -1 for the others. ``compute_energy(X, predict(X))`` returns the energy of
    this state.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples.

    Returns
    -------
    ndarray of shape (n_samples, n_memories)
        Contributions in double precision, each row divided by its largest. A row is 0
        where no memory has a positive contribution.

    Raises
    ------
    TypeError
        If the estimator is not such a classifier or pipeline.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    OverflowError
        If a user-defined energy function is not finite at the overlaps.

    Notes
    -----
    Ratios of overlaps are formed before their powers, so that no power n is too large.
    If F is a power, the division cancels the temperature.

    The paper compares contributions to the energy, but does not say where the
    classification units are then. They add at most the number of classes to an overlap.
    Beside hundreds of pixels, that hardly matters for a small n. For n = 30, a
    hundredth of an overlap is a quarter of a contribution.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import contributions
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> clf = clf.fit(X / 8 - 1, y)
    >>> contributions(clf, X[:3] / 8 - 1).max(axis=1)
    array([1., 1., 1.])
    """
    return np.concatenate([*_blocks_of_contributions(estimator, X)])


def decisive_memories(
    estimator: BaseEstimator, X: Any, ratio: float = 0.9
) -> np.ndarray:
    """Count the memories that decide about each sample.

    A memory is decisive if its contribution to the energy is more than ``ratio`` times
    the largest; see :func:`contributions`.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Samples. They are processed in blocks, so that the contributions of all samples
        are never in memory at once.
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
        As in :func:`contributions`.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import decisive_memories
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> decisive_memories(clf.fit(X / 8 - 1, y), X / 8 - 1).shape
    (1797,)
    """
    if not isinstance(ratio, Real) or not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio!r} must be a number in [0, 1).")
    blocks = _blocks_of_contributions(estimator, X)
    return np.concatenate([(block > ratio).sum(axis=1) for block in blocks])


def _blocks_of_contributions(estimator: BaseEstimator, X: Any) -> Iterator[np.ndarray]:
    """Yield the relative contributions, some rows of X at a time."""
    clf, X = fitted_classifier(estimator, X)
    labels = clf.predict(X)
    X = check_samples(clf, X)
    states = clf._states(X, labels)
    network = clf.network_.at(Device.of(X))
    for _, x in network.overlaps(X, states):
        yield _relative(network.energy, x)


def _relative(energy: Energy, x: Any) -> np.ndarray:
    """Return F of the overlaps x over the largest F of the row."""
    if isinstance(energy, NamedEnergy):
        return to_numpy(energy.relative_value(x))
    values = to_numpy(energy.value(x))
    if not np.isfinite(values).all():
        raise OverflowError(
            f"The energy {energy!r} is not finite at overlaps of up to "
            f"{np.abs(to_numpy(x)).max():.4g} temperatures."
        )
    return _over_largest(values)


@dataclass(eq=False, repr=False)
class DecisiveMemoriesDisplay(_Display):
    """Histogram of the numbers of memories that decide about samples.

    It is recommended to use :meth:`from_estimator` to create a Display. All parameters
    are stored as attributes.

    Parameters
    ----------
    counts : ndarray of shape (n_samples,)
        Number of decisive memories of each sample, from :func:`decisive_memories`.

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        One bar for each number of memories, and a last one for all larger numbers.
    ax_ : matplotlib Axes
        Axes with the histogram.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import DecisiveMemoriesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> clf = clf.fit(X / 8 - 1, y)
    >>> display = DecisiveMemoriesDisplay.from_estimator(clf, X / 8 - 1)
    >>> int(sum(bar.get_height() for bar in display.bars_)) == len(X)
    True
    """

    counts: np.ndarray

    def plot(
        self, ax: Any = None, *, longest: int = 10, **bar_kwargs: Any
    ) -> DecisiveMemoriesDisplay:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        longest : int, default=10
            The largest number with a bar of its own. All larger ones share a bar.
        **bar_kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        DecisiveMemoriesDisplay
        """
        ax = self._axes(ax)
        counts = np.minimum(self.counts, longest + 1)
        heights = np.bincount(counts, minlength=longest + 2)
        labels = [*map(str, range(longest + 1)), f">{longest}"]
        bins = np.arange(int(heights[0] == 0), longest + 2)
        self.bars_ = ax.bar(bins, heights[bins], **bar_kwargs)
        ax.set_xticks(bins, labels[bins[0] :])
        ax.set(xlabel="Decisive memories", ylabel="Samples")
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        *,
        ratio: float = 0.9,
        ax: Any = None,
        **kwargs: Any,
    ) -> DecisiveMemoriesDisplay:
        """Draw the histogram of a network and some samples.

        Parameters
        ----------
        estimator : DenseAssociativeMemoryClassifier or Pipeline
            Fitted classifier, or a fitted pipeline that ends in one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.
        ratio : float, default=0.9
            As in :func:`decisive_memories`.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        DecisiveMemoriesDisplay
        """
        cls._check_drawing("from_estimator", ax)
        return cls(decisive_memories(estimator, X, ratio)).plot(ax, **kwargs)
