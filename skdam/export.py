"""Fitted classifiers as ONNX graphs, which run without this package.

A graph takes samples in single precision and computes in double, so that no power of an
overlap loses digits that the estimator has. NaN is a neuron of unknown state, as in
:meth:`~skdam.DenseAssociativeMemoryClassifier.predict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from . import __version__
from ._devices import to_numpy
from .classifier import DenseAssociativeMemoryClassifier
from .energies import (
    Energy,
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from .inspection._display import fitted_classifier
from .losses import BinaryLogLoss, LogLoss
from .network import Network
from .updates import EnergyDifference

__all__ = ["register_converter", "to_onnx"]

OPSET = 13
"""Version of ONNX's operators, of 2020: all that is needed is in it."""


def to_onnx(estimator: BaseEstimator) -> Any:
    """Convert a fitted classifier to ONNX.

    Parameters
    ----------
    estimator : DenseAssociativeMemoryClassifier or Pipeline
        Fitted classifier, or a fitted pipeline that ends in one. A pipeline is
        converted by skl2onnx, which must know its other steps; they take one array of
        numbers.

    Returns
    -------
    onnx.ModelProto
        Model with the input ``X``, float32 of shape (n_samples, n_features), and the
        outputs ``label`` and ``probabilities``, of shape (n_samples,) and
        (n_samples, n_classes). Labels are strings, or int64 if the classes are numbers
        or booleans; probabilities are float32. With several labels a sample, ``label``
        is a dense indicator matrix of int64.

    Raises
    ------
    TypeError
        If the estimator is not such a classifier or pipeline.
    ValueError
        If its energy or its labels cannot be expressed in ONNX.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ImportError
        If onnx is not installed or, for a pipeline, skl2onnx.

    See Also
    --------
    skdam.export.register_converter : Lets skl2onnx convert the classifier anywhere.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdam import DenseAssociativeMemoryClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(20, random_state=0).fit(X, y)
    >>> model = to_onnx(clf)
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities']
    """
    clf, _ = fitted_classifier(estimator)
    if clf is estimator:
        return _model(clf)
    convert = _import("skl2onnx")
    register_converter()
    floats = import_module("skl2onnx.common.data_types").FloatTensorType
    return convert.to_onnx(
        estimator,
        initial_types=[
            ("X", floats([None, getattr(estimator, "n_features_in_", None)]))
        ],
        options={"zipmap": False},
    )


def register_converter() -> None:
    """Make the classifier known to skl2onnx.

    Then ``skl2onnx.to_onnx`` converts whatever contains a
    :class:`~skdam.DenseAssociativeMemoryClassifier`, with the options "zipmap", "nocl",
    "output_class_labels" and "raw_scores" of its own classifiers.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import skl2onnx
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from sklearn.datasets import load_iris
    >>> from skdam import DenseAssociativeMemoryClassifier
    >>> from skdam.export import register_converter
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = DenseAssociativeMemoryClassifier(20, random_state=0)
    >>> calibrated = CalibratedClassifierCV(clf, cv=2).fit(X, y)
    >>> register_converter()
    >>> model = skl2onnx.to_onnx(calibrated, X[:1].astype(np.float32))
    """
    skl2onnx = _import("skl2onnx")
    shapes = import_module("skl2onnx.common.shape_calculator")
    skl2onnx.update_registered_converter(
        DenseAssociativeMemoryClassifier,
        "SkdamDenseAssociativeMemoryClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        _convert,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
            "raw_scores": [True, False],
        },
    )


