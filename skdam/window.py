"""The window of good hyperparameters: found by a search, and trained from.

Krotov and Hopfield (2016) do not report one best network. They split the training
images into 50 000 and 10 000, call the hyperparameters whose validation error is under
a threshold the window, and follow the test errors of networks that are trained on all
60 000 with values from it (section on MNIST, and the appendix).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

__all__ = [
    "HyperparameterWindow",
    "Trajectory",
    "fit_window",
    "hyperparameter_window",
]


@dataclass(frozen=True)
class HyperparameterWindow:
    """The candidates of a search whose validation error is low enough.

    :func:`hyperparameter_window` makes one from a search.

    Parameters
    ----------
    candidates : list of dict
        Parameters of all candidates that the search can compare, the best first.
    candidate_scores : array-like of shape (n_candidates,)
        Their mean scores on the validation data, not ascending.
    size : int
        Number of candidates in the window: the first ones.

    Examples
    --------
    >>> from skdam.window import HyperparameterWindow
    >>> window = HyperparameterWindow(
    ...     candidates=[{"power": 3}, {"power": 2}, {"power": 9}],
    ...     candidate_scores=[0.98, 0.97, 0.6],
    ...     size=2,
    ... )
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
        """Parameters of the candidates in the window, the best first."""
        return self.candidates[: self.size]

    @property
    def scores(self) -> np.ndarray:
        """Mean validation scores of ``params``."""
        return np.asarray(self.candidate_scores)[: self.size]

    @property
    def errors(self) -> np.ndarray:
        """Validation errors of ``params``, 1 less the scores."""
        return self.candidate_errors[: self.size]

    @property
    def candidate_errors(self) -> np.ndarray:
        """Validation errors of all ``candidates``."""
        return _errors(self.candidate_scores)

    @property
    def ranges(self) -> dict[str, tuple | list]:
        """The range of each parameter in the window.

        The smallest and the largest value where all are numbers; otherwise a list of
        the values that occur, the best candidates' first. A window need not fill the
        box of its ranges.
        """
        names = dict.fromkeys(name for params in self.params for name in params)
        return {name: _range(list(self._values(name))) for name in names}

    def sample(
        self, n: int = 1, random_state: int | np.random.RandomState | None = None
    ) -> list[dict[str, Any]]:
        """Draw parameter sets from the window.

        Candidates are drawn, not points between them, of which nobody knows the error;
        each comes up once before any comes up again.

        Parameters
        ----------
        n : int, default=1
            Number of parameter sets.
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

    def _values(self, name: str) -> Iterator[Any]:
        return (params[name] for params in self.params if name in params)


def hyperparameter_window(
    search: BaseEstimator,
    *,
    max_error: float | None = None,
    within: float | None = None,
) -> HyperparameterWindow:
    """Return the candidates of a fitted search whose validation error is low enough.

    The error of a candidate is 1 less its ``mean_test_score``, so that the score must
    be one that is 1 at best, as accuracy is.

    Parameters
    ----------
    search : GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV or \
            HalvingRandomSearchCV
        Fitted search, over a classifier or a pipeline. Of several metrics the one that
        ``refit`` names counts. Of a halving search only the candidates of the last
        iteration count, since the others were scored with fewer resources.
    max_error : float, optional
        Candidates with an error under ``max_error`` are in the window.
    within : float, optional
        Candidates with an error of at most ``within`` above the smallest are in the
        window. Exactly one of ``max_error`` and ``within`` must be given.

    Returns
    -------
    HyperparameterWindow

    Raises
    ------
    ValueError
        If not exactly one threshold is given, or one that is no error; if no candidate
        is in the window; or if the score is not one that is 1 at best.
    TypeError
        If ``search`` is not an estimator.
    sklearn.exceptions.NotFittedError
        If ``search`` is not fitted.

    References
    ----------
    Krotov and Hopfield (2016), section on MNIST and appendix: "window of
    hyperparameters".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skdam import DenseAssociativeMemoryClassifier, hyperparameter_window
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=10, random_state=0)
    >>> search = GridSearchCV(clf, {"power": [2, 3], "error_exponent": [3, 10]}, cv=2)
    >>> window = hyperparameter_window(search.fit(X / 8 - 1, y), within=1.0)
    >>> window.ranges
    {'error_exponent': (3, 10), 'power': (2, 3)}
    """
    if (max_error is None) == (within is None):
        raise ValueError(
            f"Exactly one of max_error and within must be given; got "
            f"max_error={max_error!r} and within={within!r}."
        )
    name = "within" if max_error is None else "max_error"
    limit = within if max_error is None else max_error
    if not isinstance(limit, Real) or not 0 <= limit <= 1:
        raise ValueError(f"{name}={limit!r} must be an error, a number in [0, 1].")
    check_is_fitted(search, "cv_results_")
    params, scores = _comparable(search)
    errors = _errors(scores)
    if within is None:
        inside = errors < max_error
    else:
        inside = _decimal(errors - errors[0]) <= within
    if not inside.any():
        raise ValueError(
            f"The window is empty: no candidate has an error under "
            f"max_error={max_error!r}. The smallest validation error found is "
            f"{errors[0]:.6g}, with {params[0]}."
        )
    return HyperparameterWindow(params, scores, int(inside.sum()))


def _comparable(search: BaseEstimator) -> tuple[list[dict], np.ndarray]:
    """Return parameters and scores of the candidates that can be compared, best first.

    Candidates whose fit failed have no score, and are left out.
    """
    results = search.cv_results_
    scores = np.asarray(results[f"mean_test_{_metric(search)}"])
    usable = np.isfinite(scores)
    if "iter" in results:
        iteration = np.asarray(results["iter"])
        usable &= iteration == iteration.max()
    if not usable.any():
        raise ValueError("The window is empty: no candidate of the search has a score.")
    if scores[usable].max() > 1:
        raise ValueError(
            f"The best score of the search is {scores[usable].max():.6g}, but the "
            "window needs a score that is 1 at best, such as 'accuracy'."
        )
    usable = np.flatnonzero(usable)
    best_first = usable[np.argsort(-scores[usable], kind="stable")]
    return [results["params"][i] for i in best_first], scores[best_first]


def _metric(search: BaseEstimator) -> str:
    """Return the name of the search's score in ``cv_results_``."""
    name, scorer = "score", getattr(search, "scorer_", None)
    if getattr(search, "multimetric_", False):
        name = search.refit
        if not isinstance(name, str):
            raise ValueError(
                "The search has several metrics; it must name the one that counts as "
                f"refit, but refit={name!r}."
            )
        scorer = scorer[name] if isinstance(scorer, dict) else None
    # The sign of scikit-learn's scorers is -1 for losses.
    if getattr(scorer, "_sign", 1) < 0:
        raise ValueError(
            f"The search has the score {scorer!r}, a negated loss; the window needs a "
            "score that is 1 at best, such as 'accuracy'."
        )
    return name


