"""Types, as type checkers and editors see the package."""

import ast
import inspect
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_overloads, get_type_hints

import numpy as np
import pytest
import user_script
from sklearn.utils._param_validation import StrOptions

import skdam
from skdam import (
    ContinuousAssociativeMemory,
    DenseAssociativeMemory,
    DenseAssociativeMemoryClassifier,
)
from skdam.tabular import BlendedClassifier, ImportanceScaler, PiecewiseLinearEncoder

ESTIMATORS = [
    BlendedClassifier,
    ContinuousAssociativeMemory,
    DenseAssociativeMemory,
    DenseAssociativeMemoryClassifier,
    ImportanceScaler,
    PiecewiseLinearEncoder,
]

PACKAGE = Path(skdam.__file__).parent


def test_stub_has_the_names_that_are_imported_when_used():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    named = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            named |= {alias.asname: node.module for alias in node.names}
    expected = dict.fromkeys(skdam._MODULES) | skdam._NAMES
    assert named == expected


def test_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").exists()


def test_script_of_a_user_runs(capsys):
    user_script.main()
    assert skdam.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_types_of_parameters_are_what_constraints_allow(estimator):
    hints = get_type_hints(estimator.__init__)
    constraints = estimator._parameter_constraints
    assert set(hints) - {"return"} == set(constraints)
    for name, allowed in constraints.items():
        parts = get_args(hints[name]) or (hints[name],)
        if get_origin(hints[name]) is Literal:
            parts = (hints[name],)
        strings = {
            option
            for part in parts
            if get_origin(part) is Literal
            for option in get_args(part)
        }
        options = set()
        for constraint in allowed:
            if isinstance(constraint, StrOptions):
                options |= constraint.options
        if "cv_object" in allowed:
            continue  # What scikit-learn allows has no type.
        assert strings == options, name
        may_be_none = None in allowed or "random_state" in allowed
        assert (NoneType in parts) == may_be_none, name


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_public_methods_have_types(estimator):
    for name, method in vars(estimator).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            own = inspect.unwrap(method)
            given = {key for key in inspect.signature(own).parameters if key != "self"}
            hints = get_type_hints(own)
            assert set(hints) == given | {"return"}, name


def test_recall_has_a_type_for_each_kind_of_result():
    results = [
        get_type_hints(each)["return"]
        for each in get_overloads(DenseAssociativeMemory.recall)
    ]
    pair = tuple[np.ndarray, np.ndarray]
    assert results == [np.ndarray, pair, np.ndarray | pair]
