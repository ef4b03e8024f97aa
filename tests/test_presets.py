import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning

from skdam import DenseAssociativeMemoryClassifier, preset


@pytest.mark.parametrize("power", [2, 3, 20, 30])
def test_preset_is_the_papers(power, digits):
    X, _, y, _ = digits
    parameters = preset("krotov-hopfield-2016", power=power)
    clf = DenseAssociativeMemoryClassifier(**parameters)
    assert clf.power == power
    assert (clf.n_memories, clf.batch_size, clf.max_iter) == (2000, 1000, 3000)
    assert (clf.init_mean, clf.init_std) == (-0.3, 0.3)
    assert clf.learning_rate_decay == 0.998
    assert 0.6 <= clf.momentum <= 0.95
    assert (clf.initial_temperature is None) == (power <= 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.set_params(n_memories=20, max_iter=1).fit(X, y)


def test_unknown_preset():
    with pytest.raises(ValueError, match="krotov-hopfield-2016"):
        preset("hopfield-1982")
