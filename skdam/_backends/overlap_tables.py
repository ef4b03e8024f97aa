"""Differences of energy, as tables over the overlaps of binary memories.

The overlap ``h = sum_i xi_i sigma_i`` of a memory and a state, both of +-1, is a whole
number of at most N. The energy function enters an update only through its steps
``D(r) = F(r + 1) - F(r - 1)``, where r is the overlap without the unit that is updated;
so a table of 2N + 1 numbers replaces F.

Large powers span more orders of magnitude than a float: 200^100 and 2^100 both decide
signs, in states of their own. Hence the tables are computed in decimal arithmetic with
an exponent range of its own and kept in several levels, one factor each. A state is
looked up in the level of its largest term; whatever underflows there is far below the
rounding error of that term.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Overflow, localcontext
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..energies import Energy, NamedEnergy

DIGITS = 50
"""Decimal digits in which the tables are computed."""

DECADES = 150
"""Orders of magnitude between two levels, half of what a float has below 1."""

MOST_NUMBERS = 2**26
"""Numbers in all tables of an energy."""


@dataclass(frozen=True, eq=False)
class OverlapTables:
    """Steps of the energy function by overlap; index ``h + centre`` is overlap h.

    With s = +-1, the state of a unit, and c = xi s for each memory, the energy rises by
    ``1/2 sum_mu (c pull(h_mu) + rest(h_mu))`` if the unit flips.

    Attributes
    ----------
    step : ndarray of shape (n_levels, 2 * n_neurons + 1)
        D(h).
    pull : ndarray of shape (n_levels, 2 * n_neurons + 1)
        D(h - 1) + D(h + 1).
    rest : ndarray of shape (n_levels, 2 * n_neurons + 1)
        D(h - 1) - D(h + 1).
    noise : ndarray of shape (2 * n_neurons + 1,)
        Error of pull and rest beyond that of rounding them.
    level : int32 ndarray of shape (2 * n_neurons + 1,)
        Level in which the terms of an overlap are of order 1; 0 has the largest.
    centre : int
        Index of overlap 0, the number of neurons N.
    exact_memories : float
        Number of memories up to which no sum over memories is ever rounded.
    """

    step: np.ndarray
    pull: np.ndarray
    rest: np.ndarray
    noise: np.ndarray
    level: np.ndarray
    centre: int
    exact_memories: float


def overlap_tables(
    energy: Energy, n_neurons: int, temperature: float = 1.0
) -> OverlapTables:
    """Return the tables of an energy function.

    Those of named energies have no error but one rounding; those of any other object
    are as good as its values in double precision. The temperature, in neurons, makes no
    difference to the polynomials, of which it only changes a common factor. Values of a
    custom energy that are not finite, and values of a named one that span too many
    orders of magnitude, are an error.
    """
    if not isinstance(energy, NamedEnergy):
        return _float_tables(energy, n_neurons, temperature)
    if energy.growth == "power":
        temperature = 1.0
    try:
        return _decimal_tables(energy, n_neurons, float(temperature))
    except Overflow as error:
        raise _span_error(energy, n_neurons) from error


@lru_cache(maxsize=8)
def _decimal_tables(
    energy: Energy, n_neurons: int, temperature: float
) -> OverlapTables:
    with localcontext(Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        reach = range(-n_neurons, n_neurons + 1)
        values = [energy.exact_value(Decimal(h) / Decimal(temperature)) for h in reach]
        tables = np.array(_combine(np.array(values, dtype=object)))
        size = np.abs(tables).sum(axis=0)
        decade = np.array([_decade(s) for s in size])
        top = decade.max()
        whole = top <= 15 and all(s == s.to_integral_value() for s in tables.flat)
        if whole:
            tables = tables.astype(np.float64)[:, None]
            level = np.zeros(len(size))
        else:
            depth = (top - decade) // DECADES
            # A term of 0 is 0 in every level; it needs no level of its own.
            depth[decade == MIN_EMIN] = depth[decade > MIN_EMIN].max()
            depths, level = np.unique(depth, return_inverse=True)
            tables = _levels(tables, DECADES * depths - top, energy)
    return OverlapTables(
        *tables,
        noise=np.zeros(len(level)),
        level=level.astype(np.int32),
        centre=n_neurons,
        exact_memories=2.0**53 / max(1.0, float(max(size))) if whole else 0,
    )


def _decade(x: Decimal) -> int:
    return x.adjusted() if x else MIN_EMIN


def _levels(tables: np.ndarray, scales: np.ndarray, energy: Energy) -> np.ndarray:
    """Return tables of shape (3, n_levels, 2N + 1), multiplied by powers of 10.

    What is then too large for a float does not occur in that level and is 0.
    """
    if len(scales) * tables.size > MOST_NUMBERS:
        raise _span_error(energy, tables.shape[1] // 2)
    decades = np.vectorize(_decade, otypes=[np.int64])(tables)
    digits = np.vectorize(lambda x, d: x.scaleb(-d) if x else x)(tables, decades)
    shift = decades[:, None] + scales[:, None]
    with np.errstate(under="ignore"):
        factor = 10.0 ** np.where(shift < 300, shift, -np.inf)
        return digits.astype(np.float64)[:, None] * factor


def _span_error(energy: Energy, n_neurons: int) -> ValueError:
    return ValueError(
        f"energy={energy!r} spans too many orders of magnitude over the overlaps of "
        f"{n_neurons} neurons; use a higher temperature or a lower power."
    )


def quick_tables(energy: Energy, n_neurons: int, temperature: float) -> OverlapTables:
    """Return tables in double precision, of F relative to its largest value.

    They suffice for states with an overlap near N, beside which all that underflows is
    nothing, and take no time. Decisions that rounding leaves open count as ties.
    """
    if not isinstance(energy, NamedEnergy):
        return _float_tables(energy, n_neurons, temperature)
    with np.errstate(all="ignore"):
        reach = np.arange(-n_neurons, n_neurons + 1) / temperature
        values = energy.relative_value(reach[None])[0]
    return _tables_of(np.where(np.isfinite(values), values, 0.0), n_neurons)


def _float_tables(energy: Energy, n_neurons: int, temperature: float) -> OverlapTables:
    values = _float_values(energy, n_neurons, temperature)
    if not np.isfinite(values).all():
        raise ValueError(
            f"energy={energy!r} is not finite at all overlaps of up to "
            f"{n_neurons / temperature:.4g} of {n_neurons} neurons; a higher "
            "temperature makes them smaller."
        )
    return _tables_of(values, n_neurons)


def _tables_of(values: np.ndarray, n_neurons: int) -> OverlapTables:
    step, pull, rest = _combine(values)
    largest = 8 * np.abs(values).max()
    whole = largest < 2**53 and (values == np.rint(values)).all()
    # The largest value within two places of each.
    size = sliding_window_view(np.pad(np.abs(values), 2), 5).max(axis=1)
    rounding = 4 * np.finfo(float).eps * size
    return OverlapTables(
        step[None],
        pull[None],
        rest[None],
        noise=np.zeros_like(rounding) if whole else rounding,
        level=np.zeros(len(step), np.int32),
        centre=n_neurons,
        exact_memories=2.0**53 / max(largest, 1) if whole else 0,
    )


def energy_by_overlap(
    energy: Energy, n_neurons: int, temperature: float, n_memories: int
) -> np.ndarray:
    """Return F(h / T) of the overlaps h from -N to N; no sum of them overflows."""
    values = _float_values(energy, n_neurons, temperature)
    if (
        not np.isfinite(values).all()
        or np.abs(values).max() > np.finfo(float).max / n_memories
    ):
        raise ValueError(
            f"Energies overflow at temperature={temperature!r}, where overlaps reach "
            f"{n_neurons / temperature:.4g}; a higher temperature makes them smaller."
        )
    return values


def _float_values(energy: Energy, n_neurons: int, temperature: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        reach = np.arange(-n_neurons, n_neurons + 1) / temperature
        return np.asarray(energy.value(reach), np.float64)


def _combine(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return step, pull and rest of F at -N..N.

    Steps beyond N, of which pull and rest at -N and N are a part, cancel in the rise of
    energy, and are set to 0.
    """
    zero = values[:1] * 0
    step = np.concatenate([zero, zero, values[2:] - values[:-2], zero, zero])
    return step[1:-1], step[:-2] + step[2:], step[:-2] - step[2:]
