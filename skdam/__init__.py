"""Dense Associative Memory (Krotov & Hopfield 2016) for scikit-learn."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_NAMES = {
    "Checkpoint": "_checkpoint",
    "ContinuousAssociativeMemory": "continuous_memory",
    "DenseAssociativeMemory": "associative_memory",
    "DenseAssociativeMemoryClassifier": "classifier",
    "fit_window": "model_selection",
    "from_mlp": "duality",
    "hyperparameter_window": "model_selection",
    "make_tabular_classifier": "tabular",
    "preset": "model_selection",
    "to_mlp": "duality",
    "to_onnx": "export",
}
_MODULES = [
    "attention",
    "capacity",
    "completion",
    "continuous_energies",
    "datasets",
    "energies",
    "export",
    "figures",
    "inspection",
    "learning_rule",
    "losses",
    "model_selection",
    "network",
    "recall",
    "tabular",
    "updates",
]

__all__ = [*_NAMES, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a part of the package when it is first asked for."""
    if name in _NAMES:
        return getattr(import_module(f"skdam.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"skdam.{name}")
    raise AttributeError(f"module 'skdam' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
