"""The duality of networks with one hidden layer and dense associative memories.

One update of an associative memory, for small states of its classification units, is a
network with one hidden layer of activation f = F' (Krotov & Hopfield 2016, section
"Duality"). So a trained multi-layer perceptron is an associative memory: each hidden
unit is a memory, its input weights are the visible part and its output weights the
recognition connections.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted

from ._devices import to_numpy
from .classifier import DenseAssociativeMemoryClassifier
from .energies import Energy, LogCosh, RectifiedPolynomial, Softplus
from .losses import BinaryLogLoss, LogLoss, PowerError
from .network import Network
from .updates import Feedforward

__all__ = ["from_mlp", "to_mlp"]

DUALS = {"relu": RectifiedPolynomial(2), "tanh": LogCosh(), "logistic": Softplus()}
"""The duality table, by scikit-learn's names of activations."""

BIAS_STATE = 1.0
"""State of the intercept's neuron: that of a perceptron's bias."""


def from_mlp(mlp: MLPClassifier) -> DenseAssociativeMemoryClassifier:
    """Turn a multi-layer perceptron into the associative memory that it is dual to.

    Every hidden unit becomes a memory. Its bias is the memory's connection to the
    neuron of the intercept, which is at 1. The biases of the output units become one
    more memory, which is the same for all samples; it is left out where they are 0.
    Memories are scaled to lie in [-1, 1], and the temperature undoes the scale.

    Parameters
    ----------
    mlp : MLPClassifier
        Fitted perceptron with one hidden layer of activation "relu", "tanh" or
        "logistic", for classes or for several labels a sample.

    Returns
    -------
    DenseAssociativeMemoryClassifier
        Fitted classifier with the labels and probabilities of the perceptron, and
        ``loss="log_loss"``. No epochs were trained yet. ``partial_fit`` trains it
        further, as does ``fit`` with ``warm_start=True``.

    Raises
    ------
    TypeError
        If ``mlp`` is no MLPClassifier.
    sklearn.exceptions.NotFittedError
        If ``mlp`` is not fitted.
    ValueError
        If its activation has no energy in the table, it has no or several hidden
        layers, it was fitted with a single class, or its weights are not finite.

    See Also
    --------
    to_mlp : The other way.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skdam import from_mlp
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier(20, max_iter=2000, random_state=0).fit(X, y)
    >>> memory = from_mlp(mlp)
    >>> memory.memories_.shape
    (21, 4)
    >>> bool(np.allclose(memory.predict_proba(X), mlp.predict_proba(X)))
    True
    """
    if not isinstance(mlp, MLPClassifier):
        raise TypeError(
            f"mlp must be a fitted MLPClassifier; got {type(mlp).__name__}."
        )
    check_is_fitted(mlp)
    if mlp.activation not in DUALS:
        raise ValueError(
            f"activation={mlp.activation!r} of mlp has no dual energy here; those of "
            f"{sorted(DUALS)} have."
        )
    if len(mlp.coefs_) != 2:
        raise ValueError(
            f"mlp has {len(mlp.coefs_) - 1} hidden layers; an associative memory is "
            "dual to a network with one."
        )
    multilabel = mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1
    if len(mlp.classes_) < 2:
        raise ValueError(
            f"mlp was fitted with the single class {mlp.classes_.tolist()[0]!r}; at "
            "least two are needed."
        )
    energy = DUALS[mlp.activation]
    arrays = [np.asarray(a, np.float64) for a in (*mlp.coefs_, *mlp.intercepts_)]
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("The weights of mlp are not finite.")
    visible, outputs, hidden_bias, output_bias = arrays
    if mlp.out_activation_ == "logistic":
        # Log-odds, which are twice a score: of each label, or of the second class.
        outputs, output_bias = outputs / 2, output_bias / 2
    if mlp.n_outputs_ == 1:
        outputs, output_bias = outputs * [-1, 1], output_bias * [-1, 1]
    visible = np.vstack([visible, hidden_bias])
    if output_bias.any():
        # A memory that only the intercept reaches: its activation is f(1) throughout.
        constant = np.zeros((len(visible), 1))
        constant[-1] = 1
        visible = np.hstack([visible, constant])
        at_one = energy.activation(np.ones(1)) / _gain(energy)
        outputs = np.vstack([outputs, output_bias / at_one])
    weights, temperature = _memories(visible, outputs.T, energy)
    clf = DenseAssociativeMemoryClassifier(
        weights.shape[1],
        power=2,
        energy=energy.name,
        temperature=temperature,
        loss="log_loss",
        intercept_scaling=BIAS_STATE,
    )
    clf.network_ = Network(
        np.ascontiguousarray(weights, mlp.coefs_[0].dtype),
        mlp.n_features_in_,
        BIAS_STATE,
        Feedforward(energy, temperature),
        BinaryLogLoss() if multilabel else LogLoss(),
    )
    clf.classes_ = np.array(mlp.classes_)
    clf.sparse_output_ = mlp._label_binarizer.sparse_input_
    clf.n_features_in_ = mlp.n_features_in_
    if hasattr(mlp, "feature_names_in_"):
        clf.feature_names_in_ = mlp.feature_names_in_
    clf.n_iter_ = clf.best_iter_ = 0
    clf.loss_curve_ = []
    clf.validation_scores_ = clf.validation_loss_curve_ = clf._run = None
    return clf


