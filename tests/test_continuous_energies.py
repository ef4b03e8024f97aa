"""Energies of real vectors, against their formulas written out in loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skdam import continuous_energies
from skdam.continuous_energies import (
    ContinuousEnergy,
    Entmax,
    LogSumExp,
    LogSumPower,
    get_continuous_energy,
)
from skdam.energies import Exponential, LogCosh, RectifiedPolynomial

ENERGIES = [
    LogSumExp(),
    LogSumPower(),
    LogSumPower(2),
    LogSumPower(3.5),
    LogSumPower(30),
    Entmax(2),
    Entmax(1.5),
    Entmax(1.2),
]


def entmax(x, alpha):
    """Return entmax of one row, with the threshold found by bisection."""
    low, high = (alpha - 1) * max(x) - 1, (alpha - 1) * max(x)
    for _ in range(200):
        tau = (low + high) / 2
        total = 0.0
        for each in x:
            if (alpha - 1) * each > tau:
                total += ((alpha - 1) * each - tau) ** (1 / (alpha - 1))
        low, high = (tau, high) if total > 1 else (low, tau)
    return [max((alpha - 1) * each - low, 0) ** (1 / (alpha - 1)) for each in x]


def literal_value(energy, x):
    """Return Q of one row."""
    if isinstance(energy, LogSumExp):
        return math.log(sum(math.exp(each) for each in x))
    if isinstance(energy, LogSumPower):
        return math.log(sum(max(1 + each, 0) ** energy.power for each in x))
    a, p = energy.alpha, entmax(x, energy.alpha)
    entropy = sum(each - each**a for each in p) / (a * (a - 1))
    return sum(each * weight for each, weight in zip(x, p, strict=True)) + entropy


def literal_weights(energy, x):
    """Return the slopes of Q of one row, over their sum."""
    if isinstance(energy, LogSumExp):
        slopes = [math.exp(each) for each in x]
    elif isinstance(energy, LogSumPower):
        n = energy.power
        slopes = [n * (1 + each) ** (n - 1) if 1 + each > 0 else 0 for each in x]
    else:
        slopes = entmax(x, energy.alpha)
    return [each / sum(slopes) for each in slopes]


@pytest.fixture
def x():
    x = np.random.default_rng(0).normal(-1, 2, (20, 15))
    x[:, 0] = np.abs(x[:, 0])  # so that each row has something above -1
    return x


@pytest.mark.parametrize("energy", ENERGIES, ids=str)
def test_values_are_the_formulas(energy, x):
    expected = [literal_value(energy, row.tolist()) for row in x]
    assert_allclose(energy.value(x), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("energy", ENERGIES, ids=str)
def test_weights_are_the_formulas(energy, x):
    gradient = energy.gradient(x)
    weights = gradient / gradient.sum(axis=1, keepdims=True)
    expected = [literal_weights(energy, row.tolist()) for row in x]
    assert_allclose(weights, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("energy", ENERGIES, ids=str)
def test_gradient_is_that_of_the_value(energy, x):
    """Central differences of Q, up to the factor of each row."""
    found = np.empty_like(x)
    for column in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[column] = 1e-5
        found[:, column] = (energy.value(x + step) - energy.value(x - step)) / 2e-5
    gradient = energy.gradient(x)
    found /= found.sum(axis=1, keepdims=True)
    gradient = gradient / gradient.sum(axis=1, keepdims=True)
    assert_allclose(gradient, found, atol=2e-4)


@given(
    st.sampled_from(ENERGIES),
    st.lists(st.floats(-50, 50), min_size=1, max_size=9),
    st.sampled_from([np.float32, np.float64]),
)
def test_weights_of_any_similarities(energy, x, dtype):
    gradient = energy.gradient(np.array([x], dtype))
    assert gradient.shape == (1, len(x)) and gradient.dtype == dtype
    assert np.isfinite(gradient).all() and (gradient >= 0).all()
    assert gradient.sum() > 0
    # The nearest memory has the largest weight.
    assert gradient[0, np.argmax(np.array(x, dtype))] == gradient.max()


@pytest.mark.parametrize("alpha", [2, 1.5])
def test_entmax_against_literal_torch(alpha):
    """The sorted algorithms of the papers, in PyTorch."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(np.random.default_rng(1).normal(0, 2, (30, 50)))
    z = (alpha - 1) * x
    ordered, _ = torch.sort(z, dim=1, descending=True)
    k = torch.arange(1, x.shape[1] + 1)
    if alpha == 2:
        total = torch.cumsum(ordered, 1) - 1
        size = (k * ordered > total).sum(1, keepdim=True)
        tau = total.gather(1, size - 1) / size
        expected = (z - tau).clamp(min=0)
    else:
        mean = torch.cumsum(ordered, 1) / k
        spread = torch.cumsum(ordered**2, 1) - k * mean**2
        tau = mean - ((1 - spread).clamp(min=0) / k).sqrt()
        size = (tau <= ordered).sum(1, keepdim=True)
        expected = (z - tau.gather(1, size - 1)).clamp(min=0) ** 2
    assert_allclose(Entmax(alpha).gradient(x.numpy()), expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("alpha", [1.2, 1.5, 2])
@pytest.mark.parametrize("n_memories", [1, 16, 17, 33, 1001])
def test_entmax_of_few_and_of_many(n_memories, alpha, dtype, monkeypatch):
    """The nearest alone, all at once, and groups of memories of any number."""
    x = np.random.default_rng(0).normal(size=(2, n_memories))
    for scale in (1e-3, 0.3, 30):
        cast = (scale * x).astype(dtype)
        expected = [entmax(row.tolist(), alpha) for row in cast]
        for share in (0, continuous_energies.FEW, 2):
            monkeypatch.setattr(continuous_energies, "FEW", share)
            for memory_order in "CF":
                found = Entmax(alpha).gradient(np.asarray(cast, order=memory_order))
                assert found.dtype == dtype
                rounding = np.finfo(dtype).eps * max(1, scale)
                assert_allclose(found, expected, atol=50 * rounding)
            monkeypatch.undo()


def test_entmax_of_large_similarities():
    """Differences smaller than the rounding of the similarities themselves."""
    x = np.array([[1e8, 1e8, 0, -1e30], [-3e8, -3e8 - 64, -3e8, -4e8]], np.float32)
    for alpha in (1.1, 1.5, 2):
        expected = [[0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0]]
        assert_allclose(Entmax(alpha).gradient(x), expected, rtol=1e-6)
    last = np.array([[0] * 17 + [1e4, 1e4 + 0.25]], np.float32)
    assert_allclose(Entmax(2).gradient(last)[0, -2:], [0.375, 0.625], rtol=1e-6)


def test_weights_below_rounding_errors_are_zero():
    x = np.array([[0, -30, -40, -1000], [-1000, -1020, -1000, -1e30]])
    for dtype, expected in (
        (np.float32, [[1, np.exp(-30), 0, 0], [1, np.exp(-20), 1, 0]]),
        (np.float64, [[1, np.exp(-30), np.exp(-40), 0], [1, np.exp(-20), 1, 0]]),
    ):
        found = LogSumExp().gradient(x.astype(dtype))
        assert_allclose(found, expected, rtol=1e-5)
        assert (found[:, 3] == 0).all()


def test_softmax_and_log_sum_exp_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x = torch.tensor(np.random.default_rng(1).normal(0, 20, (30, 50)))
    gradient = LogSumExp().gradient(x.numpy())
    gradient /= gradient.sum(axis=1, keepdims=True)
    assert_allclose(gradient, torch.softmax(x, 1).numpy(), atol=1e-14)
    value = LogSumExp().value(x.numpy())
    assert_allclose(value, torch.logsumexp(x, 1).numpy(), rtol=1e-13)


@pytest.mark.parametrize("energy", ENERGIES, ids=str)
@pytest.mark.parametrize("n_memories", [2, 10, 1000])
def test_margin_leaves_others_one_percent(energy, n_memories):
    """All others at the margin have at most 1 % together, and at half of it more.

    With powers below 3 no two kernels overlap: others have no weight at a quarter.
    """
    is_small = isinstance(energy, LogSumPower) and energy.power < 3
    allowed = 0 if is_small or isinstance(energy, Entmax) else 0.01
    margin = energy.margin(n_memories) / (4 if is_small else 1)
    x = np.full((2, n_memories), -margin)
    x[1] /= 2
    x[:, 0] = 0
    gradient = energy.gradient(x)
    others = gradient[:, 1:].sum(axis=1) / gradient[:, 0]
    assert others[0] <= allowed + 1e-12
    assert others[1] > 0.01


def test_no_weight_is_a_subnormal_number():
    x = np.linspace(-2000, 0, 4001, dtype=np.float32)[None]
    for energy in (LogSumExp(), LogSumPower(100), LogSumPower(3)):
        gradient = energy.gradient(x / (1 if energy == LogSumExp() else 2000))
        assert not ((gradient > 0) & (gradient < np.finfo(np.float32).tiny)).any()


def test_names():
    assert get_continuous_energy("log_sum_exp") == LogSumExp()
    assert get_continuous_energy("log_sum_relu", power=7) == LogSumPower(1)
    assert get_continuous_energy("rectified_polynomial", power=7) == LogSumPower(7)
    assert get_continuous_energy("entmax") == Entmax(1.5)
    assert get_continuous_energy("sparsemax") == Entmax(2)
    assert get_continuous_energy(RectifiedPolynomial(4)) == LogSumPower(4)
    assert get_continuous_energy(Exponential()) == LogSumExp()
    assert all(isinstance(energy, ContinuousEnergy) for energy in ENERGIES)
    with pytest.raises(ValueError, match="'softmax' is unknown; known: .'entmax'"):
        get_continuous_energy("softmax")
    for wrong in (LogCosh(), LogSumExp, 3, None):
        with pytest.raises(TypeError, match="must be a name in"):
            get_continuous_energy(wrong)


@pytest.mark.parametrize("alpha", [1, 0.5, 2.1, np.nan])
def test_alpha_outside_its_range(alpha):
    with pytest.raises(ValueError, match="alpha=.* must be above 1 and at most 2"):
        Entmax(alpha)


@pytest.mark.parametrize("power", [0.5, np.nan, np.inf])
def test_power_outside_its_range(power):
    with pytest.raises(ValueError, match="power=.* must be a finite number of at"):
        LogSumPower(power)
