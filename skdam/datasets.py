"""Load MNIST from files or from OpenML."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.datasets import fetch_openml

__all__ = ["MNIST", "load_mnist"]

_PARTS = {"train": "train", "test": "t10k"}


class MNIST(NamedTuple):
    """The standard split of MNIST: pixels in [-1, 1], and digits.

    Attributes
    ----------
    X_train : ndarray of shape (60000, 784), float32
    y_train : ndarray of shape (60000,), int64
    X_test : ndarray of shape (10000, 784), float32
    y_test : ndarray of shape (10000,), int64
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load_mnist(path: str | os.PathLike | None = None) -> MNIST:
    """Load MNIST with its standard split into 60 000 and 10 000 images.

    Parameters
    ----------
    path : path-like, default=None
        Folder with the four IDX files, gzipped or not. None is the folder named by the
        environment variable ``SKDAM_MNIST`` or, if it is not set, OpenML:
        :func:`sklearn.datasets.fetch_openml` keeps a copy in scikit-learn's data
        folder, and needs pandas.

    Returns
    -------
    MNIST
        X_train, y_train, X_test, y_test.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        If a file is not in the IDX format.
    ConnectionError
        If no folder is given and OpenML cannot be reached.

    Examples
    --------
    >>> from skdam.datasets import load_mnist
    >>> X_train, y_train, X_test, y_test = load_mnist()  # doctest: +SKIP
    """
    path = path or os.environ.get("SKDAM_MNIST")
    if path:
        path = Path(path).expanduser()
        images = {part: _read(path, part, "images-idx3") for part in _PARTS}
        labels = {part: _read(path, part, "labels-idx1") for part in _PARTS}
    else:
        try:
            X, y = fetch_openml(
                "mnist_784", version=1, as_frame=False, return_X_y=True, parser="auto"
            )
        except OSError as error:
            raise ConnectionError(
                "MNIST is not in scikit-learn's data folder, and OpenML cannot be "
                "reached. Pass the folder of the four IDX files as path, or name it in "
                "the environment variable SKDAM_MNIST."
            ) from error
        images = {"train": X[:60000], "test": X[60000:]}
        labels = {"train": y[:60000], "test": y[60000:]}
    return MNIST(
        *(
            array
            for part in _PARTS
            for array in (_pixels(images[part]), labels[part].astype(np.int64))
        )
    )


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1


def _read(path: str | os.PathLike, part: str, kind: str) -> np.ndarray:
    """Return the array of an IDX file of unsigned bytes."""
    stem = Path(path) / f"{_PARTS[part]}-{kind}-ubyte"
    for file, opened in ((Path(f"{stem}.gz"), gzip.open), (stem, open)):
        if file.exists():
            with opened(file, "rb") as stream:
                content = stream.read()
            break
    else:
        raise FileNotFoundError(
            f"{stem.name}[.gz] is not in {Path(path)}; the folder must contain the "
            "images-idx3-ubyte and labels-idx1-ubyte of train and t10k, gzipped or not."
        )
    n_axes = content[3] if content[:3] == b"\x00\x00\x08" and len(content) > 3 else 0
    begin = 4 + 4 * n_axes
    shape = np.frombuffer(content[4:begin].ljust(begin - 4), ">u4").tolist()
    if not n_axes or len(content) != begin + math.prod(shape):
        raise ValueError(f"{file} is not an IDX file of unsigned bytes.")
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)
