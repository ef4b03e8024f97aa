"""Units of the feedforward dual, as in :class:`skdam.updates.Feedforward`.

- :class:`FeedforwardUnits`, any energy; :class:`PowerFeedforwardUnits`, powers;
- :class:`SteepFeedforwardUnits`, high powers, and
  :class:`ExponentialFeedforwardUnits`, whose values would overflow: one scale for each
  sample and each memory is kept apart.
"""

from __future__ import annotations

import math

import numpy as np

from ..updates import Update
from .cpu_tiles import peaks, raise_to, rescale, scratch, tiles, weighted_exponentials


class Units:
    """Hidden units of one update."""

    is_steep = False
    """Whether gradients have a scale for each memory; delta is then without weight."""

    def __init__(self, update: Update):
        self.energy = update.energy
        self.temperature = float(update.temperature)
        self.factor = 1.0


class FeedforwardUnits(Units):
    def __init__(self, update: Update):
        super().__init__(update)
        self.factor = 2 / self.temperature

    def scores(self, x, connections):
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in tiles(x):
            np.matmul(self.energy.activation(x[rows]), connections.T, out=s[rows])
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        thin = connections if scale is None else connections * scale
        d_connections[...] = 0
        for rows in tiles(x):
            d_connections += delta[:, rows] @ self.energy.activation(x[rows])
            np.matmul(delta[:, rows].T, thin, out=out[rows])
            out[rows] *= self.energy.slope(x[rows])
        rescale(d_connections, scale)


class PowerFeedforwardUnits(Units):
    """f(x) = n x^(n-1), by products; the slope is (n-1) x^(n-2)."""

    def __init__(self, update: Update):
        super().__init__(update)
        self.power = self.energy.power
        self.factor = 2 * self.power / self.temperature

    def scores(self, x, connections):
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in tiles(x):
            tile = x[rows]
            if self.energy.rectified:
                np.maximum(tile, 0, out=tile)
            np.matmul(raise_to(tile, self.power - 1), connections.T, out=s[rows])
        return s, None

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n = self.power
        thin = connections
        if n != 2:
            thin = connections * x.dtype.type(n - 1)
        if scale is not None:
            thin = thin * scale
        for rows in tiles(x):
            tile, own, d_overlaps = x[rows], delta[:, rows], out[rows]
            if rows.start == 0:
                np.matmul(own, raise_to(tile, n - 1), out=d_connections)
            else:
                d_connections += own @ raise_to(tile, n - 1)
            np.matmul(own.T, thin, out=d_overlaps)
            if n > 2:
                d_overlaps *= raise_to(tile, n - 2)
            elif self.energy.rectified:
                np.greater(tile, 0, out=tile)
                d_overlaps *= tile
        rescale(d_connections, scale)


class SteepFeedforwardUnits(PowerFeedforwardUnits):
    """F(x) = x^n: f(x) = r^(n-1) f(x / r), with r the largest overlap of the sample.

    In the gradient the weight w of a sample goes into the power,
    ``w x^(n-2) = (x w^(1/(n-2)))^(n-2)``, so that one division by the largest of a
    memory's overlaps brings them all into range.
    """

    is_steep = True

    def scores(self, x, connections):
        n = self.power
        peak, log_peak = peaks(x, self.energy, axis=1)
        s = np.empty((len(x), len(connections)), x.dtype)
        for rows in tiles(x):
            scaled = np.divide(x[rows], peak[rows, None], out=scratch(2, x[rows]))
            if self.energy.rectified:
                np.maximum(scaled, 0, out=scaled)
            np.matmul(raise_to(scaled, n - 1), connections.T, out=s[rows])
        return s, (n - 1) * log_peak

    def gradient(self, x, connections, delta, log_weight, scale, out, d_connections):
        n = self.power
        stretch = np.exp(log_weight / (n - 2))
        x *= stretch[:, None]
        peak, log_peak = peaks(x, self.energy, axis=0)
        # sum_b delta w x^(n-1), where one factor x is that without its weight. What is
        # nearly 0 would be divided by 0.
        counts = stretch > math.sqrt(np.finfo(x.dtype).tiny)
        unstretched = np.divide(delta, stretch, out=np.zeros_like(delta), where=counts)
        thin = connections * x.dtype.type(n - 1)
        d_connections[...] = 0
        for rows in tiles(x):
            scaled = np.divide(x[rows], peak, out=scratch(2, x[rows]))
            if self.energy.rectified:
                np.maximum(scaled, 0, out=scaled)
            slope = raise_to(scaled, n - 2, slot=3)
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
        slope, log_scale = weighted_exponentials(x, log_weight)
        np.matmul(delta.T, connections, out=out)
        out *= slope
        np.matmul(delta, slope, out=d_connections)
        return log_scale
