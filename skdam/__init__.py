"""Dense Associative Memory (Krotov & Hopfield 2016) for scikit-learn."""

from .classifier import DenseAssociativeMemoryClassifier
from .presets import preset
from .window import fit_window, hyperparameter_window

__all__ = [
    "DenseAssociativeMemoryClassifier",
    "fit_window",
    "hyperparameter_window",
    "preset",
]
__version__ = "0.1.0"
