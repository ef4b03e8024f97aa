"""Scores and gradients on one block of overlaps, for one kind of energy each.

A block holds overlaps ``x`` of the samples of a minibatch (rows) with a shard of the
memories (columns), in units of the temperature, and is worked through in tiles of rows
that fit the cache. Each class computes what an update of :mod:`skdam.updates` defines:

- :class:`FeedforwardUnits`, any energy; :class:`PowerFeedforwardUnits`, powers;
- :class:`SteepFeedforwardUnits`, high powers, and
  :class:`ExponentialFeedforwardUnits`, whose values would overflow: one scale for each
  sample and each memory is kept apart;
- :class:`DifferenceUnits`, any energy, class by class;
- :class:`BinomialDifferenceUnits`, whole powers: the polynomial part as thin matrix
  products, and element by element only where an overlap is near 0;
- :class:`SteepDifferenceUnits`, high powers, only where a term can be seen beside the
  largest one; :class:`ExponentialDifferenceUnits`, where F(x + d) = F(x) e^d.

``scores`` returns ``(s, log_scale)``, with s of shape (n_samples, n_classes) and a
scale for each sample or None. It may rectify the overlaps in place. ``gradient`` writes
dC/dx to ``out`` and dC/dxi_alpha to ``d_connections`` (n_classes, n_memories), and
returns a scale for each memory, which belongs to both, or None. All leave out the
constant ``factor``, by which scores and gradients are to be multiplied.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from ..energies import NamedEnergy
from ..updates import Feedforward, Update

TILE_ELEMENTS = 2**16
"""Elements of a tile: 256 kB in single precision, so that several fit the L2 cache."""

MAX_DIRECT_POWER = 8

NEAR_ELEMENTS = 2**18
"""Overlaps among which those near 0 are singled out at once."""

MAX_NEAR_SHARE = 0.2
"""Share of overlaps near 0 up to which they are worth singling out."""


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


class Units:
    """Hidden units of one update."""

    is_steep = False
    """Whether gradients have a scale for each memory; delta is then without weight."""

    def __init__(self, update: Update):
        self.energy = update.energy
        self.temperature = float(update.temperature)
        self.factor = 1.0

    def flips(self, connections: np.ndarray) -> np.ndarray:
        """Return what flipping each classification unit adds to the overlaps."""
        return connections * connections.dtype.type(2 / self.temperature)

    def share(self, d_flips: np.ndarray, d_overlaps: np.ndarray) -> np.ndarray:
        """Return dC/dxi_alpha: from its own flip, and from the overlap all share."""
        return (2 * d_flips - d_overlaps.sum(axis=0)) / self.temperature


class FeedforwardUnits(Units):
    def __init__(self, update: Update):
        super().__init__(update)
        self.factor = 2 / self.temperature

    def scores(self, x, connections):
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in _tiles(x):
            np.matmul(self.energy.activation(x[rows]), connections.T, out=s[rows])
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        thin = connections if scale is None else connections * scale
        d_connections[...] = 0
        for rows in _tiles(x):
            d_connections += delta[:, rows] @ self.energy.activation(x[rows])
            np.matmul(delta[:, rows].T, thin, out=out[rows])
            out[rows] *= self.energy.slope(x[rows])
        _rescale(d_connections, scale)


class PowerFeedforwardUnits(Units):
    """f(x) = n x^(n-1), by products; the slope is (n-1) x^(n-2)."""

    def __init__(self, update: Update):
        super().__init__(update)
        self.power = self.energy.power
        self.factor = 2 * self.power / self.temperature

    def scores(self, x, connections):
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in _tiles(x):
            tile = x[rows]
            if self.energy.rectified:
                np.maximum(tile, 0, out=tile)
            np.matmul(_raise(tile, self.power - 1), connections.T, out=s[rows])
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n = self.power
        thin = connections
        if n != 2:
            thin = connections * x.dtype.type(n - 1)
        if scale is not None:
            thin = thin * scale
        for rows in _tiles(x):
            tile, own, d_overlaps = x[rows], delta[:, rows], out[rows]
            if rows.start == 0:
                np.matmul(own, _raise(tile, n - 1), out=d_connections)
            else:
                d_connections += own @ _raise(tile, n - 1)
            np.matmul(own.T, thin, out=d_overlaps)
            if n > 2:
                d_overlaps *= _raise(tile, n - 2)
            elif self.energy.rectified:
                np.greater(tile, 0, out=tile)
                d_overlaps *= tile
        _rescale(d_connections, scale)


class SteepFeedforwardUnits(PowerFeedforwardUnits):
    """F(x) = x^n: f(x) = r^(n-1) f(x / r), with r the largest overlap of the sample.

    In the gradient the weight w of a sample goes into the power,
    ``w x^(n-2) = (x w^(1/(n-2)))^(n-2)``, so that one division by the largest of a
    memory's overlaps brings them all into range.
    """

    is_steep = True

    def scores(self, x, connections):
        n = self.power
        peak, log_peak = _peaks(x, self.energy, axis=1)
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in _tiles(x):
            scaled = np.divide(x[rows], peak[rows, None], out=scratch(2, x[rows]))
            if self.energy.rectified:
                np.maximum(scaled, 0, out=scaled)
            np.matmul(_raise(scaled, n - 1), connections.T, out=s[rows])
        return s, (n - 1) * log_peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n = self.power
        stretch = np.exp(log_weight / (n - 2))
        x *= stretch[:, None]
        peak, log_peak = _peaks(x, self.energy, axis=0)
        # sum_b delta w x^(n-1), where one factor x is that without its weight. What is
        # nearly 0 would be divided by 0.
        counts = stretch > math.sqrt(np.finfo(x.dtype).tiny)
        unstretched = np.divide(delta, stretch, out=np.zeros_like(delta), where=counts)
        thin = connections * x.dtype.type(n - 1)
        d_connections[...] = 0
        for rows in _tiles(x):
            scaled = np.divide(x[rows], peak, out=scratch(2, x[rows]))
            if self.energy.rectified:
                np.maximum(scaled, 0, out=scaled)
            slope = _raise(scaled, n - 2, slot=3)
            np.matmul(delta[:, rows].T, thin, out=out[rows])
            out[rows] *= slope
            slope *= x[rows]
            d_connections += unstretched[:, rows] @ slope
        return (n - 2) * log_peak


class ExponentialFeedforwardUnits(FeedforwardUnits):
    is_steep = True

    def scores(self, x, connections):
        peak = x.max(axis=1)
        return np.exp(x - peak[:, None]) @ connections.T, peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        slope, log_scale = _weighted_exponentials(x, log_weight)
        np.matmul(delta.T, connections, out=out)
        out *= slope
        np.matmul(delta, slope, out=d_connections)
        return log_scale


class DifferenceUnits(Units):
    def value(self, x):
        return self.energy.value(x)

    def activation(self, x):
        return self.energy.activation(x)

    def scores(self, x, connections):
        flips = self.flips(connections)
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in _tiles(x):
            at_rest = self.value(x[rows]).copy()
            for alpha, flip in enumerate(flips):
                # A difference of sums would lose more digits.
                rise = self.value(x[rows] + flip) - at_rest
                s[rows, alpha] = rise.sum(axis=1)
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        d_flips = np.zeros(connections.shape, x.dtype)
        self.class_by_class(x, self.flips(connections), delta, out, d_flips)
        self.finish(d_flips, out, scale, d_connections)

    def class_by_class(self, x, flips, delta, out, d_flips):
        """Write dC/dx, and add what each flip contributes to ``d_flips``."""
        total = delta.sum(axis=0)
        for rows in _tiles(x):
            np.multiply(self.activation(x[rows]), -total[rows, None], out=out[rows])
            for alpha, flip in enumerate(flips):
                flipped = self.activation(x[rows] + flip)
                flipped *= delta[alpha, rows, None]
                out[rows] += flipped
                d_flips[alpha] += flipped.sum(axis=0)

    def finish(self, d_flips, out, scale, d_connections):
        d_connections[...] = self.share(d_flips, out)
        _rescale(out, scale)
        _rescale(d_connections, scale)


class BinomialDifferenceUnits(DifferenceUnits):
    """F(x + d) - F(x) = sum_k binom(n, k) d^k x^(n-k): thin products of powers.

    For the rectified polynomial this holds where both arguments are positive, which is
    certain for x >= 2 / T; below -2 / T both vanish. The few overlaps in between are
    computed one by one; where they are many, all are, class by class.
    """

    def __init__(self, update: Update):
        super().__init__(update)
        self.power = int(self.energy.power)

    def value(self, x):
        return _raise(self._rectify(x), self.power)

    def activation(self, x):
        out = scratch(3, x)
        if self.power == 1 and self.energy.rectified:
            return np.greater(x, 0, out=out)
        powers = _raise(self._rectify(x), self.power - 1, slot=3)
        return np.multiply(powers, self.power, out=out)

    def _rectify(self, x):
        return np.maximum(x, 0, out=scratch(2, x)) if self.energy.rectified else x

    def scores(self, x, connections):
        s = np.zeros((len(x), len(connections)), x.dtype)
        for block in _tiles(x, NEAR_ELEMENTS):
            some = x[block]
            near = self._near(some)
            if near.size > MAX_NEAR_SHARE * some.size:
                s[block] = super().scores(some, connections)[0]
                continue
            flips = self.flips(connections)
            lifts = _powers_of(flips, self.power)
            n = self.power
            weights = np.concatenate(
                [math.comb(n, j) * lifts[n - j] for j in range(n)], axis=1
            )
            for tile in _tiles(some):
                part = s[block][tile]
                np.matmul(self._powers(some[tile]), weights.T, out=part)
            if near.size:
                rows, _, overlaps, flipped = _flip(some, flips, near)
                rise = _raise(np.maximum(flipped, 0), n)
                rise -= _raise(np.maximum(overlaps, 0), n, slot=3)
                for alpha, terms in enumerate(rise):
                    s[block][:, alpha] += np.bincount(rows, terms, len(some))
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n, (n_classes, n_memories) = self.power, connections.shape
        d_flips = np.zeros(connections.shape, x.dtype)
        flips = self.flips(connections)
        # f(x + d) = sum_j weight_j x^j, and f(x + d) - f(x) is that without d^0.
        lifts = _powers_of(flips, n - 1)
        weights = np.stack(
            [n * math.comb(n - 1, j) * lifts[n - 1 - j] for j in range(n)], axis=1
        )
        varying = weights[:, :-1].reshape(n_classes, -1)
        for block in _tiles(x, NEAR_ELEMENTS):
            some, own, d_overlaps = x[block], delta[:, block], out[block]
            near = self._near(some)
            if near.size > MAX_NEAR_SHARE * some.size:
                self.class_by_class(some, flips, own, d_overlaps, d_flips)
                continue
            d_near = self._near_gradient(some, flips, near, own, d_flips)
            for tile in _tiles(some):
                powers = self._powers(some[tile])
                products = (own[:, tile] @ powers).reshape(n_classes, n, n_memories)
                d_flips += np.einsum("anm,anm->am", weights, products)
                self._horner(own[:, tile], varying, some[tile], d_overlaps[tile])
                if self.energy.rectified:
                    d_overlaps[tile] *= powers[:, :n_memories]
            d_overlaps.reshape(-1)[near] = d_near
        self.finish(d_flips, out, scale, d_connections)

    def _horner(self, delta, weights, x, out):
        """Write ``sum_j x^j (delta^T weight_j)`` for j < n - 1, without rectifying."""
        n_memories = x.shape[1]
        if not weights.shape[1]:
            out[...] = 0
            return
        shape = len(x), weights.shape[1]
        terms = np.matmul(delta.T, weights, out=scratch(4, x, shape))
        last = shape[1] - n_memories
        out[...] = terms[:, last:]
        for start in range(last - n_memories, -1, -n_memories):
            out *= x
            out += terms[:, start : start + n_memories]

    def _near(self, x):
        """Return the places of the overlaps that a flip can bring across 0."""
        if not self.energy.rectified:
            return np.empty(0, np.intp)
        magnitude = np.abs(x, out=scratch(2, x))
        return np.flatnonzero(magnitude < 2 / self.temperature)

    def _near_gradient(self, x, flips, near, delta, d_flips):
        """Return dC/dx of the near overlaps, and add to ``d_flips``."""
        if not near.size:
            return np.empty(0, x.dtype)
        rows, columns, overlaps, flipped = _flip(x, flips, near)
        d_near = self.activation(overlaps) * -delta.sum(axis=0)[rows]
        flipped = self.activation(flipped)
        flipped *= delta[:, rows]
        d_near += flipped.sum(axis=0)
        _add_by_column(flipped, columns, d_flips)
        return d_near

    def _powers(self, x):
        """Return x^0 ... x^(n-1) side by side; rectified, of the far overlaps alone."""
        n_rows, n_memories = x.shape
        powers = scratch(5, x, (n_rows, self.power * n_memories))
        ones = powers[:, :n_memories]
        if self.energy.rectified:
            np.greater_equal(x, 2 / self.temperature, out=ones)
        else:
            ones[...] = 1
        for j in range(1, self.power):
            last = powers[:, (j - 1) * n_memories : j * n_memories]
            np.multiply(last, x, out=powers[:, j * n_memories : (j + 1) * n_memories])
        return powers


class SteepDifferenceUnits(Units):
    """F(x) = x^n with n large: few terms can be seen beside the largest one.

    A term below 1e-4 rounding errors of the largest, for its sample in the scores and
    for its memory in the gradient, is left out.
    """

    is_steep = True

    def scores(self, x, connections):
        n = self.energy.power
        flips = self.flips(connections)
        lifted = self._lifted(x, flips)
        peak, log_peak = _peaks(lifted, self.energy, axis=1)
        lifted /= peak[:, None]
        visible = np.flatnonzero(lifted > self._threshold(x.dtype, n))
        rows, _, overlaps, flipped = _flip(x, flips, visible)
        rise = _raise(self._rectify(flipped / peak[rows]), n)
        rise -= _raise(self._rectify(overlaps / peak[rows]), n, slot=3)
        s = np.empty((len(x), len(connections)), x.dtype)
        for alpha, terms in enumerate(rise):
            s[:, alpha] = np.bincount(rows, terms, len(x))
        return s, n * log_peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n = self.energy.power
        flips = self.flips(connections)
        stretch = np.exp(log_weight / (n - 1))
        lifted = self._lifted(x, flips)
        lifted *= stretch[:, None]
        peak, log_peak = _peaks(lifted, self.energy, axis=0)
        lifted /= peak
        visible = np.flatnonzero(lifted > self._threshold(x.dtype, n - 1))
        rows, columns, overlaps, flipped = _flip(x, flips, visible)
        factor = stretch[rows] / peak[columns]
        d_visible = _raise(self._rectify(overlaps * factor), n - 1)
        d_visible = d_visible * (-n * delta.sum(axis=0))[rows]
        flipped *= factor
        flipped = _raise(self._rectify(flipped), n - 1)
        flipped *= n * delta[:, rows]
        d_visible += flipped.sum(axis=0)
        d_flips = np.zeros(connections.shape, x.dtype)
        _add_by_column(flipped, columns, d_flips)
        out[...] = 0
        out.reshape(-1)[visible] = d_visible
        d_connections[...] = self.share(d_flips, out)
        return (n - 1) * log_peak

    def _rectify(self, x):
        return np.maximum(x, 0) if self.energy.rectified else x

    def _lifted(self, x, flips):
        """Return the largest argument of F for each overlap, flipped or at rest."""
        if self.energy.rectified:
            return x + flips.max(axis=0).clip(min=0)
        return np.abs(x) + np.abs(flips).max(axis=0)

    @staticmethod
    def _threshold(dtype, exponent):
        return (1e-4 * np.finfo(dtype).eps) ** (1 / exponent)


class ExponentialDifferenceUnits(Units):
    is_steep = True

    def scores(self, x, connections):
        peak = x.max(axis=1)
        rise = np.expm1(self.flips(connections))
        return np.exp(x - peak[:, None]) @ rise.T, peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        flips = self.flips(connections)
        slope, log_scale = _weighted_exponentials(x, log_weight)
        np.matmul(delta.T, np.expm1(flips), out=out)
        out *= slope
        d_connections[...] = self.share(np.exp(flips) * (delta @ slope), out)
        return log_scale


def _weighted_exponentials(x, log_weight):
    """Return ``exp(x + log_weight)`` with the largest of each column apart."""
    slope = x + log_weight[:, None]
    log_scale = slope.max(axis=0)
    slope -= log_scale
    return np.exp(slope, out=slope), log_scale


def _tiles(x: np.ndarray, n_elements: int = TILE_ELEMENTS) -> list[slice]:
    """Cut x into groups of whole rows with about as many elements each."""
    if x.size <= n_elements:
        return [slice(0, len(x))]
    step = max(1, n_elements // max(1, x.shape[1]))
    return [slice(i, min(i + step, len(x))) for i in range(0, len(x), step)]


def _rescale(x: np.ndarray, scale: np.ndarray | None) -> None:
    """Multiply each memory's column by its scale, in place."""
    if scale is not None:
        x *= scale


