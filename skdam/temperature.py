"""The temperature that suits a network and its data, when the user names none."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from .energies import Energy, Exponential, Polynomial, RectifiedPolynomial

__all__ = ["auto_temperature"]

OVERLAP_SPREAD = 0.10
"""Spread of a trained memory's overlaps, as a share of the largest possible overlap."""

COOPERATION = 2e-3
"""Share of the memories that act together on one classification unit."""


def auto_temperature(energy: Energy, n_memories: int, reach: float) -> float:
    """Return a temperature T at which trained units neither sleep nor saturate.

    With overlaps h of spread s, the memories drive a classification unit with about
    ``beta K a 2n E[h^(2(n-1))]^(1/2)``, for K memories of which a share ``a`` acts
    together; T is where this is 1. For Gaussian overlaps
    ``E[h^(2(n-1))] = (2n-3)!! s^(2(n-1))``, the moment that also rules the capacity.

    Parameters
    ----------
    energy : Energy
        Energy function F.
    n_memories : int
        Number of memories K.
    reach : float
        Mean over the samples of the largest possible overlap, ``sum_i |v_i|``.

    Returns
    -------
    float

    Examples
    --------
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.temperature import auto_temperature
    >>> round(auto_temperature(RectifiedPolynomial(3), n_memories=2000, reach=784.0))
    61
    """
    if reach <= 0:
        return 1.0
    spread = OVERLAP_SPREAD * reach
    if isinstance(energy, Exponential):
        return spread
    if not isinstance(energy, Polynomial | RectifiedPolynomial):
        # F grows like |x|: its bend must lie among the overlaps.
        return spread
    n = energy.power
    drive = COOPERATION * n_memories * 2 * n
    if n > 1:
        half_log_moment = 0.5 * (
            (n - 1) * math.log(2) + gammaln(n - 0.5) - gammaln(0.5)
        )
        log_drive = math.log(drive) + (n - 1) * math.log(spread) + half_log_moment
    else:
        log_drive = math.log(drive)
    return float(np.exp(log_drive / n))
