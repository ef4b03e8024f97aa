"""The hidden units of an update: scores and gradients on one block of overlaps.

A block holds overlaps ``x`` of the samples of a minibatch (rows) with a shard of the
memories (columns), in units of the temperature, and is worked through in tiles of rows
that fit the cache. Each class of :mod:`~skdam._backends.cpu_feedforward` and
:mod:`~skdam._backends.cpu_difference` computes what an update of :mod:`skdam.updates`
defines, for some energies.

``scores`` returns ``(s, log_scale)``, with s of shape (n_samples, n_classes) and a
scale for each sample or None. It may rectify the overlaps in place. ``gradient`` writes
dC/dx to ``out`` and dC/dxi_alpha to ``d_connections`` (n_classes, n_memories), and
returns a scale for each memory, which belongs to both, or None. All leave out the
constant ``factor``, by which scores and gradients are to be multiplied.
"""

from __future__ import annotations

import math

import numpy as np

from ..energies import NamedEnergy
from ..updates import Feedforward, Update
from .cpu_difference import (
    BinomialDifferenceUnits,
    DifferenceUnits,
    ExponentialDifferenceUnits,
    SteepDifferenceUnits,
)
from .cpu_feedforward import (
    ExponentialFeedforwardUnits,
    FeedforwardUnits,
    PowerFeedforwardUnits,
    SteepFeedforwardUnits,
    Units,
)

MAX_DIRECT_POWER = 8


def choose_units(update: Update, largest_overlap: float, dtype: np.dtype) -> Units:
    """Return the hidden units of an update, for overlaps up to one in neurons."""
    energy = update.energy
    growth = energy.growth if isinstance(energy, NamedEnergy) else None
    feedforward = isinstance(update, Feedforward)
    if growth == "exponential":
        kind = (
            ExponentialFeedforwardUnits if feedforward else ExponentialDifferenceUnits
        )
    elif growth != "power":
        kind = FeedforwardUnits if feedforward else DifferenceUnits
    elif is_steep(energy, largest_overlap / update.temperature, dtype):
        kind = SteepFeedforwardUnits if feedforward else SteepDifferenceUnits
    elif feedforward:
        # Below n = 2 the slope x^(n-2) grows without bound towards 0.
        kind = PowerFeedforwardUnits if energy.power >= 2 else FeedforwardUnits
    elif energy.power == int(energy.power):
        kind = BinomialDifferenceUnits
    else:
        kind = DifferenceUnits
    return kind(update)


def is_steep(energy: NamedEnergy, largest: float, dtype: np.dtype) -> bool:
    """Tell whether sums of F may leave the range of the type, up or down."""
    if energy.growth != "power" or energy.power <= 2:
        return energy.growth == "exponential"
    power, room = energy.power, 0.5 * math.log(np.finfo(dtype).max)
    return power > MAX_DIRECT_POWER or (
        power * abs(math.log(max(largest, 1e-300))) > room
    )
