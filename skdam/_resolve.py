"""From parameters and statistics of the samples to settings: every "auto" is here.

Pure numbers: nothing in this module sees the samples themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ._samples import Statistics
from .energies import Energy, get_energy
from .losses import Loss, get_loss
from .updates import EnergyDifference, Feedforward

BEND_OVER_LENGTH, BEND_OVER_LENGTH_EXPONENTIAL = 0.7, 1.4
"""Temperature of energies that do not grow as a power, over a sample's length."""

LEAST_SAMPLES = 100
"""Samples below which the temperature does not follow their number."""

LEAST_EPOCHS, LEAST_STEPS = 30, 300
"""Epochs and steps of a training by default, at least."""

LEAST_BATCH, MOST_BATCH = 50, 500
"""Bounds of the automatic size of a minibatch."""

ROUNDING_OF_INTERCEPT = 0.1
"""By how much an intercept is rounded down, in powers of 2.

Standardised features are then not at the edge between two powers.
"""

LOWEST, HIGHEST = 1e-305, 1e305
"""Bounds of the temperature, within which it has a finite inverse."""

MOST_INTERCEPT = 4.0
"""Ratio from which on an intercept follows the samples of ``partial_fit``."""

SMALL_STEP = 2**22
"""Multiplications in a step below which double precision costs nothing."""

REINIT_DEAD = 0.4
"""Share of the epochs after which dead memories are reinitialised by default."""

LEAST_REINIT_STEPS = 10
"""Steps between two reinitialisations, at least."""

INPUT_NOISE = 0.15
"""Noise on the features by default, in units of their standard deviation."""

INIT_STD, INIT_FEATURES = 0.3, 200
"""Standard deviation of initial memories, and features above which it falls, so that
overlaps at the start have the same spread whatever the number of features.

Reinitialised memories always have this standard deviation.
"""


