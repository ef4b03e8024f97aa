"""The NumPy kernels' work on one tile of overlaps, small enough for the cache.

A tile holds overlaps ``x`` of a few memories (rows) with all samples of a minibatch
(columns), in units of the temperature. Each class here computes what a formulation of
:mod:`skdam.formulations` defines, for one kind of energy:

- :class:`FeedforwardTiles`, any energy; :class:`PowerFeedforwardTiles`, powers;
- :class:`SteepFeedforwardTiles`, high powers, and :class:`ExponentialFeedforwardTiles`,
  whose values would overflow: one scale for each sample and each memory is kept apart;
- :class:`DifferenceTiles`, any energy, class by class;
- :class:`BinomialDifferenceTiles`, small whole powers: the polynomial part as thin
  matrix products, and element by element only where an overlap is near 0;
- :class:`SteepDifferenceTiles`, high powers, only where a term can be seen beside the
  largest one; :class:`ExponentialDifferenceTiles`, where F(x + d) = F(x) e^d.

``scores`` returns ``(s, log_scale)``, s of shape (n_classes, n_samples); ``gradient``
overwrites the overlaps with dC/dx and returns ``(dC/dxi_alpha, log_scale)``, where the
scale belongs to both.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from ..energies import Energy, Exponential, Polynomial, RectifiedPolynomial
from ..formulations import Feedforward, Formulation

TILE_ELEMENTS = 2**16
"""Elements of a tile: 256 kB in single precision, so that three fit a 1 MB cache."""

MAX_BINOMIAL_POWER = 4
MAX_DIRECT_POWER = 8

NEAR_ELEMENTS = 2**18
"""Overlaps among which those near 0 are singled out at once."""

MAX_NEAR_SHARE = 0.2
"""Share of overlaps near 0 up to which they are worth singling out."""


def choose_tiles(formulation: Formulation, reach: float, dtype: np.dtype) -> Tiles:
    """Return the tiles for a formulation.

    Parameters
    ----------
    formulation : Feedforward or EnergyDifference
    reach : float
        The largest overlap that can occur, in units of the temperature.
    dtype : numpy dtype
        Type of the overlaps.
    """
    energy = formulation.energy
    feedforward = isinstance(formulation, Feedforward)
    if isinstance(energy, Exponential):
        kind = (
            ExponentialFeedforwardTiles if feedforward else ExponentialDifferenceTiles
        )
    elif not isinstance(energy, Polynomial | RectifiedPolynomial):
        kind = FeedforwardTiles if feedforward else DifferenceTiles
    elif _is_steep(energy.power, reach, dtype):
        kind = SteepFeedforwardTiles if feedforward else SteepDifferenceTiles
    elif feedforward:
        # Below n = 2 the slope x^(n-2) grows without bound towards 0.
        kind = PowerFeedforwardTiles if energy.power >= 2 else FeedforwardTiles
    elif energy.power <= MAX_BINOMIAL_POWER and energy.power == int(energy.power):
        kind = BinomialDifferenceTiles
    else:
        kind = DifferenceTiles
    return kind(formulation)


def _is_steep(power: float, reach: float, dtype: np.dtype) -> bool:
    """Tell whether sums of x^n may leave the range of the type, up or down."""
    if power <= 2:
        return False
    room = 0.5 * math.log(np.finfo(dtype).max)
    return power > MAX_DIRECT_POWER or power * abs(math.log(max(reach, 1e-300))) > room


class Tiles:
    """Blocks of overlaps, worked through tile by tile."""

    def __init__(self, formulation: Formulation):
        self.energy: Energy = formulation.energy
        self.temperature = float(formulation.temperature)

    def scores(self, x: np.ndarray, connections: np.ndarray) -> tuple:
        """Return scores (n_classes, n_samples) and their log-scale per sample."""
        log_scale = self.row_scale(x, connections)
        total = np.zeros((connections.shape[1], x.shape[1]), x.dtype)
        for rows in _slices(x, TILE_ELEMENTS):
            self.add_scores(x[rows], connections[rows], log_scale, total)
        return total, log_scale

    def gradient(
        self,
        x: np.ndarray,
        connections: np.ndarray,
        delta: np.ndarray,
        log_weight: np.ndarray,
    ) -> tuple:
        """Overwrite x with dC/dx; return dC/dxi_alpha and the log-scale per memory.

        ``delta`` of shape (n_classes, n_samples) is dC/ds divided by
        ``exp(log_weight)``, whose largest value is 0.
        """
        d_connections = np.empty_like(connections)
        log_scale = np.zeros(len(x), x.dtype)
        weighted = delta * np.exp(log_weight)
        for rows in _slices(x, TILE_ELEMENTS):
            d_connections[rows] = self.tile_gradient(
                x[rows], connections[rows], delta, log_weight, weighted, log_scale[rows]
            )
        return d_connections, log_scale

    def row_scale(self, x, connections):
        return None


class FeedforwardTiles(Tiles):
    def add_scores(self, x, connections, log_scale, total):
        total += (2 / self.temperature * connections.T) @ self.energy.activation(x)

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        scale = 2 / self.temperature
        d_connections = self.energy.activation(x) @ (scale * weighted.T)
        np.multiply(self.energy.slope(x), (scale * connections) @ weighted, out=x)
        return d_connections


class PowerFeedforwardTiles(Tiles):
    def add_scores(self, x, connections, log_scale, total):
        n = self.energy.power
        activation = _raise(x, n - 1, self.energy.rectified)
        total += (2 * n / self.temperature * connections.T) @ activation

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        n = self.energy.power
        scale = 2 * n / self.temperature
        slope = _raise(x, n - 2, self.energy.rectified)
        x *= slope
        d_connections = x @ (scale * weighted.T)
        coefficients = scratch(2, x.shape, x.dtype)
        np.matmul((scale * (n - 1)) * connections, weighted, out=coefficients)
        np.multiply(slope, coefficients, out=x)
        return d_connections


class SteepFeedforwardTiles(Tiles):
    """F(x) = x^n: f(x) = r^(n-1) f(x / r), with r the largest overlap of the sample.

    In the gradient the weight w of a sample goes into the power,
    ``w x^(n-2) = (x w^(1/(n-2)))^(n-2)``, so that one division by the largest element
    of a memory's row brings them all into range.
    """

    def row_scale(self, x, connections):
        return (self.energy.power - 1) * np.log(_peaks(x, self.energy, axis=0)[0])

    def add_scores(self, x, connections, log_scale, total):
        n = self.energy.power
        scaled = np.multiply(
            x, np.exp(-log_scale / (n - 1)), out=scratch(2, x.shape, x.dtype)
        )
        activation = _raise(scaled, n - 1, self.energy.rectified)
        total += (2 * n / self.temperature * connections.T) @ activation

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        n = self.energy.power
        scale = 2 * n / self.temperature
        scaled = np.multiply(
            x, np.exp(log_weight / (n - 2)), out=scratch(2, x.shape, x.dtype)
        )
        peak, log_peak = _peaks(scaled, self.energy, axis=1)
        log_scale[:] = (n - 2) * log_peak
        scaled /= peak[:, None]
        slope = _raise(scaled, n - 2, self.energy.rectified)
        x *= slope
        d_connections = x @ (scale * delta.T)
        coefficients = scaled
        np.matmul((scale * (n - 1)) * connections, delta, out=coefficients)
        np.multiply(slope, coefficients, out=x)
        return d_connections


class ExponentialFeedforwardTiles(Tiles):
    def row_scale(self, x, connections):
        return x.max(axis=0)

    def add_scores(self, x, connections, log_scale, total):
        total += (2 / self.temperature * connections.T) @ np.exp(x - log_scale)

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        scale = 2 / self.temperature
        slope = x + log_weight
        log_scale[:] = slope.max(axis=1)
        slope -= log_scale[:, None]
        np.exp(slope, out=slope)
        np.multiply(slope, (scale * connections) @ delta, out=x)
        return slope @ (scale * delta.T)


class DifferenceTiles(Tiles):
    def add_scores(self, x, connections, log_scale, total):
        at_rest = self.energy.value(x).sum(axis=0)
        flips = (2 / self.temperature) * connections
        for alpha in range(flips.shape[1]):
            flipped = self.energy.value(x + flips[:, alpha, None])
            total[alpha] += flipped.sum(axis=0) - at_rest

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        flips = (2 / self.temperature) * connections
        d_connections = np.empty_like(connections)
        d_overlaps = self.energy.activation(x) * -weighted.sum(axis=0)
        for alpha in range(flips.shape[1]):
            flipped = self.energy.activation(x + flips[:, alpha, None])
            flipped *= weighted[alpha]
            d_overlaps += flipped
            d_connections[:, alpha] = flipped.sum(axis=1)
        x[...] = d_overlaps
        return _share(d_connections, x, self.temperature)


class BinomialDifferenceTiles(DifferenceTiles):
    """F(x + d) - F(x) = sum_k binom(n, k) d^k x^(n-k): thin products of powers.

    For the rectified polynomial this holds where both arguments are positive, which is
    certain for x >= 2 / T; below -2 / T both vanish. The few overlaps in between are
    computed one by one; where they are many, all are, class by class.
    """

    def scores(self, x, connections):
        total = np.zeros((connections.shape[1], x.shape[1]), x.dtype)
        for rows in _slices(x, NEAR_ELEMENTS):
            some, flips = x[rows], (2 / self.temperature) * connections[rows]
            near = self._near(some)
            if len(near) > MAX_NEAR_SHARE * some.size:
                total += super().scores(some, connections[rows])[0]
                continue
            for tile in _slices(some, TILE_ELEMENTS // 2):
                self._add_far_scores(some[tile], flips[tile], total)
            if len(near):
                self._add_near_scores(some, flips, near, total)
        return total, None

    def gradient(self, x, connections, delta, log_weight):
        weighted = delta * np.exp(log_weight)
        d_connections = np.empty_like(connections)
        for rows in _slices(x, NEAR_ELEMENTS):
            some, flips = x[rows], (2 / self.temperature) * connections[rows]
            near = self._near(some)
            if len(near) > MAX_NEAR_SHARE * some.size:
                d_connections[rows], _ = super().gradient(
                    some, connections[rows], delta, log_weight
                )
                continue
            d_flips = np.zeros_like(flips)
            d_near = self._near_gradient(some, flips, near, weighted, d_flips)
            for tile in _slices(some, TILE_ELEMENTS // 2):
                d_flips[tile] += self._far_gradient(some[tile], flips[tile], weighted)
            some.reshape(-1)[near] = d_near
            d_connections[rows] = _share(d_flips, some, self.temperature)
        return d_connections, np.zeros(len(x), x.dtype)

    def _near(self, x):
        """Return the places of the overlaps that a flip can bring across 0."""
        if not self.energy.rectified:
            return np.empty(0, np.intp)
        magnitude = np.abs(x, out=scratch(2, x.shape, x.dtype))
        return np.flatnonzero(magnitude < 2 / self.temperature)

    def _add_far_scores(self, x, flips, total):
        n = int(self.energy.power)
        lifts = _falling_powers(flips, n)
        weights = [math.comb(n, j) * lifts[j] for j in range(n)]
        total += np.concatenate(weights).T @ self._powers(x).reshape(-1, x.shape[1])

    def _far_gradient(self, x, flips, weighted):
        n = int(self.energy.power)
        powers = self._powers(x)
        # f(x + d) = sum_j weight_j x^j, and f(x + d) - f(x) is that without d^0.
        lifts = _falling_powers(flips, n - 1)
        weights = [n * math.comb(n - 1, j) * lifts[j] for j in range(n)]
        products = powers.reshape(-1, x.shape[1]) @ np.ascontiguousarray(weighted.T)
        if n == 1:
            x[...] = 0
        else:
            terms = scratch(6, (n - 1, *x.shape), x.dtype)
            np.matmul(np.stack(weights[:-1]), weighted, out=terms)
            terms *= powers[:-1]
            for term in terms[1:]:
                terms[0] += term
            x[...] = terms[0]
        return np.sum(weights * products.reshape(n, *flips.shape), axis=0)

    def _add_near_scores(self, x, flips, near, total):
        n = int(self.energy.power)
        _, columns, overlaps, flipped = _flip(x, flips, near)
        at_rest = _raise(overlaps, n, self.energy.rectified).copy()
        rise = _raise(flipped, n, self.energy.rectified)
        rise -= at_rest
        _add_by_column(rise, columns, total)

    def _near_gradient(self, x, flips, near, weighted, d_flips):
        """Return dC/dx of the near overlaps, and add to ``d_flips``."""
        n = int(self.energy.power)
        rows, columns, overlaps, flipped = _flip(x, flips, near)
        d_near = _raise(overlaps, n - 1, self.energy.rectified)
        d_near = d_near * (-n * weighted.sum(axis=0))[columns]
        flipped = _raise(flipped, n - 1, self.energy.rectified)
        flipped *= n * weighted[:, columns]
        d_near += flipped.sum(axis=0)
        _add_by_row(flipped, rows, d_flips)
        return d_near

    def _powers(self, x):
        """Return x^0 ... x^(n-1), where rectified of the far overlaps alone."""
        powers = scratch(5, (int(self.energy.power), *x.shape), x.dtype)
        for j, power in enumerate(powers):
            if j == 0 and self.energy.rectified:
                np.greater_equal(x, 2 / self.temperature, out=power)
            elif j == 0:
                power[...] = 1
            else:
                np.multiply(powers[j - 1], x, out=power)
        return powers


class SteepDifferenceTiles(Tiles):
    """F(x) = x^n with n large: few terms can be seen beside the largest one.

    A term below 1e-4 rounding errors of the largest, for its sample in the scores and
    for its memory in the gradient, is left out.
    """

    def row_scale(self, x, connections):
        lifted = self._lifted(x, (2 / self.temperature) * connections)
        return self.energy.power * np.log(_peaks(lifted, self.energy, axis=0)[0])

    def add_scores(self, x, connections, log_scale, total):
        n = self.energy.power
        shrink = np.exp(-log_scale / n)
        flips = (2 / self.temperature) * connections
        lifted = self._lifted(x, flips)
        lifted *= shrink
        visible = np.flatnonzero(lifted > self._threshold(x.dtype, n))
        _, columns, overlaps, flipped = _flip(x, flips, visible)
        shrink = shrink[columns]
        at_rest = _raise(overlaps * shrink, n, self.energy.rectified).copy()
        flipped *= shrink
        rise = _raise(flipped, n, self.energy.rectified)
        rise -= at_rest
        _add_by_column(rise, columns, total)

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        n = self.energy.power
        flips = (2 / self.temperature) * connections
        stretch = np.exp(log_weight / (n - 1))
        lifted = self._lifted(x, flips)
        lifted *= stretch
        peak, log_peak = _peaks(lifted, self.energy, axis=1)
        log_scale[:] = (n - 1) * log_peak
        threshold = self._threshold(x.dtype, n - 1) * peak[:, None]
        visible = np.flatnonzero(lifted > threshold)
        rows, columns, overlaps, flipped = _flip(x, flips, visible)
        overlaps *= stretch[columns]
        overlaps /= peak[rows]
        d_visible = _raise(overlaps, n - 1, self.energy.rectified)
        d_visible = d_visible * (-n * delta.sum(axis=0))[columns]
        flipped *= stretch[columns]
        flipped /= peak[rows]
        flipped = _raise(flipped, n - 1, self.energy.rectified)
        flipped *= n * delta[:, columns]
        d_visible += flipped.sum(axis=0)
        d_flips = np.zeros_like(connections)
        _add_by_row(flipped, rows, d_flips)
        x[...] = 0
        x.reshape(-1)[visible] = d_visible
        return _share(d_flips, x, self.temperature)

    def _lifted(self, x, flips):
        """Return the largest argument of F for each overlap, flipped or at rest."""
        if self.energy.rectified:
            return x + flips.max(axis=1).clip(min=0)[:, None]
        lifted = np.abs(x)
        lifted += np.abs(flips).max(axis=1)[:, None]
        return lifted

    @staticmethod
    def _threshold(dtype, exponent):
        return (1e-4 * np.finfo(dtype).eps) ** (1 / exponent)


class ExponentialDifferenceTiles(Tiles):
    def row_scale(self, x, connections):
        return x.max(axis=0)

    def add_scores(self, x, connections, log_scale, total):
        flips = (2 / self.temperature) * connections
        total += np.expm1(flips).T @ np.exp(x - log_scale)

    def tile_gradient(self, x, connections, delta, log_weight, weighted, log_scale):
        flips = (2 / self.temperature) * connections
        slope = x + log_weight
        log_scale[:] = slope.max(axis=1)
        slope -= log_scale[:, None]
        np.exp(slope, out=slope)
        d_connections = np.exp(flips) * (slope @ delta.T)
        np.multiply(slope, np.expm1(flips) @ delta, out=x)
        return _share(d_connections, x, self.temperature)


def _slices(x: np.ndarray, n_elements: int) -> list[slice]:
    """Cut x into groups of whole rows with about as many elements each."""
    step = max(1, n_elements // max(1, x.shape[1]))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


def _flip(x: np.ndarray, flips: np.ndarray, places: np.ndarray) -> tuple:
    """Return rows and columns of some places of x, x there, and x with each flip."""
    rows = places // x.shape[1]
    columns = places - rows * x.shape[1]
    overlaps = x.reshape(-1)[places]
    flipped = np.take(flips.T, rows, axis=1)
    flipped += overlaps
    return rows, columns, overlaps, flipped


def _add_by_column(terms: np.ndarray, columns: np.ndarray, total: np.ndarray) -> None:
    for alpha, some in enumerate(terms):
        total[alpha] += np.bincount(columns, some, total.shape[1])


def _add_by_row(terms: np.ndarray, rows: np.ndarray, total: np.ndarray) -> None:
    """Add terms to the rows of ``total``; ``rows`` is in ascending order."""
    present, starts = np.unique(rows, return_index=True)
    if len(present):
        total[present] += np.add.reduceat(terms, starts, axis=1).T


def _share(d_flipped: np.ndarray, d_overlaps: np.ndarray, temperature: float):
    """Return dC/dxi_alpha: from its own flip, and from the overlap that all share."""
    return (2 * d_flipped - d_overlaps.sum(axis=1, keepdims=True)) / temperature


def _peaks(x: np.ndarray, energy: Energy, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest overlaps along an axis, and their logarithms.

    Magnitudes, where signs count. Where no overlap is positive, and all F are 0, the
    first is 1, to divide by, and the second -inf.
    """
    peak = x.max(axis=axis)
    if not energy.rectified:
        np.maximum(peak, -x.min(axis=axis), out=peak)
    np.maximum(peak, 0, out=peak)
    with np.errstate(divide="ignore"):
        log_peak = np.log(peak)
    peak[peak == 0] = 1
    return peak, log_peak


