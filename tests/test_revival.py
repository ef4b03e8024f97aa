import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from skdam import DenseAssociativeMemoryClassifier
from skdam.devices import to_numpy
from skdam.energies import RectifiedPolynomial
from skdam.formulations import get_formulation
from skdam.kernels.numpy import NumpyKernel
from skdam.revival import Revival, silent_memories
from skdam.training import State

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 6, "n_memories": 60} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


def network(formulation="feedforward"):
    """Return a kernel, samples, and memories of which only some can respond."""
    X = np.array([[1.0, 0.5], [0.5, 1.0]])
    memories = np.array([[-1.0, -1.0], [-1.0, 0.9], [-0.1, -0.1]])
    state = State.at_rest(memories, np.full((3, 2), -0.5))
    state.velocity[:] = 1
    state.log_scale[:] = 0
    equations = get_formulation(formulation, RectifiedPolynomial(3), 1.0)
    return NumpyKernel(equations), X, state


def test_what_is_silent():
    assert_array_equal(silent_memories(*network()[::2], network()[1], 2), [1, 0, 1])
    # Flipping a classification unit adds at most 2 to an overlap, whose units at -1
    # add 1 here: -1.5 + 1 + 2 > 0.
    kernel, X, state = network("energy")
    assert_array_equal(silent_memories(kernel, state, X, 1), [0, 0, 0])
    assert_array_equal(silent_memories(kernel, state, 5 * X, 9), [1, 0, 0])


def test_the_silent_are_drawn_anew_and_at_rest():
    kernel, X, state = network()
    before = network()[2]
    assert Revival(2, 0.3, seed=0).apply(kernel, state, X, 2, epoch=1) == 2
    assert_array_equal(state.memories[1], before.memories[1])
    assert_array_equal(state.velocity[1], before.velocity[1])
    for row in (0, 2):
        assert (state.memories[row] != before.memories[row]).all()
        assert (state.connections[row] != before.connections[row]).all()
        assert not state.velocity[row].any()
        assert not state.connection_velocity[row].any()
        assert np.isneginf(state.log_scale[row])
    again = network()[2]
    assert Revival(2, 0.3, seed=0).apply(kernel, again, X, 2, epoch=1) == 2
    assert_array_equal(again.memories, state.memories)
    assert Revival(2, 0.3, seed=0).apply(kernel, again, X, 2, epoch=2) == 0


def test_fewer_memories_are_silent(digits):
    X, _, y, _ = digits

    def share(revival):
        clf = small(n_memories=300, max_iter=15, revival=revival).fit(X, y)
        return (clf.memories_ @ X.T <= 0).all(axis=1).mean()

    assert share(1.0) < 0.8 * share(0.0)


def test_only_a_rectified_energy_silences(digits):
    X, _, y, _ = digits
    parameters = {"energy": "polynomial", "power": 3}
    with_revival, without = (
        small(revival=revival, **parameters).fit(X, y) for revival in (1.0, 0.0)
    )
    assert_array_equal(with_revival.memories_, without.memories_)


def test_fit_and_partial_fit_revive_alike(digits):
    X, _, y, _ = digits
    parameters = {"shuffle": False, "revival": 0.5, "tol": None}
    clf = small(**parameters).fit(X, y)
    other = small(**parameters)
    for _ in range(6):
        other.partial_fit(X, y, classes=np.arange(10))
    assert_array_equal(other.memories_, clf.memories_)
    assert (clf.memories_ != small(shuffle=False, tol=None).fit(X, y).memories_).any()


def test_other_namespaces_revive_alike(digits):
    xp = pytest.importorskip("array_api_strict")
    X, _, y, _ = (part[:300] for part in digits)
    expected = small(revival=1.0).fit(X, y)
    with config_context(array_api_dispatch=True):
        clf = small(revival=1.0).fit(xp.asarray(X), xp.asarray(y))
    assert_allclose(to_numpy(clf.memories_), expected.memories_, atol=1e-7)


@pytest.mark.parametrize("name, value", [("revival", 1.5), ("revival_std", 0)])
def test_bad_parameters(name, value, digits):
    X, _, y, _ = digits
    with pytest.raises(ValueError, match=name):
        small(**{name: value}).fit(X, y)