def _flip(x: np.ndarray, flips: np.ndarray, places: np.ndarray) -> tuple:
    """Return rows and columns of some places of x, x there, and x with each flip."""
    rows = places // x.shape[1]
    columns = places - rows * x.shape[1]
    overlaps = x.reshape(-1)[places]
    flipped = np.take(flips, columns, axis=1)
    flipped += overlaps
    return rows, columns, overlaps, flipped


def _add_by_column(terms: np.ndarray, columns: np.ndarray, total: np.ndarray) -> None:
    for alpha, some in enumerate(terms):
        total[alpha] += np.bincount(columns, some, total.shape[1])


def _peaks(x: np.ndarray, energy, axis: int) -> tuple[np.ndarray, np.ndarray]:
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
    slot: int, like: np.ndarray, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return this thread's scratch array of a slot.

    Fresh arrays of this size come from the system and cost a page fault for each 4 kB,
    more than the arithmetic on them.
    """
    shape = like.shape if shape is None else shape
    size = math.prod(shape)
    held = _local.__dict__.get((slot, like.dtype))
    if held is None or held.size < size:
        held = _local.__dict__[slot, like.dtype] = np.empty(size, like.dtype)
    return held[:size].reshape(shape)


def _powers_of(x: np.ndarray, n: int) -> list[np.ndarray]:
    """Return 1, x, ..., x^n: by products, much faster than np.power."""
    powers = [np.ones_like(x)]
    for _ in range(n):
        powers.append(powers[-1] * x)
    return powers


def _raise(x: np.ndarray, exponent: float, slot: int = 0) -> np.ndarray:
    """Return x to a power >= 0; x itself for 1, otherwise in scratch memory."""
    if exponent == 1:
        return x
    out = scratch(slot, x)
    if exponent == 0:
        out[...] = 1
        return out
    if exponent != int(exponent):
        return np.power(x, exponent, out=out)
    # Square and multiply: ten times faster than np.power for the usual exponents.
    bits = bin(int(exponent))[3:]
    np.square(x, out=out)
    if bits[0] == "1":
        out *= x
    for bit in bits[1:]:
        np.square(out, out=out)
        if bit == "1":
            out *= x
    return out
