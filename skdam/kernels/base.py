"""What every kernel is asked for, in the order of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..devices import take
from ..formulations import Formulation
from ..objectives import Objective
from .cues import Disturbance
from .signal import ErrorSignal, Tally, error_signal

__all__ = ["Kernel", "Step"]

Array = Any


@dataclass(frozen=True)
class Step:
    """The settings of a step, the same for all minibatches of an epoch.

    Attributes
    ----------
    objective : Objective
        What to minimise.
    learning_rate : float
        eps(t), the largest change of a memory's element.
    momentum : float
        Decay p of the velocity.
    tolerance : float
        Samples whose gradient is below this share of the largest in their minibatch
        are left out, unless they are few.
    disturbance : Disturbance, optional
        What to do to the samples; by default nothing.
    """

    objective: Objective
    learning_rate: float
    momentum: float
    tolerance: float = 0
    disturbance: Disturbance | None = None


class Kernel:
    """Scores and descent steps of one network.

    Parameters
    ----------
    formulation : Formulation
        Equations of the network, with its energy and temperature.
    bias : float, default=0.0
        State of the bias neuron, the last of the visible ones; 0: there is none.
    """

    step: Step

    def __init__(self, formulation: Formulation, bias: float = 0.0):
        self.formulation = formulation
        self.bias = bias

    def begin_epoch(
        self, formulation: Formulation, step: Step, X: Array, order: np.ndarray | None
    ) -> Array | None:
        """Take the settings of an epoch; return the order in which to draw from X."""
        self.formulation = formulation
        self.step = step
        return order

    def tally(self, memories: Array) -> Tally:
        """Return an empty tally of an epoch."""
        return Tally.empty(like=memories)

    def run(self, steps: Callable[[], None]) -> None:
        """Run all steps of an epoch."""
        steps()

    def batch(
        self,
        X: Array,
        rows: slice | Array,
        dtype: Any,
        disturbance: Disturbance | None = None,
    ) -> Any:
        """Return the cues of some samples, as this kernel wants them.

        Parameters
        ----------
        X : array or CSR array of shape (n_samples, n_features)
            All samples.
        rows : slice or array of int
            Which of them.
        dtype : dtype
            That of the memories.
        disturbance : Disturbance, optional
            What to do to them; by default nothing.
        """
        raise NotImplementedError

    def forward(
        self, batch: Any, memories: Array, connections: Array
    ) -> tuple[Array, Array]:
        """Return the overlaps (n_memories, n_samples) and scores of a minibatch.

        The overlaps stay valid until the next call.
        """
        raise NotImplementedError

    def error_signal(
        self,
        scores: Array,
        codes: Array,
        weights: Array | None,
        rows: slice | Array,
        tally: Tally,
    ) -> ErrorSignal:
        """Evaluate the objective, add to the tally, and return what to follow.

        Parameters
        ----------
        scores : array of shape (n_batch, n_classes)
            Scores of the minibatch.
        codes : array of shape (n_samples,)
            Number of each sample's class, of all data.
        weights : array of shape (n_samples,) or None
            Positive weights, of all data.
        rows : slice or array of int
            Samples of the minibatch.
        tally : Tally
            Grows in place.
        """
        return error_signal(
            self.step.objective,
            scores,
            take(codes, rows),
            None if weights is None else take(weights, rows),
            self.step.tolerance,
            tally,
        )

    def descend(
        self, batch: Any, overlaps: Array, signal: ErrorSignal, state: Any
    ) -> None:
        """Move the memories of ``state`` one step down the gradient.

        Parameters
        ----------
        batch : object
            What ``batch`` returned.
        overlaps : array of shape (n_memories, n_samples)
            What ``forward`` returned; it may be overwritten.
        signal : ErrorSignal
            Gradient with respect to the scores.
        state : State
            Memories, connections, and their velocities; changed in place.
        """
        raise NotImplementedError
