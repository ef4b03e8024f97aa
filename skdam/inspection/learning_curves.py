"""Test errors over the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model_selection import TrainingRun
from ._display import _Display

__all__ = ["LearningCurvesDisplay"]


@dataclass(eq=False, repr=False)
class LearningCurvesDisplay(_Display):
    """Test errors of networks from a hyperparameter window, epoch by epoch.

    It is recommended to use :meth:`from_runs` to create a Display. All parameters are
    stored as attributes.

    Parameters
    ----------
    errors : list of ndarray of shape (n_epochs,)
        Error of each network after each epoch.
    first_epochs : list of int or None
        First epoch of each network with an error under the threshold.
    threshold : float
        Error of interest.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        Curve of each network, in percent.
    arrows_ : list of matplotlib Annotation
        Arrows at the first epochs under the threshold.
    threshold_line_ : matplotlib Line2D
        Line at the threshold.
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    References
    ----------
    Krotov and Hopfield (2016), section on MNIST, figure of the test errors.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.inspection import LearningCurvesDisplay
    >>> display = LearningCurvesDisplay([np.array([0.1, 0.015])], [2], 0.02).plot()
    >>> display.lines_[0].get_ydata()
    array([10. ,  1.5])
    """

    errors: list[np.ndarray]
    first_epochs: list[int | None]
    threshold: float

    def plot(
        self,
        ax: Any = None,
        *,
        label: str | None = None,
        color: Any = None,
        **line_kwargs: Any,
    ) -> LearningCurvesDisplay:
        """Draw the curves in one colour, with arrows where they cross the threshold.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones. Several windows can share them.
        label : str, default=None
            Name of the window in a legend.
        color : matplotlib color, default=None
            Colour of the curves and the arrows. None is the next of the cycle.
        **line_kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        LearningCurvesDisplay
        """
        ax = self._axes(ax)
        from matplotlib.ticker import LogFormatter

        self.lines_, self.arrows_ = [], []
        percent = 100 * self.threshold
        for errors, first in zip(self.errors, self.first_epochs, strict=True):
            options = {"color": color, "label": label, "linewidth": 1} | line_kwargs
            epochs = np.arange(1, len(errors) + 1)
            (line,) = ax.plot(epochs, 100 * np.asarray(errors), **options)
            self.lines_.append(line)
            color, label = line.get_color(), None  # One entry of a legend for all.
            if first is not None:
                arrow = ax.annotate(
                    "",
                    xy=(first, percent),
                    xytext=(0, 25),
                    textcoords="offset points",
                    arrowprops={"arrowstyle": "->", "color": color},
                )
                self.arrows_.append(arrow)
        self.threshold_line_ = ax.axhline(percent, color="gray", linewidth=0.5)
        ax.set(xlabel="Epoch", ylabel="Test error (%)", yscale="log")
        # 2 and 10, not 2 x 10^0 and 10^1.
        ax.yaxis.set_major_formatter(LogFormatter())
        ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        return self

    @classmethod
    def from_runs(
        cls, runs: Sequence[TrainingRun], *, ax: Any = None, **kwargs: Any
    ) -> LearningCurvesDisplay:
        """Draw networks that were trained from a hyperparameter window.

        Parameters
        ----------
        runs : sequence of TrainingRun
            Training runs, from :func:`skdam.fit_window`.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        LearningCurvesDisplay

        Raises
        ------
        ValueError
            If there are no training runs, or if their thresholds differ.
        """
        cls._check_drawing("from_runs", ax)
        thresholds = {run.threshold for run in runs}
        if len(thresholds) != 1:
            raise ValueError(
                "runs must be training runs with the same threshold; got "
                f"{sorted(thresholds) or 'none'}."
            )
        errors, first_epochs = [r.errors for r in runs], [r.first_epoch for r in runs]
        return cls(errors, first_epochs, *thresholds).plot(ax, **kwargs)
