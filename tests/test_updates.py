import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.losses import LogLoss, PowerError
from skdam.updates import EnergyDifference, Feedforward, get_update

N_FEATURES, N_CLASSES, N_MEMORIES, N_SAMPLES = 6, 3, 4, 5
T = 1.7
ENERGIES = [
    RectifiedPolynomial(2),
    RectifiedPolynomial(2.5),
    RectifiedPolynomial(3),
    RectifiedPolynomial(20),
    Polynomial(3),
    Polynomial(4),
    LogCosh(),
    Softplus(),
    Exponential(),
]


@pytest.fixture
def network():
    rng = np.random.default_rng(3)
    return (
        rng.uniform(-1, 1, (N_MEMORIES, N_FEATURES)),
        rng.uniform(-1, 1, (N_MEMORIES, N_CLASSES)),
        rng.uniform(-1, 1, (N_SAMPLES, N_FEATURES)),
        2 * np.eye(N_CLASSES)[rng.integers(N_CLASSES, size=N_SAMPLES)] - 1,
    )


def scores_of(formulation, memories, connections, X):
    x = X @ memories.T / formulation.temperature + formulation.offset(connections)
    return formulation.scores(x, connections)


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_scores_are_the_literal_sums(energy, network):
    memories, connections, X, _ = network

    def one(function):
        return lambda x: float(function(np.array([x]))[0])

    for v, s in zip(
        X, scores_of(EnergyDifference(energy, T), memories, connections, X), strict=True
    ):
        expected = literal.update(one(energy.value), T, memories, connections, v)
        assert_allclose(s, expected, rtol=1e-10, atol=1e-13)
    for v, s in zip(
        X, scores_of(Feedforward(energy, T), memories, connections, X), strict=True
    ):
        expected = literal.dual(one(energy.activation), T, memories, connections, v)
        assert_allclose(s, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "objective", [PowerError(1), PowerError(5), LogLoss()], ids=repr
)
@pytest.mark.parametrize("kind", [Feedforward, EnergyDifference])
@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_gradient_by_finite_differences(energy, kind, objective, network):
    memories, connections, X, targets = network
    # x^20 must neither vanish nor saturate.
    T = 1.3 * (X @ memories.T).max() if energy == RectifiedPolynomial(20) else 1.7
    formulation = kind(energy, T)

    def loss(parameters):
        xi = parameters.reshape(N_MEMORIES, -1)
        s = scores_of(formulation, xi[:, :N_FEATURES], xi[:, N_FEATURES:], X)
        return objective.evaluate(s, targets).loss.sum()

    x = X @ memories.T / T + formulation.offset(connections)
    _, delta, log_scale = objective.evaluate(
        formulation.scores(x, connections), targets
    )
    delta = delta * np.exp(log_scale)[:, None]
    d_overlaps, d_connections = formulation.gradient(x, connections, delta)
    gradient = np.hstack([d_overlaps.T @ X / T, d_connections]).ravel()

    start = np.hstack([memories, connections]).ravel()
    step = 1e-5
    numeric = [
        # Five points: an error of order step^4.
        (
            8 * (loss(start + e) - loss(start - e))
            - loss(start + 2 * e)
            + loss(start - 2 * e)
        )
        / (12 * step)
        for e in step * np.eye(len(start))
    ]
    assert np.abs(gradient - numeric).max() < 1e-6 * np.abs(gradient).max()


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_dual_is_the_limit_of_small_classification_states(energy, network):
    # With states of size epsilon in the place of 1, every xi_alpha acts as
    # epsilon xi_alpha, and the energy difference becomes epsilon times the dual.
    memories, connections, X, _ = network
    dual = scores_of(Feedforward(energy, T), memories, connections, X)
    errors = []
    for epsilon in (1e-2, 1e-3, 1e-4):
        small = scores_of(
            EnergyDifference(energy, T), memories, epsilon * connections, X
        )
        errors.append(np.abs(small / epsilon - dual).max() / np.abs(dual).max())
    assert errors[2] < 1e-2
    assert errors[2] < 0.2 * errors[1] < 0.04 * errors[0] + 1e-12


def test_power_two_is_a_relu_network(network):
    memories, connections, X, _ = network
    hidden = np.maximum(X @ memories.T, 0)
    expected = 4 / T**2 * hidden @ connections
    result = scores_of(Feedforward(RectifiedPolynomial(2), T), memories, connections, X)
    assert_allclose(result, expected)


@pytest.mark.parametrize("energy", [RectifiedPolynomial(3), Exponential()], ids=repr)
def test_repeated_update_is_asynchronous(energy, network):
    memories, connections, X, _ = network
    formulation = EnergyDifference(energy, T)
    x = X @ memories.T / T + formulation.offset(connections)
    F = energy.value
    for n_updates in (1, 2, 4):
        result = formulation.repeated(x, connections, n_updates)
        for v, s in zip(X, result, strict=True):
            first = scores_of(formulation, memories, connections, v[None])[0]
            state, expected = np.tanh(first), first.copy()
            for _ in range(n_updates - 1):
                for alpha in range(N_CLASSES):
                    up, down = state.copy(), state.copy()
                    up[alpha], down[alpha] = 1, -1
                    field = memories @ v
                    rise = F((field + connections @ up) / T).sum()
                    fall = F((field + connections @ down) / T).sum()
                    expected[alpha] = rise - fall
                    state[alpha] = np.tanh(expected[alpha])
            assert_allclose(s, expected, rtol=1e-10)


def test_score_is_a_difference_of_energies(network):
    memories, connections, X, _ = network
    formulation = EnergyDifference(RectifiedPolynomial(3), T)
    x = X @ memories.T / T + formulation.offset(connections)
    scores = formulation.scores(x, connections)
    rest = -np.ones((N_SAMPLES, N_CLASSES))

    def energies(states):
        overlaps = x + (states + 1) @ connections.T / T
        return -formulation.energy.value(overlaps).sum(axis=1)

    at_rest = energies(rest)
    for alpha in range(N_CLASSES):
        flipped = rest.copy()
        flipped[:, alpha] = 1
        drop = at_rest - energies(flipped)
        assert_allclose(scores[:, alpha], drop)
    for v, e in zip(X, at_rest, strict=True):
        overlaps = (memories @ v - connections.sum(axis=1)) / T
        assert_allclose(e, -sum(max(h, 0) ** 3 for h in overlaps))


@pytest.mark.parametrize("temperature", [0, -1, np.inf, np.nan])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        get_update("energy", LogCosh(), temperature)
