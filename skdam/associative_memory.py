"""Dense associative memory of binary patterns as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    gen_batches,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from .checks import restored_on_error
from .devices import check_device, choose, to_numpy
from .energies import get_energy
from .kernels import recall, recall_cuda
from .kernels.recall import (
    QUIET_WINDOW,
    Relaxation,
    overlaps,
    single_threaded_blas,
    sweep_orders,
)
from .overlap_tables import overlap_tables

__all__ = ["DenseAssociativeMemory"]

BLOCK_SIZE = 2**19
"""Overlaps of states with memories that each worker holds at once."""

GPU_BLOCK_SIZE = 2**27
"""The same on a GPU."""


class DenseAssociativeMemory(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Dense associative memory: stores binary patterns and recalls them.

    A network of N neurons of +-1 with the energy ``E = -sum_mu F(xi^mu . sigma)`` over
    K stored patterns xi^mu. Recall starts from a cue, a pattern of which parts are
    wrong or unknown, and updates one neuron after the other to the state of lower
    energy until none changes [1]_. The steeper F, the more patterns can be stored:
    K grows like N^(n-1) for a power n, where n = 2 is the Hopfield network.

    Read more in the user guide of the documentation.

    Parameters
    ----------
    power : float, default=3
        Power n of the interaction vertex, for the polynomial energies; at least 1.

    energy : {"rectified_polynomial", "polynomial", "log_cosh", "softplus", \
            "exponential"} or Energy, default="rectified_polynomial"
        Energy function F, or an object with the methods ``value`` (F), ``activation``
        (f = F') and ``slope`` (f'), as in :mod:`skdam.energies`.

    temperature : float, default=1.0
        Temperature T, in neurons: F takes overlaps divided by it. For the polynomials
        it only sets the unit of the energy.

    max_iter : int, default=100
        Largest number of sweeps over all neurons in a recall.

    clamp : {"known"} or None, default=None
        "known": recall changes unknown neurons only, so a cue without any is returned
        as it is. None: all neurons are free, and known ones are where they start.

    binarize : float or None, default=None
        Threshold above which a feature is +1, and else -1, in whatever is passed to a
        method. None: features have to be binary.

    allow_unknown : bool, default=True
        Whether NaN in a cue is an unknown neuron; False: NaN is an error.

    random_state : int, RandomState instance or None, default=None
        Seed of the order in which neurons are updated. With an integer each recall
        uses the same orders.

    n_jobs : int or None, default=None
        Number of worker processes among which recall divides the cues. None is 1,
        unless in a :obj:`joblib.parallel_backend` context. It does not change results.

    device : {"auto", "cpu", "cuda"} or str, default="auto"
        Where to recall: "cpu", "cuda" (through CuPy) or a device such as "cuda:1".
        "auto" is "cuda" where CuPy sees a device.

    Attributes
    ----------
    memories_ : int8 ndarray of shape (n_memories, n_features)
        Stored patterns xi of +-1, in the order in which they were given. Products of
        arrays of such small integers overflow; convert them first.

    n_features_in_ : int
        Number of features seen during fit: N.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where X had such that are all strings.

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
    mean the same among 0 and 1 as among -1 and 1, in every method. An array that holds
    0 beside -1 is refused, as its zeros may be meant as a third state.

    An unknown neuron counts as 0 in all overlaps until its first update, which always
    gives it a state. An update compares the energies of the neuron's two states with
    all others held, so that it never raises the energy; only the first of an unknown
    neuron may, with polynomials of odd power, which bend down below 0. If the two are
    equal, or differ by less than the rounding error of a sum over the memories, the
    neuron keeps its state, and an unknown one becomes +1. No rounding occurs as long as
    all sums are below 2^53, as they are for small powers.

    The order in which neurons are updated is drawn anew for each sweep and is common to
    all cues, so that a cue's result does not depend on the others.

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
        "power": [Interval(Real, 1, None, closed="left")],
        "energy": [
            StrOptions(
                {
                    "rectified_polynomial",
                    "polynomial",
                    "log_cosh",
                    "softplus",
                    "exponential",
                }
            ),
            HasMethods(["value", "activation", "slope"]),
        ],
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
        power=3,
        *,
        energy="rectified_polynomial",
        temperature=1.0,
        max_iter=100,
        clamp=None,
        binarize=None,
        allow_unknown=True,
        random_state=None,
        n_jobs=None,
        device="auto",
    ):
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
    def fit(self, X, y=None):
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
        """
        return self._store(X, onward=False)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
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
        """
        return self._store(X, onward=hasattr(self, "memories_"))

    def _store(self, X, onward: bool):
        get_energy(self.energy, self.power)
        check_device(self.device)
        X = to_numpy(X)
        choose(self.device, X)
        with restored_on_error(self):
            X = validate_data(
                self,
                X,
                dtype="numeric",
                reset=not onward,
                ensure_all_finite="allow-nan",
            )
            memories = _as_states(X, self.binarize, "X")
            if not memories.all():
                raise ValueError(
                    "X contains NaN, but patterns to store must be complete; only a "
                    "cue for recall may have unknown neurons."
                )
        if onward:
            memories = np.concatenate([self.memories_, memories])
        self.memories_ = memories
        self.n_iter_ = self.n_iter_ + 1 if onward else 1
        return self

    def recall(self, X, *, return_trajectory=False):
        """Relax each cue to a fixed point of the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues of +-1, of 0 and 1, or booleans; NaN where a neuron is unknown.
        return_trajectory : bool, default=False
            Whether to return the energies, too.

        Returns
        -------
        states : ndarray of shape (n_samples, n_features)
            States of +-1, in the precision of X where that is one of floats, else
            double.
        energies : ndarray of shape (n_samples, n_sweeps + 1)
            Energy of each cue before the first sweep and after each one, with unknown
            neurons at 0. Cues that settled early keep their energy. Only where
            ``return_trajectory`` is set.

        Raises
        ------
        ValueError
            If X is not binary, or an energy is to be returned that may overflow.

        Warns
        -----
        ConvergenceWarning
            If cues were still changing in the last of ``max_iter`` sweeps.
        """
        recalled, energies = self._recall(X, return_trajectory=return_trajectory)
        return (recalled, energies) if return_trajectory else recalled

    def _recall(
        self, X, *, return_trajectory: bool = False, stacklevel: int = 3
    ) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self)
        self._validate_params()
        states, dtype = self._states(X)
        energies = self._energy_by_overlap() if return_trajectory else None
        relaxation = self._relax(states, energies)
        unsettled = np.count_nonzero(~relaxation.settled)
        if unsettled:
            warnings.warn(
                f"{unsettled} of {len(states)} rows were still changing in the last of "
                f"max_iter={self.max_iter} sweeps.",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        return relaxation.states.astype(dtype), relaxation.energies

    def predict(self, X):
        """Relax each cue to a fixed point of the network, as ``recall`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            States of +-1.
        """
        return self._recall(X)[0]

    def transform(self, X):
        """Relax each cue to a fixed point of the network, as ``recall`` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            States of +-1.
        """
        # scikit-learn wraps transform.
        return self._recall(X, stacklevel=4)[0]

    def compute_energy(self, X):
        """Return the energy of states.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States; NaN counts as 0.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``E = -sum_mu F(xi^mu . sigma / T)``, equation (1) of the paper.

        Raises
        ------
        ValueError
            If X is not binary, or F of the largest possible overlap overflows.
        """
        check_is_fitted(self)
        states, _ = self._states(X)
        energy = self._energy_by_overlap()
        patterns = self._patterns()
        energies = np.empty(len(states))
        for rows in self._blocks(len(states)):
            h = overlaps(patterns, states[rows])
            energies[rows] = -energy[h + self.n_features_in_].sum(axis=1)
        return energies

    def overlap(self, X):
        """Return the memory nearest to each state, and their overlap.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            States; NaN counts as 0.

        Returns
        -------
        nearest : ndarray of shape (n_samples,)
            Number of the memory with the largest overlap, the first of equals.
        m : ndarray of shape (n_samples,)
            ``m = max_mu 1/N sum_i xi_i^mu sigma_i``; 1 is the memory itself.
        """
        check_is_fitted(self)
        states, _ = self._states(X)
        patterns = self._patterns()
        nearest = np.empty(len(states), int)
        m = np.empty(len(states))
        for rows in self._blocks(len(states)):
            h = overlaps(patterns, states[rows])
            nearest[rows] = h.argmax(axis=1)
            m[rows] = h.max(axis=1) / self.n_features_in_
        return nearest, m

    def score(self, X, y=None):
        """Return the share of cues that are recalled without any error.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Cues.
        y : array-like of shape (n_samples, n_features), default=None
            The pattern that each cue should lead to. None, or one-dimensional labels
            such as a pipeline passes on: each row of X itself, so that the score is the
            share of fixed points.

        Returns
        -------
        float
            Share in [0, 1].

        Raises
        ------
        ValueError
            If X or y is not binary, their shapes differ, or y has NaN.
        """
        check_is_fitted(self)
        cues, _ = self._states(X)
        target = cues
        y = to_numpy(y)
        if y is not None:
            check_consistent_length(X, y)
        if y is not None and np.ndim(y) != 1:
            y = check_array(y, dtype="numeric", input_name="y")
            target = _as_states(y, self.binarize, "y")
        if target.shape != cues.shape:
            raise ValueError(f"y has shape {target.shape}, but X has {cues.shape}.")
        if not target.all():
            raise ValueError("X contains NaN, so y must hold the complete patterns.")
        return float((self._recall(X)[0] == target).all(axis=1).mean())

    def _states(self, X) -> tuple[np.ndarray, np.dtype]:
        """Return cues as -1, 0 (unknown) and 1, and the type of float to return."""
        X = validate_data(
            self,
            to_numpy(X),
            dtype="numeric",
            reset=False,
            ensure_all_finite="allow-nan" if self.allow_unknown else True,
        )
        dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
        return _as_states(X, self.binarize, "X"), dtype

    def _patterns(self) -> np.ndarray:
        """Return the memories as the kernels take them, one in a column."""
        return np.ascontiguousarray(self.memories_.T)

    def _blocks(
        self, n_states: int, n_workers: int = 1, size: int = BLOCK_SIZE
    ) -> list[slice]:
        """Return pieces of the rows, of which each worker holds one at a time."""
        share = -(-n_states // n_workers)
        per_state = max(len(self.memories_), QUIET_WINDOW)
        fitting = max(1, size // per_state)
        return list(gen_batches(n_states, min(share, fitting)))

    def _energy_by_overlap(self) -> np.ndarray:
        """Return F(h / T) for h = -N..N."""
        reach = np.arange(-self.n_features_in_, self.n_features_in_ + 1)
        with np.errstate(over="ignore", invalid="ignore"):
            energy = get_energy(self.energy, self.power)
            values = np.asarray(energy.value(reach / self.temperature), np.float64)
            if not np.isfinite(len(self.memories_) * values).all():
                raise ValueError(
                    f"Energies overflow at temperature={self.temperature!r}, where "
                    f"overlaps reach {self.n_features_in_ / self.temperature:.4g}; a "
                    "higher temperature makes them smaller."
                )
        return values

    def _relax(self, states: np.ndarray, energies: np.ndarray | None) -> Relaxation:
        check_device(self.device)
        energy = get_energy(self.energy, self.power)
        tables = overlap_tables(energy, self.n_features_in_, self.temperature)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        patterns = self._patterns()
        place = choose(self.device, states)
        kernel, n_jobs, size = recall.relax, self.n_jobs, BLOCK_SIZE
        if not place.is_host:
            kernel, n_jobs, size = recall_cuda.relax, 1, GPU_BLOCK_SIZE
        with place.session("Recall fewer rows at a time."):
            parts = Parallel(n_jobs=n_jobs)(
                delayed(_relax_block)(
                    kernel,
                    patterns,
                    states[rows],
                    tables,
                    seed,
                    self.clamp,
                    self.max_iter,
                    energies,
                )
                for rows in self._blocks(len(states), effective_n_jobs(n_jobs), size)
            )
        traces = [part.energies for part in parts]
        longest = max(trace.shape[1] for trace in traces)
        return Relaxation(
            np.concatenate([part.states for part in parts]),
            np.concatenate([part.sweeps for part in parts]),
            np.concatenate([part.settled for part in parts]),
            np.concatenate(
                [np.pad(t, [(0, 0), (0, longest - t.shape[1])], "edge") for t in traces]
            )
            if longest
            else np.empty((len(states), 0)),
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.allow_unknown)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _relax_block(
    relax,
    patterns,
    states,
    tables,
    seed: int,
    clamp: str | None,
    max_sweeps: int,
    energies,
) -> Relaxation:
    with single_threaded_blas():
        return relax(
            patterns,
            states,
            tables,
            sweep_orders(seed, len(patterns)),
            free=None if clamp is None else states == 0,
            max_sweeps=max_sweeps,
            energy_of_overlap=energies,
        )


def _as_states(X: np.ndarray, threshold: float | None, name: str) -> np.ndarray:
    """Return states of -1 and 1, and 0 for NaN, or say what is not binary."""
    if threshold is not None:
        states = np.where(X > threshold, 1, -1).astype(np.int8)
    else:
        one, zero, minus = X == 1, X == 0, X == -1
        other = X[~(one | zero | minus | np.isnan(X))]
        if len(other):
            raise ValueError(
                f"{name} must hold -1 and 1, or 0 and 1, or booleans, but holds "
                f"{_some(other)}; with a threshold as the parameter binarize, real "
                "numbers are made binary."
            )
        if zero.any() and minus.any():
            raise ValueError(
                f"{name} must hold -1 and 1, or 0 and 1, but holds -1, 0"
                f"{' and 1' if one.any() else ''}; an unknown neuron is NaN."
            )
        states = np.where(one, 1, -1).astype(np.int8)
    if X.dtype.kind == "f":
        states[np.isnan(X)] = 0
    return states


def _some(values: np.ndarray) -> str:
    """Return the first few of the distinct values."""
    distinct = np.unique(values)
    shown = ", ".join(f"{value:.6g}" for value in distinct[:4])
    return shown + (", ..." if len(distinct) > 4 else "")
