"""What a fitted classifier predicts and recalls, from its network alone."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted

from ._devices import (
    HOST,
    Device,
    check_same_device,
    compute_device,
    n_stored,
    to_numpy,
)
from ._labels import check_known_labels, check_labels, decode, encode
from ._validation import check_dense, check_equal_length, check_room, check_samples
from .completion import Completion
from .losses import targets_of


class PredictionMixin:
    """The methods and attributes of a classifier that has a ``network_``.

    None of them looks at the parameters, except for ``device``: those may have changed
    since ``fit``.
    """

    @property
    def memories_(self) -> Any:
        return self.network_.memories

    @property
    def recognition_connections_(self) -> Any:
        return self.network_.recognition_connections

    @property
    def thresholds_(self) -> Any:
        return self.network_.thresholds

    @property
    def intercept_scaling_(self) -> float:
        return self.network_.intercept

    @property
    def n_memories_(self) -> int:
        return self.network_.n_memories

    @property
    def temperature_(self) -> float:
        return self.network_.temperature

    @property
    def multilabel_(self) -> bool:
        return self.network_.loss.multilabel

    @property
    def n_outputs_(self) -> int:
        n_units = self.network_.n_classes
        return 1 if n_units == 2 and not self.multilabel_ else n_units

    def _scores(self, X) -> Any:
        """Return the arguments of the classification units' tanh, where X lives."""
        network = self.network_
        flop = 2 * n_stored(X) * network.n_memories
        device = compute_device(self.device, X, flop)
        with device.session("Lower n_memories."), np.errstate(under="ignore"):
            scores = network.at(device).scores(X)
        if device is not HOST:
            scores = Device.of(X).asarray(scores)
        xp = Device.of_array(scores).xp
        if not xp.all(xp.isfinite(scores)):
            raise ValueError(
                "X holds numbers too large for the precision of the memories, "
                f"{self.network_.weights.dtype}: scores are not finite."
            )
        return scores

    def _checked(self, X, method: str) -> Any:
        """Return X, checked to suit the fitted network."""
        check_is_fitted(self)
        check_same_device(X, self.network_.weights, f"{type(self).__name__}.{method}")
        return check_samples(self, X)

    def decision_function(self, X: Any) -> Any:
        """Return the scores of the classes: the arguments of their units' tanh.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            For two classes the score of the second less that of the first.
        """
        scores = self._scores(self._checked(X, "decision_function"))
        return scores[:, 1] - scores[:, 0] if self.n_outputs_ == 1 else scores

    def predict(self, X: Any) -> Any:
        """Return the class of the classification unit with the largest state.

        Of several labels, a sample has those whose units have states above 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            Classes, or an indicator matrix; a sparse one if y was.
        """
        scores = self._scores(self._checked(X, "predict"))
        xp = Device.of_array(scores).xp
        if not self.multilabel_:
            return decode(xp.argmax(scores, axis=1), self.classes_)
        labels = xp.astype(scores > 0, xp.int64)
        return sparse.csr_matrix(to_numpy(labels)) if self.sparse_output_ else labels

    def predict_proba(self, X: Any) -> Any:
        """Return the probabilities of the classes, or of each label by itself.

        The loss "power" has its minimum where a unit's score is a known function of its
        class's probability, which is inverted here; over the classes, but not over
        several labels, the result is normalised. The loss "log_loss" has the softmax of
        the scores, or of each label ``1 / (1 + exp(-2 s))``. A network is more
        certain of the samples it was trained on than of others, so the scores are first
        multiplied by ``network_.confidence``: a factor of at most 1 that follows
        from the numbers of samples and classes; or, with ``early_stopping``, the one
        that minimises the log-loss on the validation data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        log_p = self._log_probabilities(X, "predict_proba")
        xp = array_namespace(log_p)
        with np.errstate(under="ignore"):
            p = xp.exp(log_p)
            return p if self.multilabel_ else p / xp.sum(p, axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the probabilities of the classes, or labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._log_probabilities(X, "predict_log_proba")

    def _log_probabilities(self, X, method: str):
        scores = self._scores(self._checked(X, method))
        return self.network_.log_probabilities(scores)

    def compute_energy(self, X: Any, y: Any) -> Any:
        """Return the energy of the network with samples and classes clamped.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            States of the visible neurons.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            Labels: the classification neurons of the class, or of a sample's labels,
            are at +1, all others at -1.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``E = -sum_mu F(overlap / T)``, in double precision.
        """
        X = self._checked(X, "compute_energy")
        compute_device(self.device, X)  # An error where there is no such device.
        states = self._states(X, y)
        energies = self.network_.at(Device.of(X)).energies(X, states)
        self._check_finite(energies)
        return energies

    def recall(
        self,
        X: Any,
        y: Any = None,
        *,
        step: float = 0.2,
        max_iter: int = 300,
        return_trajectory: bool = False,
    ) -> Completion:
        """Complete samples, and their labels, by descent of the network's energy.

        Known features and given labels are clamped. All other units move to lower
        energy until nothing changes: an unknown feature within the range that it had in
        the training data (in [-1, 1] for a network that was made of a perceptron), and
        a free classification unit in [-1, 1]. They start at 0, where a unit contributes
        to no overlap, or at the end of the range nearest to it.

        With labels alone, all features unknown, the network runs backwards. With
        features alone, it settles on a label, which need not be that of ``predict``:
        the classification units are updated more than once there, and see each other.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, NaN where a feature is unknown.
        y : array-like of shape (n_samples,), default=None
            Labels; None, NaN or a masked value where a label is unknown. None: all are.
            With several labels a sample, an indicator matrix, of known labels alone.
        step : float, default=0.2
            Largest share of its range that a unit moves in a step, in (0, 1].
        max_iter : int, default=300
            Largest number of steps.
        return_trajectory : bool, default=False
            Whether the result holds the samples after each step, too.

        Returns
        -------
        Completion
            Samples ``X``, labels ``y``, ``states`` of the classification units, and
            ``energies`` after each step, which never rise. Samples have the precision
            of X if X holds floats, and otherwise double precision.

        Raises
        ------
        TypeError
            If X is sparse.
        ValueError
            If X, y or a parameter is not usable, or the energy is not finite.

        Warns
        -----
        ConvergenceWarning
            If samples were still changing in the last of ``max_iter`` steps.

        Notes
        -----
        For all energies of this package but odd polynomials, E is concave in the
        states. So free units end at an end of their range, except for those that the
        network has no use for: a completed image is black and white, and a completed
        table has extreme values.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_digits
        >>> from skdam import DenseAssociativeMemoryClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> X = X / 8 - 1
        >>> clf = DenseAssociativeMemoryClassifier(power=20, random_state=0)
        >>> clf = clf.fit(X, y)
        >>> occluded = X.copy()
        >>> occluded[:, 48:] = np.nan
        >>> found = clf.recall(occluded)
        >>> bool((found.y == y).mean() > 0.8)
        True
        >>> backwards = clf.recall(np.full((10, 64), np.nan), range(10))
        >>> int((clf.predict(backwards.X) == range(10)).sum()) >= 8
        True
        """
        X = self._checked(X, "recall")
        compute_device(self.device, X)  # As in compute_energy.
        check_dense(X, "recall completes unknown features (NaN)")
        validate_parameter_constraints(
            {
                "step": [Interval(Real, 0, 1, closed="right")],
                "max_iter": [Interval(Integral, 1, None, closed="left")],
                "return_trajectory": ["boolean"],
            },
            {
                "step": step,
                "max_iter": max_iter,
                "return_trajectory": return_trajectory,
            },
            "recall",
        )
        network, classes = self.network_.at(Device.of(X)), to_numpy(self.classes_)
        states = np.full((X.shape[0], len(classes)), np.nan)
        codes = np.full(X.shape[0], -1)
        if y is not None and self.multilabel_:
            states = self._states(X, y)
        elif y is not None:
            codes = check_known_labels(y, classes)
            check_equal_length("X and y", X, codes)
            given = codes >= 0
            states[given] = targets_of(codes[given], states[given])
        with np.errstate(over="ignore"):
            found = network.complete(
                X,
                states,
                *self._feature_range(),
                step=float(step),
                max_iter=int(max_iter),
                keep_samples=bool(return_trajectory),
            )
        self._check_finite(found.energies)
        check_room(found.X, X)
        xp = array_namespace(found.energies)
        n_moving = int(xp.sum(xp.astype(~found.converged, xp.int64)))
        if n_moving:
            warnings.warn(
                f"{n_moving} of {len(codes)} samples were still changing in the last "
                f"of max_iter={max_iter} steps.",
                ConvergenceWarning,
                stacklevel=2,
            )
        if self.multilabel_:
            return replace(found, y=xp.astype(found.states > 0, xp.int64))
        settled = xp.asarray(codes, dtype=found.y.dtype, device=device(found.y))
        settled = xp.where(settled < 0, found.y, settled)
        return replace(found, y=decode(settled, self.classes_))

    def _check_finite(self, energies: Any) -> None:
        xp = array_namespace(energies)
        if not xp.all(xp.isfinite(energies)):
            raise ValueError(
                f"The energy is not finite at temperature {self.temperature_:.4g}: "
                "the numbers in X are too large for it or, if all features are far "
                "below 1, the states -1 and 1 of the classification units are. Scale "
                "the features to about 1 before fit."
            )

    def _feature_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of each feature's range in the training data."""
        statistics = getattr(self, "_statistics", None)
        if statistics is None or not len(statistics.low):
            ones = np.ones(self.n_features_in_)
            return -ones, ones
        return np.nan_to_num(statistics.low), np.nan_to_num(statistics.high)

    def _states(self, X: Any, y: Any) -> np.ndarray:
        """Return the states of the classification units that the labels of X mean."""
        classes = to_numpy(self.classes_)
        y = check_labels(y, multilabel=True)
        codes = encode(y, classes, multilabel=self.multilabel_)
        check_equal_length("X and y", X, codes)
        return targets_of(codes, np.empty((1, len(classes))))
