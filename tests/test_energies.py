import literal
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdam.energies import (
    Energy,
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
    get_energy,
)

ENERGIES = [
    RectifiedPolynomial(1),
    RectifiedPolynomial(1.5),
    RectifiedPolynomial(2),
    RectifiedPolynomial(2.5),
    RectifiedPolynomial(3),
    RectifiedPolynomial(4),
    RectifiedPolynomial(7),
    RectifiedPolynomial(30),
    Polynomial(1),
    Polynomial(2),
    Polynomial(3),
    Polynomial(6),
    LogCosh(),
    Softplus(),
    Exponential(),
]
X = np.array([-2.3, -1.1, -0.4, 0.3, 0.9, 1.7])


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
def test_activation_and_slope_are_derivatives(energy):
    step = 1e-6
    f = (energy.value(X + step) - energy.value(X - step)) / (2 * step)
    assert_allclose(energy.activation(X), f, rtol=1e-7, atol=1e-9)
    slope = (energy.activation(X + step) - energy.activation(X - step)) / (2 * step)
    assert_allclose(energy.slope(X), slope, rtol=1e-7, atol=1e-8)


def test_values_are_the_duality_table():
    assert_allclose(Polynomial(3).value(X), X**3)
    assert_allclose(RectifiedPolynomial(3).value(X), np.where(X > 0, X, 0) ** 3)
    assert_allclose(LogCosh().value(X), np.log(np.cosh(X)))
    assert_allclose(LogCosh().activation(X), np.tanh(X))
    assert_allclose(Softplus().value(X), np.log(1 + np.exp(X)))
    assert_allclose(Softplus().activation(X), 1 / (1 + np.exp(-X)))
    assert_allclose(RectifiedPolynomial(2).activation(X) / 2, np.maximum(X, 0))


@pytest.mark.parametrize("energy", [LogCosh(), Softplus()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_overflow_far_from_zero(energy, dtype):
    x = np.array([-1e4, 1e4], dtype)
    for function in (energy.value, energy.activation, energy.slope):
        result = function(x)
        assert result.dtype == dtype
        assert np.isfinite(result).all()
    assert_allclose(energy.value(x)[1], 1e4, rtol=1e-3)


def test_one_universality_class():
    # LogCosh and Softplus go like |x| and max(x, 0), as power 1 does.
    far = np.array([-50.0, 50.0])
    assert_allclose(LogCosh().value(far) / 50, [1, 1], rtol=0.02)
    assert_allclose(Softplus().value(far), RectifiedPolynomial(1).value(far), atol=1e-9)


def test_get_energy_takes_an_object():
    quartic = literal.Quartic()
    assert isinstance(quartic, Energy)
    assert get_energy(quartic) is quartic


@pytest.mark.parametrize("power", [0.5, 0, -1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["polynomial", "rectified_polynomial"])
def test_bad_power(name, power):
    with pytest.raises(ValueError, match="power"):
        get_energy(name, power)


def test_bad_energy():
    with pytest.raises(ValueError, match="power=2.5 is not a whole number"):
        Polynomial(2.5)
    with pytest.raises(ValueError, match="energy='cubic' is unknown"):
        get_energy("cubic")
    with pytest.raises(TypeError, match="value, activation and slope"):
        get_energy(object())
    with pytest.raises(TypeError, match="value, activation and slope"):
        get_energy(LogCosh)
