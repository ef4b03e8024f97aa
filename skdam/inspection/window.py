"""Validation errors over two hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..model_selection import HyperparameterWindow, is_number
from ._display import _Display

__all__ = ["WindowDisplay"]


@dataclass(eq=False, repr=False)
class WindowDisplay(_Display):
    """Validation errors over two hyperparameters, with the window outlined.

    It is recommended to use :meth:`from_window` to create a Display. All parameters are
    stored as attributes.

    Parameters
    ----------
    x, y : list
        Values of the two hyperparameters, for each candidate.
    errors : ndarray of shape (n_candidates,)
        Validation errors of the candidates.
    inside : ndarray of shape (n_candidates,), bool
        Whether each candidate is in the window.
    x_name, y_name : str
        Names of the two hyperparameters.

    Attributes
    ----------
    mesh_ : matplotlib QuadMesh or None
        Cells, if the candidates form a grid.
    points_ : matplotlib PathCollection or None
        Points, if the candidates do not form a grid.
    outline_ : matplotlib Collection
        Edges of the cells, or rings around the points, that are in the window.
    colorbar_ : matplotlib Colorbar
        Scale of the errors, in percent.
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    References
    ----------
    Krotov and Hopfield (2016), section on MNIST and appendix: "window of
    hyperparameters".

    Examples
    --------
    >>> from skdam.inspection import WindowDisplay
    >>> from skdam.model_selection import HyperparameterWindow
    >>> window = HyperparameterWindow(
    ...     [{"m": m, "T": T} for m in (3, 10) for T in (30, 60)],
    ...     [0.98, 0.97, 0.96, 0.5],
    ...     size=3,
    ... )
    >>> WindowDisplay.from_window(window, "T", "m").mesh_.get_array().ravel().tolist()
    [2.0, 3.0, 4.0, 50.0]
    """

    x: list
    y: list
    errors: np.ndarray
    inside: np.ndarray
    x_name: str
    y_name: str

    def plot(
        self, ax: Any = None, *, cmap: str = "viridis_r", **kwargs: Any
    ) -> WindowDisplay:
        """Draw the errors.

        Candidates that form a grid are drawn as cells, others as points. If several
        candidates share a cell, since they differ in other hyperparameters only, the
        cell shows the smallest error, and is in the window if any of them is.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        cmap : str or Colormap, default="viridis_r"
            Colormap.
        **kwargs : dict
            Passed to ``ax.pcolormesh`` for cells, or ``ax.scatter`` for points.

        Returns
        -------
        WindowDisplay
        """
        ax = self._axes(ax)
        columns, column = _positions(self.x)
        rows, row = _positions(self.y)
        percent = 100 * np.asarray(self.errors)
        cells = np.full((len(rows), len(columns)), np.inf)
        np.minimum.at(cells, (row, column), percent)
        self.mesh_ = self.points_ = None
        if np.isfinite(cells).all():
            drawn = self.mesh_ = ax.pcolormesh(cells, cmap=cmap, **kwargs)
            inside = np.zeros(cells.shape, bool)
            inside[row[self.inside], column[self.inside]] = True
            self.outline_ = _outline(ax, inside)
            ax.set_xticks(np.arange(len(columns)) + 0.5, map(_as_text, columns))
            ax.set_yticks(np.arange(len(rows)) + 0.5, map(_as_text, rows))
        else:
            x, y = columns[column], rows[row]
            drawn = self.points_ = ax.scatter(x, y, c=percent, cmap=cmap, **kwargs)
            self.outline_ = ax.scatter(
                x[self.inside],
                y[self.inside],
                s=2.5 * drawn.get_sizes()[0],
                facecolors="none",
                edgecolors="tab:red",
            )
        self.colorbar_ = ax.figure.colorbar(drawn, ax=ax, label="Validation error (%)")
        ax.set(xlabel=self.x_name, ylabel=self.y_name)
        return self

    @classmethod
    def from_window(
        cls,
        window: HyperparameterWindow,
        x: str,
        y: str,
        *,
        ax: Any = None,
        **kwargs: Any,
    ) -> WindowDisplay:
        """Draw a hyperparameter window.

        Parameters
        ----------
        window : HyperparameterWindow
            Window of a search.
        x, y : str
            Names of the hyperparameters to draw horizontally and vertically.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        WindowDisplay

        Raises
        ------
        ValueError
            If a candidate lacks one of the hyperparameters, or has an array as its
            value.
        """
        cls._check_drawing("from_window", ax)
        for name in (x, y):
            for params in window.candidates:
                if name not in params:
                    raise ValueError(
                        f"{name!r} must be a hyperparameter that all candidates of the "
                        f"window have; got {params}."
                    )
                if getattr(params[name], "shape", ()):
                    raise ValueError(
                        f"{name!r} has arrays as values, which an axis cannot show; "
                        "choose a hyperparameter with numbers or names as values."
                    )
        values = ([params[name] for params in window.candidates] for name in (x, y))
        inside = np.arange(len(window.candidates)) < window.size
        display = cls(*values, window.candidate_errors, inside, x, y)
        return display.plot(ax, **kwargs)


def _positions(values: list) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values in order, and the position of each value in them.

    Numbers stay numbers, unless there are other values; then all become text.
    """
    if not all(map(is_number, values)):
        values = [*map(_as_text, values)]
    return np.unique(values, return_inverse=True)


def _as_text(value: Any) -> str:
    return f"{value:g}" if is_number(value) else str(value)


def _outline(ax: Any, inside: np.ndarray) -> Any:
    """Draw the edges between cells inside and outside, and return them."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    below = zip(*np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1]), strict=True)
    left = zip(*np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1]), strict=True)
    edges = [[(j, i), (j + 1, i)] for i, j in below]
    edges += [[(j, i), (j, i + 1)] for i, j in left]
    return ax.add_collection(
        LineCollection(edges, colors="tab:red", linewidths=2, clip_on=False)
    )
