"""The weights that a blend has chosen, as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator

from ..tabular import BlendedClassifier
from ._display import _Display, fitted_classifier

__all__ = ["BlendDisplay"]


@dataclass(eq=False, repr=False)
class BlendDisplay(_Display):
    """Weights of the kinds in a blend, and their losses on rows left out of training.

    It is recommended to use :meth:`from_estimator` to create a Display. All parameters
    are stored as attributes.

    Parameters
    ----------
    weights : dict of float
        Weight of each kind.
    losses : dict of float
        Log-loss of each kind, and of the blend under the name "blend".

    Attributes
    ----------
    bars_ : matplotlib BarContainer
        One bar for each kind, as long as its weight.
    ax_ : matplotlib Axes
        Axes with the bars.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdam import make_tabular_classifier
    >>> from skdam.inspection import BlendDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = make_tabular_classifier(random_state=0).fit(X, y)
    >>> len(BlendDisplay.from_estimator(clf).bars_) == len(clf["blend"].kinds)
    True
    """

    weights: dict[str, float]
    losses: dict[str, float]

    def plot(self, ax: Any = None, **bar_kwargs: Any) -> BlendDisplay:
        """Draw the weights, each with the loss of its kind.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **bar_kwargs : dict
            Passed to ``ax.barh``.

        Returns
        -------
        BlendDisplay
        """
        ax = self._axes(ax)
        names = list(self.weights)
        self.bars_ = ax.barh(names, list(self.weights.values()), **bar_kwargs)
        labels = [f"log-loss {self.losses[name]:.3f}" for name in names]
        ax.bar_label(self.bars_, labels, padding=3)
        ax.margins(x=0.3)
        ax.invert_yaxis()
        ax.set_xlabel(f"Weight in a blend of log-loss {self.losses['blend']:.3f}")
        return self

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, *, ax: Any = None, **kwargs: Any
    ) -> BlendDisplay:
        """Draw the weights that a blend has chosen.

        Parameters
        ----------
        estimator : BlendedClassifier or Pipeline
            Fitted blend, or a fitted pipeline that ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        BlendDisplay
        """
        cls._check_drawing("from_estimator", ax)
        blend, _ = fitted_classifier(estimator, kind=BlendedClassifier)
        return cls(blend.weights_, blend.left_out_loss_).plot(ax, **kwargs)
