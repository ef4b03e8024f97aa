"""A classifier for tables of numbers and categories, as they come in data frames.

``columns`` turns the columns of a table into numbers, ``scaling`` scales these by their
importance, ``coding`` codes them piecewise linearly, and ``blend`` weighs classifiers
by rows that they were not trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from ..classifier import DenseAssociativeMemoryClassifier
from .blend import BlendedClassifier
from .coding import PiecewiseLinearEncoder
from .columns import make_column_transformer
from .scaling import ImportanceScaler

__all__ = [
    "BlendedClassifier",
    "ImportanceScaler",
    "PiecewiseLinearEncoder",
    "default_kinds",
    "make_tabular_classifier",
]


def make_tabular_classifier(
    kinds: list[tuple[str, Any]] | None = None,
    *,
    cv: Any = 4,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Pipeline:
    """Return a classifier for tables of numbers and categories.

    Parameters
    ----------
    kinds : list of (str, classifier), optional
        Classifiers to blend, see :class:`BlendedClassifier`. They get numbers:
        standardised columns, and categories one-hot. The default is
        :func:`default_kinds`.
    cv : int, cross-validation splitter or iterable, default=4
        Number of parts, the folds of a cross-validation, or what divides the rows.
    n_jobs : int, default=None
        Number of classifiers to train at once, as in :class:`joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the parts and of the classifiers.

    Returns
    -------
    Pipeline
        The steps ``"columns"``, a :class:`~sklearn.compose.ColumnTransformer`, and
        ``"blend"``, a :class:`BlendedClassifier`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdam import make_tabular_classifier
    >>> X = pd.DataFrame({"size": [1, None, 2, 8] * 15, "shop": list("abca") * 15})
    >>> y = ["cheap", "cheap", "cheap", "dear"] * 15
    >>> clf = make_tabular_classifier(random_state=0).fit(X, y)
    >>> clf.predict(pd.DataFrame({"size": [9.0], "shop": ["elsewhere"]}))
    array(['dear'], dtype='<U5')
    """
    kinds = default_kinds() if kinds is None else kinds
    blend = BlendedClassifier(kinds, cv=cv, n_jobs=n_jobs, random_state=random_state)
    return Pipeline([("columns", make_column_transformer()), ("blend", blend)])


def default_kinds() -> list[tuple[str, Any]]:
    """Return the classifiers that :func:`make_tabular_classifier` blends by default.

    Returns
    -------
    list of (str, classifier)
        ``"coded"``, a network with its defaults behind an :class:`ImportanceScaler` and
        a :class:`PiecewiseLinearEncoder`, and ``"linear"``, a network of 20 memories
        that trains for 15 epochs, with the energy ``F(x) = x^2`` of Hopfield's model;
        its scores are linear in the columns. Both train in single precision, whose
        rounding does not matter for standardised columns.
    """
    single = FunctionTransformer(np.float32, feature_names_out="one-to-one")
    coded = make_pipeline(
        ImportanceScaler(),
        PiecewiseLinearEncoder(),
        single,
        DenseAssociativeMemoryClassifier(),
    )
    quadratic = DenseAssociativeMemoryClassifier(20, energy="polynomial", max_iter=15)
    return [("coded", coded), ("linear", make_pipeline(clone(single), quadratic))]
