"""Hyperparameters: published ones, and windows of good ones found by a search.

Krotov and Hopfield (2016) split the training images of MNIST into 50 000 and 10 000,
and call the hyperparameters whose validation error is under a threshold the window.
They train networks with hyperparameters from the window on all 60 000 images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ._validation import as_python

__all__ = [
    "HyperparameterWindow",
    "TrainingRun",
    "fit_window",
    "hyperparameter_window",
    "preset",
]


def preset(name: str, *, power: int = 3) -> dict[str, Any]:
    """Return the hyperparameters of a publication.

    Parameters
    ----------
    name : {"krotov-hopfield-2016", "krotov-hopfield-2016-short"}
        "krotov-hopfield-2016" is the training on MNIST of the paper's appendix, with
        values within the ranges that it gives for momentum and learning rate, and the
        error exponent of the notebook that its authors published. The temperature is
        left to ``temperature="auto"``, which is high enough for memories that start
        around -0.3, and is constant; the paper lowers it for n = 20 and 30. With
        "-short", the same network is trained in 75 epochs from memories around 0, with
        a linearly falling rate and without regularisation; its values are from the
        search of this package's reproduction of the paper.
    power : int, default=3
        Power n of the interaction vertex.

    Returns
    -------
    dict
        Keyword arguments of :class:`~skdam.DenseAssociativeMemoryClassifier`.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> from skdam import DenseAssociativeMemoryClassifier, preset
    >>> clf = DenseAssociativeMemoryClassifier(**preset("krotov-hopfield-2016"))
    >>> clf.n_memories, clf.init
    (2000, (-0.3, 0.3))
    """
    known = "krotov-hopfield-2016", "krotov-hopfield-2016-short"
    if name not in known:
        raise ValueError(f"preset {name!r} is unknown; known: {', '.join(known)}.")
    common = {
        "n_memories": 2000,
        "power": power,
        "energy": "rectified_polynomial",
        "formulation": "feedforward",
        "loss": "power",
        "tol": None,
        "intercept_scaling": 0,
        "input_noise": 0,
    }
    if name == known[1]:
        rate = 0.004 if power < 3 else 0.008 if power == 3 else 0.014
        return common | {
            "error_exponent": 2 if power < 3 else 3,
            "learning_rate_init": rate,
            "batch_size": 500,
            "max_iter": 75,
            "init": (0.0, 0.3),
        }
    return common | {
        "error_exponent": 30,
        "learning_rate_init": 0.04,
        "learning_rate": "exponential",
        "learning_rate_decay": 0.998**2999,  # 0.998 per epoch
        "momentum": 0.6,
        "batch_size": 1000,
        "max_iter": 3000,
        "init": (-0.3, 0.3),
        "gradient_tolerance": 0,
        "reinit_dead": 0,
    }


@dataclass(frozen=True, eq=False)
class HyperparameterWindow:
    """The candidates of a search whose validation error is low enough.

    Use :func:`hyperparameter_window` to create a window from a search.

    Parameters
    ----------
    candidates : list of dict
        Hyperparameters of all candidates that the search can compare, the best first.
    candidate_scores : array-like of shape (n_candidates,)
        Mean validation scores of the candidates, in descending order.
    size : int
        Number of candidates in the window, which are the first ones.

    Examples
    --------
    >>> from skdam.model_selection import HyperparameterWindow
    >>> candidates = [{"power": 3}, {"power": 2}, {"power": 9}]
    >>> window = HyperparameterWindow(candidates, [0.98, 0.97, 0.6], size=2)
    >>> window.params
    [{'power': 3}, {'power': 2}]
    >>> window.ranges
    {'power': (2, 3)}
    """

    candidates: list[dict[str, Any]] = field(repr=False)
    candidate_scores: np.ndarray = field(repr=False)
    size: int

    def __len__(self) -> int:
        return self.size

    @property
    def params(self) -> list[dict[str, Any]]:
        """Hyperparameters of the candidates in the window, the best first."""
        return self.candidates[: self.size]

    @property
    def scores(self) -> np.ndarray:
        """Mean validation scores of ``params``."""
        return np.asarray(self.candidate_scores)[: self.size]

    @property
    def errors(self) -> np.ndarray:
        """Validation errors of ``params``, which are 1 minus the scores."""
        return self.candidate_errors[: self.size]

    @property
    def candidate_errors(self) -> np.ndarray:
        """Validation errors of all ``candidates``."""
        return _errors(self.candidate_scores)

    @property
    def ranges(self) -> dict[str, tuple | list]:
        """Range of each hyperparameter in the window.

        A range is the smallest and the largest value if all values are numbers, and
        otherwise a list of the distinct values, those of the best candidates first. A
        window need not fill the box of its ranges.
        """
        names = dict.fromkeys(name for params in self.params for name in params)
        return {k: _range([p[k] for p in self.params if k in p]) for k in names}

    def sample(
        self, n: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> list[dict[str, Any]]:
        """Draw candidates from the window.

        Points between the candidates are not drawn, since their errors are unknown.
        Each candidate is drawn once before any is drawn again.

        Parameters
        ----------
        n : int, default=1
            Number of candidates to draw.
        random_state : int, RandomState instance or None, default=None
            Seed of the draw.

        Returns
        -------
        list of dict

        Raises
        ------
        ValueError
            If ``n`` is not a positive whole number.
        """
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n={n!r} must be a whole number of at least 1.")
        rng = check_random_state(random_state)
        rounds = [rng.permutation(self.size) for _ in range(-(-n // self.size))]
        return [dict(self.params[i]) for i in np.concatenate(rounds)[:n]]


def hyperparameter_window(
    search: BaseEstimator,
    *,
    max_error: float | None = None,
    within: float | None = None,
) -> HyperparameterWindow:
    """Return the candidates of a fitted search whose validation error is low enough.

    The error of a candidate is 1 minus its ``mean_test_score``. The best possible score
    must therefore be 1, as it is for accuracy.

    Parameters
    ----------
    search : GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV or \
            HalvingRandomSearchCV
        Fitted search. Of several metrics, the one that ``refit`` names is used; of a
        halving search, the candidates of the last iteration are used.
    max_error : float, optional
        The window holds the candidates with an error under ``max_error``.
    within : float, optional
        The window holds the candidates with an error of at most ``within`` above the
        smallest. Exactly one of ``max_error`` and ``within`` must be given.

    Returns
    -------
    HyperparameterWindow

    Raises
    ------
    ValueError
        If ``max_error`` and ``within`` are invalid, if no candidate is in the window,
        or if the search lacks hyperparameters or scores from 0 to 1.
    TypeError
        If ``search`` is not a search.
    sklearn.exceptions.NotFittedError
        If ``search`` is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdam import DenseAssociativeMemoryClassifier, hyperparameter_window
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(20, max_iter=5, random_state=0)
    >>> search = GridSearchCV(clf, {"power": [2, 3]}, cv=2).fit(X / 8 - 1, y)
    >>> hyperparameter_window(search, within=1.0).ranges
    {'power': (2, 3)}
    """
    if (max_error is None) == (within is None):
        raise ValueError(
            "Exactly one of max_error and within must be given; got "
            f"max_error={max_error!r} and within={within!r}."
        )
    name, limit = ("within", within) if max_error is None else ("max_error", max_error)
    if not isinstance(limit, Real) or not 0 <= limit <= 1:
        raise ValueError(f"{name}={limit!r} must be an error, a number in [0, 1].")
    params, scores = _comparable_candidates(search)
    errors = _errors(scores)
    inside = errors < limit if within is None else errors <= _rounded(errors[0] + limit)
    if not inside.any():
        raise ValueError(
            f"The window is empty: no candidate has an error under {name}={limit!r}. "
            f"The smallest validation error is {errors[0]:.6g}, with {params[0]}."
        )
    return HyperparameterWindow(params, scores, int(inside.sum()))


def _comparable_candidates(search: BaseEstimator) -> tuple[list[dict], np.ndarray]:
    """Return hyperparameters and scores of the comparable candidates, the best first.

    Candidates whose fit failed have no score and are left out.
    """
    if not hasattr(search, "cv_results_"):
        check_is_fitted(search)
        raise TypeError(
            "search must be a fitted search, such as GridSearchCV; "
            f"{type(search).__name__} has no cv_results_."
        )
    results, metric = search.cv_results_, "score"
    if getattr(search, "multimetric_", False):
        metric = search.refit
        if not isinstance(metric, str):
            raise ValueError(
                "The search has several metrics, so that refit must name one of them; "
                f"got refit={metric!r}."
            )
    for name in ("params", f"mean_test_{metric}"):
        if name not in results:
            raise ValueError(
                f"cv_results_ of the search lacks {name!r}, which the window needs to "
                "know the hyperparameters and the score of each candidate."
            )
    scores = np.asarray(results[f"mean_test_{metric}"])
    usable = np.isfinite(scores)
    if "iter" in results:
        usable &= np.asarray(results["iter"]) == np.max(results["iter"])
    if not usable.any():
        raise ValueError("The window is empty: no comparable candidate has a score.")
    if not 0 <= scores[usable].max() <= 1:
        raise ValueError(
            f"The best score of the search is {scores[usable].max():.6g}, but the "
            "window needs a score from 0 to 1 that is 1 at best, such as 'accuracy'."
        )
    usable = np.flatnonzero(usable)
    best_first = usable[np.argsort(-scores[usable], kind="stable")]
    return [results["params"][i] for i in best_first], scores[best_first]


def _errors(scores: Any) -> np.ndarray:
    return _rounded(1 - np.asarray(scores, dtype=float))


def _rounded(errors: Any) -> Any:
    """Return errors as they would be written: 1 - 0.9 is not under 0.1."""
    return np.round(errors, 12)


def is_number(value: Any) -> bool:
    """Return whether a value is a number, which a truth value is not."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _range(values: list) -> tuple | list:
    if all(map(is_number, values)):
        return min(values), max(values)
    distinct = []
    for value in values:  # They may be unhashable.
        if not any(_are_equal(value, other) for other in distinct):
            distinct.append(value)
    return distinct


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (RuntimeError, ValueError):  # Arrays, or containers of arrays.
        return joblib.hash(one) == joblib.hash(other)


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """The training of one network with hyperparameters from a window.

    Parameters
    ----------
    params : dict
        Hyperparameters from the window.
    errors : ndarray of shape (n_epochs,)
        Error on the test data after each epoch.
    threshold : float
        Error of interest.
    estimator : estimator
        Fitted estimator.
    seconds : float
        Duration of the fit, evaluations included.
    """

    params: dict[str, Any]
    errors: np.ndarray = field(repr=False)
    threshold: float
    estimator: BaseEstimator = field(repr=False)
    seconds: float

    @property
    def first_epoch(self) -> int | None:
        """First epoch, counted from 1, with an error under the threshold, or None."""
        under = self.errors < self.threshold
        return int(under.argmax()) + 1 if under.any() else None


