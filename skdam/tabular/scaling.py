"""Scaling: columns that tell the classes apart count more."""

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
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from .._labels import check_labels
from .._validation import restored_on_error

__all__ = ["ImportanceScaler"]


class ImportanceScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Multiply each column by 1 plus its importance over the mean importance.

    The overlap of a sample with a memory is a sum over all columns, in which those that
    say nothing about the classes are noise. A few extremely randomised trees tell which
    columns matter: the importance of a column is the decrease of the Gini impurity that
    its splits bring about, which depends on neither its unit nor its mean. Weights of
    samples are not taken into account.

    Parameters
    ----------
    n_estimators : int, default=5
        Number of trees.
    random_state : int, RandomState instance or None, default=None
        Seed of the trees.

    Attributes
    ----------
    scale_ : ndarray of shape (n_features,)
        Factors of the columns.
    n_features_in_ : int
        Number of columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.tabular import ImportanceScaler
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> ImportanceScaler(random_state=0).fit(X, X[:, 0] > 0).scale_.round()
    array([3., 1.])
    """

    _parameter_constraints: dict = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_estimators: int = 5,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any) -> Self:
        """Find the importances.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,)
            Class labels.

        Returns
        -------
        self : object
            The fitted scaler.
        """
        y = check_labels(y)
        with restored_on_error(self):
            X = validate_data(self, X, dtype=np.float64)
            check_consistent_length(X, y)
            importances = self._importances(X, y)
        # No split may help, as where no column varies.
        self.scale_ = 1 + importances / (importances.mean() or 1.0)
        return self

    def _importances(self, X, y) -> np.ndarray:
        classes = np.unique(y)
        if len(classes) == 1:
            return np.zeros(X.shape[1])
        # Trees compare numbers in single precision.
        X = X / np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
        X -= X.mean(axis=0)
        X /= np.maximum(X.std(axis=0), np.finfo(float).tiny)
        # Of indicators of the classes, the squared error is the Gini impurity.
        indicators = np.equal.outer(y, classes).astype(float)
        trees = ExtraTreesRegressor(
            self.n_estimators,
            min_samples_leaf=3,
            max_features="sqrt",
            random_state=self.random_state,
        )
        trees.fit(X, indicators)
        decreases = [
            # Of a tree without any decrease, the shares would be NaN.
            tree.tree_.compute_feature_importances(normalize=False)
            for tree in trees.estimators_
        ]
        return np.mean(decreases, axis=0).clip(min=0)

    def transform(self, X: Any) -> np.ndarray:
        """Return the columns, scaled.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Scaled columns.
        """
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False) * self.scale_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
