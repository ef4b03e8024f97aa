"""The paper's equations, written out with loops, one number at a time.

Nothing here is shared with the package: memories are lists of visible and
classification parts, and all is in double precision.
"""

import numpy as np


def rectified_polynomial(n):
    return lambda x: x**n if x > 0 else 0.0


def polynomial(n):
    return lambda x: x**n


class Quartic:
    """An energy that the package does not know."""

    def __repr__(self):
        return f"{type(self).__name__}()"

    def value(self, x):
        return x**4

    def activation(self, x):
        return 4 * x**3

    def slope(self, x):
        return 12 * x**2


def update(F, T, visible, recognition, v):
    """Return the argument of tanh for each classification unit, all starting at -1.

    The paper's one-step update: the energy of each unit at +1 and at -1, with the other
    classification units at -1 and the visible units clamped.
    """
    K, n_classes = recognition.shape
    start = -np.ones(n_classes)
    scores = []
    for alpha in range(n_classes):
        total = 0.0
        for mu in range(K):
            field = 0.0
            for i in range(len(v)):
                field += visible[mu, i] * v[i]
            for gamma in range(n_classes):
                if gamma != alpha:
                    field += recognition[mu, gamma] * start[gamma]
            own = recognition[mu, alpha] * start[alpha]
            total += F((-own + field) / T) - F((own + field) / T)
        scores.append(total)
    return np.array(scores)


def dual(f, T, visible, recognition, v):
    """Return ``(2 / T) sum_mu xi_alpha f(xi . v / T)`` for each class."""
    K, n_classes = recognition.shape
    scores = np.zeros(n_classes)
    for mu in range(K):
        overlap = 0.0
        for i in range(len(v)):
            overlap += visible[mu, i] * v[i]
        for alpha in range(n_classes):
            scores[alpha] += 2 / T * recognition[mu, alpha] * f(overlap / T)
    return scores


def energy_gradient(n, m, T, visible, recognition, X, codes):
    """Return the gradient of sum (c - t)^(2m) of the exact update, term by term."""

    def f(x):
        return n * x ** (n - 1) if x > 0 else 0.0

    d_visible, d_recognition = np.zeros_like(visible), np.zeros_like(recognition)
    n_classes = recognition.shape[1]
    for v, code in zip(X, codes, strict=True):
        s = update(rectified_polynomial(n), T, visible, recognition, v)
        for alpha in range(n_classes):
            delta = _delta(s[alpha], alpha == code, m)
            for mu in range(len(visible)):
                rest = (visible[mu] @ v - recognition[mu].sum()) / T
                flipped = rest + 2 * recognition[mu, alpha] / T
                d_visible[mu] += delta * (f(flipped) - f(rest)) * v / T
                for gamma in range(n_classes):
                    sign = 1 if gamma == alpha else -1
                    d_recognition[mu, gamma] += (
                        delta * (sign * f(flipped) + f(rest)) / T
                    )
    return d_visible, d_recognition


def dual_gradient(n, m, T, visible, recognition, X, codes):
    """Return the gradient of sum (c - t)^(2m) of the dual network, term by term."""

    def f(x, k):
        return x**k if x > 0 else 0.0

    d_visible, d_recognition = np.zeros_like(visible), np.zeros_like(recognition)
    for v, code in zip(X, codes, strict=True):
        s = dual(lambda x: n * f(x, n - 1), T, visible, recognition, v)
        for alpha in range(recognition.shape[1]):
            delta = _delta(s[alpha], alpha == code, m)
            for mu in range(len(visible)):
                x = visible[mu] @ v / T
                d_recognition[mu, alpha] += delta * 2 / T * n * f(x, n - 1)
                slope = n * (n - 1) * f(x, n - 2)
                d_visible[mu] += delta * 2 / T * recognition[mu, alpha] * slope * v / T
    return d_visible, d_recognition


def _delta(s, is_true, m):
    t = 1.0 if is_true else -1.0
    c = np.tanh(s)
    return 2 * m * (c - t) ** (2 * m - 1) * (1 - c**2)


def train(gradient, memories, n_features, batches, *, n, m, T, rate, momentum):
    """Take one step per minibatch; T and rate are functions of the step's epoch.

    ``batches`` holds (epoch, X, codes). Returns the memories, classes behind features.
    """
    xi = memories.copy()
    V = np.zeros_like(xi)
    for epoch, X, codes in batches:
        parts = gradient(
            n, m, T(epoch), xi[:, :n_features], xi[:, n_features:], X, codes
        )
        V = momentum * V - np.hstack(parts)
        for mu in range(len(xi)):
            largest = np.abs(V[mu]).max()
            if largest > 0:
                xi[mu] = np.clip(xi[mu] + rate(epoch) * V[mu] / largest, -1, 1)
    return xi


def recall(F, memories, state, orders, free=None, tie=lambda difference, parts: False):
    """Update a state unit by unit until a sweep flips nothing.

    All numbers are Python integers where F returns such. ``tie`` may count a difference
    that is not zero as one, given the terms it is the sum of. Returns the state, the
    number of sweeps and the energies after each update.
    """
    memories = [[int(xi) for xi in memory] for memory in memories]
    state = [int(sigma) for sigma in state]
    energies = []
    sweeps = 0
    for order in orders:
        sweeps += 1
        flips = 0
        for i in (int(i) for i in order):
            if free is not None and not free[i]:
                continue
            parts = []
            for xi in memories:
                rest = sum(xi[j] * state[j] for j in range(len(state)) if j != i)
                parts += [F(rest + xi[i]), -F(rest - xi[i])]
            difference = sum(parts)
            new = 1 if difference > 0 else -1
            if difference == 0 or tie(difference, parts):
                new = state[i] or 1
            flips += new != state[i]
            state[i] = new
            energies.append(binary_energy(F, memories, state))
        if not flips:
            break
    return state, sweeps, energies


def binary_energy(F, memories, state):
    """Return E = -sum_mu F(sum_i xi_i sigma_i)."""
    overlaps = [
        sum(int(a) * int(b) for a, b in zip(xi, state, strict=True)) for xi in memories
    ]
    return -sum(F(h) for h in overlaps)


def contributions(F, T, visible, recognition, v, code):
    """Return what each memory contributes to minus the energy.

    The visible units are clamped to v, and the classification units to class ``code``.
    """
    values = []
    for mu in range(len(visible)):
        overlap = 0.0
        for i in range(len(v)):
            overlap += visible[mu, i] * v[i]
        for alpha in range(recognition.shape[1]):
            overlap += recognition[mu, alpha] * (1 if alpha == code else -1)
        values.append(F(overlap / T))
    return values
