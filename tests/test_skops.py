"""skops reads models without trusting types of this package but the estimators."""

import pickle
import warnings

import numpy as np
import pytest
from literal import Quartic
from numpy.testing import assert_array_equal
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdam import DenseAssociativeMemory, DenseAssociativeMemoryClassifier, from_mlp
from skdam.energies import LogCosh, NamedEnergy, RectifiedPolynomial
from skdam.inspection import contributions

io = pytest.importorskip("skops.io", reason="skops is missing")

CLASSIFIER = "skdam.classifier.DenseAssociativeMemoryClassifier"
MEMORY = "skdam.associative_memory.DenseAssociativeMemory"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = (X[:, 0] > 0) + 1 * (X[:, 1] > 0)


def small(**parameters):
    return DenseAssociativeMemoryClassifier(
        **{"n_memories": 20, "max_iter": 10, "random_state": 0} | parameters
    )


def through_skops(estimator, trusted):
    data = io.dumps(estimator)
    assert io.get_untrusted_types(data=data) == trusted
    return io.loads(data, trusted=trusted)


@pytest.mark.parametrize("loss", ["power", "log_loss"])
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
@pytest.mark.parametrize("energy", [*NamedEnergy.known, LogCosh()], ids=str)
def test_classifiers(energy, formulation, loss):
    clf = small(energy=energy, formulation=formulation, loss=loss).fit(X, Y)
    other = through_skops(clf, [CLASSIFIER])
    assert other.network_.update == clf.network_.update
    assert other.network_.loss == clf.network_.loss
    assert other.get_params() == clf.get_params()
    assert_array_equal(other.decision_function(X), clf.decision_function(X))
    assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
    assert_array_equal(contributions(other, X), contributions(clf, X))


@pytest.mark.parametrize(
    "parameters",
    [
        {"init": (0.0, 0.1), "class_weight": {0: 2.0}},
        {"init": RNG.uniform(-1, 1, (20, 8)), "temperature_ramp": (2.0, 3)},
        {"early_stopping": True, "random_state": np.random.RandomState(0)},
        {"energy": RectifiedPolynomial(np.float64(2.5)), "power": np.int64(2)},
    ],
    ids=lambda parameters: ", ".join(parameters),
)
@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]], ids=str)
def test_parameters_and_labels_of_any_kind(labels, parameters):
    y = np.array(labels, object if labels[0] == "a" else None)[Y]
    if labels[0] == "a" and "class_weight" in parameters:
        parameters = parameters | {"class_weight": {"a": 2.0}}
    clf = make_pipeline(StandardScaler(), small(**parameters)).fit(X, y)
    other = through_skops(clf, [CLASSIFIER])
    assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
    assert_array_equal(other.predict(X), clf.predict(X))


def test_training_goes_on():
    clf = small().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X[:30], Y[:30])
    for other in (
        through_skops(clf, [CLASSIFIER]),
        pickle.loads(pickle.dumps(clf)),
    ):
        again = pickle.loads(pickle.dumps(clf))
        for model in (other, again):
            model.partial_fit(X, Y)
        assert_array_equal(other.memories_, again.memories_)
        assert other.loss_curve_ == again.loss_curve_


def test_a_perceptron_as_memories():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf = from_mlp(MLPClassifier((20,), max_iter=10, random_state=0).fit(X, Y))
    assert_array_equal(
        through_skops(clf, [CLASSIFIER]).predict_proba(X), clf.predict_proba(X)
    )


@pytest.mark.parametrize("energy", ["polynomial", RectifiedPolynomial(4)], ids=str)
def test_associative_memories(energy):
    memory = DenseAssociativeMemory(energy=energy, random_state=0).fit(X > 0)
    other = through_skops(memory, [MEMORY])
    assert other.energy == energy
    assert_array_equal(other.recall(X > 1), memory.recall(X > 1))


def test_estimators_that_are_not_fitted():
    assert through_skops(small(), [CLASSIFIER]).get_params() == small().get_params()
    assert through_skops(DenseAssociativeMemory(), [MEMORY]).power == 3


def test_an_energy_of_the_users_own_has_to_be_trusted():
    clf = small(energy=Quartic(), temperature=10.0).fit(X, Y)
    other = through_skops(clf, ["literal.Quartic", CLASSIFIER])
    assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
    other = pickle.loads(pickle.dumps(clf))
    assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