@dataclass(frozen=True)
class LearningRate:
    """The schedule eps(t) of the learning rate, by epochs from 0.

    The rate falls from ``initial`` to ``decay * initial`` over ``n_epochs`` epochs:
    "linear", "exponential", or not at all ("constant").
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
    """Factor of the temperature, lowered linearly to 1 over the first epochs."""

    factor: float = 1.0
    n_epochs: int = 0

    def at(self, epoch: int) -> float:
        """Return the factor in an epoch."""
        if epoch >= self.n_epochs:
            return 1.0
        return self.factor + (1 - self.factor) * epoch / self.n_epochs


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
    temperature, auto_temperature : float
        T, in neurons; and what it would be by itself.
    ramp : TemperatureRamp
        Factor of T in the first epochs.
    input_scale : float
        What features are divided by, before they are states of neurons.
    max_iter : int
        Number of epochs of this call.
    tol : float or None
        Improvement that counts: a share of the loss, or an absolute gain of the
        validation score. None: all epochs are run.
    n_iter_no_change : int
        Epochs to wait for an improvement.
    early_stopping : bool
        Whether the validation score decides, and the memories of the best epoch are
        kept.
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
    init_mean, init_std : float
        Mean and standard deviation of the initial memories, if they are drawn.
    n_reinit_epochs, reinit_every : int
        Epochs, from the first on, in which dead memories are reinitialised, and after
        how many epochs of them each time.
    confidence : float
        Factor of the scores in probabilities.
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
    temperature: float
    auto_temperature: float
    ramp: TemperatureRamp
    input_scale: float
    max_iter: int
    tol: float | None
    n_iter_no_change: int
    early_stopping: bool
    learning_rate: LearningRate
    momentum: float
    batch_size: int
    gradient_tolerance: float
    noise: float
    dropout: float
    init_mean: float
    init_std: float
    n_reinit_epochs: int
    reinit_every: int
    confidence: float
    largest_overlap: float
    dtype: str
    seed: int

    def temperature_at(self, epoch: int) -> float:
        """Return T in an epoch."""
        return self.temperature * self.ramp.at(epoch)

    def update(self, temperature: float) -> Feedforward | EnergyDifference:
        """Return the update of the classification units at a temperature."""
        kind = EnergyDifference if self.exact else Feedforward
        return kind(self.energy, temperature)


def resolve(
    params: dict[str, Any],
    statistics: Statistics,
    *,
    n_samples: int,
    n_classes: int,
    single: bool,
    seed: int,
    multilabel: bool = False,
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
        Number of training samples and of classes, or of labels.
    single : bool
        Whether single precision loses nothing of the samples, or double is not to be
        had.
    seed : int
        Seed of noise, dropout and reinitialised memories.
    multilabel, incremental : bool
        Whether a sample may have several labels, and whether ``partial_fit`` is called.
    previous : Network, optional
        Network with which training goes on; a parameter that contradicts it is an
        error.
    """
    energy = get_energy(params["energy"], params["power"])
    loss = get_loss(params["loss"], float(params["error_exponent"]), multilabel)
    init = params["init"]
    given = not isinstance(init, str | tuple)
    # Users who set the start, the order or the epochs get the paper's rule.
    plain = given or not params["shuffle"] or incremental
    n_features = len(statistics.std)
    n_memories = _n_memories(params, n_samples, n_classes, given, previous)
    intercept = _intercept(
        params["intercept_scaling"], statistics, given, previous, incremental
    )
    batch_size = _batch_size(params["batch_size"], n_samples)
    max_iter = _max_iter(params["max_iter"], n_samples, batch_size)
    temperature, scale = params["temperature"], 1.0
    exact = params["formulation"] == "energy"
    follows = exact or getattr(energy, "growth", None) != "power"
    if temperature == "auto" and follows:
        # Features of any unit become states of order 1, as those of the classification
        # units are. For powers of the feedforward dual alone, the temperature makes up
        # for the unit.
        scale = statistics.unit
    auto_init_std = INIT_STD * math.sqrt(min(1.0, INIT_FEATURES / n_features))
    init_mean, init_std = init if isinstance(init, tuple) else (0.0, auto_init_std)
    auto = auto_temperature(
        energy,
        loss,
        n_memories,
        statistics.divided_by(scale),
        intercept / scale,
        init_mean,
    )
    if exact:
        # Flipping a unit changes an overlap by up to 2, and F by its power.
        auto += float(getattr(energy, "power", 0)) / 4
    if temperature == "auto":
        temperature = auto
    ramp = TemperatureRamp(*(params["temperature_ramp"] or ()))
    for factor in (1.0, ramp.factor):
        if not LOWEST < factor * temperature * scale < HIGHEST:
            raise ValueError(
                f"temperature={temperature:.4g}, times the factor {factor:.4g} of "
                f"temperature_ramp and in units {scale:.4g} of the features, must be "
                f"above {LOWEST} and below {HIGHEST}. Scale the features, or change "
                "temperature, temperature_ramp or intercept_scaling."
            )
    noise, reinit = params["input_noise"], params["reinit_dead"]
    if noise == "auto":
        noise = 0.0 if plain else INPUT_NOISE
    if reinit == "auto":
        reinit = 0.0 if plain else REINIT_DEAD
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
        loss=loss,
        exact=exact,
        n_memories=n_memories,
        intercept=intercept,
        temperature=float(temperature),
        auto_temperature=auto,
        ramp=ramp,
        input_scale=scale,
        max_iter=1 if incremental else max_iter,
        tol=params["tol"],
        n_iter_no_change=params["n_iter_no_change"],
        early_stopping=params["early_stopping"],
        learning_rate=LearningRate(
            float(params["learning_rate_init"]),
            params["learning_rate"],
            float(params["learning_rate_decay"]),
            max_iter,
        ),
        momentum=float(params["momentum"]),
        batch_size=batch_size,
        gradient_tolerance=float(params["gradient_tolerance"]),
        noise=noise,
        dropout=dropout,
        init_mean=init_mean,
        init_std=init_std,
        # A label that a sample has or has not is one of two classes.
        confidence=auto_confidence(
            statistics.n_samples, 2 if multilabel else n_classes
        ),
        n_reinit_epochs=(
            round(reinit * max_iter) if getattr(energy, "rectified", False) else 0
        ),
        reinit_every=math.ceil(LEAST_REINIT_STEPS / math.ceil(n_samples / batch_size)),
        largest_overlap=(largest / (1 - dropout) + intercept) / scale + 2 * n_classes,
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
    return max(100, min(2000, n_samples // 30), min(1000, 10 * n_classes))


def _max_iter(max_iter: Any, n_samples: int, batch_size: int) -> int:
    if max_iter is not None:
        return int(max_iter)
    return max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / math.ceil(n_samples / batch_size)))


