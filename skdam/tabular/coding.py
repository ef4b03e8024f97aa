"""Coding: piecewise linear states of numerical columns."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from .._validation import restored_on_error

__all__ = ["PiecewiseLinearEncoder"]

LEAST_DEVIATION = 1e-30
"""Standard deviation below which a column was not standardised."""


class PiecewiseLinearEncoder(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Add to each column a piecewise linear code of its values.

    For edges ``e_0 < ... < e_q`` of a column, its smallest and its largest value among
    them, the states ``clip((x - e_j) / (e_(j+1) - e_j), 0, 1)`` are appended after all
    columns, centred, and scaled so that their variances sum up to that of the column. A
    network of few memories finds thresholds in them that it hardly finds in the column.
    Columns of at most two values have no states.

    Parameters
    ----------
    n_edges : int, default=3
        Number of edges between the smallest and the largest value of each column;
        fewer, but at least one, where there would be more states than rows.
    random_state : int, RandomState instance or None, default=None
        Draws the quantiles at which these edges are; equal ones are taken once.

    Attributes
    ----------
    edges_ : list of ndarray
        Edges of each column; empty for columns without states.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.tabular import PiecewiseLinearEncoder
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> PiecewiseLinearEncoder(n_edges=2, random_state=0).fit_transform(X).shape
    (10, 4)
    """

    _parameter_constraints: dict = {
        "n_edges": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_edges: int = 3,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_edges = n_edges
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose the edges.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted encoder.
        """
        with restored_on_error(self):
            X = validate_data(self, X, dtype=np.float64)
        rng = check_random_state(self.random_state)
        self.edges_, self._means, self._scales = [], [], []
        is_coded = [len(np.unique(column)) > 2 for column in X.T]
        n_edges = min(self.n_edges, max(1, len(X) // max(1, sum(is_coded)) - 1))
        for column, coded in zip(X.T, is_coded, strict=True):
            edges, mean, scale = np.empty(0), np.empty(0), 1.0
            if coded:
                shares = np.sort(rng.uniform(size=n_edges))
                edges = np.unique(np.quantile(column, [0, *shares, 1]))
                states = _states(column, edges)
                mean = states.mean(axis=0)
                scale = float(np.sqrt(states.var(axis=0).sum())) / _deviation(column)
            self.edges_.append(edges)
            self._means.append(mean)
            self._scales.append(scale)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the columns, followed by the states of each.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples, n_features + n_states)
            Columns and states.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        coded = [
            (_states(column, edges) - mean) / scale
            for column, edges, mean, scale in zip(
                X.T, self.edges_, self._means, self._scales, strict=True
            )
            if len(edges)
        ]
        return np.hstack([X, *coded])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of columns and states.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns; by default those seen in ``fit``.

        Returns
        -------
        ndarray of str
            Names.
        """
        names = super().get_feature_names_out(input_features)
        states = [
            f"{name}[{j}]"
            for name, edges in zip(names, self.edges_, strict=True)
            for j in range(len(edges) - 1)
        ]
        return np.array([*names, *states], dtype=object)


def _states(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return ((column[:, None] - edges[:-1]) / np.diff(edges)).clip(0, 1)


def _deviation(column: np.ndarray) -> float:
    """Return the standard deviation, and 1 where single precision knows none."""
    # Squares, and the range of the values, may be out of range.
    low, high = column.min() / 2, column.max() / 2
    width = max(high - low, np.finfo(float).tiny)
    deviation = float(width * (2 * ((column / 2 - low) / width).std()))
    return deviation if deviation > LEAST_DEVIATION else 1.0
