"""The update of the classification units, exact and as its feedforward dual.

A classifier is a dense associative memory of visible and classification units. Its
visible units are clamped to v and its classification units start at -1. The exact
update of the classification units is :class:`EnergyDifference`; its expansion for small
states of the classification units is :class:`Feedforward`, a network with one hidden
layer. Both take the same memories and the same temperature.

Everywhere here ``x`` holds overlaps in units of the temperature, one row for each
sample and one column for each memory, and ``connections`` the recognition connections
xi_alpha, one row for each memory and one column for each class. The functions take any
Array API namespace and are written to be read; the backends compute the same faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from .energies import Energy

__all__ = ["EnergyDifference", "Feedforward", "Update", "get_update"]

Array = Any


@dataclass(frozen=True)
class Feedforward:
    """s_alpha = (2 / T) sum_mu xi_alpha f(x_mu), with x_mu = sum_i xi_i v_i / T.

    For F(x) = x^n this is ``2 beta sum_mu xi_alpha f(sum_i xi_i v_i)`` with
    ``beta = 1 / T^n`` (Krotov & Hopfield 2016, section "Duality").

    Parameters
    ----------
    energy : Energy
        Energy function F; its activation f = F' is that of the hidden layer.
    temperature : float
        Temperature T, in neurons.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.updates import Feedforward
    >>> relu = Feedforward(RectifiedPolynomial(2), temperature=1.0)
    >>> relu.scores(np.array([[-1.0, 3.0]]), np.array([[1.0], [0.5]])).tolist()
    [[6.0]]
    """

    energy: Energy
    temperature: float

    def offset(self, connections: Array) -> Array:
        """Return what the classification units add to each memory's overlap."""
        xp = array_namespace(connections)
        return xp.zeros_like(connections[:, 0])

    def scores(self, x: Array, connections: Array) -> Array:
        """Return s, of shape (n_samples, n_classes)."""
        return 2 / self.temperature * (self.energy.activation(x) @ connections)

    def gradient(self, x: Array, connections: Array, delta: Array) -> tuple:
        """Return dC/dx and dC/dxi_alpha for ``delta`` = dC/ds."""
        scale = 2 / self.temperature
        d_overlaps = scale * (delta @ connections.T) * self.energy.slope(x)
        d_connections = scale * (self.energy.activation(x).T @ delta)
        return d_overlaps, d_connections


@dataclass(frozen=True)
class EnergyDifference:
    """s_alpha = sum_mu [F(x_mu + 2 xi_alpha / T) - F(x_mu)].

    Here ``x_mu = (sum_i xi_i v_i - sum_gamma xi_gamma) / T``: all classification units
    are at -1, and unit alpha compares the energies of -1 and +1 (Krotov & Hopfield
    2016, section on classification). One visible product serves every class.

    Parameters
    ----------
    energy : Energy
        Energy function F.
    temperature : float
        Temperature T, in neurons.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.energies import RectifiedPolynomial
    >>> from skdam.updates import EnergyDifference
    >>> memory = EnergyDifference(RectifiedPolynomial(2), temperature=1.0)
    >>> memory.scores(np.array([[3.0]]), np.array([[0.5, -1.0]])).tolist()
    [[7.0, -8.0]]
    """

    energy: Energy
    temperature: float

    def offset(self, connections: Array) -> Array:
        """Return what the classification units add to each memory's overlap."""
        xp = array_namespace(connections)
        return -xp.sum(connections, axis=1) / self.temperature

    def scores(self, x: Array, connections: Array) -> Array:
        """Return s, of shape (n_samples, n_classes)."""
        xp = array_namespace(x, connections)
        flips = 2 * connections / self.temperature
        at_rest = self.energy.value(x)
        columns = [
            xp.sum(self.energy.value(x + flips[:, alpha]) - at_rest, axis=1)
            for alpha in range(flips.shape[1])
        ]
        return xp.stack(columns, axis=1)

    def gradient(self, x: Array, connections: Array, delta: Array) -> tuple:
        """Return dC/dx and dC/dxi_alpha for ``delta`` = dC/ds."""
        xp = array_namespace(x, connections)
        flips = 2 * connections / self.temperature
        d_overlaps = -xp.sum(delta, axis=1)[:, None] * self.energy.activation(x)
        columns = []
        for alpha in range(flips.shape[1]):
            flipped = delta[:, alpha, None] * self.energy.activation(
                x + flips[:, alpha]
            )
            d_overlaps = d_overlaps + flipped
            columns.append(2 * xp.sum(flipped, axis=0))
        # Every xi_gamma also lowers its memory's overlap x.
        shared = xp.sum(d_overlaps, axis=0)
        d_connections = xp.stack([c - shared for c in columns], axis=1)
        return d_overlaps, d_connections / self.temperature

    def repeated(self, x: Array, connections: Array, n_updates: int) -> Array:
        """Return the scores after ``n_updates`` updates of the classification units.

        The first update starts with every unit at -1; each further one visits the units
        in order, and each unit sees the latest states ``c = tanh(s)`` of the others:
        ``s_alpha = sum_mu [F(x' + xi_alpha / T) - F(x' - xi_alpha / T)]``, with x' the
        overlap of all other units.

        Parameters
        ----------
        x : array of shape (n_samples, n_memories)
            Overlaps with all classification units at -1.
        connections : array of shape (n_memories, n_classes)
            Recognition connections.
        n_updates : int
            Number of updates, at least 1.

        Returns
        -------
        array of shape (n_samples, n_classes)
        """
        xp = array_namespace(x, connections)
        scores = self.scores(x, connections)
        if n_updates == 1:
            return scores
        half = connections / self.temperature
        states = xp.tanh(scores)
        total = x + (states + 1) @ half.T
        columns = [scores[:, alpha] for alpha in range(scores.shape[1])]
        for _ in range(n_updates - 1):
            for alpha in range(half.shape[1]):
                others = total - states[:, alpha, None] * half[:, alpha]
                rise = self.energy.value(others + half[:, alpha])
                fall = self.energy.value(others - half[:, alpha])
                columns[alpha] = xp.sum(rise - fall, axis=1)
                states[:, alpha] = xp.tanh(columns[alpha])
                total = others + states[:, alpha, None] * half[:, alpha]
        return xp.stack(columns, axis=1)


Update = Feedforward | EnergyDifference


def get_update(name: str, energy: Energy, temperature: float) -> Update:
    """Return the update of the formulation named "energy" or "feedforward".

    Examples
    --------
    >>> from skdam.energies import LogCosh
    >>> from skdam.updates import get_update
    >>> get_update("feedforward", LogCosh(), temperature=2.0)
    Feedforward(energy=LogCosh(), temperature=2.0)
    """
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature={temperature!r} must be a finite positive number of neurons."
        )
    return (EnergyDifference if name == "energy" else Feedforward)(energy, temperature)
