from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax

from skdam.losses import BinaryLogLoss, LogLoss, PowerError, get_loss

RNG = np.random.default_rng(0)
SCORES = RNG.normal(0, 1.5, (7, 4))
TARGETS = 2 * np.eye(4)[RNG.integers(4, size=7)] - 1
OBJECTIVES = [PowerError(1), PowerError(1.5), PowerError(10), PowerError(30), LogLoss()]
OF_LABELS = [PowerError(1, True), PowerError(10, True), BinaryLogLoss()]
LABELS = 2 * RNG.integers(2, size=(7, 4)) - 1.0


def test_power_error_is_the_papers():
    for m in (1, 2, 10):
        c = np.tanh(SCORES)
        expected = (np.abs(c - TARGETS) ** (2 * m)).sum(axis=1) / 4**m
        result = PowerError(m).evaluate(SCORES, TARGETS)
        assert_allclose(result.loss, expected, rtol=1e-9)


def test_log_loss_is_cross_entropy():
    expected = -log_softmax(SCORES, axis=1)[TARGETS > 0]
    assert_allclose(LogLoss().evaluate(SCORES, TARGETS).loss, expected)


def test_binary_log_loss_is_that_of_each_label():
    p = (1 + np.tanh(SCORES)) / 2
    expected = -np.log(np.where(LABELS > 0, p, 1 - p)).sum(axis=1)
    assert_allclose(BinaryLogLoss().evaluate(SCORES, LABELS).loss, expected)


@pytest.mark.parametrize("targets", [TARGETS, LABELS], ids=["class", "labels"])
@pytest.mark.parametrize("objective", OBJECTIVES + OF_LABELS, ids=repr)
def test_gradient_by_finite_differences(objective, targets):
    if targets is LABELS and objective == LogLoss():
        pytest.skip("one class a sample")
    result = objective.evaluate(SCORES, targets)
    gradient = result.delta * np.exp(result.log_scale)[:, None]
    assert_allclose(np.abs(result.delta).max(axis=1), 1)
    step = 1e-6
    for alpha in range(4):
        shift = step * np.eye(4)[alpha]
        above = objective.evaluate(SCORES + shift, targets).loss
        below = objective.evaluate(SCORES - shift, targets).loss
        numeric = (above - below) / (2 * step)
        scale = np.abs(gradient).max(axis=1)
        assert np.max(np.abs(gradient[:, alpha] - numeric) / scale) < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "objective", [*OBJECTIVES, *OF_LABELS, PowerError(1000)], ids=repr
)
def test_nothing_saturates(objective, dtype):
    # c = tanh(s) is 1 in single precision beyond s = 9; the gradient must go on.
    scores = np.array([[20, 20], [-20, 20], [3e5, 3e5], [-1e22, 1e22]], dtype)
    targets = np.array([[1, -1]] * 4, dtype)
    loss, delta, log_scale = objective.evaluate(scores, targets)
    assert delta.dtype == dtype
    assert np.isfinite(loss).all()
    assert np.isfinite(delta).all()
    assert np.isfinite(log_scale).all()
    assert (np.abs(delta).max(axis=1) == 1).all()
    # The second unit is on the wrong side: it must be pushed down.
    assert (delta[:, 1] > 0).all()


def test_larger_exponent_looks_at_the_barely_right():
    scores = np.array([[0.1, -0.1], [1.0, -1.0]])
    targets = np.array([[1.0, -1.0]] * 2)
    gaps = [
        np.subtract(*PowerError(m).evaluate(scores, targets).log_scale)
        for m in (1, 3, 10, 30)
    ]
    assert (np.diff(gaps) > 0).all()


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("objective", OF_LABELS, ids=repr)
def test_probability_of_a_label_has_the_least_expected_loss(objective, p):
    m = getattr(objective, "exponent", 1)
    grid = np.linspace(-6, 6, 200_001)[:, None] / (2 * m)
    has, has_not = (objective.evaluate(grid, np.full_like(grid, t)) for t in (1, -1))
    best = np.argmin(p * has.loss + (1 - p) * has_not.loss)
    log_p = objective.log_probabilities(grid[[best]])
    assert_allclose(np.exp(log_p), p, atol=1e-3)


@pytest.mark.parametrize("m", [1, 3, 10])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_likelihood_inverts_the_minimum_of_the_expected_error(m, p):
    grid = np.linspace(-6, 6, 200_001)[:, None] / (2 * m)
    true, false = (PowerError(m).evaluate(grid, np.full_like(grid, t)) for t in (1, -1))
    best = grid[np.argmin(p * true.loss + (1 - p) * false.loss)]
    two_units = np.array([[-best[0], best[0]]])
    log_p = PowerError(m).log_probabilities(two_units)
    assert_allclose(expit(log_p[0, 1] - log_p[0, 0]), p, atol=1e-3)


def test_likelihoods_keep_the_order_of_the_scores():
    scores = np.vstack([SCORES * scale for scale in (1e-3, 1, 30, 1e20)])
    likelihoods = PowerError(10).log_probabilities(scores)
    assert (likelihoods.argmax(axis=1) == scores.argmax(axis=1)).all()


def test_get_loss():
    assert get_loss("power", 7) == PowerError(7)
    assert get_loss("log_loss") == LogLoss()
    assert get_loss("power", 7, multilabel=True) == PowerError(7, True)
    assert get_loss("log_loss", multilabel=True) == BinaryLogLoss()


@pytest.mark.parametrize("scale", [1e-3, 1, 30, 1e4])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("objective", OBJECTIVES + OF_LABELS, ids=repr)
def test_log_probabilities_are_exact(objective, n_classes, scale):
    scores = scale * np.random.default_rng(0).normal(size=(10, n_classes))
    expected = [literal_logs(objective, row) for row in scores]
    assert_allclose(objective.log_probabilities(scores), expected, rtol=1e-10)


def literal_logs(objective, scores):
    """Return ln P, by the definition of P, in numbers that do not underflow."""
    scores = [Decimal(float(s)) for s in scores]
    with localcontext(prec=100, Emin=MIN_EMIN, Emax=MAX_EMAX):
        if objective.multilabel:
            odds = 2 if objective == BinaryLogLoss() else 4 * objective.exponent - 2
            against = [(-odds * s).exp() for s in scores]
            return [float(-(1 + x).ln() if x > 1e-50 else -x) for x in against]
        if isinstance(objective, LogLoss):
            p = [s.exp() for s in scores]
        else:
            odds = [(Decimal(4 * objective.exponent - 2) * s).exp() for s in scores]
            if len(scores) == 2:
                p = [o.sqrt() for o in odds]
            else:
                second = max(sorted(odds)[-2], Decimal(1))
                p = [o / (second + o) for o in odds]
        # 1 / P - 1 for each class, so that a P of nearly 1 keeps its digits.
        odds_against = [sum(p[:a] + p[a + 1 :]) / p[a] for a in range(len(p))]
        return [float(-(1 + x).ln() if x > 1e-50 else -x) for x in odds_against]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "objective", [*OBJECTIVES, *OF_LABELS, PowerError(0.5)], ids=repr
)
def test_log_probabilities_of_the_largest_scores_are_finite(objective, dtype):
    most = np.finfo(dtype).max
    for row in ([most, -most], [most, most, -most], [-most] * 3, [most, 0, -most]):
        log_p = objective.log_probabilities(np.array([row], dtype))
        assert log_p.dtype == dtype
        assert np.isfinite(log_p).all()