@validate_params(
    {
        "window": [HyperparameterWindow],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def fit_window(
    estimator: BaseEstimator,
    window: HyperparameterWindow,
    X: Any,
    y: Any,
    *,
    X_test: Any,
    y_test: Any,
    n_samples: int = 5,
    threshold: float = 0.02,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    verbose: bool | int = False,
) -> list[TrainingRun]:
    """Train networks with hyperparameters from a window, and follow their test errors.

    Parameters
    ----------
    estimator : estimator
        Classifier, or pipeline that ends in one. It is cloned for each network.
    window : HyperparameterWindow
        Window to draw the hyperparameters from.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training data: all the data that the search divided.
    y : array-like of shape (n_samples,)
        Class labels.
    X_test : {array-like, sparse matrix} of shape (n_test, n_features)
        Test data, scored after each epoch. They have no influence on the training.
    y_test : array-like of shape (n_test,)
        Class labels of the test data.
    n_samples : int, default=5
        Number of networks.
    threshold : float, default=0.02
        Test error of interest.
    n_jobs : int, default=None
        Number of networks to train at once, as in :class:`joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw from the window, and of the seed that each network gets.
    verbose : bool or int, default=False
        Whether to print a line when the training of a network begins and when it ends.

    Returns
    -------
    list of TrainingRun
        Training run of each network, with its test errors and the fitted estimator.

    Raises
    ------
    TypeError
        If the estimator's ``fit`` does not take ``X_val`` and ``y_val``.
    ValueError
        If a parameter is invalid; or with ``early_stopping``, which would choose the
        epoch by the test data.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from skdam import DenseAssociativeMemoryClassifier, fit_window
    >>> from skdam.model_selection import HyperparameterWindow
    >>> X, y = load_digits(return_X_y=True)
    >>> X, X_test, y, y_test = train_test_split(X / 8 - 1, y, random_state=0)
    >>> clf = DenseAssociativeMemoryClassifier(20, max_iter=5)
    >>> window = HyperparameterWindow([{"power": 2}, {"power": 3}], [0.9, 0.9], size=2)
    >>> runs = fit_window(
    ...     clf, window, X, y, X_test=X_test, y_test=y_test, n_samples=2, random_state=0
    ... )
    >>> [len(run.errors) for run in runs]
    [5, 5]
    """
    rng = check_random_state(random_state)
    candidates = window.sample(n_samples, rng)
    models = [seeded(clone(estimator).set_params(**p), rng) for p in candidates]
    for last in map(_last_step, models):
        if not has_fit_parameter(last, "X_val"):
            raise TypeError(
                "estimator must be a classifier whose fit takes X_val and y_val, or a "
                f"pipeline that ends in one; got {type(last).__name__}."
            )
        if getattr(last, "early_stopping", False):
            raise ValueError(
                "early_stopping=True would choose the epoch by X_test; set it to False."
            )
    data = X, y, X_test, y_test
    names = [f"Network {i} of {n_samples}" for i in range(1, n_samples + 1)]
    return Parallel(n_jobs=n_jobs)(
        delayed(_run)(model, params, data, threshold, name if verbose else None)
        for model, params, name in zip(models, candidates, names, strict=True)
    )


def seeded(model: BaseEstimator, rng: np.random.RandomState) -> BaseEstimator:
    """Set each parameter ``random_state`` of a model, and return the model."""
    for name in sorted(model.get_params(deep=True)):
        if name == "random_state" or name.endswith("__random_state"):
            model.set_params(**{name: rng.randint(2**31 - 1)})
    return model


def _last_step(model: BaseEstimator) -> BaseEstimator:
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def _run(
    model: BaseEstimator, params: dict, data: tuple, threshold: float, name: str | None
) -> TrainingRun:
    """Train one network, and print lines that begin with the name if it is given."""
    if name:
        described = ", ".join(
            f"{key}={as_python(value)!r}" for key, value in params.items()
        )
        print(f"{name}: {described}", flush=True)
    begin = perf_counter()
    _fit(model, *data)
    errors = _errors(_last_step(model).validation_scores_)
    run = TrainingRun(params, errors, threshold, model, perf_counter() - begin)
    if name:
        first = "never" if run.first_epoch is None else f"from epoch {run.first_epoch}"
        print(
            f"{name}: error {errors[-1]:.4f} after {len(errors)} epochs, under "
            f"{threshold:g} {first}; {run.seconds:.0f} s",
            flush=True,
        )
    return run


def _fit(model: BaseEstimator, X: Any, y: Any, X_test: Any, y_test: Any) -> None:
    """Fit a model whose last step scores the test data after each epoch."""
    if isinstance(model, Pipeline):
        if len(model) > 1:
            before = model[:-1]
            X = before.fit_transform(X, y)
            X_test = before.transform(X_test)
            # A pipeline with ``memory`` fits copies of its steps.
            model.steps[:-1] = before.steps
        _fit(model.steps[-1][1], X, y, X_test, y_test)
    else:
        model.fit(X, y, X_val=X_test, y_val=y_test)