_local = threading.local()


def scratch(
    slot: int, shape: tuple[int, ...], dtype: np.dtype, fill: float | None = None
) -> np.ndarray:
    """Return this thread's scratch array of a slot.

    Fresh arrays of this size come from the system and cost a page fault for each 4 kB,
    more than the arithmetic on them.
    """
    size = math.prod(shape)
    held = _local.__dict__.get((slot, dtype))
    if held is None or held.size < size:
        held = np.empty(size, dtype) if fill is None else np.full(size, fill, dtype)
        _local.__dict__[slot, dtype] = held
    return held[:size].reshape(shape)


def _falling_powers(x: np.ndarray, n: int) -> list[np.ndarray]:
    """Return x^n, ..., x, 1: by products, much faster than np.power."""
    powers = [np.ones_like(x)]
    for _ in range(n):
        powers.append(powers[-1] * x)
    return powers[::-1]


def _raise(x: np.ndarray, exponent: float, rectified: bool) -> np.ndarray:
    """Return x to a power >= 0, in scratch 0; where rectified, 0 for x <= 0."""
    out = scratch(0, x.shape, x.dtype)
    if exponent == 0:
        if rectified:
            return np.greater(x, 0, out=out)
        out[...] = 1
        return out
    if rectified:
        # Against an array of zeros: twice as fast as against the scalar.
        np.maximum(x, scratch(3, x.shape, x.dtype, fill=0), out=out)
    else:
        np.copyto(out, x)
    if exponent != int(exponent):
        return np.power(out, exponent, out=out)
    # Square and multiply: ten times faster than np.power for the usual exponents.
    bits = bin(int(exponent))[3:]
    if "1" in bits:
        base = scratch(1, x.shape, x.dtype)
        np.copyto(base, out)
    for bit in bits:
        out *= out
        if bit == "1":
            out *= base
    return out
