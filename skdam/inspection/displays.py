"""Pictures of trained networks and of hyperparameter windows.

As scikit-learn's, each Display keeps the numbers that it draws: ``from_...`` computes
and draws them, ``plot`` draws them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..devices import to_numpy
from ..window import HyperparameterWindow, Trajectory, is_number
from .measures import decisive_memories, fitted_classifier, recognition_units

__all__ = [
    "DecisiveMemoriesDisplay",
    "LearningCurvesDisplay",
    "MemoriesDisplay",
    "RecognitionUnitsDisplay",
    "WindowDisplay",
]


def _axes(ax: Any) -> Any:
    """Return the axes to draw in: new ones if none are given."""
    import matplotlib.pyplot as plt

    return plt.subplots()[1] if ax is None else ax


class MemoriesDisplay:
    """Memories as images.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width)
        Visible parts of the memories, in [-1, 1].

    Attributes
    ----------
    im_ : matplotlib AxesImage
        The images, row by row in one.
    ax_ : matplotlib Axes
        Axes with the images.
    figure_ : matplotlib Figure
        Figure that contains them.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import MemoriesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> display = MemoriesDisplay.from_estimator(clf, random_state=0)
    >>> display.images.shape
    (25, 8, 8)
    """

    def __init__(self, images: np.ndarray):
        self.images = images

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int | None = None,
        cmap: str = "RdBu_r",
        **imshow_kwargs: Any,
    ) -> MemoriesDisplay:
        """Draw the images beside and below each other.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        n_columns : int, default=None
            Images in a row; None: as many as there are rows.
        cmap : str or Colormap, default="RdBu_r"
            Diverging map of colours; its middle is 0.
        **imshow_kwargs : dict
            Passed to ``ax.imshow``.

        Returns
        -------
        MemoriesDisplay
        """
        check_matplotlib_support("MemoriesDisplay.plot")
        ax = _axes(ax)
        n_images, height, width = self.images.shape
        n_columns = n_columns or int(np.ceil(np.sqrt(n_images)))
        n_rows = -(-n_images // n_columns)
        # Missing values are drawn as gaps.
        mosaic = np.full(
            (n_rows * (height + 1) - 1, n_columns * (width + 1) - 1), np.nan
        )
        for i, image in enumerate(self.images):
            top, left = i // n_columns * (height + 1), i % n_columns * (width + 1)
            mosaic[top : top + height, left : left + width] = image
        self.im_ = ax.imshow(
            mosaic,
            **{"cmap": cmap, "vmin": -1, "vmax": 1, "interpolation": "nearest"}
            | imshow_kwargs,
        )
        ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        n_images: int = 25,
        memories: Sequence[int] | None = None,
        image_shape: tuple[int, int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> MemoriesDisplay:
        """Draw some of a network's memories.

        Parameters
        ----------
        estimator : DenseAssociativeMemoryClassifier or Pipeline
            Fitted classifier, or a fitted pipeline that ends in one.
        n_images : int, default=25
            Number of memories to draw at random, at most all.
        memories : sequence of int, default=None
            Numbers of the memories to draw, in the place of random ones.
        image_shape : (height, width), default=None
            Shape of an image; None: a square.
        random_state : int, RandomState instance or None, default=None
            Seed of the choice.
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        MemoriesDisplay

        Raises
        ------
        ValueError
            If the features do not fill an image, or there is no such memory.
        """
        check_matplotlib_support("MemoriesDisplay.from_estimator")
        clf, _ = fitted_classifier(estimator)
        visible = to_numpy(clf.memories_)
        n_memories, n_features = visible.shape
        image_shape = _image_shape(image_shape, n_features)
        if memories is None:
            if not isinstance(n_images, Integral) or n_images < 1:
                raise ValueError(
                    f"n_images={n_images!r} must be a whole number of at least 1."
                )
            order = check_random_state(random_state).permutation(n_memories)
            memories = order[:n_images]
        memories = np.asarray(memories)
        if not np.isin(memories, np.arange(n_memories)).all() or not memories.size:
            raise ValueError(
                f"memories={memories.tolist()} must be numbers from 0 to "
                f"{n_memories - 1}."
            )
        return cls(visible[memories].reshape(-1, *image_shape)).plot(ax, **kwargs)


def _image_shape(shape: Any, n_features: int) -> tuple[int, int]:
    if shape is None:
        side = int(np.sqrt(n_features))
        if side**2 != n_features:
            raise ValueError(
                f"{n_features} features do not fill a square image; pass image_shape."
            )
        return side, side
    if len(shape) != 2 or np.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(shape)} must be (height, width) with a product of "
            f"{n_features}, the number of features."
        )
    return tuple(shape)


class RecognitionUnitsDisplay:
    """Histogram of the numbers of classes that memories vote for.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

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
        Figure that contains it.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import RecognitionUnitsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> len(RecognitionUnitsDisplay.from_estimator(clf).bars_)
    11
    """

    def __init__(self, counts: np.ndarray, n_classes: int):
        self.counts = counts
        self.n_classes = n_classes

    def plot(self, ax: Any = None, **bar_kwargs: Any) -> RecognitionUnitsDisplay:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **bar_kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        RecognitionUnitsDisplay
        """
        check_matplotlib_support("RecognitionUnitsDisplay.plot")
        ax = _axes(ax)
        bins = np.arange(self.n_classes + 1)
        heights = np.bincount(self.counts, minlength=len(bins))
        self.bars_ = ax.bar(bins, heights, **bar_kwargs)
        ax.set(xlabel="Strong recognition units", ylabel="Memories", xticks=bins)
        self.ax_, self.figure_ = ax, ax.figure
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
            As for :func:`recognition_units`.
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        RecognitionUnitsDisplay
        """
        check_matplotlib_support("RecognitionUnitsDisplay.from_estimator")
        counts = recognition_units(estimator, cutoff)
        clf, _ = fitted_classifier(estimator)
        return cls(counts, len(clf.classes_)).plot(ax, **kwargs)


class DecisiveMemoriesDisplay:
    """Histogram of the numbers of memories that decide about samples.

    It is recommended to use :meth:`from_estimator`. All parameters are stored as
    attributes.

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
        Figure that contains it.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import DecisiveMemoriesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, random_state=0).fit(X / 8 - 1, y)
    >>> display = DecisiveMemoriesDisplay.from_estimator(clf, X / 8 - 1)
    >>> int(sum(bar.get_height() for bar in display.bars_)) == len(X)
    True
    """

    def __init__(self, counts: np.ndarray):
        self.counts = counts

    def plot(
        self, ax: Any = None, *, longest: int = 10, **bar_kwargs: Any
    ) -> DecisiveMemoriesDisplay:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        longest : int, default=10
            The last number that has a bar of its own; larger ones share the next.
        **bar_kwargs : dict
            Passed to ``ax.bar``.

        Returns
        -------
        DecisiveMemoriesDisplay
        """
        check_matplotlib_support("DecisiveMemoriesDisplay.plot")
        ax = _axes(ax)
        heights = np.bincount(
            np.minimum(self.counts, longest + 1), minlength=longest + 2
        )
        bins = np.arange(longest + 2)
        if heights[0] == 0:
            bins, heights = bins[1:], heights[1:]
        self.bars_ = ax.bar(bins, heights, **bar_kwargs)
        labels = [*map(str, bins[:-1]), f">{longest}"]
        ax.set_xticks(bins, labels)
        ax.set(xlabel="Decisive memories", ylabel="Samples")
        self.ax_, self.figure_ = ax, ax.figure
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
            As for :func:`decisive_memories`.
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        DecisiveMemoriesDisplay
        """
        check_matplotlib_support("DecisiveMemoriesDisplay.from_estimator")
        return cls(decisive_memories(estimator, X, ratio)).plot(ax, **kwargs)


class LearningCurvesDisplay:
    """Test errors of networks from a window, epoch by epoch.

    It is recommended to use :meth:`from_trajectories`. All parameters are stored as
    attributes.

    Parameters
    ----------
    errors : list of ndarray of shape (n_epochs,)
        Error of each network after each epoch.
    first_epochs : list of int or None
        For each network the first epoch with an error under the threshold.
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
        Figure that contains them.

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

    def __init__(
        self,
        errors: list[np.ndarray],
        first_epochs: list[int | None],
        threshold: float,
    ):
        self.errors = errors
        self.first_epochs = first_epochs
        self.threshold = threshold

    def plot(
        self,
        ax: Any = None,
        *,
        label: str | None = None,
        color: Any = None,
        **line_kwargs: Any,
    ) -> LearningCurvesDisplay:
        """Draw the curves, in one colour, with an arrow for each crossing.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones. Several windows can share them.
        label : str, default=None
            Name of the window in a legend.
        color : matplotlib color, default=None
            Colour of the curves and the arrows; None: the next of the cycle.
        **line_kwargs : dict
            Passed to ``ax.plot``.

        Returns
        -------
        LearningCurvesDisplay
        """
        check_matplotlib_support("LearningCurvesDisplay.plot")
        from matplotlib.ticker import LogFormatter

        ax = _axes(ax)
        self.lines_, self.arrows_ = [], []
        percent = 100 * self.threshold
        for errors, first in zip(self.errors, self.first_epochs, strict=True):
            epochs = np.arange(1, len(errors) + 1)
            (line,) = ax.plot(
                epochs,
                100 * np.asarray(errors),
                **{"color": color, "label": label, "linewidth": 1} | line_kwargs,
            )
            color, label = line.get_color(), None  # One entry of a legend for all.
            self.lines_.append(line)
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
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_trajectories(
        cls, trajectories: Sequence[Trajectory], *, ax: Any = None, **kwargs: Any
    ) -> LearningCurvesDisplay:
        """Draw networks that were trained from a window.

        Parameters
        ----------
        trajectories : sequence of Trajectory
            What :func:`skdam.fit_window` returned.
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        LearningCurvesDisplay

        Raises
        ------
        ValueError
            If there are none, or their thresholds differ.
        """
        check_matplotlib_support("LearningCurvesDisplay.from_trajectories")
        thresholds = {trajectory.threshold for trajectory in trajectories}
        if len(thresholds) != 1:
            raise ValueError(
                "trajectories must be some with the same threshold; got "
                f"{sorted(thresholds) or 'none'}."
            )
        return cls(
            [trajectory.errors for trajectory in trajectories],
            [trajectory.first_epoch for trajectory in trajectories],
            *thresholds,
        ).plot(ax, **kwargs)


