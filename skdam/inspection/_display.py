"""What the inspection functions and Displays have in common."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ..classifier import DenseAssociativeMemoryClassifier


def check_drawing(function: str, *, ax: Any = None, fig: Any = None) -> None:
    """Check before any work that matplotlib is installed, and where to draw."""
    check_matplotlib_support(function)
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if not isinstance(ax, Axes | None):
        raise TypeError(f"ax must be matplotlib Axes or None; got {type(ax).__name__}.")
    if not isinstance(fig, FigureBase | None):
        raise TypeError(
            "fig must be a matplotlib Figure or SubFigure, or None; got "
            f"{type(fig).__name__}."
        )


class _Display:
    """Base class of the Displays, which keep the numbers that they draw.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that contains the axes.
    """

    @classmethod
    def _check_drawing(cls, method: str, ax: Any) -> None:
        check_drawing(f"{cls.__name__}.{method}", ax=ax)

    def _axes(self, ax: Any) -> Any:
        """Return the axes to draw in, new ones if ax is None, and keep them."""
        self._check_drawing("plot", ax)
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def fitted_classifier(
    estimator: BaseEstimator,
    X: Any = None,
    kind: type = DenseAssociativeMemoryClassifier,
) -> tuple[Any, Any]:
    """Return the classifier at the end of a pipeline, and X as it arrives there."""
    while isinstance(estimator, Pipeline):
        if X is not None and len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator.steps[-1][1]
    if not isinstance(estimator, kind):
        raise TypeError(
            f"estimator must be a {kind.__name__}, or a pipeline that ends in one; got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    return estimator, X