def to_mlp(clf: DenseAssociativeMemoryClassifier) -> MLPClassifier:
    """Turn an associative memory into the multi-layer perceptron that it is dual to.

    Parameters
    ----------
    clf : DenseAssociativeMemoryClassifier
        Fitted classifier with ``formulation="feedforward"`` and an energy that belongs
        to an activation of MLPClassifier: "rectified_polynomial" with ``power=2``
        (ReLU), "log_cosh" (tanh) or "softplus" (logistic).

    Returns
    -------
    MLPClassifier
        Fitted perceptron with the labels of the classifier and, with
        ``loss="log_loss"``, two classes or several labels a sample, its probabilities.
        ``partial_fit`` trains it further, as does ``fit`` with ``warm_start=True``. It
        does not take NaN.

    Raises
    ------
    TypeError
        If ``clf`` is no DenseAssociativeMemoryClassifier.
    sklearn.exceptions.NotFittedError
        If ``clf`` is not fitted.
    ValueError
        If its formulation or energy has no such perceptron.

    Warns
    -----
    UserWarning
        If the probabilities differ: those of ``loss="power"`` with more than two
        classes are no softmax, while those of a perceptron are.

    See Also
    --------
    from_mlp : The other way.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skdam import DenseAssociativeMemoryClassifier, to_mlp
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> clf = DenseAssociativeMemoryClassifier(50, max_iter=5, random_state=0).fit(X, y)
    >>> mlp = to_mlp(clf)
    >>> mlp.activation, mlp.hidden_layer_sizes
    ('relu', (50,))
    >>> bool(np.allclose(mlp.predict_proba(X), clf.predict_proba(X)))
    True
    """
    if not isinstance(clf, DenseAssociativeMemoryClassifier):
        raise TypeError(
            "clf must be a fitted DenseAssociativeMemoryClassifier; got "
            f"{type(clf).__name__}."
        )
    check_is_fitted(clf)
    network, classes = clf.network_, to_numpy(clf.classes_)
    if not isinstance(network.update, Feedforward):
        raise ValueError(
            "The network of clf has formulation='energy', which is no perceptron; only "
            "formulation='feedforward' is."
        )
    energy = network.energy
    names = [name for name, dual in DUALS.items() if dual == energy]
    if not names:
        raise ValueError(
            f"The energy {energy!r} of clf belongs to no activation of MLPClassifier; "
            f"those of {', '.join(map(repr, DUALS.values()))} do."
        )
    dtype = to_numpy(network.weights).dtype
    weights = to_numpy(network.weights).astype(np.float64)
    visible = weights[: network.n_features] / network.unit
    outputs = weights[network.n_visible :].T
    gain = _gain(energy) * 2 / network.temperature * network.confidence
    if clf.multilabel_:
        # Log-odds are twice a score, or what the power objective makes of it.
        gain *= 2
    if isinstance(network.loss, PowerError):
        gain *= 2 * network.loss.exponent - 1
        if len(classes) > 2 and not clf.multilabel_:
            warnings.warn(
                "The labels of the MLPClassifier are those of clf, but not the "
                "probabilities: those of loss='power' with more than two classes are "
                "no softmax. Fit with loss='log_loss' to have the same.",
                UserWarning,
                stacklevel=2,
            )
    outputs = gain * outputs
    if clf.n_outputs_ == 1:
        outputs = outputs[:, 1:] - outputs[:, :1]
    biases = to_numpy(network.thresholds) * (network.intercept / network.unit)
    mlp = MLPClassifier((network.n_memories,), activation=names[0], random_state=0)
    # A step on one sample of each class makes what a fitted perceptron holds besides.
    one_each = np.zeros((len(classes), network.n_features), dtype)
    y = classes
    if clf.multilabel_:
        y = np.eye(len(classes), dtype=int)
        y = sparse.csr_array(y) if clf.sparse_output_ else y
    mlp.partial_fit(one_each, y, classes=classes).set_params(random_state=None)
    vars(mlp).pop("_optimizer", None)
    mlp.n_iter_ = mlp.t_ = 0
    mlp.loss_ = mlp.best_loss_ = np.inf
    mlp.loss_curve_ = []
    mlp.coefs_ = [visible.astype(dtype), outputs.astype(dtype)]
    mlp.intercepts_ = [biases.astype(dtype), np.zeros(outputs.shape[1], dtype)]
    if hasattr(clf, "feature_names_in_"):
        mlp.feature_names_in_ = clf.feature_names_in_
    return mlp


def _gain(energy: Energy) -> float:
    """Return F' over the activation: 2 for ReLU, as F = x^2, and 1 for the others."""
    return float(getattr(energy, "power", 1))


def _memories(
    visible: np.ndarray, outputs: np.ndarray, energy: Energy
) -> tuple[np.ndarray, float]:
    """Return memories in [-1, 1], one in each column, and their temperature.

    Scores are to be ``outputs @ g(visible^T v)`` with the activation g of the
    perceptron; those of the memories are ``(2 / T) xi_alpha f(xi^T v / T)``.
    """
    # Parts that are all 0 have no scale.
    input_max, output_max = (
        np.where(part.any(axis=0), np.abs(part).max(axis=0), 1)
        for part in (visible, outputs)
    )
    if isinstance(energy, RectifiedPolynomial):
        # g(a x) = a g(x): the two parts of each memory can be made equally large.
        balance = np.sqrt(output_max) / np.sqrt(input_max)
        root = (np.sqrt(input_max) * np.sqrt(output_max)).max()
        root *= 1 + 1e-15  # so that no rounding takes a memory out of [-1, 1]
        memories = np.vstack([visible * balance, outputs / balance]) / root
        return memories, float(2 / root)
    temperature = float(min(1 / input_max.max(), 2 / output_max.max()))
    return np.vstack([visible, outputs / 2]) * temperature, temperature
