"""The network: what is fitted, what predicts, what is inspected and pickled."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array
from scipy import sparse
from scipy.optimize import minimize_scalar

from . import _backends
from ._backends.inputs import inputs, is_sparse
from ._devices import Device, take_rows, to_numpy, widest_float
from .completion import Completion, descend, field
from .energies import Energy
from .losses import Loss, is_right, targets_of
from .updates import EnergyDifference, Update

__all__ = ["Network"]

Array = Any

LEAST_LOG_P = -50.0
"""Logarithms of probabilities below which all are equally wrong."""

ELEMENTS_AT_ONCE = 2**22
"""Overlaps, or features, that are held at once."""


@dataclass(frozen=True)
class Network:
    """A dense associative memory of visible and classification units.

    Its energy is ``E = -sum_mu F(sum_i xi_i v_i / T + sum_alpha xi_alpha x_alpha / T)``
    for the state v of the visible units and x of the classification units.

    Parameters
    ----------
    weights : array of shape (n_features + n_intercepts + n_classes, n_memories)
        The memories xi, one in each column: first the visible units, then the neuron
        of the intercept if there is one, then the classification units.
    n_features : int
        Number of features N.
    intercept : float
        State of the intercept's neuron, the same for all samples; 0: there is none.
    update : Feedforward or EnergyDifference
        Update of the classification units, with the energy F and the temperature T.
    loss : PowerError, LogLoss or BinaryLogLoss
        Objective of the training, which says what probabilities the scores stand for,
        and whether a sample has one class or several labels.
    input_scale : float, default=1.0
        What features are divided by, so that they are states of neurons of order 1.
    confidence : float, default=1.0
        Factor of the scores before they are turned into probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.losses import PowerError
    >>> from skdam.network import Network
    >>> from skdam.updates import Feedforward
    >>> weights = np.array([[1.0, -1.0], [0.5, -0.5], [-0.5, 0.5]])
    >>> update = Feedforward(RectifiedPolynomial(2), temperature=1.0)
    >>> network = Network(weights, 1, 0.0, update, PowerError(1))
    >>> network.scores(np.array([[2.0], [-2.0]])).tolist()
    [[4.0, -4.0], [-4.0, 4.0]]
    """

    weights: Array
    n_features: int
    intercept: float
    update: Update
    loss: Loss
    input_scale: float = 1.0
    confidence: float = 1.0

    @property
    def n_visible(self) -> int:
        """Number of visible units, with the neuron of the intercept."""
        return self.n_features + bool(self.intercept)

    @property
    def n_memories(self) -> int:
        """Number of memories K."""
        return self.weights.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classification units."""
        return self.weights.shape[0] - self.n_visible

    @property
    def energy(self) -> Energy:
        """Energy function F."""
        return self.update.energy

    @property
    def temperature(self) -> float:
        """Temperature T, in neurons."""
        return self.update.temperature

    @property
    def unit(self) -> float:
        """What features are divided by: the temperature, in units of the features."""
        return self.temperature * self.input_scale

    @property
    def memories(self) -> Array:
        """Visible part of the memories, of shape (n_memories, n_features); a view."""
        return self.weights[: self.n_features, :].T

    @property
    def thresholds(self) -> Array:
        """Connections to the intercept's neuron, of shape (n_memories,)."""
        if self.intercept:
            return self.weights[self.n_features, :]
        return array_namespace(self.weights).zeros_like(self.weights[0, :])

    @property
    def recognition_connections(self) -> Array:
        """Classification part of the memories, (n_memories, n_classes); a view."""
        return self.weights[self.n_visible :, :].T

    def at(self, device: Device, *, copy: bool | None = None) -> Network:
        """Return the network on a device."""
        if not copy and Device.of_array(self.weights) == device:
            return self
        return replace(self, weights=device.asarray(self.weights, copy=copy))

    def copy(self) -> Network:
        """Return the network with memories of its own."""
        return replace(self, weights=copy.deepcopy(self.weights))

    def scores(self, X: Array, n_updates: int = 1) -> Array:
        """Return the arguments of the classification units' tanh.

        Parameters
        ----------
        X : array or CSR array of shape (n_samples, n_features)
            Samples, where the network lives or on the host.
        n_updates : int, default=1
            Number of updates of the classification units. All but the first visit the
            units one after another, and need the exact update.

        Returns
        -------
        array of shape (n_samples, n_classes)

        Raises
        ------
        ValueError
            If ``n_updates`` is above 1 and the network is a feedforward one.
        """
        if n_updates == 1:
            batches = self._batches(X)
            size = max(rows.stop - rows.start for rows in batches)
            with _backends.forward(self, size) as forward:
                parts = [forward(X, rows) for rows in batches]
        elif isinstance(self.update, EnergyDifference):
            states = np.full((X.shape[0], self.n_classes), -1.0)
            connections = self.recognition_connections
            parts = [
                self.update.repeated(x, connections, n_updates)
                for _, x in self.overlaps(X, states)
            ]
        else:
            raise ValueError(
                f"n_updates={n_updates} needs formulation='energy'; the feedforward "
                "formulation is a single update."
            )
        return parts[0] if len(parts) == 1 else array_namespace(*parts).concat(parts)

    def responds(self, X: Array, rows: np.ndarray, memories: np.ndarray) -> np.ndarray:
        """Tell which memories have an overlap above 0 with any of some samples.

        In the exact update, a flip of a classification unit may lift one by 2 / T.
        """
        device = Device.of_array(self.weights)
        xp = device.xp
        lift = 2 / self.temperature if isinstance(self.update, EnergyDifference) else 0
        alive = np.zeros(len(memories), bool)
        # Most respond to one of the first samples, and are then left out.
        size = max(1, min(200, ELEMENTS_AT_ONCE // self.n_features))
        for start in range(0, len(rows), size):
            some = slice(start, start + size)
            open_ones = np.flatnonzero(~alive)
            which = device.asarray(memories[open_ones])
            weights = xp.take(self.weights, which, axis=1)
            v = self._inputs(X, rows[some], weights.dtype)
            x = v @ weights[: self.n_visible, :]
            x = x + self.update.offset(weights[self.n_visible :, :].T) + lift
            alive[open_ones] = to_numpy(xp.max(x, axis=0) > 0)
            if alive.all():
                break
        return alive

    def log_probabilities(self, scores: Array) -> Array:
        """Return the logarithms of the probabilities that scores stand for."""
        with np.errstate(under="ignore"):
            return self.loss.log_probabilities(self.confidence * scores)

    def calibrated(self, X: Array, codes: np.ndarray, weights: Any) -> Network:
        """Return the network with the confidence that suits samples it has not seen.

        It minimises the log-loss of their probabilities, summed over several labels. A
        few samples say little: as a prior, the factor's logarithm is normal around the
        present one, with a standard deviation of 1 / 2.
        """
        scores = to_numpy(self.scores(X)).astype(np.float64)
        if self.loss.multilabel:
            # Without a label, its unit has the odds of the opposite score.
            scores *= targets_of(codes, scores)

        def objective(log_factor: float) -> float:
            own = self.loss.log_probabilities(
                self.confidence * math.exp(log_factor) * scores
            )
            if not self.loss.multilabel:
                own = np.take_along_axis(own, codes[:, None], axis=1)
            own = np.maximum(own, LEAST_LOG_P).sum(axis=1)
            mean = np.average(own, weights=weights)
            return 2 * log_factor**2 / len(codes) - float(mean)

        found = minimize_scalar(objective, bounds=(-3.0, 3.0), method="bounded")
        return replace(self, confidence=self.confidence * math.exp(found.x))

    def overlaps(self, X: Array, states: Array) -> Iterator[tuple[slice, Array]]:
        """Yield rows of X and their overlaps with all memories.

        In units of the temperature, and in double precision where the device has it.

        Parameters
        ----------
        X : array or CSR array of shape (n_samples, n_features)
            States of the visible units.
        states : array of shape (n_samples, n_classes)
            States of the classification units.
        """
        device = Device.of_array(self.weights)
        xp, wide = device.xp, widest_float(self.weights)
        weights = xp.astype(self.weights, wide)
        visible = weights[: self.n_visible, :]
        connections = weights[self.n_visible :, :]
        for rows in self._batches(X):
            v = self._inputs(X, rows, wide)
            x = xp.astype(device.asarray(take_rows(states, rows)), wide)
            yield rows, v @ visible + x @ connections / self.temperature

    def energies(self, X: Array, states: Array) -> Array:
        """Return the energy of samples with the classification units at ``states``."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            parts = [
                -array_namespace(x).sum(self.energy.value(x), axis=1)
                for _, x in self.overlaps(X, states)
            ]
        return array_namespace(*parts).concat(parts)

    def input_gradient(self, X: Array, delta: Array) -> Array:
        """Return the gradient of ``sum_alpha delta_alpha s_alpha`` by the features.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Samples, where the network lives.
        delta : array of shape (n_samples, n_classes)
            Weights of the scores s; dC/ds for the gradient of an objective C.

        Returns
        -------
        array of shape (n_samples, n_features)
            In double precision where the device has it, and 0 where a feature is
            unknown, as no score depends on it.
        """
        exact = isinstance(self.update, EnergyDifference)
        states = np.full((X.shape[0], self.n_classes), -1.0 if exact else 0.0)
        device, parts = Device.of_array(self.weights), []
        for rows, x in self.overlaps(X, states):
            xp = array_namespace(x)
            weights = xp.astype(self.weights, x.dtype)
            d_scores = xp.astype(device.asarray(take_rows(delta, rows)), x.dtype)
            with np.errstate(over="ignore", invalid="ignore"):
                by_overlap, _ = self.update.gradient(
                    x, weights[self.n_visible :, :].T, d_scores
                )
                found = by_overlap @ (weights[: self.n_features, :].T / self.unit)
            known = take_rows(X, rows)
            if xp.isdtype(known.dtype, "real floating"):
                found = xp.where(xp.isnan(known), xp.zeros_like(found), found)
            parts.append(found)
        return array_namespace(*parts).concat(parts)

    def complete(
        self,
        X: Array,
        states: Array,
        low: np.ndarray,
        high: np.ndarray,
        *,
        step: float,
        max_iter: int,
        keep_samples: bool = False,
    ) -> Completion:
        """Descend the energy over what is unknown (NaN) of samples and classes.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Samples, where the network lives.
        states : array of shape (n_samples, n_classes)
            States of the classification units.
        low, high : array of shape (n_features,)
            Ranges of the features.
        step, max_iter
            As in :func:`~skdam.completion.descend`.
        keep_samples : bool, default=False
            Whether to keep the samples after each step.

        Returns
        -------
        Completion
            Its labels are numbers of classes, also where the class was known.
        """
        device = Device.of_array(self.weights)
        xp, wide = device.xp, widest_float(self.weights)

        def here(array: Any) -> Array:
            return xp.astype(device.asarray(array), wide)

        ones = np.ones(self.n_classes)
        b = np.full(self.n_visible - self.n_features, self.intercept)
        units = [np.full(self.n_visible, self.unit), self.temperature * ones]
        couplings = here(self.weights) / here(np.concatenate(units))[:, None]
        low = here(np.concatenate([low, b, -ones]))
        high = here(np.concatenate([high, b, ones]))
        # An unknown unit contributes nothing, if its range allows for that.
        start = xp.maximum(low, xp.minimum(high, xp.zeros_like(low)))
        parts = []
        for rows in self._batches(X):
            known = take_rows(X, rows)
            bs = here(np.tile(b, (known.shape[0], 1)))
            state = [here(known), bs, here(take_rows(states, rows))]
            state = xp.concat(state, axis=1)
            free = xp.isnan(state)
            with np.errstate(over="ignore", invalid="ignore"):
                found = descend(
                    self.energy,
                    couplings,
                    xp.where(free, start, state),
                    free,
                    low,
                    high,
                    step=step,
                    max_iter=max_iter,
                    n_kept=self.n_features if keep_samples else 0,
                )
                classes = couplings[self.n_visible :, :]
                fields = field(self.energy, classes, found.state @ couplings)
            steps = found.trajectory if keep_samples else []
            parts.append(
                {
                    "X": _filled(known, found.state[:, : self.n_features]),
                    "y": xp.argmax(fields, axis=1),
                    "states": found.state[:, self.n_visible :],
                    "energies": found.energies,
                    "converged": found.converged,
                    "trajectory": [_filled(known, v) for v in steps],
                }
            )
        for name in "energies", "trajectory":
            longest = max(len(part[name]) for part in parts)
            for part in parts:
                steps = part[name]
                steps += steps[-1:] * (longest - len(steps))
                part[name] = xp.stack(steps, axis=1) if steps else None
        columns = {name: [part[name] for part in parts] for name in parts[0]}
        if not keep_samples:
            columns.pop("trajectory")
        return Completion(**{k: xp.concat(v, axis=0) for k, v in columns.items()})

    def mean_loss_and_accuracy(
        self, X: Array, codes: np.ndarray, weights: np.ndarray | None
    ) -> tuple[float, float]:
        """Return the weighted mean of the loss and of correct predictions."""
        scores = to_numpy(self.scores(X))
        losses = self.loss.evaluate(scores, targets_of(codes, scores)).loss
        values = np.array([losses, is_right(scores, codes)], np.float64)
        loss, accuracy = np.average(values, axis=1, weights=weights)
        return float(loss), float(accuracy)

    def _inputs(self, X: Array, rows: slice | np.ndarray, dtype: Any) -> Array:
        """Return the inputs of some samples, where the network lives."""
        v = inputs(X, rows, dtype, self.unit, self.intercept)
        if is_numpy_array(self.weights):
            return v
        v = v.toarray() if sparse.issparse(v) else v
        return Device.of_array(self.weights).asarray(v)

    def _batches(self, X: Array) -> list[slice]:
        """Return groups of rows, bounded by their elements."""
        n_samples, width = X.shape
        if is_sparse(X) and is_numpy_array(self.weights):
            width = X.nnz // n_samples
        widest = max(self.n_memories, width, 1)
        size = max(1, min(n_samples, ELEMENTS_AT_ONCE // widest))
        # Their sizes differ by one at most, so that none is nearly empty.
        return [slice(a, b) for a, b in _backends.minibatches(n_samples, size)]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: arrays that need no GPU to be read again."""
        state = dict(vars(self))
        if is_cupy_array(self.weights):
            state["weights"] = to_numpy(self.weights)
        return state


def _filled(X: Array, state: Array) -> Array:
    """Return samples, in their precision, with what is unknown taken from states."""
    xp = array_namespace(X, state)
    if not xp.isdtype(X.dtype, "real floating"):
        return xp.astype(X, state.dtype)
    return xp.where(xp.isnan(X), xp.astype(state, X.dtype), X)