def _errors(scores: Any) -> np.ndarray:
    return _decimal(1 - np.asarray(scores, dtype=float))


def _decimal(errors: np.ndarray) -> np.ndarray:
    """Return errors as they would be written: 1 - 0.9 is not under 0.1."""
    return np.round(errors, 12)


def is_number(value: Any) -> bool:
    """Tell numbers from truth values and everything else."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _range(values: list) -> tuple | list:
    if all(map(is_number, values)):
        return min(values), max(values)
    distinct = []
    for value in values:  # They may be unhashable.
        if value not in distinct:
            distinct.append(value)
    return distinct


@dataclass(frozen=True)
class Trajectory:
    """A network that was trained with parameters from a window, epoch by epoch.

    Parameters
    ----------
    params : dict
        Parameters from the window.
    errors : ndarray of shape (n_epochs,)
        Error on the test data after each epoch.
    threshold : float
        Error of interest.
    estimator : estimator
        The fitted estimator.
    seconds : float
        Time of the fit, with the evaluations.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.window import Trajectory
    >>> Trajectory({}, np.array([0.05, 0.019, 0.021]), 0.02, None, 1.0).first_epoch
    2
    """

    params: dict[str, Any]
    errors: np.ndarray = field(repr=False)
    threshold: float
    estimator: BaseEstimator = field(repr=False)
    seconds: float

    @property
    def first_epoch(self) -> int | None:
        """Number of epochs after which the error is first under the threshold.

        None if it never is.
        """
        under = self.errors < self.threshold
        return int(under.argmax()) + 1 if under.any() else None


@validate_params(
    {
        "window": [HyperparameterWindow],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
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
) -> list[Trajectory]:
    """Train networks with parameters from a window, and follow their test errors.

    Parameters
    ----------
    estimator : estimator
        What the search was over: the classifier, or a pipeline that ends in it. It is
        cloned for each network.
    window : HyperparameterWindow
        Window to draw the parameters from.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training data, all of what the search had divided.
    y : array-like of shape (n_samples,)
        Class labels.
    X_test : {array-like, sparse matrix} of shape (n_test, n_features)
        Test data, scored after each epoch; training does not depend on them. In a
        pipeline the steps that were fitted on X transform them.
    y_test : array-like of shape (n_test,)
        Class labels of the test data.
    n_samples : int, default=5
        Number of networks.
    threshold : float, default=0.02
        Test error whose first crossing is reported.
    n_jobs : int, default=None
        Number of networks that are trained at once, as in :class:`joblib.Parallel`.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw from the window, and of the seed that each network gets.
    verbose : bool or int, default=False
        Whether to print a line for each network when it begins and when it ends. For a
        line after each epoch, set ``verbose`` of the classifier.

    Returns
    -------
    list of Trajectory
        For each network its parameters, its test error after each epoch, the first
        epoch under the threshold, and the fitted estimator.

    Raises
    ------
    TypeError
        If the estimator's ``fit`` does not take ``X_val`` and ``y_val``.
    ValueError
        If a parameter is not usable; or with ``early_stopping``, which would choose the
        epoch by the test data.

    References
    ----------
    Krotov and Hopfield (2016), section on MNIST, figure of the test errors.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV, train_test_split
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam import fit_window, hyperparameter_window
    >>> X, y = load_digits(return_X_y=True)
    >>> X, X_test, y, y_test = train_test_split(X / 8 - 1, y, random_state=0)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=10)
    >>> search = GridSearchCV(clf, {"power": [2, 3]}, cv=2).fit(X, y)
    >>> window = hyperparameter_window(search, within=0.05)
    >>> networks = fit_window(
    ...     clf, window, X, y, X_test=X_test, y_test=y_test, n_samples=2,
    ...     threshold=0.2, random_state=0
    ... )
    >>> [len(network.errors) for network in networks]
    [10, 10]
    """
    rng = check_random_state(random_state)
    candidates = window.sample(n_samples, rng)
    models = [_seeded(clone(estimator).set_params(**p), rng) for p in candidates]
    for model in models:
        _check_can_be_followed(model)
    data = X, y, X_test, y_test
    return Parallel(n_jobs=n_jobs)(
        delayed(_trajectory)(
            model, params, data, threshold, f"{i} of {n_samples}" if verbose else None
        )
        for i, (model, params) in enumerate(zip(models, candidates, strict=True), 1)
    )


def _seeded(model: BaseEstimator, rng: np.random.RandomState) -> BaseEstimator:
    """Give a model a seed of its own wherever it takes one."""
    for name in sorted(model.get_params(deep=True)):
        if name == "random_state" or name.endswith("__random_state"):
            model.set_params(**{name: rng.randint(2**31 - 1)})
    return model


def _last(model: BaseEstimator) -> BaseEstimator:
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


def _check_can_be_followed(model: BaseEstimator) -> None:
    last = _last(model)
    if not has_fit_parameter(last, "X_val"):
        raise TypeError(
            f"estimator must be a classifier whose fit takes X_val and y_val, or a "
            f"pipeline that ends in one; got {type(last).__name__}."
        )
    if getattr(last, "early_stopping", False):
        raise ValueError(
            "early_stopping=True would choose the epoch by X_test; train networks of "
            "the window with early_stopping=False."
        )


def _trajectory(
    model: BaseEstimator,
    params: dict,
    data: tuple,
    threshold: float,
    number: str | None,
) -> Trajectory:
    described = ", ".join(f"{name}={value!r}" for name, value in params.items())
    if number:
        print(f"Network {number}: {described}", flush=True)
    begin = perf_counter()
    _fit_followed(model, *data)
    errors = _errors(_last(model).validation_scores_)
    network = Trajectory(params, errors, threshold, model, perf_counter() - begin)
    if number:
        first = network.first_epoch
        crossing = "never" if first is None else f"from epoch {first}"
        print(
            f"Network {number}: error {errors[-1]:.4f} after {len(errors)} epochs, "
            f"under {threshold:g} {crossing}; {network.seconds:.0f} s",
            flush=True,
        )
    return network


def _fit_followed(model: BaseEstimator, X, y, X_test, y_test) -> None:
    """Fit a model that scores the test data after each epoch of its last step."""
    if not isinstance(model, Pipeline):
        model.fit(X, y, X_val=X_test, y_val=y_test)
        return
    if len(model) > 1:
        before = model[:-1]
        X = before.fit_transform(X, y)
        X_test = before.transform(X_test)
        # With a memory, the steps that were fitted are copies.
        model.steps[:-1] = before.steps
    _fit_followed(model.steps[-1][1], X, y, X_test, y_test)
