"""A few epochs on the real thing."""

import pytest

from skdam import DenseAssociativeMemoryClassifier


@pytest.mark.slow
@pytest.mark.parametrize(
    "formulation, power, error_exponent, bound",
    [
        ("feedforward", 2, 3, 0.05),
        ("feedforward", 3, 10, 0.05),
        ("feedforward", 20, 10, 0.10),
        ("energy", 3, 10, 0.05),
        ("energy", 20, 10, 0.15),
    ],
)
def test_learns_mnist(formulation, power, error_exponent, bound, mnist):
    clf = DenseAssociativeMemoryClassifier(
        300,
        formulation=formulation,
        power=power,
        error_exponent=error_exponent,
        max_iter=12 if power == 20 else 6,
        # Few steps have to be large.
        learning_rate_init=0.04 if power == 20 else 0.02,
        init=(0.0, 0.3),
        random_state=0,
    ).fit(mnist.X_train[:20000], mnist.y_train[:20000])
    assert 1 - clf.score(mnist.X_test, mnist.y_test) < bound
