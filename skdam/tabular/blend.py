"""The blend: classifiers weighed by rows that they were not trained on."""

from __future__ import annotations

import math
import warnings
from numbers import Integral
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.base import ClassifierMixin, _fit_context, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    has_fit_parameter,
    validate_data,
)

from .._diagnosis import judged_elsewhere
from .._labels import check_labels
from .._validation import restored_on_error
from ..model_selection import seeded
from ..network import LEAST_LOG_P

__all__ = ["BlendedClassifier"]

# The power that suits the mean of many calibrated classifiers, less 1. It was chosen on
# networks on forty tables, where 0.2 is as good; it suits trees and forests, too, and
# hardly matters for classifiers that agree.
POWER_OF_MANY = 0.15

LEAST_GAIN = 3.0
"""Log-likelihood of all rows over that of the frequencies of the classes, which the two
numbers of a calibration exceed by chance in 5 % of all cases."""


class BlendedClassifier(ClassifierMixin, _BaseComposition):
    """A blend of classifiers whose weights are chosen on rows they were not trained on.

    The rows are divided into parts. A classifier of each kind is trained for each part,
    on all other rows. The probabilities of a kind for the rows that were left out are
    calibrated, by a power and a share of the frequencies of the classes that are the
    same for all its classifiers. The kinds are then blended with the weights that
    minimise the log-loss of these rows: one after the other, the kind that lowers it
    most is added [1]_. A prediction is the weighted mean of the calibrated
    probabilities of all classifiers. The calibration suits single classifiers, and
    their mean is right more often than each of them: for m parts it is raised to the
    power ``1 + 0.15 (1 - 1 / m)``, and normalised. Rows of weight 0 are left out of
    everything.

    Parameters
    ----------
    kinds : list of (str, classifier)
        Names and classifiers with ``predict_proba``; pipelines that end in one, too.
    cv : int, cross-validation splitter or iterable, default=4
        Number of parts, the folds of a cross-validation, or what divides the rows.
    n_rounds : int, default=20
        How many times a kind is added.
    n_jobs : int, default=None
        Number of classifiers to train at once, as in :class:`joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the parts and of the classifiers.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    estimators_ : dict of list
        The fitted classifiers of each kind, one for each part.
    weights_ : dict of float
        Weight of each kind.
    left_out_loss_ : dict of float
        Log-loss of the calibrated probabilities of each kind, and of the blend under
        the name "blend", for rows left out of the training.
    calibrations_ : dict of (float, float)
        Of each kind, the power to which probabilities are raised, and the share of the
        classes' frequencies that is then mixed in.
    n_features_in_ : int
        Number of features.

    References
    ----------
    .. [1] R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.tabular import BlendedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> kinds = [
    ...     ("memory", DenseAssociativeMemoryClassifier()),
    ...     ("linear", LogisticRegression()),
    ... ]
    >>> clf = BlendedClassifier(kinds, random_state=0).fit(X - X.mean(axis=0), y)
    >>> sorted(clf.weights_)
    ['linear', 'memory']
    """

    _parameter_constraints: dict = {
        "kinds": [list],
        "cv": ["cv_object"],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        kinds: list[tuple[str, Any]],
        *,
        cv: Any = 4,
        n_rounds: int = 20,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kinds = kinds
        self.cv = cv
        self.n_rounds = n_rounds
        self.n_jobs = n_jobs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the classifiers, and choose the weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, which all classifiers must accept.

        Returns
        -------
        self : object
            The fitted blend.
        """
        self._check_kinds()
        with restored_on_error(self):
            self._fit(X, y, sample_weight)
        return self

    def _fit(self, X, y, sample_weight) -> None:
        X, y = self._checked(X, check_labels(y))
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        classes, codes = np.unique(y, return_inverse=True)
        rng = check_random_state(self.random_state)
        rows = np.arange(len(codes))
        splits = [
            tuple(rows[part][weights[part] > 0] for part in split)
            for split in self._splits(X, y, codes, weights, rng)
        ]
        jobs = [
            (seeded(clone(model), rng), *split)
            for _, model in self.kinds
            for split in splits
        ]
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_part)(
                model,
                X,
                y,
                None if sample_weight is None else weights,
                kept,
                left_out,
                classes,
            )
            for model, kept, left_out in jobs
        )
        left_out = np.concatenate([rows for _, rows in splits])
        if not len(left_out):
            raise ValueError("sample_weight is 0 for all rows that cv leaves out.")
        codes, weights = codes[left_out], weights[left_out]
        self.prior_ = np.bincount(codes, weights, len(classes)) / weights.sum()
        self.classes_ = classes
        self.estimators_, self.calibrations_, self.left_out_loss_ = {}, {}, {}
        own = {}
        for number, (name, _) in enumerate(self.kinds):
            of_kind = results[number * len(splits) : (number + 1) * len(splits)]
            log_p = np.concatenate([log_p for _, log_p in of_kind])
            self.estimators_[name] = [model for model, _ in of_kind]
            self.calibrations_[name] = _calibrate(log_p, codes, self.prior_, weights)
            p = _calibrated(log_p, self.calibrations_[name], self.prior_)
            own[name] = p[np.arange(len(codes)), codes]
            self.left_out_loss_[name] = _mean_loss(own[name], weights)
        self.weights_ = _greedy_weights(own, weights, self.n_rounds)
        blend = sum(self.weights_[name] * p for name, p in own.items())
        self.left_out_loss_["blend"] = loss = _mean_loss(blend, weights)
        chance = _mean_loss(self.prior_[codes], weights)
        # Rows that are left out several times, or weigh little, tell less.
        n_rows = weights.sum() ** 2 / (weights**2).sum()
        n_rows *= len(np.unique(left_out)) / len(left_out)
        if chance > 0 and n_rows * (chance - loss) < LEAST_GAIN:
            warnings.warn(
                f"The log-loss of the rows left out is {loss:.3g}, and {chance:.3g} if "
                "each class has its frequency as its probability: the columns hardly "
                "tell the classes apart, or the rows are too few.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _checked(self, *data, reset: bool = True):
        tags = self.__sklearn_tags__().input_tags
        return validate_data(
            self,
            *data,
            accept_sparse="csr" if tags.sparse else False,
            dtype=None,
            ensure_all_finite="allow-nan" if tags.allow_nan else True,
            reset=reset,
        )

    def _check_kinds(self) -> None:
        if not self.kinds:
            raise ValueError("kinds is empty; it must hold at least one classifier.")
        for kind in self.kinds:
            if not (
                isinstance(kind, tuple | list)
                and len(kind) == 2
                and isinstance(kind[0], str)
            ):
                raise TypeError(
                    f"kinds must hold pairs of a name and a classifier; got {kind!r}."
                )
        names = [name for name, _ in self.kinds]
        self._validate_names(names)
        if "blend" in names:
            raise ValueError("kinds holds 'blend', the name of the blend itself.")
        for name, model in self.kinds:
            if not hasattr(model, "predict_proba"):
                raise TypeError(
                    f"kinds holds {name!r}, a {type(model).__name__} without "
                    "predict_proba, which a blend needs."
                )

    def _splits(self, X, y, codes, weights, rng) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the rows that are kept, and those that are left out, of each part."""
        n_parts = self.cv
        if not isinstance(n_parts, Integral):
            splits = list(check_cv(n_parts).split(X, y))
            if not splits:
                raise ValueError("cv yields no splits.")
            return splits
        # Unlike those of StratifiedKFold, parts without a class are no fault here.
        n_parts = min(n_parts, len(codes))
        order = rng.permutation(len(codes))
        order = order[np.argsort(codes[order], kind="stable")]
        # The only row of a class is always trained on, and rows without weight count
        # for nothing.
        order = order[weights[order] > 0]
        counts = np.bincount(codes[order], minlength=codes.max() + 1)
        order = order[counts[codes[order]] > 1]
        if not len(order):
            raise ValueError(
                f"y has {np.count_nonzero(counts)} classes of one sample each; to "
                "leave rows out, a class needs two."
            )
        parts = np.full(len(codes), -1)
        parts[order] = np.arange(len(order)) % n_parts
        n_parts = parts.max() + 1
        return [
            (np.flatnonzero(parts != part), np.flatnonzero(parts == part))
            for part in range(n_parts)
        ]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        total = np.zeros((X.shape[0], len(self.classes_)))
        for name, models in self.estimators_.items():
            if self.weights_[name]:
                for model in models:
                    log_p = _log_probabilities(model, X, self.classes_)
                    p = _calibrated(log_p, self.calibrations_[name], self.prior_)
                    total += self.weights_[name] / len(models) * p
        # One classifier is calibrated as it is.
        total **= 1 + POWER_OF_MANY * (1 - 1 / len(models))
        return total / total.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class labels.
        """
        codes = self.predict_proba(X).argmax(axis=1)
        return self.classes_[codes]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with ``deep`` those of the kinds, too.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the kinds by their names, and their parameters.

        Returns
        -------
        dict
            Parameters and their values.
        """
        return self._get_params("kinds", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, of the kinds by ``name__parameter``.

        Parameters
        ----------
        **params : dict
            Parameters and their values.

        Returns
        -------
        self : object
            The blend.
        """
        return self._set_params("kinds", **params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        kinds = [get_tags(model).input_tags for _, model in self.kinds]
        tags.input_tags.sparse = all(kind.sparse for kind in kinds)
        tags.input_tags.allow_nan = all(kind.allow_nan for kind in kinds)
        return tags


def _fit_part(model, X, y, weights, kept, left_out, classes) -> tuple[Any, np.ndarray]:
    """Return the model fitted to the rows kept, and ln p of those left out."""
    keywords = {}
    if weights is not None:
        steps, last = [], model
        while isinstance(last, Pipeline):
            step, last = last.steps[-1]
            steps.append(step)
        if not has_fit_parameter(last, "sample_weight"):
            raise TypeError(f"{type(last).__name__} does not accept sample_weight.")
        keywords["__".join([*steps, "sample_weight"])] = weights[kept]
    # Networks judge by the rows they are trained on; the rows left out tell more.
    token = judged_elsewhere.set(True)
    try:
        model.fit(X[kept], y[kept], **keywords)
    finally:
        judged_elsewhere.reset(token)
    return model, _log_probabilities(model, X[left_out], classes)


def _log_probabilities(model: Any, X: Any, classes: np.ndarray) -> np.ndarray:
    result = np.full((X.shape[0], len(classes)), LEAST_LOG_P)
    if not len(result):
        return result
    p = model.predict_proba(X)
    if not np.isfinite(p).all():
        raise ValueError(
            f"{type(model).__name__} returned probabilities that are not finite."
        )
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    places = np.searchsorted(classes, model.classes_)
    result[:, places] = np.maximum(log_p, LEAST_LOG_P)
    return result


def _calibrated(
    log_p: np.ndarray, calibration: tuple[float, float], prior: np.ndarray
) -> np.ndarray:
    power, share = calibration
    return (1 - share) * softmax(power * log_p, axis=1) + share * prior


def _calibrate(
    log_p: np.ndarray, codes: np.ndarray, prior: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return the power and the share that minimise the loss of these rows."""
    rows = np.arange(len(codes))

    def objective(logarithms):
        p = _calibrated(log_p, tuple(np.exp(logarithms)), prior)
        return _mean_loss(p[rows, codes], weights)

    bounds = [(math.log(0.05), math.log(5)), (math.log(1e-4), math.log(0.5))]
    start = [0.0, math.log(0.01)]
    found = minimize(objective, start, bounds=bounds, method="L-BFGS-B")
    power, share = np.exp(found.x)
    return float(power), float(share)


def _mean_loss(p: np.ndarray, weights: np.ndarray) -> float:
    return float(-np.average(np.log(p), weights=weights))


def _greedy_weights(
    own: dict[str, np.ndarray], weights: np.ndarray, n_rounds: int
) -> dict[str, float]:
    """Return the weights of kinds, by their probabilities of the true classes."""
    counts = dict.fromkeys(own, 0)
    total = np.zeros(len(weights))
    for _ in range(n_rounds):
        best = min(own, key=lambda name: _mean_loss(total + own[name], weights))
        total = total + own[best]
        counts[best] += 1
    return {name: count / n_rounds for name, count in counts.items()}
