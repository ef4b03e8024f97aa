"""scikit-learn's own suite of checks, with nothing excused."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdam import DenseAssociativeMemoryClassifier


@parametrize_with_checks(
    [
        DenseAssociativeMemoryClassifier(),
        DenseAssociativeMemoryClassifier(formulation="energy"),
        DenseAssociativeMemoryClassifier(power=2, n_memories=50, loss="log_loss"),
    ]
)
def test_check_estimator(estimator, check):
    with warnings.catch_warnings():
        # Some checks fit noise, or for a single epoch.
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)
