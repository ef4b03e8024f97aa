"""Dense associative memory of binary patterns as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._backends import recall_cpu, recall_cuda
from ._backends.overlap_tables import energy_by_overlap, overlap_tables
from ._backends.recall_cpu import RecallResult, recall_in_blocks
from ._devices import check_device_name, compute_device, to_numpy
from ._fixed_points import POWERS, choose_power, count_unstable, sample_memories
from ._patterns import read_states
from ._state import PlainStateMixin
from ._validation import python_parameters, restored_on_error
from .energies import ENERGY_CONSTRAINT, Energy, NamedEnergy, get_energy

__all__ = ["DenseAssociativeMemory"]

FLOP_OF_UPDATE = 100
"""Cost of recall for a unit and a memory, in operations of a matrix product."""


class DenseAssociativeMemory(
    PlainStateMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Dense associative memory: stores binary patterns and recalls them.

    A network of N neurons of +-1 with the energy ``E = -sum_mu F(xi^mu . sigma)`` over
    K stored patterns xi^mu. Recall starts from a cue, a pattern of which parts are
    wrong or unknown, and updates one neuron after another to the state of lower energy
    until none changes [1]_. The steeper F is, the more patterns can be stored: K grows
    as N^(n-1) for a power n, where n = 2 is the Hopfield network.

    Read more in the user guide of the documentation.

    Parameters
    ----------
    power : float or "auto", default=3
        Power n of the interaction vertex, for the polynomial energies; at least 1. With
        "auto", ``fit`` chooses the smallest of a few powers from 2 to 1000 at which
        the stored patterns are fixed points of recall.

    energy : {"rectified_polynomial", "polynomial", "log_cosh", "softplus", \
            "exponential"} or Energy, default="rectified_polynomial"
        Energy function F, or an object with the methods ``value`` (F), ``activation``
        (f = F') and ``slope`` (f'), as in :mod:`skdam.energies`.

    temperature : float, default=1.0
        Temperature T, in neurons: F takes overlaps divided by it. For the polynomials
        it only sets the unit of the energy.

    max_iter : int, default=100
        Maximum number of sweeps over all neurons in a recall.

    clamp : {"known"} or None, default=None
        If "known", recall changes unknown neurons only and returns a cue without any
        as it is. If None, all neurons may change.

    binarize : float or None, default=None
        Threshold above which a feature is +1, and otherwise -1, in all data. If None,
        features must be binary.

    allow_unknown : bool, default=True
        Whether NaN in a cue marks an unknown neuron. If False, NaN is an error.

    random_state : int, RandomState instance or None, default=None
        Determines the order in which neurons are updated. Pass an int for the same
        orders in each recall.

    n_jobs : int or None, default=None
        Number of worker processes among which recall divides the cues. None is 1,
        unless in a :obj:`joblib.parallel_backend` context. It does not change results.

    device : {"auto", "cpu", "cuda"} or str, default="auto"
        Where to recall: "cpu", "cuda" (through CuPy) or a device such as "cuda:1".
        "auto" is "cuda" if CuPy sees a device and the work is worth it, and otherwise
        "cpu".

    Attributes
    ----------
    memories_ : int8 ndarray of shape (n_memories, n_features)
        Stored patterns xi of +-1, in the order in which they were given. Products of
        arrays of such small integers overflow; convert them first.

    power_ : float or None
        Power when patterns were last stored: what "auto" chose, and otherwise the
        parameter; None for energies without a power. Recall takes it if ``power`` is
        "auto", and otherwise the parameter.

    n_features_in_ : int
        Number of features seen during fit: N.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during fit. Defined only when X has feature names that
        are all strings.

    n_iter_ : int
        Number of times that patterns were stored: 1 after ``fit``, and one more for
        each ``partial_fit``.

    See Also
    --------
    DenseAssociativeMemoryClassifier : The same network with memories that are learned.
    skdam.capacity : How many patterns can be stored.

    Notes
    -----
    Each value is read alone: 1 and True are +1; -1, 0 and False are -1. So rows of ones
    mean the same among 0 and 1 as among -1 and 1, in every method. Numbers that differ
    from these by rounding errors, up to 1e-6 in double and 3e-4 in single precision,
    are accepted. Data that hold 0 beside -1 are refused, as 0 may be meant as a third
    state.

    An unknown neuron counts as 0 in all overlaps until its first update, which always
    gives it a state. An update compares the energies of the neuron's two states with
    all others held, so that it never raises the energy; only the first update of an
    unknown neuron may, with polynomials of odd power, which bend down below 0. If the
    two energies are equal, or differ by less than the rounding error of a sum over the
    memories, the neuron keeps its state, and an unknown one becomes +1. No rounding
    occurs as long as all sums are below 2^53, as they are for small powers. The same
    update without any optimization is :mod:`skdam.recall`.

    The order in which neurons are updated is drawn anew for each sweep and is common to
    all cues, so that the result of a cue does not depend on the others.

    References
    ----------
    .. [1] D. Krotov and J. J. Hopfield, "Dense Associative Memory for Pattern
       Recognition", Advances in Neural Information Processing Systems 29, 2016,
       section 2, equations (1) to (3).

    Examples
    --------
    The truth table of XOR has more patterns than neurons. Given the two inputs, the
    memory finds the output:

    >>> import numpy as np
    >>> from skdam import DenseAssociativeMemory
    >>> xor = [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    >>> memory = DenseAssociativeMemory(power=3, clamp="known").fit(xor)
    >>> memory.recall([[0, 1, np.nan], [1, 1, np.nan]])
    array([[-1.,  1.,  1.],
           [ 1.,  1., -1.]])
    """

    _parameter_constraints: dict = {
        "power": [Interval(Real, 1, None, closed="left"), StrOptions({"auto"})],
        "energy": ENERGY_CONSTRAINT,
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "clamp": [StrOptions({"known"}), None],
        "binarize": [Interval(Real, None, None, closed="neither"), None],
        "allow_unknown": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "device": [str],
    }

    def __init__(
        self,
        power: float | Literal["auto"] = 3,
        *,
        energy: Literal[
            "rectified_polynomial", "polynomial", "log_cosh", "softplus", "exponential"
        ]
        | Energy = "rectified_polynomial",
        temperature: float = 1.0,
        max_iter: int = 100,
        clamp: Literal["known"] | None = None,
        binarize: float | None = None,
        allow_unknown: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "auto",
    ) -> None:
        self.power = power
        self.energy = energy
        self.temperature = temperature
        self.max_iter = max_iter
        self.clamp = clamp
        self.binarize = binarize
        self.allow_unknown = allow_unknown
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Store patterns, in place of any stored before.

        Parameters
        ----------
        X : array-like of shape (n_memories, n_features)
            Patterns of +-1, of 0 and 1, or booleans, one in each row. Repeated rows are
            kept and count as often as they occur.
        y : None
            Ignored.

        Returns
        -------
        self : DenseAssociativeMemory
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not binary, or a parameter is not usable; a fitted model stays as it
            was.

        Warns
        -----
        UserWarning
            If some stored patterns, of a sample of at most 200, are not fixed points of
            recall.
        """
        return self._store(X, onward=False)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Store patterns beside those stored before.

        Parameters
        ----------
        X : array-like of shape (n_memories, n_features)
            Patterns, as in ``fit``.
        y : None
            Ignored.

        Returns
        -------
        self : DenseAssociativeMemory
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not binary or has another number of features, or a parameter is not
            usable; a fitted model stays as it was.

        Warns
        -----
        UserWarning
            As in ``fit``; the sample is not larger than X, unless ``power`` is "auto".
        """
        return self._store(X, onward=hasattr(self, "memories_"))

    def _store(self, X, onward: bool):
        self._validate_params()
        python_parameters(self)
        get_energy(self.energy, 2 if self.power == "auto" else self.power)
        with restored_on_error(self), np.errstate(under="ignore"):
            memories, _ = read_states(self, X, reset=not onward)
            compute_device(self.device, memories)
            if not memories.all():
                raise ValueError(
                    "X contains NaN, but patterns to store must be complete; only a "
                    "cue for recall may have unknown neurons."
                )
            n_new = len(memories)
            if onward:
                memories = np.concatenate([self.memories_, memories])
            self.power_ = self._settle_power(memories, n_new)
            self.memories_ = memories
            self.n_iter_ = self.n_iter_ + 1 if onward else 1
        return self

    def _settle_power(self, memories: np.ndarray, n_new: int) -> float | None:
        """Return the power for some memories; warn if not all are fixed points."""
        has_power = self._has_power()
        if self.power == "auto" and has_power:
            sample = sample_memories(memories, len(memories))
            power, n_unstable = choose_power(memories, sample, self.energy)
            advice = (
                f"No power up to {POWERS[-1]} keeps more than power_={power}: patterns "
                "that differ in a single neuron, above all from repeated ones, cannot "
                "all be fixed points."
            )
        else:
            power = self.power if has_power else None
            # Patterns that are stored one by one must not cost a whole sample each.
            sample = sample_memories(memories, n_new)
            try:
                energy = get_energy(self.energy, power)
                temperature = float(self.temperature)
                n_unstable = count_unstable(memories, sample, energy, temperature)
            except Exception:  # Whatever fails here, recall will report.
                return power
            advice = (
                f"Use a power larger than {power:g}, or power='auto'."
                if has_power
                else "Use a steeper energy or, if exponential, a lower temperature, or "
                "energy='rectified_polynomial' with power='auto'."
            )
        if n_unstable:
            size, total = len(sample), len(memories)
            which = f"{size}" if size == total else f"{size} (a sample of {total})"
            warnings.warn(
                "Not all stored patterns are fixed points: recall from "
                f"{n_unstable} of {which} ends in another state. {advice}",
                UserWarning,
                stacklevel=5,
            )
        return power

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
        """Recall a pattern from each cue.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues of +-1, of 0 and 1, or booleans; NaN where a neuron is unknown.
        return_trajectory : bool, default=False
            Whether to return the energies, too.

        Returns
        -------
        states : ndarray of shape (n_samples, n_features)
            States of +-1, in the precision of X if X holds floats, and otherwise in
            double precision.
        energies : ndarray of shape (n_samples, n_sweeps + 1)
            Energy of each cue before the first sweep and after each one, with unknown
            neurons at 0. Cues that converged early keep their energy. Only returned if
            ``return_trajectory`` is True.

        Raises
        ------
        ValueError
            If X is not binary, a parameter is not usable, or an energy is to be
            returned that may overflow.

        Warns
        -----
        ConvergenceWarning
            If cues were still changing in the last of ``max_iter`` sweeps.
        """
        states, dtype = self._states(X)
        energies = self._energy_by_overlap() if return_trajectory else None
        result = self._recall(states, energies)
        recalled = result.states.astype(dtype)
        return (recalled, result.energies) if return_trajectory else recalled

    def predict(self, X: Any) -> np.ndarray:
        """Recall a pattern from each cue, as ``recall`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            States of +-1.
        """
        states, dtype = self._states(X)
        return self._recall(states).states.astype(dtype)

    def transform(self, X: Any) -> np.ndarray:
        """Recall a pattern from each cue, as ``recall`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            States of +-1.
        """
        states, dtype = self._states(X)
        # scikit-learn wraps transform.
        return self._recall(states, stacklevel=4).states.astype(dtype)

    def compute_energy(self, X: Any) -> np.ndarray:
        """Compute the energy of states.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States; NaN counts as 0.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``E = -sum_mu F(xi^mu . sigma / T)``, equation (2) of the paper.

        Raises
        ------
        ValueError
            If X is not binary, a parameter is not usable, or F of the largest possible
            overlap overflows.
        """
        states, _ = self._states(X)
        energy = self._energy_by_overlap()
        energies = np.empty(len(states))
        for rows, h in self._overlaps(states):
            energies[rows] = -energy[h + self.n_features_in_].sum(axis=1)
        return energies

    def overlap(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Find the memory nearest to each state, and their overlap.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States; NaN counts as 0.

        Returns
        -------
        nearest : ndarray of shape (n_samples,)
            Index of the memory with the largest overlap, the first one if several have
            it.
        m : ndarray of shape (n_samples,)
            ``m = max_mu 1/N sum_i xi_i^mu sigma_i``; 1 is the memory itself.
        """
        states, _ = self._states(X)
        nearest = np.empty(len(states), int)
        m = np.empty(len(states))
        for rows, h in self._overlaps(states):
            nearest[rows] = h.argmax(axis=1)
            m[rows] = h.max(axis=1) / self.n_features_in_
        return nearest, m

    def score(self, X: Any, y: Any = None) -> float:
        """Return the fraction of cues from which their pattern is recalled exactly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.
        y : array-like of shape (n_samples, n_features), default=None
            The pattern to recall from each cue. None, or one-dimensional labels such as
            a pipeline passes on: each row of X itself, so that the score is the
            fraction of fixed points.

        Returns
        -------
        float
            Fraction in [0, 1].

        Raises
        ------
        ValueError
            If X or y is not binary, their shapes or feature names differ, y has NaN, or
            a parameter is not usable.

        Warns
        -----
        UserWarning
            If most of the patterns to recall were never stored, as in the test folds of
            a cross-validation. The user guide shows how to search parameters.
        """
        cues, _ = self._states(X)
        target, name = cues, "X"
        if y is not None:
            check_consistent_length(cues, y)
            if np.ndim(to_numpy(y)) != 1:
                target, _ = read_states(self, y, "y", allow_nan=False)
                name = "y"
        if not target.all():
            raise ValueError("X contains NaN, so y must hold the complete patterns.")
        n_unknown = np.count_nonzero(~_is_among(target, self.memories_))
        if 2 * n_unknown > len(target):
            what = (
                "Without patterns as y, the score is the share of rows of X that "
                "recall leaves as they are."
                if name == "X"
                else "Recall finds other patterns by chance only."
            )
            warnings.warn(
                f"{n_unknown} of {len(target)} rows of {name} are not among the stored "
                f"patterns. {what} To measure recall, pass cues as X and the stored "
                "patterns that they were made of as y; a search such as GridSearchCV "
                "needs a scorer that does so.",
                UserWarning,
                stacklevel=2,
            )
        return float((self._recall(cues).states == target).all(axis=1).mean())

    def _states(self, X) -> tuple[np.ndarray, np.dtype]:
        """Return cues as -1, 0 (unknown) and 1, and the type of float to return."""
        check_is_fitted(self)
        self._validate_params()
        python_parameters(self)
        check_device_name(self.device)
        return read_states(self, X, allow_nan=self.allow_unknown)

    def _has_power(self) -> bool:
        """Return whether the energy is one that the parameter ``power`` applies to."""
        return (
            isinstance(self.energy, str)
            and NamedEnergy.known[self.energy].growth == "power"
        )

    def _energy(self) -> Energy:
        """Return the energy function, with the power that recall takes."""
        power = self.power_ if self.power == "auto" else self.power
        if power is None and self._has_power():
            raise ValueError(
                f"power='auto' is chosen by fit, which was given an energy without "
                f"power; fit again with energy={self.energy!r}."
            )
        return get_energy(self.energy, power)

    def _patterns(self) -> np.ndarray:
        """Return the memories as the backends take them, one in a column."""
        return np.ascontiguousarray(self.memories_.T)

    def _overlaps(self, states: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield some rows at a time, and the overlaps of their states."""
        patterns = self._patterns()
        n_states, n_memories = len(states), len(self.memories_)
        for rows in recall_cpu.blocks(n_states, n_memories, recall_cpu.BLOCK_SIZE):
            yield rows, recall_cpu.overlaps(patterns, states[rows])

    def _energy_by_overlap(self) -> np.ndarray:
        """Return F(h / T) for h = -N..N."""
        return energy_by_overlap(
            self._energy(),
            self.n_features_in_,
            float(self.temperature),
            len(self.memories_),
        )

    def _recall(
        self,
        states: np.ndarray,
        energy_of_overlap: np.ndarray | None = None,
        stacklevel: int = 3,
    ) -> RecallResult:
        tables = overlap_tables(
            self._energy(), self.n_features_in_, float(self.temperature)
        )
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        flop = FLOP_OF_UPDATE * states.size * len(self.memories_)
        device = compute_device(self.device, states, flop)
        backend = recall_cpu if device.is_host else recall_cuda
        session = device.session("Recall fewer rows at a time.")
        with session, np.errstate(under="ignore"):
            result = recall_in_blocks(
                backend.recall,
                self._patterns(),
                states,
                seed,
                clamped=self.clamp is not None,
                size=backend.BLOCK_SIZE,
                n_jobs=self.n_jobs if device.is_host else 1,
                tables=tables,
                max_sweeps=self.max_iter,
                energy_of_overlap=energy_of_overlap,
            )
        n_changing = np.count_nonzero(~result.converged)
        if n_changing:
            warnings.warn(
                f"{n_changing} of {len(states)} rows were still changing in the last "
                f"of max_iter={self.max_iter} sweeps.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        return result

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.allow_unknown)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_among(states: np.ndarray, memories: np.ndarray) -> np.ndarray:
    """Return which states are equal to one of the memories."""
    known = set(map(bytes, np.packbits(memories > 0, axis=1)))
    return np.array([bytes(row) in known for row in np.packbits(states > 0, axis=1)])