def _batch_size(batch_size: Any, n_samples: int) -> int:
    if batch_size != "auto":
        return min(int(batch_size), n_samples)
    # One whole minibatch is better than two that are nearly empty.
    least = n_samples if n_samples < 2 * LEAST_BATCH else LEAST_BATCH
    return max(least, min(MOST_BATCH, -(-n_samples // 30)))


def _intercept(
    value: Any, statistics: Statistics, given: bool, previous: Any, incremental: bool
) -> float:
    if previous is not None:
        if value not in ("auto", previous.intercept):
            raise ValueError(
                f"intercept_scaling={value} differs from that of the previous call, "
                f"{previous.intercept}; it cannot be changed while training continues."
            )
        following = auto_intercept(statistics) if incremental and value == "auto" else 0
        if following and previous.intercept:
            # Only where the first samples were on another scale.
            ratio = following / previous.intercept
            if not 1 / MOST_INTERCEPT < ratio < MOST_INTERCEPT:
                return following
        return previous.intercept
    if value != "auto":
        return float(value)
    return 0.0 if given else auto_intercept(statistics)


def auto_confidence(n_samples: float, n_classes: int) -> float:
    """Return the factor of the scores that probabilities are made from.

    Trained on few samples, a network is surer than it is right: on data that it has not
    seen, the log-loss is smallest if the scores are made smaller first, the more so the
    fewer samples and classes there were. Fitted to left-out rows of forty tables.

    Examples
    --------
    >>> from skdam._resolve import auto_confidence
    >>> round(auto_confidence(300, n_classes=3), 2), auto_confidence(60000, 10)
    (0.37, 1.0)
    """
    n_samples = max(n_samples, LEAST_SAMPLES)
    return min(1.0, (n_samples / 6000) ** (1 / 3) * (n_classes / 3) ** (1 / 5))


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
    # Ratios up to 1, and a hypotenuse, so that no square overflows.
    share = 1 - min(1.0, statistics.std_along_mean / total) ** 2
    common = math.sqrt(share) * statistics.mean_length
    state = total * (total / math.hypot(total, common))
    if not state:
        return 0.0
    # 2^1023 is the largest power of 2 in double precision.
    return 2.0 ** min(1023, round(math.log2(state) - ROUNDING_OF_INTERCEPT))


def auto_temperature(
    energy: Energy,
    loss: Loss,
    n_memories: int,
    statistics: Statistics,
    intercept: float,
    init_mean: float = 0.0,
) -> float:
    """Return a temperature T at which units are neither dead nor saturated.

    The overlaps of a trained memory with the samples grow with the Euclidean length L
    of the samples, that of the intercept included, as a sum of independent terms does;
    with T a little above L the largest of them decide, whatever the power n. Where the
    samples have a mean in common, memories of large n align with it, and their overlaps
    grow towards ``sum_i |mean_i|``. A unit is driven by more memories, the more there
    are (K), but the more samples there are (S), the fewer of them act together::

        T = 1.5 (1 - 0.8 / n) L (1 + sum_i |mean_i| / L)^(0.6 (1 - 5 / n))
            (K / (3 S^(1/2)))^(1/n) (m / 3)^0.4 u^(-1/n)

    The alignment begins at n = 5, and the factor of the error exponent m at 3, above
    which saturated units are lost the sooner. In units u of a feature's root mean
    square, T is proportional to the samples; the last factor makes scores the same in
    any units. The constants were fitted to accuracies on seven tables and on images.

    Memories that start around a mean ``init_mean`` all have about the same overlap x
    with samples that have a mean in common, and the classification units a common drive
    of ``2 K |init_mean| n (x / T)^(n-1) / T``. T is high enough for it to be 2 at most,
    or all units would be saturated before anything is learned.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam._resolve import auto_temperature
    >>> from skdam._samples import Statistics
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.losses import PowerError
    >>> mnist = Statistics(60000, 26.9, 741.0, 784.0, np.ones(784), 22.6, 5.0, 600.0)
    >>> cubic, loss = RectifiedPolynomial(3), PowerError(3)
    >>> round(auto_temperature(cubic, loss, 2000, mnist, intercept=8))
    44
    """
    length = math.hypot(statistics.l2_norm, intercept)
    if not length:
        return 1.0
    growth = getattr(energy, "growth", "linear")
    if growth != "power":
        # F bends within a few units of 0: that bend must lie among the overlaps.
        is_steep = growth == "exponential"
        return length * (BEND_OVER_LENGTH_EXPONENTIAL if is_steep else BEND_OVER_LENGTH)
    n = float(energy.power)
    n_samples = max(statistics.n_samples, LEAST_SAMPLES)
    unit = statistics.unit
    alignment = 0.6 * max(0.0, 1 - 5 / n)
    steepness = max(1.0, getattr(loss, "exponent", 1.0) / 3) ** 0.4
    log_drive = math.log(n_memories / (3 * math.sqrt(n_samples))) - math.log(unit)
    overlap = init_mean * (statistics.sum_of_mean + intercept)
    at_start = 0.0
    if overlap > 0 or (overlap and not energy.rectified):
        drive = math.log(n_memories * abs(init_mean) * n)
        at_start = math.exp((drive + (n - 1) * math.log(abs(overlap))) / n)
    auto = (
        1.5
        * (1 - 0.8 / n)
        * length
        * (1 + statistics.l1_norm_of_mean / length) ** alignment
        * steepness
        * math.exp(log_drive / n)
    )
    return max(auto, at_start)
