"""Energy functions F of the interaction vertex, each with its dual activation.

A dense associative memory with memories xi^mu and state sigma has the energy
``E = - sum_mu F(sum_i xi_i^mu sigma_i)``. Expanding one update of such a memory for
small states of its classification units gives a feedforward network with one hidden
layer, whose activation is the derivative ``f = F'`` (Krotov & Hopfield 2016, section
"Duality"). The duality table, as code:

=====================  ===========================  =======================
energy                 F(x)                         activation f(x)
=====================  ===========================  =======================
RectifiedPolynomial    max(x, 0)^n                  n max(x, 0)^(n-1)
Polynomial             x^n                          n x^(n-1)
LogCosh                ln cosh x                    tanh x
Softplus               ln(1 + e^x)                  logistic(x)
Exponential            e^x                          e^x
=====================  ===========================  =======================

An energy of your own is any object with the three methods of :class:`Energy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from array_api_compat import array_namespace

__all__ = [
    "Energy",
    "Exponential",
    "LogCosh",
    "Polynomial",
    "RectifiedPolynomial",
    "Softplus",
    "get_energy",
]

Array = Any


@runtime_checkable
class Energy(Protocol):
    """What an energy function has to offer: F, f = F' and f', element by element.

    The argument is an array of overlaps in units of the temperature, in any Array API
    namespace; the result has the same shape and type.
    """

    def value(self, x: Array) -> Array:
        """Return F(x)."""

    def activation(self, x: Array) -> Array:
        """Return f(x) = F'(x), the activation of the dual network."""

    def slope(self, x: Array) -> Array:
        """Return f'(x), the slope of the activation."""


@dataclass(frozen=True)
class RectifiedPolynomial:
    """F(x) = x^n for x >= 0 and 0 below: the energy of the paper's classifier.

    Parameters
    ----------
    power : float, default=3
        Power n of the interaction vertex, at least 1; any real number.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import RectifiedPolynomial
    >>> cubic = RectifiedPolynomial(3)
    >>> cubic.value(np.array([-1.0, 2.0])).tolist()
    [0.0, 8.0]
    >>> cubic.activation(np.array([-1.0, 2.0])).tolist()
    [0.0, 12.0]
    """

    power: float = 3

    rectified = True

    def __post_init__(self) -> None:
        _check_power(self.power)

    def value(self, x: Array) -> Array:
        return _power_above(x, self.power)

    def activation(self, x: Array) -> Array:
        return self.power * _power_above(x, self.power - 1)

    def slope(self, x: Array) -> Array:
        n = self.power
        return n * (n - 1) * _power_above(x, n - 2)


@dataclass(frozen=True)
class Polynomial:
    """F(x) = x^n; n = 2 is the Hopfield network.

    Parameters
    ----------
    power : int, default=3
        Power n of the interaction vertex, a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Polynomial
    >>> Polynomial(3).value(np.array([-1.0, 2.0])).tolist()
    [-1.0, 8.0]
    """

    power: int = 3

    rectified = False

    def __post_init__(self) -> None:
        _check_power(self.power)
        if self.power != int(self.power):
            raise ValueError(
                f"power={self.power!r} is not a whole number, which the energy "
                "'polynomial' needs to be defined for negative overlaps; use "
                "energy='rectified_polynomial' for a real power."
            )

    def value(self, x: Array) -> Array:
        return x ** int(self.power)

    def activation(self, x: Array) -> Array:
        n = int(self.power)
        return n * x ** (n - 1)

    def slope(self, x: Array) -> Array:
        n = int(self.power)
        return n * (n - 1) * x ** max(n - 2, 0)


@dataclass(frozen=True)
class LogCosh:
    """F(x) = ln cosh x, the dual of a layer of tanh units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import LogCosh
    >>> float(LogCosh().value(np.array([1000.0]))[0])
    999.3068528194401
    """

    def value(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.abs(x) + xp.log1p(xp.exp(-2 * xp.abs(x))) - math.log(2)

    def activation(self, x: Array) -> Array:
        return array_namespace(x).tanh(x)

    def slope(self, x: Array) -> Array:
        xp = array_namespace(x)
        # 1 - tanh(x)^2 loses every digit beyond |x| = 9 in single precision.
        decay = xp.exp(-2 * xp.abs(x))
        return 4 * decay / (1 + decay) ** 2


@dataclass(frozen=True)
class Softplus:
    """F(x) = ln(1 + e^x), the dual of a layer of logistic units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Softplus
    >>> Softplus().activation(np.array([0.0])).tolist()
    [0.5]
    """

    def value(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.clip(x, min=0) + xp.log1p(xp.exp(-xp.abs(x)))

    def activation(self, x: Array) -> Array:
        xp = array_namespace(x)
        decay = xp.exp(-xp.abs(x))
        return xp.where(x >= 0, 1 / (1 + decay), decay / (1 + decay))

    def slope(self, x: Array) -> Array:
        xp = array_namespace(x)
        decay = xp.exp(-xp.abs(x))
        return decay / (1 + decay) ** 2


@dataclass(frozen=True)
class Exponential:
    """F(x) = e^x, the limit of large n.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Exponential
    >>> Exponential().slope(np.array([0.0])).tolist()
    [1.0]
    """

    def value(self, x: Array) -> Array:
        return array_namespace(x).exp(x)

    activation = value
    slope = value


_NAMED = {
    "rectified_polynomial": RectifiedPolynomial,
    "polynomial": Polynomial,
    "log_cosh": LogCosh,
    "softplus": Softplus,
    "exponential": Exponential,
}


def get_energy(energy: str | Energy, power: float = 3) -> Energy:
    """Return the energy function of a name, or the given object itself.

    Parameters
    ----------
    energy : str or Energy
        "rectified_polynomial", "polynomial", "log_cosh", "softplus", "exponential", or
        an object with the methods ``value``, ``activation`` and ``slope``.
    power : float, default=3
        Power n of the interaction vertex, for the two polynomials.

    Returns
    -------
    Energy

    Raises
    ------
    ValueError
        If the name is unknown, or the power is not allowed.
    TypeError
        If an object lacks one of the three methods.

    Examples
    --------
    >>> from skdam.energies import get_energy
    >>> get_energy("polynomial", power=2)
    Polynomial(power=2)
    """
    if isinstance(energy, str):
        if energy not in _NAMED:
            raise ValueError(f"energy={energy!r} is unknown; known: {sorted(_NAMED)}.")
        kind = _NAMED[energy]
        return kind(power) if "power" in kind.__dataclass_fields__ else kind()
    if not isinstance(energy, Energy) or isinstance(energy, type):
        raise TypeError(
            f"energy={energy!r} must be a name in {sorted(_NAMED)} or an object with "
            "the methods value, activation and slope."
        )
    return energy


def _check_power(power: float) -> None:
    if not 1 <= power < math.inf:
        raise ValueError(f"power={power!r} must be a finite number of at least 1.")


def _power_above(x: Array, exponent: float) -> Array:
    """Return x^exponent where x > 0 and 0 elsewhere, also for exponents <= 0."""
    xp = array_namespace(x)
    above = x > 0
    base = xp.where(above, x, xp.ones_like(x))
    return xp.where(above, base**exponent, xp.zeros_like(x))
