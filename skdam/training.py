"""Training: what happens from minibatch to minibatch and from epoch to epoch.

The rule of Krotov & Hopfield 2016 (appendix on training), for the velocity V and memory
xi, of which I and J run over visible and classification units::

    V_I(t) = p V_I(t-1) - dC/dxi_I
    xi_I(t) = clip(xi_I(t-1) + eps(t) V_I(t) / max_J |V_J(t)|, -1, 1)

The rule is invariant to a common factor of all gradients, so that gradient and velocity
carry their scale as a logarithm, and nothing in them underflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from .formulations import Formulation
from .kernels.minibatch import Minibatch
from .kernels.numpy import NumpyKernel
from .kernels.threads import thread_team
from .objectives import Objective

__all__ = [
    "Descent",
    "Epoch",
    "LearningRate",
    "Patience",
    "State",
    "TemperatureRamp",
    "train",
]

Array = Any


@dataclass
class State:
    """Memories in training, and all that the next step needs.

    Attributes
    ----------
    memories : array of shape (n_memories, n_features)
        xi_i.
    connections : array of shape (n_memories, n_classes)
        Recognition connections xi_alpha.
    velocity, connection_velocity : arrays of the same shapes
        V, divided for each memory by its largest component.
    log_scale : array of shape (n_memories,)
        Logarithm of what V was divided by.
    """

    memories: Array
    connections: Array
    velocity: Array
    connection_velocity: Array
    log_scale: Array

    @classmethod
    def at_rest(cls, memories: np.ndarray, connections: np.ndarray) -> State:
        """Return the state of memories that do not move yet."""
        return cls(
            memories,
            connections,
            np.zeros_like(memories),
            np.zeros_like(connections),
            np.full(len(memories), -np.inf),
        )


@dataclass(frozen=True)
class LearningRate:
    """The schedule eps(t) of the learning rate, by epochs from 0.

    Parameters
    ----------
    initial : float
        eps_0, the largest change of a memory's element in one step.
    schedule : {"linear", "exponential", "constant"}
        "linear" falls to ``decay * initial`` in the last epoch; "exponential" is
        ``initial * decay**epoch``.
    decay : float
        The factor of either schedule.
    n_epochs : int
        Number of epochs that the linear schedule is laid out for.

    Examples
    --------
    >>> from skdam.training import LearningRate
    >>> LearningRate(0.5, "exponential", 0.5, n_epochs=9).at(2)
    0.125
    """

    initial: float
    schedule: str
    decay: float
    n_epochs: int

    def at(self, epoch: int) -> float:
        """Return eps in an epoch."""
        if self.schedule == "exponential":
            return self.initial * self.decay**epoch
        if self.schedule == "constant":
            return self.initial
        progress = min(1.0, epoch / max(1, self.n_epochs - 1))
        return self.initial * (1 + progress * (self.decay - 1))


@dataclass(frozen=True)
class TemperatureRamp:
    """The temperature, lowered linearly over the first epochs, then constant.

    Examples
    --------
    >>> from skdam.training import TemperatureRamp
    >>> ramp = TemperatureRamp(initial=200.0, final=100.0, n_epochs=10)
    >>> ramp.at(0), ramp.at(5), ramp.at(80)
    (200.0, 150.0, 100.0)
    """

    initial: float
    final: float
    n_epochs: int

    def at(self, epoch: int) -> float:
        """Return T in an epoch."""
        if epoch >= self.n_epochs:
            return self.final
        return self.initial + (self.final - self.initial) * epoch / self.n_epochs


@dataclass
class Patience:
    """Tells when a curve has stopped improving.

    Parameters
    ----------
    n_epochs : int
        Epochs without an improvement to wait for.
    """

    n_epochs: int
    best: float = math.inf
    waited: int = 0

    def improves(self, value: float, margin: float) -> bool:
        """Record a value to be minimised; tell whether it is the best so far.

        Only a value that beats the best by ``margin`` starts the wait anew.
        """
        self.waited = 0 if value < self.best - margin else self.waited + 1
        improved = value < self.best
        if improved:
            self.best = value
        return improved

    @property
    def is_over(self) -> bool:
        return self.waited >= self.n_epochs


@dataclass(frozen=True)
class Epoch:
    """What an epoch reports.

    Attributes
    ----------
    loss : float
        Weighted mean of the objective, each minibatch before its step.
    hits : array of shape (n_classes,)
        Correct predictions, by true class.
    """

    loss: float
    hits: np.ndarray


def minibatches(
    n_samples: int, batch_size: int, order: np.ndarray | None
) -> Iterator[slice | np.ndarray]:
    """Yield the samples of each minibatch: consecutive rows, or rows in an order.

    The batches differ by one sample at most, so that none is left nearly empty.
    """
    n_batches = -(-n_samples // batch_size)
    edges = [n_samples * i // n_batches for i in range(n_batches + 1)]
    for start, stop in zip(edges, edges[1:], strict=False):
        yield slice(start, stop) if order is None else order[start:stop]


def rows_at(
    X: np.ndarray | sparse.csr_array,
    rows: slice | np.ndarray,
    temperature: float,
    dtype: np.dtype,
) -> np.ndarray:
    """Return rows of X, dense, in units of the temperature."""
    if sparse.issparse(X):
        batch = X[rows].toarray().astype(dtype, copy=False)
    elif isinstance(rows, slice):
        batch = X[rows].astype(dtype)
    else:
        batch = X.take(rows, axis=0).astype(dtype, copy=False)
    batch *= 1 / temperature
    return batch


@dataclass(frozen=True)
class Descent:
    """The settings of the training rule, the same in every epoch.

    Attributes
    ----------
    objective : Objective
        What to minimise.
    rate : LearningRate
        Schedule of eps.
    ramp : TemperatureRamp
        Schedule of T.
    momentum : float
        Decay p of the velocity.
    batch_size : int
        Largest number of samples in a minibatch.
    gradient_tolerance : float
        Samples whose gradient is below this share of the largest in their minibatch
        are left out of the backward products.
    """

    objective: Objective
    rate: LearningRate
    ramp: TemperatureRamp
    momentum: float
    batch_size: int
    gradient_tolerance: float


def train(
    state: State,
    X: np.ndarray | sparse.csr_array,
    codes: np.ndarray,
    weights: np.ndarray | None,
    formulate: Callable[[float], Formulation],
    descent: Descent,
    *,
    epochs: range,
    reach: float,
    rng: np.random.RandomState | None,
) -> Iterator[tuple[NumpyKernel, Epoch]]:
    """Train epoch by epoch, moving the memories in place.

    Parameters
    ----------
    state : State
        Memories and velocities; changed in place.
    X : array or CSR array of shape (n_samples, n_features)
        Training data.
    codes : array of shape (n_samples,)
        Number of each sample's class.
    weights : array of shape (n_samples,) or None
        Positive weights of the samples.
    formulate : callable
        Returns the formulation at a temperature.
    descent : Descent
        Settings of the rule.
    epochs : range
        Numbers of the epochs to run, by which the schedules go.
    reach : float
        The largest overlap that can occur, in neurons.
    rng : RandomState or None
        Shuffles the samples in every epoch; None: consecutive rows.

    Yields
    ------
    kernel : NumpyKernel
        The kernel at the temperature of the epoch, for scoring other data.
    epoch : Epoch
        What the epoch reports.
    """
    n_samples = X.shape[0]
    work = state.memories.size * min(descent.batch_size, n_samples)
    with thread_team(work) as threads:
        kernel = NumpyKernel(formulate(descent.ramp.at(epochs.start)), reach, threads)
        for number in epochs:
            kernel.formulation = formulate(descent.ramp.at(number))
            order = None if rng is None else rng.permutation(n_samples)
            rate = descent.rate.at(number)
            yield (
                kernel,
                _train_epoch(kernel, state, X, codes, weights, descent, rate, order),
            )


def _train_epoch(
    kernel: NumpyKernel,
    state: State,
    X: np.ndarray | sparse.csr_array,
    codes: np.ndarray,
    weights: np.ndarray | None,
    descent: Descent,
    learning_rate: float,
    order: np.ndarray | None,
) -> Epoch:
    """Take one step for each minibatch of an epoch."""
    n_classes = state.connections.shape[1]
    targets = 2 * np.eye(n_classes, dtype=state.memories.dtype) - 1
    loss = total_weight = 0.0
    hits = np.zeros(n_classes)
    for rows in minibatches(X.shape[0], descent.batch_size, order):
        labels = codes[rows]
        temperature = kernel.formulation.temperature
        batch = Minibatch.of(rows_at(X, rows, temperature, state.memories.dtype))
        overlaps, scores = kernel.forward(batch, state.memories, state.connections)
        losses, delta, log_scale = descent.objective.evaluate(scores, targets[labels])
        # A sample that no memory responds to has no gradient, whatever its error.
        responds = scores.any(axis=1)
        if responds.any():
            log_scale = np.where(responds, log_scale, -np.inf)
        samples = _worth_following(log_scale, descent.gradient_tolerance)
        some = np.ones(len(labels)) if weights is None else weights[rows]
        if weights is not None:
            log_scale = log_scale + np.log(some)
        loss += float(losses @ some)
        total_weight += float(some.sum())
        hits += np.bincount(labels[scores.argmax(axis=1) == labels], None, n_classes)
        kernel.descend(
            batch,
            overlaps,
            delta,
            log_scale,
            samples,
            state,
            learning_rate,
            descent.momentum,
        )
    return Epoch(loss / total_weight, hits)


def _worth_following(log_scale: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Return the samples whose gradient is not negligible, or None for all."""
    if tolerance == 0:
        samples = np.flatnonzero(log_scale > -np.inf)
    else:
        samples = np.flatnonzero(log_scale >= log_scale.max() + math.log(tolerance))
    # Leaving out a few costs more in copies than it saves in products.
    many = tolerance > 0 and len(samples) > 0.9 * len(log_scale)
    return None if many or len(samples) == len(log_scale) else samples
