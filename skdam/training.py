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
from array_api_compat import array_namespace, device

from .formulations import Formulation
from .kernels import Disturbance, Kernel, Step, kernel_for
from .kernels.signal import Tally, widest_float
from .objectives import Objective
from .revival import Revival

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
    memories : array of shape (n_memories, n_neurons)
        xi_i, of the features and of the bias neuron, if there is one.
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
    def at_rest(cls, memories: Array, connections: Array) -> State:
        """Return the state of memories that do not move yet."""
        xp = array_namespace(memories)
        return cls(
            memories,
            connections,
            xp.zeros_like(memories),
            xp.zeros_like(connections),
            xp.full(
                memories.shape[0],
                -math.inf,
                dtype=widest_float(memories),
                device=device(memories),
            ),
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
    accuracy : float
        Share of correct predictions, each minibatch before its step.
    """

    loss: float
    accuracy: float

    @classmethod
    def of(cls, tally: Tally, n_samples: int) -> Epoch:
        """Return the report of an epoch that has been added up."""
        return cls(float(tally.loss / tally.weight), float(tally.hits) / n_samples)


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
    masked, noise : float, default=0.0
        Share of the features that is hidden at random, and standard deviation of the
        noise on the others, in each epoch anew.
    seed : int, default=0
        Seed of both.
    """

    objective: Objective
    rate: LearningRate
    ramp: TemperatureRamp
    momentum: float
    batch_size: int
    gradient_tolerance: float
    masked: float = 0.0
    noise: float = 0.0
    seed: int = 0

    def reach(self, reach: float, n_features: int) -> float:
        """Return the largest overlap with n_features that are disturbed."""
        disturbance = Disturbance(self.masked, self.noise, 0, np.empty(0, np.uint32))
        return (reach + n_features * disturbance.reach) * disturbance.factor

    def disturbance(self, epoch: int, samples: np.ndarray) -> Disturbance:
        """Return what is done to the samples in an epoch."""
        key = np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]
        return Disturbance(self.masked, self.noise, int(key), samples)


def train(
    state: State,
    X: Array,
    codes: Array,
    weights: Array | None,
    formulate: Callable[[float], Formulation],
    descent: Descent,
    *,
    epochs: range,
    reach: float,
    precision: str = "full",
    bias: float = 0.0,
    revival: Revival | None = None,
    samples: np.ndarray | None = None,
    rng: np.random.RandomState | None,
) -> Iterator[tuple[Kernel, Epoch]]:
    """Train epoch by epoch, moving the memories.

    Parameters
    ----------
    state : State
        Memories and velocities; changed in place. All arrays live where these do,
        but for X, which may wait on the host to be moved by minibatch.
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
    precision : {"full", "tf32"}, default="full"
        Of matrix products on a GPU.
    bias : float, default=0.0
        State of the bias neuron; 0: there is none.
    revival : Revival, optional
        Draws silent memories anew.
    samples : array of uint32 of shape (n_samples,), optional
        What tells the samples apart; without it they are not disturbed.
    rng : RandomState or None
        Shuffles the samples in every epoch; None: consecutive rows.

    Yields
    ------
    kernel : kernel of :mod:`skdam.kernels`
        The kernel at the temperature of the epoch, for scoring other data.
    epoch : Epoch
        What the epoch reports.
    """
    n_samples = X.shape[0]
    batch_size = min(descent.batch_size, n_samples)
    formulation = formulate(descent.ramp.at(epochs.start))
    with kernel_for(
        state.memories,
        state.connections,
        formulation,
        batch_size,
        reach,
        precision,
        bias,
    ) as kernel:
        for number in epochs:
            step = Step(
                descent.objective,
                descent.rate.at(number),
                descent.momentum,
                descent.gradient_tolerance,
                None if samples is None else descent.disturbance(number, samples),
            )
            order = kernel.begin_epoch(
                formulate(descent.ramp.at(number)),
                step,
                X,
                None if rng is None else rng.permutation(n_samples),
            )
            tally = kernel.tally(state.memories)

            def steps(order=order, tally=tally):
                for rows in minibatches(n_samples, batch_size, order):
                    _take_step(kernel, state, X, rows, codes, weights, tally)

            kernel.run(steps)
            if revival is not None:
                revival.apply(kernel, state, X, batch_size, number)
            yield kernel, Epoch.of(tally, n_samples)


def _take_step(
    kernel: Kernel,
    state: State,
    X: Array,
    rows: slice | Array,
    codes: Array,
    weights: Array | None,
    tally: Tally,
) -> None:
    """Train on one minibatch."""
    batch = kernel.batch(X, rows, state.memories.dtype, kernel.step.disturbance)
    overlaps, scores = kernel.forward(batch, state.memories, state.connections)
    signal = kernel.error_signal(scores, codes, weights, rows, tally)
    kernel.descend(batch, overlaps, signal, state)
