"""From parameters and statistics of the samples to settings: every "auto" is here.

Pure numbers: nothing in this module sees the samples themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln

from ._samples import Statistics
from .energies import Energy, get_energy
from .losses import Loss, get_loss
from .updates import EnergyDifference, Feedforward

__all__ = [
    "LearningRate",
    "Settings",
    "TemperatureRamp",
    "auto_intercept",
    "auto_temperature",
    "resolve",
]

OVERLAP_SPREAD = 3.5
"""Spread of a trained memory's overlaps, in units of a sample's Euclidean length."""

BEND_OVER_LENGTH = 0.7
"""Temperature of energies that are no power, in units of a sample's length."""

COOPERATING_SHARE = 0.45
"""Share of the memories that act together on a classification unit, for one sample.

It falls with the root of the number of samples: the fewer there are, the more memories
must agree, or single samples are learned by heart.
"""

LEAST_SAMPLES = 100
"""Samples below which the temperature does not follow their number."""

LEAST_BATCH, MOST_BATCH = 50, 500
"""Bounds of the automatic size of a minibatch."""

ROUNDING_OF_INTERCEPT = 0.1
"""By how much an intercept is rounded down, in powers of 2.

Standardised features are then not at the edge between two powers.
"""

SMALL_STEP = 2**22
"""Multiplications in a step below which double precision costs nothing."""

REINIT_DEAD = 0.4
"""Share of the epochs after which dead memories are reinitialised by default."""

INPUT_NOISE = 0.15
"""Noise on the features by default, in units of their standard deviation."""

REINIT_STD = 0.3
"""Standard deviation of reinitialised memories."""


@dataclass(frozen=True)
class LearningRate:
    """The schedule eps(t) of the learning rate, by epochs from 0.

    Parameters
    ----------
    initial : float
        eps_0, the largest change of a memory's component in one step.
    schedule : {"linear", "exponential", "constant"}
        How the rate falls from ``initial`` to ``decay * initial``.
    decay : float
        The last rate over the first.
    n_epochs : int
        Number of epochs over which the rate falls.

    Examples
    --------
    >>> from skdam._resolve import LearningRate
    >>> LearningRate(0.5, "exponential", 0.25, n_epochs=3).at(1)
    0.25
    """

    initial: float
    schedule: str
    decay: float
    n_epochs: int

    def at(self, epoch: int) -> float:
        """Return eps in an epoch."""
        progress = min(1.0, epoch / max(1, self.n_epochs - 1))
        if self.schedule == "exponential":
            return self.initial * self.decay**progress
        if self.schedule == "constant":
            return self.initial
        return self.initial * (1 + progress * (self.decay - 1))


