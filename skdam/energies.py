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

To use an energy of your own, pass any object with the three methods of :class:`Energy`.
To give the package another one, add a subclass of :class:`NamedEnergy` to this file: it
is then known by its name to the classifier, the binary memory and every backend.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral
from typing import Any, ClassVar, Protocol, runtime_checkable

from array_api_compat import array_namespace
from sklearn.utils._param_validation import HasMethods, StrOptions

__all__ = [
    "Energy",
    "Exponential",
    "LogCosh",
    "NamedEnergy",
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


class NamedEnergy:
    """Base class of the energies that the package knows by name.

    Attributes
    ----------
    name : str
        Name of the energy, as the estimators' parameter ``energy``.
    growth : {"power", "linear", "exponential"}
        How F grows for large overlaps. Backends carry the values of energies that grow
        as a power or exponentially with a logarithmic scale where they would overflow.
    rectified : bool
        Whether F is 0 for all overlaps up to 0, so that a memory can be dead: it
        responds to no sample and no longer learns.
    cuda_source : str or None
        The functions ``value``, ``activation`` and ``slope`` in C, for the CUDA
        backend. None: the array API backend computes this energy on a GPU.
    """

    name: ClassVar[str]
    growth: ClassVar[str]
    rectified: ClassVar[bool] = False
    cuda_source: ClassVar[str | None] = None

    known: ClassVar[dict[str, type[NamedEnergy]]] = {}

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            NamedEnergy.known[cls.name] = cls

    def exact_value(self, x: Decimal) -> Decimal:
        """Return F(x) in decimal arithmetic, for the tables of binary recall."""
        raise NotImplementedError

    def relative_value(self, x: Array) -> Array:
        """Return F(x) divided by the largest F of its row; 0 where none is positive.

        Ratios are formed before powers, so that no power is too large.
        """
        return _over_largest(self.value(self.scaled(x)))

    def scaled(self, x: Array) -> Array:
        """Return overlaps at which the ratios of F, and of f, in a row are the same.

        Neither overflows there, nor does the largest one underflow.
        """
        return x


class _PowerEnergy(NamedEnergy):
    """An energy that grows as ``x^n``: F(x) / F(y) = F(x / y)."""

    growth = "power"

    def scaled(self, x: Array) -> Array:
        xp = array_namespace(x)
        sizes = x if self.rectified else xp.abs(x)
        largest = xp.max(sizes, axis=1, keepdims=True)
        return x / xp.where(largest > 0, largest, xp.ones_like(largest))


@dataclass(frozen=True)
class RectifiedPolynomial(_PowerEnergy):
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

    name = "rectified_polynomial"
    rectified = True
    cuda_source = """
FUNCTION real value(real x) { return power_of(x, POWER); }
FUNCTION real activation(real x) { return (real)POWER * power_of(x, POWER - 1.0); }
FUNCTION real slope(real x) {
    return (real)(POWER * (POWER - 1.0)) * power_of(x, POWER - 2.0);
}
"""

    def __post_init__(self) -> None:
        _check_power(self.power)

    def value(self, x: Array) -> Array:
        return _power_above(x, self.power)

    def activation(self, x: Array) -> Array:
        return self.power * _power_above(x, self.power - 1)

    def slope(self, x: Array) -> Array:
        n = self.power
        return n * (n - 1) * _power_above(x, n - 2)

    def exact_value(self, x: Decimal) -> Decimal:
        return x ** Decimal(float(self.power)) if x > 0 else Decimal(0)


@dataclass(frozen=True)
class Polynomial(_PowerEnergy):
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

    name = "polynomial"
    cuda_source = RectifiedPolynomial.cuda_source

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

    def exact_value(self, x: Decimal) -> Decimal:
        return x ** int(self.power)


@dataclass(frozen=True)
class LogCosh(NamedEnergy):
    """F(x) = ln cosh x, the dual of a layer of tanh units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import LogCosh
    >>> float(LogCosh().value(np.array([1000.0]))[0])
    999.3068528194401
    """

    name = "log_cosh"
    growth = "linear"
    cuda_source = """
FUNCTION real value(real x) {
    return fabs(x) + log1p((real)exp(-2 * fabs(x))) - (real)0.6931471805599453;
}
FUNCTION real activation(real x) { return (real)tanh(x); }
FUNCTION real slope(real x) {
    real decay = (real)exp(-2 * fabs(x));
    return 4 * decay / ((1 + decay) * (1 + decay));
}
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

    def exact_value(self, x: Decimal) -> Decimal:
        return abs(x) + _exact_log1p((-2 * abs(x)).exp()) - Decimal(2).ln()


@dataclass(frozen=True)
class Softplus(NamedEnergy):
    """F(x) = ln(1 + e^x), the dual of a layer of logistic units.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Softplus
    >>> Softplus().activation(np.array([0.0])).tolist()
    [0.5]
    """

    name = "softplus"
    growth = "linear"
    cuda_source = """
FUNCTION real value(real x) {
    return (x > 0 ? x : (real)0) + log1p((real)exp(-fabs(x)));
}
FUNCTION real activation(real x) {
    real decay = (real)exp(-fabs(x));
    return (x >= 0 ? (real)1 : decay) / (1 + decay);
}
FUNCTION real slope(real x) {
    real decay = (real)exp(-fabs(x));
    return decay / ((1 + decay) * (1 + decay));
}
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

    def exact_value(self, x: Decimal) -> Decimal:
        return max(x, Decimal(0)) + _exact_log1p((-abs(x)).exp())


@dataclass(frozen=True)
class Exponential(NamedEnergy):
    """F(x) = e^x, the limit of large n.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import Exponential
    >>> Exponential().slope(np.array([0.0])).tolist()
    [1.0]
    """

    name = "exponential"
    growth = "exponential"
    cuda_source = """
FUNCTION real value(real x) { return (real)exp(x); }
FUNCTION real activation(real x) { return (real)exp(x); }
FUNCTION real slope(real x) { return (real)exp(x); }
"""

    def value(self, x: Array) -> Array:
        return array_namespace(x).exp(x)

    activation = value
    slope = value

    def exact_value(self, x: Decimal) -> Decimal:
        return x.exp()

    def scaled(self, x: Array) -> Array:
        return x - array_namespace(x).max(x, axis=1, keepdims=True)


ENERGY_CONSTRAINT = [
    StrOptions(set(NamedEnergy.known)),
    HasMethods(["value", "activation", "slope"]),
]
"""What the parameter ``energy`` may be."""


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
    known = NamedEnergy.known
    if isinstance(energy, str):
        if energy not in known:
            raise ValueError(f"energy={energy!r} is unknown; known: {sorted(known)}.")
        kind = known[energy]
        if "power" not in kind.__dataclass_fields__:
            return kind()
        # NumPy's small integers overflow, and arrays take no Fraction as a power.
        return kind(int(power) if isinstance(power, Integral) else float(power))
    if not isinstance(energy, Energy) or isinstance(energy, type):
        raise TypeError(
            f"energy={energy!r} must be a name in {sorted(known)} or an object with "
            "the methods value, activation and slope."
        )
    return energy


def _check_power(power: float) -> None:
    if not 1 <= power <= sys.float_info.max:
        raise ValueError(f"power={power!r} must be a finite number of at least 1.")


def _power_above(x: Array, exponent: float) -> Array:
    """Return x^exponent where x > 0 and 0 elsewhere, also for exponents <= 0."""
    xp = array_namespace(x)
    above = x > 0
    base = xp.where(above, x, xp.ones_like(x))
    return xp.where(above, base**exponent, xp.zeros_like(x))


def _over_largest(values: Array) -> Array:
    """Return values over the largest of their row; 0 where none is positive."""
    xp = array_namespace(values)
    largest = xp.max(values, axis=1, keepdims=True)
    positive = xp.where(largest > 0, largest, xp.ones_like(largest))
    return xp.where(largest > 0, values / positive, xp.zeros_like(values))


def _exact_log1p(x: Decimal) -> Decimal:
    return (1 + x).ln() if x > Decimal("1e-20") else x - x * x / 2
