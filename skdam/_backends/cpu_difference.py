"""Units of the exact update, as in :class:`skdam.updates.EnergyDifference`.

- :class:`DifferenceUnits`, any energy, class by class;
- :class:`BinomialDifferenceUnits`, whole powers: the polynomial part as thin matrix
  products, and element by element only where an overlap is near 0;
- :class:`SteepDifferenceUnits`, high powers, only where a term can be seen beside the
  largest one; :class:`ExponentialDifferenceUnits`, where F(x + d) = F(x) e^d.
"""

from __future__ import annotations

import math

import numpy as np

from ..updates import Update
from .cpu_feedforward import Units
from .cpu_tiles import peaks, raise_to, rescale, scratch, tiles, weighted_exponentials

NEAR_ELEMENTS = 2**18
"""Overlaps among which those near 0 are singled out at once."""

MAX_NEAR_SHARE = 0.2
"""Share of overlaps near 0 up to which they are worth singling out."""


class FlippedUnits(Units):
    """Units whose overlaps change as the classification units flip."""

    def flips(self, connections: np.ndarray) -> np.ndarray:
        """Return what flipping each classification unit adds to the overlaps."""
        return connections * connections.dtype.type(2 / self.temperature)

    def share(self, d_flips: np.ndarray, d_overlaps: np.ndarray) -> np.ndarray:
        """Return dC/dxi_alpha: from its own flip, and from the overlap all share."""
        return (2 * d_flips - d_overlaps.sum(axis=0)) / self.temperature


class DifferenceUnits(FlippedUnits):
    def value(self, x):
        return self.energy.value(x)

    def activation(self, x):
        return self.energy.activation(x)

    def scores(self, x, connections):
        flips = self.flips(connections)
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in tiles(x):
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
        for rows in tiles(x):
            np.multiply(self.activation(x[rows]), -total[rows, None], out=out[rows])
            for alpha, flip in enumerate(flips):
                flipped = self.activation(x[rows] + flip)
                flipped *= delta[alpha, rows, None]
                out[rows] += flipped
                d_flips[alpha] += flipped.sum(axis=0)

    def finish(self, d_flips, out, scale, d_connections):
        d_connections[...] = self.share(d_flips, out)
        rescale(out, scale)
        rescale(d_connections, scale)


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
        return raise_to(self._rectify(x), self.power)

    def activation(self, x):
        out = scratch(3, x)
        if self.power == 1 and self.energy.rectified:
            return np.greater(x, 0, out=out)
        powers = raise_to(self._rectify(x), self.power - 1, slot=3)
        return np.multiply(powers, self.power, out=out)

    def _rectify(self, x):
        return np.maximum(x, 0, out=scratch(2, x)) if self.energy.rectified else x

    def scores(self, x, connections):
        s = np.zeros((len(x), len(connections)), x.dtype)
        for block in tiles(x, NEAR_ELEMENTS):
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
            for tile in tiles(some):
                part = s[block][tile]
                np.matmul(self._powers(some[tile]), weights.T, out=part)
            if near.size:
                rows, _, overlaps, flipped = _flip(some, flips, near)
                rise = raise_to(np.maximum(flipped, 0), n)
                rise -= raise_to(np.maximum(overlaps, 0), n, slot=3)
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
        for block in tiles(x, NEAR_ELEMENTS):
            some, own, d_overlaps = x[block], delta[:, block], out[block]
            near = self._near(some)
            if near.size > MAX_NEAR_SHARE * some.size:
                self.class_by_class(some, flips, own, d_overlaps, d_flips)
                continue
            d_near = self._near_gradient(some, flips, near, own, d_flips)
            for tile in tiles(some):
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


class SteepDifferenceUnits(FlippedUnits):
    """F(x) = x^n with n large: few terms can be seen beside the largest one.

    A term below 1e-4 rounding errors of the largest, for its sample in the scores and
    for its memory in the gradient, is left out.
    """

    is_steep = True

    def scores(self, x, connections):
        n = self.energy.power
        flips = self.flips(connections)
        lifted = self._lifted(x, flips)
        peak, log_peak = peaks(lifted, self.energy, axis=1)
        lifted /= peak[:, None]
        visible = np.flatnonzero(lifted > self._threshold(x.dtype, n))
        rows, _, overlaps, flipped = _flip(x, flips, visible)
        rise = raise_to(self._rectify(flipped / peak[rows]), n)
        rise -= raise_to(self._rectify(overlaps / peak[rows]), n, slot=3)
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
        peak, log_peak = peaks(lifted, self.energy, axis=0)
        lifted /= peak
        visible = np.flatnonzero(lifted > self._threshold(x.dtype, n - 1))
        rows, columns, overlaps, flipped = _flip(x, flips, visible)
        factor = stretch[rows] / peak[columns]
        d_visible = raise_to(self._rectify(overlaps * factor), n - 1)
        d_visible = d_visible * (-n * delta.sum(axis=0))[rows]
        flipped *= factor
        flipped = raise_to(self._rectify(flipped), n - 1)
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


class ExponentialDifferenceUnits(FlippedUnits):
    is_steep = True

    def scores(self, x, connections):
        peak = x.max(axis=1)
        rise = np.expm1(self.flips(connections))
        return np.exp(x - peak[:, None]) @ rise.T, peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        flips = self.flips(connections)
        slope, log_scale = weighted_exponentials(x, log_weight)
        np.matmul(delta.T, np.expm1(flips), out=out)
        out *= slope
        d_connections[...] = self.share(np.exp(flips) * (delta @ slope), out)
        return log_scale


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


def _powers_of(x: np.ndarray, n: int) -> list[np.ndarray]:
    """Return 1, x, ..., x^n: by products, much faster than np.power."""
    powers = [np.ones_like(x)]
    for _ in range(n):
        powers.append(powers[-1] * x)
    return powers