class WindowDisplay:
    """Validation errors over two hyperparameters, with the window outlined.

    It is recommended to use :meth:`from_window`. All parameters are stored as
    attributes.

    Parameters
    ----------
    x, y : list
        Values of the two parameters, for each candidate.
    errors : ndarray of shape (n_candidates,)
        Validation errors of the candidates.
    inside : ndarray of shape (n_candidates,), bool
        Whether each candidate is in the window.
    x_name, y_name : str
        Names of the parameters.

    Attributes
    ----------
    mesh_ : matplotlib QuadMesh or None
        The cells, where the candidates fill a grid; None otherwise.
    points_ : matplotlib PathCollection or None
        The candidates as points, where they do not.
    outline_ : matplotlib LineCollection or PathCollection
        Edge around the cells, or rings around the points, that are in the window.
    colorbar_ : matplotlib Colorbar
        Scale of the errors, in percent.
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that contains it.

    References
    ----------
    Krotov and Hopfield (2016), section on MNIST and appendix: "window of
    hyperparameters".

    Examples
    --------
    >>> from skdam.inspection import WindowDisplay
    >>> from skdam.window import HyperparameterWindow
    >>> window = HyperparameterWindow(
    ...     [{"m": m, "T": T} for m in (3, 10) for T in (30, 60)],
    ...     [0.98, 0.97, 0.96, 0.5],
    ...     size=3,
    ... )
    >>> WindowDisplay.from_window(window, "T", "m").mesh_.get_array().ravel().tolist()
    [2.0, 3.0, 4.0, 50.0]
    """

    def __init__(
        self,
        x: list,
        y: list,
        errors: np.ndarray,
        inside: np.ndarray,
        *,
        x_name: str,
        y_name: str,
    ):
        self.x = x
        self.y = y
        self.errors = errors
        self.inside = inside
        self.x_name = x_name
        self.y_name = y_name

    def plot(
        self, ax: Any = None, *, cmap: str = "viridis_r", **kwargs: Any
    ) -> WindowDisplay:
        """Draw the errors.

        Candidates of a grid are cells; where several differ in other parameters only,
        the cell has the smallest error, and is in the window if any of them is. Other
        candidates are points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        cmap : str or Colormap, default="viridis_r"
            Map of colours.
        **kwargs : dict
            Passed to ``ax.pcolormesh`` for cells, or ``ax.scatter`` for points.

        Returns
        -------
        WindowDisplay
        """
        check_matplotlib_support("WindowDisplay.plot")
        ax = _axes(ax)
        columns, column = _positions(self.x)
        rows, row = _positions(self.y)
        percent = 100 * np.asarray(self.errors)
        cells = np.full((len(rows), len(columns)), np.inf)
        np.minimum.at(cells, (row, column), percent)
        self.mesh_ = self.points_ = None
        if np.isfinite(cells).all():
            self.mesh_ = ax.pcolormesh(cells, **{"cmap": cmap} | kwargs)
            inside = np.zeros(cells.shape, bool)
            inside[row[self.inside], column[self.inside]] = True
            self.outline_ = _outline(ax, inside)
            ax.set_xticks(np.arange(len(columns)) + 0.5, map(_written, columns))
            ax.set_yticks(np.arange(len(rows)) + 0.5, map(_written, rows))
        else:
            x, y = (np.asarray(_plottable(values)) for values in (self.x, self.y))
            self.points_ = ax.scatter(x, y, c=percent, **{"cmap": cmap} | kwargs)
            self.outline_ = ax.scatter(
                x[self.inside],
                y[self.inside],
                s=2.5 * self.points_.get_sizes()[0],
                facecolors="none",
                edgecolors="tab:red",
            )
        drawn = self.points_ if self.mesh_ is None else self.mesh_
        self.colorbar_ = ax.figure.colorbar(drawn, ax=ax, label="Validation error (%)")
        ax.set(xlabel=self.x_name, ylabel=self.y_name)
        self.ax_, self.figure_ = ax, ax.figure
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
        """Draw a window.

        Parameters
        ----------
        window : HyperparameterWindow
            Window of a search.
        x, y : str
            Names of the parameters to lay out horizontally and vertically.
        ax : matplotlib Axes, default=None
            Axes to draw in; None: new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        WindowDisplay

        Raises
        ------
        ValueError
            If a candidate lacks one of the parameters.
        """
        check_matplotlib_support("WindowDisplay.from_window")
        for name in (x, y):
            for params in window.candidates:
                if name not in params:
                    raise ValueError(
                        f"{name!r} must be a parameter that all candidates of the "
                        f"window name; got {params}."
                    )
        return cls(
            [params[x] for params in window.candidates],
            [params[y] for params in window.candidates],
            window.candidate_errors,
            np.arange(len(window.candidates)) < window.size,
            x_name=x,
            y_name=y,
        ).plot(ax, **kwargs)


def _plottable(values: list) -> list:
    """Return numbers as they are, and anything else as text."""
    return values if all(map(is_number, values)) else [*map(_written, values)]


def _positions(values: list) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values in order, and the place of each value among them."""
    return np.unique(_plottable(values), return_inverse=True)


def _written(value: Any) -> str:
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
