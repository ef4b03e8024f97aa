"""Training: the whole loop, from the first epoch to the memories that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array

from . import _backends
from ._checkpoint import FitFile
from ._devices import Device, to_numpy
from ._resolve import INIT_STD, Settings
from ._samples import Samples
from .learning_rule import Scaled
from .network import Network

RESTORED = """n_epochs best_epoch loss_curve validation_loss_curve validation_scores
accuracy finished""".split()
"""What a checkpoint holds of a training, beside arrays, patience and generator."""

SAMPLES_FOR_DEAD = 2000
"""Samples, evenly spread over the data, that tell whether a memory is dead."""


@dataclass
class Patience:
    """Tells when a curve has not improved for ``n_epochs`` epochs."""

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


@dataclass
class TrainingState:
    """A training, as far as it has come.

    Attributes
    ----------
    network : Network
        The network as it is now; after the training, the one to keep.
    velocity : Scaled or None
        Velocities of the memories after the last epoch.
    n_epochs, n_earlier : int
        Number of epochs trained; and how many of them in earlier calls.
    best_epoch : int
        Epoch whose memories are kept.
    best : (int, Network) or None
        While training lasts, the epoch with the best validation score, and its network.
    patience : Patience or None
        What has been waited for an improvement.
    loss_curve : list of float
        Mean loss of each epoch.
    validation_loss_curve, validation_scores : list of float
        Loss and accuracy on the validation data after each epoch.
    accuracy : float
        Share of correct predictions in the last epoch, each minibatch before its step.
    interrupted, finished : bool
        Whether the user interrupted the training; and whether it came to its end.
    """

    network: Network
    velocity: Scaled | None = None
    n_epochs: int = 0
    n_earlier: int = 0
    best_epoch: int = 0
    best: tuple[int, Network] | None = None
    patience: Patience | None = None
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    accuracy: float = math.nan
    interrupted: bool = False
    finished: bool = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: arrays that need no GPU to be read again."""
        velocity = self.velocity
        if velocity is not None and is_cupy_array(velocity.values):
            velocity = Scaled(*map(to_numpy, velocity))
        return vars(self) | {"velocity": velocity}

    def drop_unfinished_epoch(self) -> None:
        """Drop what an interrupt left of an epoch that was not recorded in full."""
        for curve in (
            self.loss_curve,
            self.validation_loss_curve,
            self.validation_scores,
        ):
            del curve[self.n_epochs :]

    def saved(
        self, velocity: Scaled | None, generator: dict[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the numbers and arrays that :meth:`restore` goes on from.

        The generator is that of the samples' orders. A training that is finished needs
        no velocity.
        """
        numbers = {name: getattr(self, name) for name in RESTORED}
        numbers |= {"patience": vars(self.patience), "generator": generator}
        arrays = {"weights": self.network.weights}
        if velocity is not None:
            arrays |= {"velocity": velocity.values, "log_scale": velocity.log_scale}
            numbers["common"] = velocity.common
        if self.best is not None:
            numbers["best"], network = self.best
            arrays["best"] = network.weights
        return numbers, arrays

    def restore(
        self,
        numbers: dict[str, Any],
        arrays: dict[str, np.ndarray],
        settings: Settings,
        rng: np.random.RandomState,
    ) -> None:
        """Bring a run that was not trained yet, and its generator, to a saved state.

        An error of any kind tells that numbers and arrays are not those that
        :meth:`saved` returned for such a run.
        """
        fresh = self.network.weights
        shapes = dict.fromkeys(arrays, tuple(fresh.shape))
        shapes["log_scale"] = shapes["weights"][1:]
        for name, array in arrays.items():
            if array.shape != shapes[name] or array.dtype.kind != "f":
                raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        if arrays["weights"].dtype.name not in str(fresh.dtype):
            raise ValueError(f"memories are {arrays['weights'].dtype}")
        if len(numbers["loss_curve"]) != numbers["n_epochs"]:
            raise ValueError("a curve is not as long as the training")
        device = Device.of_array(fresh)

        def network(name: str, n_epochs: int) -> Network:
            return replace(
                self.network,
                weights=device.asarray(arrays[name]),
                update=settings.update(settings.temperature_at(n_epochs - 1)),
            )

        vars(self).update({name: numbers[name] for name in RESTORED})
        self.patience = Patience(**numbers["patience"])
        if "best" in arrays:
            self.best = numbers["best"], network("best", numbers["best"])
        if not self.finished:
            self.velocity = Scaled(
                arrays["velocity"], arrays["log_scale"], float(numbers["common"])
            )
        self.network = network("weights", self.best_epoch or self.n_epochs)
        if numbers["generator"] is not None:
            rng.set_state(numbers["generator"])


def train(
    run: TrainingState,
    samples: Samples,
    settings: Settings,
    *,
    validation: Samples | None = None,
    rng: np.random.RandomState | None = None,
    before_epoch: Callable[[], None] | None = None,
    on_epoch: Callable[[TrainingState], bool | None] | None = None,
    file: FitFile | None = None,
) -> None:
    """Train a run epoch by epoch, in place.

    Parameters
    ----------
    run : TrainingState
        Network to start from, with the velocities, epochs and curves of earlier calls
        if training continues.
    samples : Samples
        Training data, where the network lives; X may wait on the host to be sent by
        minibatches.
    settings : Settings
        How to train, and when to stop.
    validation : Samples, optional
        Data that are scored after each epoch.
    rng : RandomState, optional
        Shuffles the samples in every epoch; by default, they keep their order.
    before_epoch, on_epoch : callable, optional
        Called before and after each epoch; training stops where ``on_epoch`` returns
        True.
    file : FitFile, optional
        Where the training is saved.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts the training before the first epoch is complete. Later
        interrupts end the training, and the best memories so far are kept.
    ValueError
        If the loss of an epoch is not finite.
    """
    if run.finished:
        return
    patience = run.patience = run.patience or Patience(settings.n_iter_no_change)
    orders = _Orders(rng, len(samples))
    tol, early_stopping = settings.tol or 0.0, settings.early_stopping
    may_stop = settings.tol is not None and (validation is None or early_stopping)
    end = run.n_earlier + settings.max_iter
    xp = array_namespace(run.network.weights)
    with _backends.trainer(run.network, samples, settings, run.velocity) as backend:
        # From now on the trainer holds it.
        run.velocity = None
        try:
            for epoch in range(run.n_epochs, end):
                if before_epoch is not None:
                    before_epoch()
                is_last = epoch + 1 == end
                metrics = backend.epoch(
                    epoch,
                    orders.next(),
                    settings.temperature_at(epoch),
                    None if is_last else orders.draw_ahead,
                )
                _check_finite(metrics.loss, epoch, backend.network)
                if is_last:
                    # The losses, from before each step, do not tell of the last one.
                    total = float(xp.sum(backend.network.weights))
                    _check_finite(total, epoch, backend.network, "sum of the memories")
                if (
                    epoch < settings.n_reinit_epochs
                    and (epoch + 1) % settings.reinit_every == 0
                ):
                    _reinitialise_dead(backend, samples, settings, epoch)
                run.network, run.accuracy = backend.network, metrics.accuracy
                if validation is not None:
                    loss, score = run.network.mean_loss_and_accuracy(
                        validation.X, validation.codes, validation.weights
                    )
                    _check_finite(loss, epoch, backend.network, "validation loss")
                    run.validation_loss_curve.append(loss)
                    run.validation_scores.append(score)
                run.loss_curve.append(metrics.loss)
                run.n_epochs = epoch + 1
                if validation is None:
                    patience.improves(metrics.loss, tol * abs(metrics.loss))
                elif patience.improves(-score, tol):
                    run.best = run.n_epochs, run.network.copy()
                if epoch < settings.ramp.n_epochs:
                    # Losses at different temperatures cannot be compared.
                    patience.waited = 0
                stop = on_epoch is not None and on_epoch(run)
                if stop or is_last or (may_stop and patience.is_over):
                    break
                # After the callbacks, which may stop the training here.
                if file is not None and file.is_due(run.n_epochs):
                    file.write(*run.saved(backend.velocity(), orders.generator()))
        except KeyboardInterrupt:
            if run.n_epochs == run.n_earlier:
                raise
            run.interrupted = True
            run.drop_unfinished_epoch()
        orders.put_back()
        run.network, run.velocity = backend.network, backend.velocity()
    run.best_epoch = run.n_epochs
    if run.best is not None and (early_stopping or run.interrupted):
        run.best_epoch, run.network = run.best
    run.best = None
    if file is not None and not run.interrupted:
        run.finished = True
        try:
            file.write(*run.saved(None, orders.generator()))
        except KeyboardInterrupt:
            run.interrupted = True
    # The next call waits anew.
    run.patience = None


class _Orders:
    """Orders of the samples, one for each epoch; without a generator, always theirs."""

    def __init__(self, rng: np.random.RandomState | None, n_samples: int):
        self._rng, self._n_samples = rng, n_samples
        self._drawn: tuple[Any, np.ndarray] | None = None

    def next(self) -> np.ndarray | None:
        """Return the next order."""
        if self._rng is None:
            return None
        self.draw_ahead()
        (_, order), self._drawn = self._drawn, None
        return order

    def draw_ahead(self) -> np.ndarray | None:
        """Draw the next order, if it is not drawn yet, and return it."""
        if self._rng is None:
            return None
        if self._drawn is None:
            state = self._rng.get_state(legacy=False)
            self._drawn = state, self._rng.permutation(self._n_samples)
        return self._drawn[1]

    def generator(self) -> dict[str, Any] | None:
        """Return the state of the generator, as if nothing had been drawn ahead."""
        if self._rng is None:
            return None
        return self._drawn[0] if self._drawn else self._rng.get_state(legacy=False)

    def put_back(self) -> None:
        """Leave the generator as if nothing had been drawn ahead."""
        if self._drawn is not None:
            self._rng.set_state(self._drawn[0])
            self._drawn = None


def _check_finite(
    value: float, epoch: int, network: Network, name: str = "loss"
) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"The {name} is {value} after epoch {epoch + 1}: numbers are too large for "
            f"the memories, which are {network.weights.dtype}. Raise temperature, now "
            f"{network.temperature:.4g}, lower input_noise or learning_rate_init, or "
            "scale the features."
        )


def _reinitialise_dead(
    backend: Any, samples: Samples, settings: Settings, epoch: int
) -> None:
    """Reinitialise the memories that no sample activates, and set them at rest.

    With a rectified energy such a memory has no gradient, so that the rule never
    brings it back. Many die in the first steps, in which all memories move along what
    the samples have in common. Reinitialised when the others have learned that, most
    stay alive. Only memories without a gradient in the last minibatch are looked at.
    """
    candidates = np.flatnonzero(backend.without_gradient())
    if not candidates.size:
        return
    rows = np.arange(0, len(samples), -(-len(samples) // SAMPLES_FOR_DEAD))
    dead = candidates[~backend.network.responds(samples.X, rows, candidates)]
    if not dead.size:
        return
    n_units = backend.network.weights.shape[0]
    rng = np.random.RandomState([settings.seed, epoch])
    drawn = rng.normal(0, INIT_STD, (dead.size, n_units)).clip(-1, 1)
    backend.reinitialise(dead, np.ascontiguousarray(drawn.T))


def initial_weights(
    init: Any, shape: tuple[int, int, int], settings: Settings, rng: Any
) -> np.ndarray:
    """Return the memories to start from, one in each column.

    They are the rows of ``init`` if that is an array, and otherwise drawn. The shape
    holds the numbers of features, of intercepts and of classes.
    """
    n_features, n_intercepts, _ = shape
    if isinstance(init, np.ndarray):
        drawn = np.insert(init, [n_features] * n_intercepts, 0, axis=1)
    else:
        size = settings.n_memories, sum(shape)
        drawn = rng.normal(settings.init_mean, settings.init_std, size).clip(-1, 1)
    return np.ascontiguousarray(drawn.T, settings.dtype)