@dataclass(frozen=True)
class TemperatureRamp:
    """The temperature: lowered linearly over the first epochs, then constant.

    Examples
    --------
    >>> from skdam._resolve import TemperatureRamp
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


@dataclass(frozen=True)
class Settings:
    """All numbers that a training needs, the same in every epoch.

    Attributes
    ----------
    energy, loss : Energy and Loss
        Energy function F, and what to minimise.
    exact : bool
        Whether the classification units take the exact update, by differences of
        energy; otherwise its feedforward dual.
    n_memories : int
        K.
    intercept : float
        State of the intercept's neuron; 0: there is none.
    temperature : TemperatureRamp
        Schedule of T.
    learning_rate : LearningRate
        Schedule of eps.
    momentum : float
        Decay p of the velocity.
    batch_size : int
        Largest number of samples in a minibatch.
    gradient_tolerance : float
        Samples whose gradient is below this share of the largest in their minibatch
        are not followed.
    noise, dropout : float
        Standard deviation of the noise on the features, and share of the features that
        is dropped out.
    n_reinit_epochs : int
        Epochs, from the first on, after which dead memories are reinitialised.
    largest_overlap : float
        What no overlap exceeds, in neurons.
    dtype : {"float32", "float64"}
        Precision of the memories and of all products.
    seed : int
        Seed of noise, dropout and reinitialised memories.
    """

    energy: Energy
    loss: Loss
    exact: bool
    n_memories: int
    intercept: float
    temperature: TemperatureRamp
    learning_rate: LearningRate
    momentum: float
    batch_size: int
    gradient_tolerance: float
    noise: float
    dropout: float
    n_reinit_epochs: int
    largest_overlap: float
    dtype: str
    seed: int

    def update(self, epoch: int) -> Feedforward | EnergyDifference:
        """Return the update of the classification units in an epoch."""
        kind = EnergyDifference if self.exact else Feedforward
        return kind(self.energy, self.temperature.at(epoch))


def resolve(
    params: dict[str, Any],
    statistics: Statistics,
    *,
    n_samples: int,
    n_classes: int,
    single: bool,
    seed: int,
    incremental: bool = False,
    previous: Any = None,
) -> Settings:
    """Return the settings that parameters and data lead to.

    Parameters
    ----------
    params : dict
        Parameters of the classifier.
    statistics : Statistics
        Sizes of the training samples.
    n_samples, n_classes : int
        Number of training samples and of classes.
    single : bool
        Whether single precision loses nothing of the samples, or double is not to be
        had.
    seed : int
        Seed of noise, dropout and reinitialised memories.
    incremental : bool
        Whether ``partial_fit`` is called.
    previous : Network, optional
        Network with which training goes on.

    Raises
    ------
    ValueError
        If a parameter contradicts the previous network.
    """
    energy = get_energy(params["energy"], params["power"])
    given = not isinstance(params["init"], tuple)
    # Where the start, the order or the epochs are the user's, the rule is the paper's.
    plain = given or not params["shuffle"] or incremental
    n_memories = _n_memories(params, n_samples, n_classes, given, previous)
    intercept = _intercept(params["intercept_scaling"], statistics, given, previous)
    batch_size = _batch_size(params["batch_size"], n_samples)
    temperature = params["temperature"]
    if temperature == "auto" and incremental and previous is not None:
        temperature = previous.temperature
    elif temperature == "auto":
        temperature = auto_temperature(energy, n_memories, statistics, intercept)
    factor, n_ramp = params["temperature_ramp"] or (1.0, 0)
    noise, reinit = params["input_noise"], params["reinit_dead"]
    if noise == "auto":
        noise = 0.0 if plain else INPUT_NOISE
    if reinit == "auto":
        reinit = 0.0 if plain else REINIT_DEAD
    n_features = len(statistics.std)
    noise = float(noise * statistics.total_std / math.sqrt(n_features))
    dropout = float(params["input_dropout"])
    largest = statistics.max_l1_norm + n_features * math.sqrt(3) * noise
    large_step = n_memories * n_features * batch_size > SMALL_STEP
    if previous is not None:
        single = "32" in str(previous.weights.dtype)
    elif large_step:
        single = True
    return Settings(
        energy=energy,
        loss=get_loss(params["loss"], float(params["error_exponent"])),
        exact=params["formulation"] == "energy",
        n_memories=n_memories,
        intercept=intercept,
        temperature=TemperatureRamp(
            float(factor * temperature), float(temperature), int(n_ramp)
        ),
        learning_rate=LearningRate(
            float(params["learning_rate_init"]),
            params["learning_rate"],
            float(params["learning_rate_decay"]),
            int(params["max_iter"]),
        ),
        momentum=float(params["momentum"]),
        batch_size=batch_size,
        gradient_tolerance=float(params["gradient_tolerance"]),
        noise=noise,
        dropout=dropout,
        n_reinit_epochs=(
            round(reinit * params["max_iter"])
            if getattr(energy, "rectified", False)
            else 0
        ),
        largest_overlap=largest / (1 - dropout) + intercept + 2 * n_classes,
        dtype="float32" if single else "float64",
        seed=seed,
    )


def _n_memories(params, n_samples, n_classes, given, previous) -> int:
    n_memories = params["n_memories"]
    if previous is not None:
        if n_memories not in ("auto", previous.n_memories):
            raise ValueError(
                f"n_memories={n_memories} differs from the {previous.n_memories} "
                "memories of the previous call; n_memories cannot be changed while "
                "training continues."
            )
        return previous.n_memories
    if n_memories != "auto":
        return int(n_memories)
    if given:
        return len(params["init"])
    return max(200, min(2000, n_samples // 30), 10 * n_classes)


def _batch_size(batch_size: Any, n_samples: int) -> int:
    if batch_size != "auto":
        return min(int(batch_size), n_samples)
    # One whole minibatch is better than two that are nearly empty.
    least = n_samples if n_samples < 2 * LEAST_BATCH else LEAST_BATCH
    return max(least, min(MOST_BATCH, -(-n_samples // 30)))


def _intercept(value: Any, statistics: Statistics, given: bool, previous: Any) -> float:
    if previous is not None:
        if value not in ("auto", previous.intercept):
            raise ValueError(
                f"intercept_scaling={value} differs from that of the previous call, "
                f"{previous.intercept}; it cannot be changed while training continues."
            )
        return previous.intercept
    if value != "auto":
        return float(value)
    return 0.0 if given else auto_intercept(statistics)


def auto_intercept(statistics: Statistics) -> float:
    """Return a state of the intercept's neuron that suits the samples.

    Thresholds can be learned where what is the same in all samples is about as long as
    what varies. The samples' mean is such a constant too, as far as they vary in other
    directions than its own. With V the variance of the samples, and C this share of
    their mean's square, the state is ``V / (V + C)^(1/2)``: the standard deviation
    where they are centred, and less the more they have in common. It is rounded to a
    power of 2, so as to be the same for all folds of a cross-validation and all parts
    of the data.
    """
    total = statistics.total_std
    if not 0 < total < math.inf:
        return 0.0
    share = max(0.0, 1 - (statistics.std_along_mean / total) ** 2)
    common = share * (statistics.mean_length / total) ** 2
    log_state = math.log2(total) - math.log2(1 + common) / 2
    return 2.0 ** round(log_state - ROUNDING_OF_INTERCEPT)


def auto_temperature(
    energy: Energy, n_memories: int, statistics: Statistics, intercept: float
) -> float:
    """Return a temperature T at which trained units are neither dead nor saturated.

    With overlaps h, the memories drive a classification unit with about
    ``beta K a 2n E[h^(2(n-1))]^(1/2)``, for K memories of which a share ``a`` acts
    together; T is where this drive is 1. For Gaussian overlaps of spread s,
    ``E[h^(2(n-1))] = (2n-3)!! s^(2(n-1))``, the moment that also rules the capacity.
    The spread follows the Euclidean length of the samples, as that of a sum of
    independent terms does, and no overlap can be larger than ``sum_i |v_i|``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam._resolve import auto_temperature
    >>> from skdam._samples import Statistics
    >>> from skdam.energies import RectifiedPolynomial
    >>> mnist = Statistics(60000, 26.9, 741.0, 784.0, np.zeros(784), 0.0, 0.0)
    >>> round(auto_temperature(RectifiedPolynomial(3), 2000, mnist, intercept=0))
    70
    """
    length = math.hypot(statistics.l2_norm, intercept)
    if not length:
        return 1.0
    if getattr(energy, "growth", "linear") != "power":
        # F bends within a few units of 0: that bend must lie among the overlaps.
        return BEND_OVER_LENGTH * length
    n = float(energy.power)
    n_samples = max(statistics.n_samples, LEAST_SAMPLES)
    together = COOPERATING_SHARE / math.sqrt(n_samples) * n_memories
    log_drive = math.log(together * 2 * n)
    if n > 1:
        log_moment = (n - 1) * math.log(2) + gammaln(n - 0.5) - gammaln(0.5)
        log_overlap = math.log(OVERLAP_SPREAD * length) + log_moment / (2 * (n - 1))
        largest = math.log(statistics.mean_l1_norm + intercept)
        log_drive += (n - 1) * min(log_overlap, largest)
    return float(np.exp(log_drive / n))
