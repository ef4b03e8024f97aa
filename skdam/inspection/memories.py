"""Memories as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from .._devices import to_numpy
from ._display import _Display, fitted_classifier

__all__ = ["MemoriesDisplay"]


@dataclass(eq=False, repr=False)
class MemoriesDisplay(_Display):
    """Memories as images.

    It is recommended to use :meth:`from_estimator` to create a Display. All parameters
    are stored as attributes.

    Parameters
    ----------
    images : ndarray of shape (n_images, height, width)
        Memories, in [-1, 1].

    Attributes
    ----------
    im_ : matplotlib AxesImage
        Mosaic of the images.
    ax_ : matplotlib Axes
        Axes with the mosaic.
    figure_ : matplotlib Figure
        Figure that contains the axes.

    References
    ----------
    Krotov and Hopfield (2016), section "Feature to prototype transition".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.inspection import MemoriesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0)
    >>> clf = clf.fit(X / 8 - 1, y)
    >>> display = MemoriesDisplay.from_estimator(clf, random_state=0)
    >>> display.images.shape
    (25, 8, 8)
    """

    images: np.ndarray

    def plot(
        self,
        ax: Any = None,
        *,
        n_columns: int | None = None,
        cmap: str = "RdBu_r",
        **imshow_kwargs: Any,
    ) -> MemoriesDisplay:
        """Draw the images as a mosaic.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        n_columns : int, default=None
            Number of images in a row. None makes the mosaic as square as possible.
        cmap : str or Colormap, default="RdBu_r"
            Diverging colormap; its middle is 0.
        **imshow_kwargs : dict
            Passed to ``ax.imshow``.

        Returns
        -------
        MemoriesDisplay
        """
        ax = self._axes(ax)
        n_images, height, width = self.images.shape
        n_columns = n_columns or math.ceil(math.sqrt(n_images))
        n_rows = math.ceil(n_images / n_columns)
        # Missing values are drawn as gaps.
        shape = n_rows * (height + 1) - 1, n_columns * (width + 1) - 1
        mosaic = np.full(shape, np.nan)
        for i, image in enumerate(self.images):
            top, left = i // n_columns * (height + 1), i % n_columns * (width + 1)
            mosaic[top : top + height, left : left + width] = image
        options = {"vmin": -1, "vmax": 1, "interpolation": "nearest"} | imshow_kwargs
        self.im_ = ax.imshow(mosaic, cmap=cmap, **options)
        ax.set_axis_off()
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
        """Draw some memories of a network.

        Parameters
        ----------
        estimator : DenseAssociativeMemoryClassifier or Pipeline
            Fitted classifier, or a fitted pipeline that ends in one.
        n_images : int, default=25
            Number of memories to draw at random, at most all.
        memories : sequence of int, default=None
            Indices of the memories to draw. None chooses ``n_images`` at random.
        image_shape : (height, width), default=None
            Shape of an image. None is a square.
        random_state : int, RandomState instance or None, default=None
            Seed of the random choice.
        ax : matplotlib Axes, default=None
            Axes to draw in. None creates new ones.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        MemoriesDisplay

        Raises
        ------
        ValueError
            If the features do not fill an image, or if there is no such memory.
        """
        cls._check_drawing("from_estimator", ax)
        clf, _ = fitted_classifier(estimator)
        visible = to_numpy(clf.network_.memories)
        n_memories, n_features = visible.shape
        image_shape = _check_image_shape(image_shape, n_features)
        if memories is None:
            if not isinstance(n_images, Integral) or n_images < 1:
                raise ValueError(
                    f"n_images={n_images!r} must be a whole number of at least 1."
                )
            memories = check_random_state(random_state).permutation(n_memories)
            memories = memories[:n_images]
        memories = np.asarray(memories)
        if not np.isin(memories, np.arange(n_memories)).all() or not memories.size:
            raise ValueError(
                f"memories={memories.tolist()} must be indices from 0 to "
                f"{n_memories - 1}."
            )
        return cls(visible[memories].reshape(-1, *image_shape)).plot(ax, **kwargs)


def _check_image_shape(shape: Any, n_features: int) -> tuple[int, int]:
    """Return the shape of an image, by default a square."""
    if shape is None:
        side = math.isqrt(n_features)
        if side**2 != n_features:
            raise ValueError(
                f"{n_features} features do not fill a square image; pass image_shape."
            )
        return side, side
    if len(shape) != 2 or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={tuple(shape)} must be (height, width) with a product of "
            f"{n_features}, the number of features."
        )
    return tuple(shape)