def _model(clf: DenseAssociativeMemoryClassifier) -> Any:
    """Return the model of a classifier."""
    _import("onnx")
    from onnx import TensorProto, helper

    network, labels = clf.network_, _labels(to_numpy(clf.classes_))
    nodes, constants, numbers, n = [], [], count(), "n_samples"

    def add_node(kind: str, inputs: list, outputs: list, **attributes: Any) -> None:
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    op = _Nodes(lambda kind: f"{kind}_{next(numbers)}", constants.append, add_node)
    names = ["X", "label", "probabilities"]
    _classify(op, network, labels, names, TensorProto.FLOAT)
    label_shape = [n, network.n_classes] if clf.multilabel_ else [n]
    label_type = TensorProto.STRING if labels.dtype == object else TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "DenseAssociativeMemoryClassifier",
        [
            helper.make_tensor_value_info(
                "X", TensorProto.FLOAT, [n, network.n_features]
            )
        ],
        [
            helper.make_tensor_value_info("label", label_type, label_shape),
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, [n, network.n_classes]
            ),
        ],
        constants,
    )
    return helper.make_model_gen_version(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="skdam",
        producer_version=__version__,
    )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a classifier to a model of skl2onnx."""
    from skl2onnx.common.data_types import guess_proto_type
    from skl2onnx.common.utils_classifier import get_label_classes

    clf = operator.raw_operator
    options = container.get_options(clf, {"raw_scores": False})
    _classify(
        _Nodes(
            scope.get_unique_variable_name,
            container.initializers.append,
            container.add_node,
        ),
        clf.network_,
        _labels(to_numpy(get_label_classes(scope, clf))),
        [variable.full_name for variable in (*operator.inputs, *operator.outputs)],
        guess_proto_type(operator.outputs[1].type),
        raw_scores=options["raw_scores"],
    )


@dataclass(frozen=True)
class _Nodes:
    """Adds nodes to a graph, of onnx or of skl2onnx.

    ``unique`` returns a new name that resembles a given one; ``add_constant`` adds a
    TensorProto, and ``add_node`` a node of operator, inputs, outputs and attributes.
    """

    unique: Callable[[str], str]
    add_constant: Callable
    add_node: Callable

    def __call__(
        self, kind: str, *inputs: Any, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node; return the name of its output.

        Inputs are names of outputs, or constants: numbers and arrays.
        """
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        outputs = [output or self.unique(kind)]
        if kind == "TopK":
            outputs.append(self.unique("indices"))
        self.add_node(kind, names, outputs, name=self.unique(kind), **attributes)
        return outputs[0]

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = self.unique("constant")
        self.add_constant(numpy_helper.from_array(np.asarray(value), name))
        return name


def _classify(
    op: _Nodes,
    network: Network,
    labels: np.ndarray,
    names: list[str],
    float_type: int,
    raw_scores: bool = False,
) -> None:
    """Add the nodes from the samples to labels and probabilities.

    ``names`` are those of the samples, the labels and the probabilities, or the scores
    in their place.
    """
    from onnx import TensorProto

    X, label, probabilities = names
    X = op("Cast", X, to=TensorProto.DOUBLE)
    X = op("Where", op("IsNaN", X), 0.0, X)
    scores = _scores(op, network, X)
    if network.loss.multilabel:
        found = op("Greater", scores, 0.0)
        op("Cast", found, to=TensorProto.INT64, output=label)
    else:
        codes = op("ArgMax", scores, axis=1, keepdims=0)
        op("Gather", labels, codes, axis=0, output=label)
    if not raw_scores:
        result = _probabilities(op, network, scores)
    elif network.n_classes == 2 and not network.loss.multilabel:
        result = op("MatMul", scores, np.array([[1.0, -1.0], [-1.0, 1.0]]))
    else:
        result = scores
    op("Cast", result, to=float_type, output=probabilities)


def _scores(op: _Nodes, network: Network, X: str) -> str:
    """Add the nodes of the update of the classification units."""
    from onnx import TensorProto

    value, activation = _functions(op, network.energy)
    weights = to_numpy(network.weights)
    visible = weights[: network.n_features]
    connections = weights[network.n_visible :].astype(np.float64)
    offset = to_numpy(network.update.offset(connections.T))
    thresholds = to_numpy(network.thresholds).astype(np.float64)
    offset = offset + thresholds * (network.intercept / network.unit)
    # Stored in the precision that they have.
    visible = op("Cast", np.ascontiguousarray(visible), to=TensorProto.DOUBLE)
    x = op("MatMul", op("Mul", X, 1 / network.unit), visible)
    x = op("Add", x, offset)
    if not isinstance(network.update, EnergyDifference):
        scaled = np.ascontiguousarray(2 / network.temperature * connections.T)
        return op("MatMul", activation(x), scaled)
    at_rest = value(x)
    ones = np.ones((network.n_memories, 1))
    columns = []
    for flip in 2 * connections / network.temperature:
        rise = op("Sub", value(op("Add", x, flip)), at_rest)
        columns.append(op("MatMul", rise, ones))
    return op("Concat", *columns, axis=1)


