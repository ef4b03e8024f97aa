"""Dead memories: found, and reinitialised."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plain_settings import PLAIN
from sklearn import config_context

from skdam import DenseAssociativeMemoryClassifier
from skdam._backends.array_api import ArrayApiTrainer
from skdam._backends.cpu import CpuTrainer
from skdam._devices import to_numpy
from skdam._resolve import LearningRate
from skdam._samples import Samples
from skdam._training import _reinitialise_dead
from skdam.energies import RectifiedPolynomial
from skdam.losses import PowerError
from skdam.network import Network
from skdam.updates import EnergyDifference, Feedforward

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(**parameters):
    parameters = {"random_state": 0, "max_iter": 6, "n_memories": 60} | parameters
    return DenseAssociativeMemoryClassifier(**parameters)


X = np.array([[1.0, 0.5], [0.5, 1.0]])


def network(kind=Feedforward):
    """Return a network of which only some memories can respond to X."""
    memories = np.array([[-1.0, -1.0], [-1.0, 0.9], [-0.1, -0.1]])
    weights = np.vstack([memories.T, np.full((2, 3), -0.5)])
    update = kind(RectifiedPolynomial(3), 1.0)
    return Network(weights, 2, 0.0, update, PowerError(1))


def test_what_is_dead():
    rows, memories = np.arange(2), np.arange(3)
    assert_array_equal(network().responds(X, rows, memories), [0, 1, 0])
    assert_array_equal(network().responds(X, rows, np.array([1])), [1])
    assert_array_equal(network().responds(X, np.array([0]), memories), [0, 0, 0])
    # Flipping a classification unit adds at most 2 to an overlap, whose units at -1
    # add 1 here: -1.5 + 1 + 2 > 0.
    exact = network(EnergyDifference)
    assert_array_equal(exact.responds(X, rows, memories), [1, 1, 1])
    assert_array_equal(exact.responds(5 * X, rows, memories), [0, 1, 1])


@pytest.mark.parametrize("kind", [CpuTrainer, ArrayApiTrainer])
def test_the_dead_are_reinitialised_and_at_rest(kind):
    settings = replace(
        PLAIN,
        loss=PowerError(1),
        n_memories=3,
        learning_rate=LearningRate(1e-9, "constant", 1.0, 1),
        batch_size=2,
        n_reinit_epochs=9,
        largest_overlap=9.0,
    )

    def after(epoch):
        samples = Samples(X, np.array([0, 1], np.int32))
        trainer = kind(network(), samples, settings)
        trainer.epoch(0, None, 1.0)
        assert_array_equal(trainer.without_gradient(), [1, 0, 1])
        before = to_numpy(trainer.network.weights).copy()
        _reinitialise_dead(trainer, samples, settings, epoch)
        velocity = trainer.velocity().values
        return before, to_numpy(trainer.network.weights), velocity

    before, weights, velocity = after(epoch=1)
    assert_array_equal(weights[:, 1], before[:, 1])
    assert (weights[:, [0, 2]] != before[:, [0, 2]]).all()
    assert not velocity[:, [0, 2]].any()
    assert velocity[:, 1].any()
    assert_array_equal(after(epoch=1)[1], weights)
    # Another draw in every epoch.
    assert (after(epoch=2)[1][:, [0, 2]] != weights[:, [0, 2]]).all()


def test_fewer_memories_are_dead(digits):
    X, _, y, _ = digits

    def share(reinit_dead):
        clf = small(n_memories=300, max_iter=15, reinit_dead=reinit_dead).fit(X, y)
        return (clf.memories_ @ X.T <= 0).all(axis=1).mean()

    assert share(1.0) < 0.8 * share(0.0)


def test_only_a_rectified_energy_kills(digits):
    X, _, y, _ = digits
    parameters = {"energy": "polynomial", "power": 3}
    with_reinit, without = (
        small(reinit_dead=reinit_dead, **parameters).fit(X, y)
        for reinit_dead in (1.0, 0.0)
    )
    assert_array_equal(with_reinit.memories_, without.memories_)


def test_fit_and_partial_fit_reinitialise_alike(digits):
    X, _, y, _ = digits
    parameters = {"shuffle": False, "reinit_dead": 0.5, "tol": None}
    clf = small(**parameters).fit(X, y)
    other = small(**parameters)
    for _ in range(6):
        other.partial_fit(X, y, classes=np.arange(10))
    assert_array_equal(other.memories_, clf.memories_)
    assert (clf.memories_ != small(shuffle=False, tol=None).fit(X, y).memories_).any()


def test_other_namespaces_reinitialise_alike(digits):
    xp = pytest.importorskip("array_api_strict")
    X, _, y, _ = (part[:300] for part in digits)
    expected = small(reinit_dead=1.0).fit(X, y)
    with config_context(array_api_dispatch=True):
        clf = small(reinit_dead=1.0).fit(xp.asarray(X), xp.asarray(y))
    assert_allclose(to_numpy(clf.memories_), expected.memories_, atol=1e-7)


def test_all_samples_may_show_that_a_memory_lives():
    samples = np.vstack([X, np.zeros((300, 2)), [[-1, -1]]])
    alive = network().responds(samples, np.arange(len(samples)), np.arange(3))
    assert_array_equal(alive, [1, 1, 1])


def test_memories_are_reinitialised_in_a_share_of_the_epochs(monkeypatch, digits):
    epochs = []
    monkeypatch.setattr(
        "skdam._training._reinitialise_dead", lambda *args: epochs.append(args[-1])
    )
    small(reinit_dead=0.5, tol=None).fit(digits[0], digits[2])
    assert epochs == [0, 1, 2]


def test_scales_of_the_reinitialised_start_anew(monkeypatch, digits):
    X, _, y, _ = digits
    expected = small(reinit_dead=1.0).fit(X, y).memories_
    assert (expected != small(reinit_dead=0.0).fit(X, y).memories_).any()
    original = CpuTrainer._set_velocity

    def narrow(self, velocity):
        # Scales are renewed in nearly every step.
        original(self, velocity)
        self.range, self.floor = 0.3, -0.2

    monkeypatch.setattr(CpuTrainer, "_set_velocity", narrow)
    assert_allclose(small(reinit_dead=1.0).fit(X, y).memories_, expected, atol=1e-9)
