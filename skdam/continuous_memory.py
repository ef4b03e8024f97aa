"""Dense associative memory of real vectors as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._devices import Device, check_same_device, take_rows, to_numpy
from ._state import PlainStateMixin
from ._validation import (
    check_room,
    check_samples,
    in_type,
    naming,
    python_parameters,
    restored_on_error,
)
from .attention import StoredVectors, store
from .continuous_energies import (
    CONTINUOUS_ENERGY_CONSTRAINT,
    ContinuousEnergy,
    get_continuous_energy,
)
from .energies import Exponential, RectifiedPolynomial

__all__ = ["ContinuousAssociativeMemory"]

Array = Any


class ContinuousAssociativeMemory(
    PlainStateMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Dense associative memory of real vectors: stores them and completes others.

    A state sigma has the energy ``E = -Q(beta s) / beta``, with the similarities
    ``s_mu`` of the state to each stored vector xi^mu. Recall moves a state to the mean
    of the stored vectors, weighted by the slopes of Q, again and again; no step raises
    the energy. With the energy "log_sum_exp" and the similarity "dot_product", a step
    is the attention of transformers, ``softmax(beta sigma Xi^T) Xi`` [1]_ [2]_.

    NaN is an unknown component. By default, recall finds the unknown components and
    keeps the others, so that the memory completes images, and imputes tables.

    Read more in the user guide of the documentation.

    Parameters
    ----------
    beta : float or "auto", default="auto"
        Inverse temperature, in units of one over a squared length. Small ones
        average over many stored vectors, large ones retrieve one. With "auto", it
        follows from how far apart the stored vectors are; see Notes.

    energy : {"log_sum_exp", "log_sum_relu", "rectified_polynomial", "entmax", \
            "sparsemax"} or object, default="log_sum_exp"
        The function Q, or an object with the methods ``value``, ``gradient`` and
        ``margin``, as in :mod:`skdam.continuous_energies`. "entmax" has alpha = 1.5. A
        ``RectifiedPolynomial`` or ``Exponential`` of :mod:`skdam.energies` is taken,
        too.

    power : float, default=3
        Power n of "rectified_polynomial", at least 1.

    similarity : {"euclidean", "dot_product"}, default="euclidean"
        "euclidean" is ``s_mu = -|sigma - xi^mu|^2 / 2``. "dot_product" is
        ``s_mu = xi^mu . sigma - |sigma|^2 / 2``, which prefers long vectors: use it for
        data of about equal length.

    clamp : {"known"}, None or bool array of shape (n_features,), default="known"
        Which components keep their values: all that are not NaN; none, so that a cue
        is only where recall starts; or those that are True in an array. What is NaN is
        never clamped.

    max_iter : int, default=100
        Maximum number of steps of a recall.

    tol : float, default=1e-4
        Recall ends when a step is at most this long, in units of the root mean square
        distance of the stored vectors from their mean; for the dot product, from 0.

    Attributes
    ----------
    memories_ : ndarray of shape (n_memories, n_features)
        Stored vectors. What was unknown in them has been completed.

    beta_ : float
        Inverse temperature.

    energy_ : ContinuousEnergy
        The energy, as an object.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit. Defined only when X has feature names that
        are all strings.

    n_iter_ : int
        Number of times that vectors were stored: 1 after ``fit``, and one more for
        each ``partial_fit``.

    See Also
    --------
    DenseAssociativeMemory : A memory of binary patterns.
    sklearn.impute.KNNImputer : Means of the nearest samples.

    Notes
    -----
    ``beta``, ``energy``, ``power`` and ``similarity`` are settled by ``fit``: set
    later, they have no effect before the next. ``clamp``, ``max_iter`` and ``tol``
    belong to recall.

    ``beta="auto"`` is ``margin / separation``. The separation is the smallest by which
    the similarity of a stored vector to itself exceeds that to another one; with
    "euclidean", half the squared distance of the closest two. Equal vectors count as
    one, and of more than 1000 a sample is compared with all. The margin is the
    difference in ``beta s`` at which the energy leaves all other vectors together at
    most one percent of the weight: ``ln(100 (K - 1))`` for "log_sum_exp", 1.01 for
    "sparsemax", 2.02 for "entmax", and ``1 - (100 (K - 1))^(-1 / (n - 1))`` for power
    n; for powers below 3 it is 4, at which none has any. So each stored vector is
    recalled as it is, whatever the unit of the data and however many are stored. To
    complete vectors that were not stored, a tenth of it is often better: averages err
    less.

    Recall starts at the cue. Its unknown components start at what one step finds from
    the known ones, whose similarity is multiplied by N over their number, as if the
    others were alike. Vectors with unknown components are completed in this way when
    they are stored, from the components that two vectors both have; a vector without
    any known component is not stored.

    References
    ----------
    .. [1] D. Krotov and J. J. Hopfield, "Large Associative Memory Problem in
       Neurobiology and Machine Learning", 2020, arXiv:2008.06996.
    .. [2] H. Ramsauer et al., "Hopfield Networks is All You Need", 2020,
       arXiv:2008.02217.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdam import ContinuousAssociativeMemory
    >>> images = load_digits().data[:1000]
    >>> halves = images.copy()
    >>> halves[:, 32:] = np.nan
    >>> memory = ContinuousAssociativeMemory().fit(images)
    >>> error = np.abs(memory.transform(halves) - images).max(axis=1)
    >>> float((error < 1).mean()) > 0.95
    True
    """

    _parameter_constraints: dict = {
        "beta": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "energy": CONTINUOUS_ENERGY_CONSTRAINT,
        "power": [Interval(Real, 1, None, closed="left")],
        "similarity": [StrOptions({"euclidean", "dot_product"})],
        "clamp": [StrOptions({"known"}), "array-like", None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        beta: float | Literal["auto"] = "auto",
        *,
        energy: Literal[
            "log_sum_exp",
            "log_sum_relu",
            "rectified_polynomial",
            "entmax",
            "sparsemax",
        ]
        | ContinuousEnergy
        | RectifiedPolynomial
        | Exponential = "log_sum_exp",
        power: float = 3,
        similarity: Literal["euclidean", "dot_product"] = "euclidean",
        clamp: Literal["known"] | ArrayLike | None = "known",
        max_iter: int = 100,
        tol: float = 1e-4,
    ) -> None:
        self.beta = beta
        self.energy = energy
        self.power = power
        self.similarity = similarity
        self.clamp = clamp
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Store vectors, in place of any stored before.

        Parameters
        ----------
        X : array-like of shape (n_memories, n_features)
            Vectors, one in each row. NaN is completed from the other rows.
        y : None
            Ignored.

        Returns
        -------
        self : ContinuousAssociativeMemory
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is infinite or too large, some feature has no known value, or a
            parameter is not usable; a fitted model stays as it was.
        TypeError
            If X is sparse.
        """
        return self._store(X, onward=False)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Store vectors beside those stored before.

        Parameters
        ----------
        X : array-like of shape (n_memories, n_features)
            Vectors, as in ``fit``.
        y : None
            Ignored.

        Returns
        -------
        self : ContinuousAssociativeMemory
            The fitted estimator, with a new automatic beta.

        Raises
        ------
        ValueError
            As in ``fit``, or if X has another number of features.
        """
        return self._store(X, onward=hasattr(self, "memories_"))

    def _store(self, X, onward: bool):
        self._validate_params()
        power = python_parameters(self)["power"]
        beta = None if self.beta == "auto" else float(self.beta)
        energy = get_continuous_energy(self.energy, power)
        with restored_on_error(self):
            X = self._checked(X, reset=not onward)
            self._check_clamp()
            xp = array_namespace(X)
            if onward:
                X = in_type(X, self.memories_.dtype, "X")
                old = Device.of_array(X).asarray(self.memories_)
            some = to_numpy(xp.any(~xp.isnan(X), axis=1))
            if not some.all():
                X = take_rows(X, np.flatnonzero(some))
            # A copy: what the caller does to X must not change what is stored.
            X = (
                xp.concat([old, X])
                if onward
                else xp.asarray(in_type(X, X.dtype, "X"), copy=True)
            )
            lost = np.flatnonzero(to_numpy(xp.all(xp.isnan(X), axis=0)))
            if len(lost):
                raise ValueError(
                    f"X holds NaN alone in {len(lost)} of its features, such as "
                    f"{lost[0]}: nothing can be recalled where nothing is stored."
                )
            with np.errstate(all="ignore"):
                stored, X = store(X, energy, self.similarity == "euclidean", beta)
            self._stored, self.memories_, self.energy_ = stored, X, energy
            self.beta_ = beta or stored.beta / stored.scale / stored.scale
            self.n_iter_ = self.n_iter_ + 1 if onward else 1
        return self

    @overload
    def recall(
        self, X: Any, *, return_trajectory: Literal[False] = False
    ) -> np.ndarray: ...

    @overload
    def recall(
        self, X: Any, *, return_trajectory: Literal[True]
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def recall(
        self, X: Any, *, return_trajectory: bool
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def recall(
        self, X: Any, *, return_trajectory: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Recall a vector from each cue.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues, with NaN where a component is unknown.
        return_trajectory : bool, default=False
            Whether to return the energies, too.

        Returns
        -------
        states : ndarray of shape (n_samples, n_features)
            States at which recall ends, in the precision of X if X holds floats, and
            otherwise in double precision. Clamped components are those of X exactly.
        energies : ndarray of shape (n_samples, n_steps + 1)
            Energy of each cue, its unknown components filled in, and after each step.
            Cues that settled early keep their energy. Only returned if
            ``return_trajectory`` is True.

        Raises
        ------
        ValueError
            If X is not usable, or a parameter.

        Warns
        -----
        ConvergenceWarning
            If states were still moving in the last of ``max_iter`` steps.
        """
        recalled, energies = self._recall(X, return_trajectory)
        return (recalled, energies) if return_trajectory else recalled

    def transform(self, X: Any) -> np.ndarray:
        """Recall a vector from each cue, as ``recall`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues, with NaN where a component is unknown.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            States at which recall ends.
        """
        # scikit-learn wraps transform.
        return self._recall(X, stacklevel=4)[0]

    def compute_energy(self, X: Any) -> np.ndarray:
        """Compute the energy of states.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States; what is NaN is filled in, as at the start of a recall.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``E = -Q(beta s) / beta``. It is infinite where "log_sum_relu" or
            "rectified_polynomial" reach no stored vector.
        """
        X = self._checked(X)
        stored, states, known = self._inside(X)
        found = stored.recall(states, known, known, max_steps=0, tol=0, track=True)
        xp = array_namespace(X)
        energies = Device.of_array(X).asarray(found.energies[:, 0])
        return xp.astype(energies, X.dtype, copy=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Return how much of the variance of unknown components recall explains.

        It is ``1 - sum (recalled - true)^2 / sum (mean - true)^2`` over all components
        that recall has to find, with the mean of the stored vectors: 1 is perfect, and
        0 what the mean would do.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.
        y : array-like of shape (n_samples, n_features), default=None
            The vector to recall from each cue; compared are the components that are NaN
            in X, and all if X has none. None, or one-dimensional labels such as a
            pipeline passes on: X itself. Of each row, one half of the components is
            then hidden and recalled from the other, and the other from the one, so that
            a cross-validation tells how well vectors are completed that were never
            stored. The halves are drawn at random, and always the same.

        Returns
        -------
        float
            At most 1.

        Raises
        ------
        ValueError
            If X or y is not usable, or their shapes or feature names differ.
        """
        cues = self._checked(X)
        xp = array_namespace(cues)
        nan = xp.asarray(xp.nan, dtype=cues.dtype, device=Device.of_array(cues).device)
        hidden = xp.isnan(cues)
        target, tasks = cues, []
        if y is not None:
            check_consistent_length(cues, y)
            y = None if np.ndim(to_numpy(y)) == 1 else self._checked(y, name="y")
        if y is None:
            half = np.zeros(cues.shape[1], bool)
            half[np.random.default_rng(0).permutation(len(half))[::2]] = True
            for part in (half, ~half):
                part = Device.of_array(cues).asarray(part)
                tasks.append((xp.where(part, nan, cues), part & ~hidden))
        else:
            target = y
            tasks = [(cues, hidden if xp.any(hidden) else ~hidden)]
        error = variance = 0.0
        mean = xp.mean(Device.of_array(cues).asarray(self.memories_), axis=0)
        for cue, asked in tasks:
            if xp.any(asked & xp.isnan(target)):
                raise ValueError(
                    "y holds NaN where X does: there is nothing to compare."
                )
            recalled, _ = self._recall(cue)
            unit, zero = self._stored.scale, xp.zeros_like(target)
            wrong, off = (
                xp.where(asked, (each - target) / unit, zero)
                for each in (recalled, mean)
            )
            error += float(xp.sum(wrong**2))
            variance += float(xp.sum(off**2))
        if variance == 0:
            return float(error == 0)
        return 1 - error / variance

    def _checked(self, X: Any, *, reset: bool = False, name: str = "X") -> Array:
        """Return dense floats."""
        if not reset:
            check_is_fitted(self)
            self._validate_params()
            python_parameters(self)
            self._check_clamp()
        if sparse.issparse(X):
            raise TypeError(
                f"Sparse data was passed for {name}, but dense data is required. Use "
                "'.toarray()' to convert it."
            )
        X = check_samples(self, X, reset=reset, name=name)
        if hasattr(self, "memories_") and not reset:
            check_same_device(X, self.memories_, "recall")
        xp = array_namespace(X)
        if X.dtype in (xp.float32, xp.float64):
            return X
        return xp.astype(X, xp.float64 if Device.of_array(X).has_double else xp.float32)

    def _check_clamp(self) -> None:
        """Check that an array says of each feature whether it is clamped."""
        if self.clamp is None or isinstance(self.clamp, str):
            return
        with naming("clamp"):
            mask = np.asarray(to_numpy(self.clamp))
        if mask.dtype != bool or mask.shape != (self.n_features_in_,):
            raise ValueError(
                f"clamp must be 'known', None or an array of {self.n_features_in_} "
                f"booleans, one for each feature, but is an array of {mask.dtype} of "
                f"shape {mask.shape}."
            )

    def _inside(self, X: Array) -> tuple[StoredVectors, Array, Array]:
        """Return the vectors where X lives, X in their unit, and what is known."""
        xp = array_namespace(X)
        stored = self._stored.at(Device.of_array(X))
        states = in_type(X, stored.matrix.dtype, "X")
        known = ~xp.isnan(X)
        with np.errstate(over="ignore"):
            states = (states - stored.centre) / stored.scale
        largest = xp.max(xp.abs(xp.where(known, states, xp.zeros_like(states))))
        # Where beta times a squared distance would not be finite.
        limit = xp.finfo(states.dtype).max / X.shape[1] / max(stored.beta, 1) / 16
        if not largest <= limit**0.5:
            raise ValueError("X holds values too far from those of all stored vectors.")
        return stored, states, known

    def _recall(
        self, X: Any, track: bool = False, stacklevel: int = 3
    ) -> tuple[Array, Array | None]:
        X = self._checked(X)
        xp = array_namespace(X)
        stored, states, known = self._inside(X)
        if self.clamp is None:
            clamped = known & False
        elif isinstance(self.clamp, str):
            clamped = known
        else:
            mask = Device.of_array(X).asarray(np.asarray(to_numpy(self.clamp)))
            clamped = known & mask

        options = {"max_steps": self.max_iter, "tol": self.tol, "track": track}
        found = stored.recall(states, known, ~clamped, **options)
        with np.errstate(over="ignore"):
            ends = found.states * stored.scale + stored.centre
            recalled = xp.where(clamped, X, xp.astype(ends, X.dtype, copy=False))
        check_room(recalled, X)
        n_moving = np.count_nonzero(~found.settled)
        if n_moving:
            warnings.warn(
                f"{n_moving} of {X.shape[0]} rows were still moving in the last of "
                f"max_iter={self.max_iter} steps.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        energies = Device.of_array(X).asarray(found.energies) if track else None
        return recalled, energies

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