def _functions(op: _Nodes, energy: Energy) -> tuple[Callable, Callable]:
    """Return F and f = F' as functions that add nodes."""
    from onnx import TensorProto

    def log_cosh(x: str) -> str:
        size = op("Abs", x)
        tail = _softplus(op, op("Mul", size, -2.0))
        return op("Sub", op("Add", size, tail), math.log(2))

    def power_slope(x: str) -> str:
        return op("Mul", op("Pow", x, n - 1), n)

    def rectified_slope(x: str) -> str:
        # 0^0 is 1, but a unit of power 1 is a step.
        is_above = op("Cast", op("Greater", x, 0.0), to=TensorProto.DOUBLE)
        return op("Mul", power_slope(op("Max", x, 0.0)), is_above)

    n = float(getattr(energy, "power", 1))
    known = {
        RectifiedPolynomial: (
            lambda x: op("Pow", op("Max", x, 0.0), n),
            rectified_slope,
        ),
        Polynomial: (lambda x: op("Pow", x, n), power_slope),
        LogCosh: (log_cosh, lambda x: op("Tanh", x)),
        Softplus: (lambda x: _softplus(op, x), lambda x: op("Sigmoid", x)),
        Exponential: (lambda x: op("Exp", x), lambda x: op("Exp", x)),
    }
    if type(energy) not in known:
        names = ", ".join(kind.__name__ for kind in known)
        raise ValueError(
            f"The energy {energy!r} cannot be expressed in ONNX; those of the classes "
            f"{names} can."
        )
    return known[type(energy)]


def _probabilities(op: _Nodes, network: Network, scores: str) -> str:
    """Add the nodes of ``network.log_probabilities``, and of its exponential."""
    loss = network.loss
    if isinstance(loss, LogLoss):
        return op("Softmax", op("Mul", scores, network.confidence), axis=1)
    odds = 2 if isinstance(loss, BinaryLogLoss) else 4 * loss.exponent - 2
    factor = network.confidence * odds
    if loss.multilabel:
        return op("Sigmoid", op("Mul", scores, factor))
    if network.n_classes == 2:
        return op("Softmax", op("Mul", scores, factor / 2), axis=1)
    log_odds = op("Mul", scores, factor)
    # The second largest.
    largest = op("TopK", log_odds, np.array([2]), axis=1)
    second = op("Gather", largest, np.array([1]), axis=1)
    log_odds = op("Sub", log_odds, op("Max", second, 0.0))
    # ln expit(x) = -ln(1 + e^-x)
    log_p = op("Neg", _softplus(op, op("Neg", log_odds)))
    return op("Softmax", log_p, axis=1)


def _softplus(op: _Nodes, x: str) -> str:
    """Add the nodes of ln(1 + e^x); ONNX's own operator is not everywhere in double."""
    tail = op("Log", op("Add", op("Exp", op("Neg", op("Abs", x))), 1.0))
    return op("Add", op("Max", x, 0.0), tail)


def _labels(classes: np.ndarray) -> np.ndarray:
    """Return the classes as ONNX has them: strings, or whole numbers."""
    if all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    if classes.dtype.kind in "biuf" and (classes.astype(np.int64) == classes).all():
        return classes.astype(np.int64)
    raise ValueError(
        f"The classes {classes.tolist()} cannot be expressed in ONNX: they must be all "
        "strings, whole numbers or booleans."
    )


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{name} is needed to export to ONNX; in a clone of skdam, run "
            "pip install '.[onnx]'."
        ) from error
