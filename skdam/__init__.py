"""Dense Associative Memory (Krotov & Hopfield 2016) for scikit-learn."""

from .associative_memory import DenseAssociativeMemory
from .classifier import DenseAssociativeMemoryClassifier
from .presets import preset
from .window import fit_window, hyperparameter_window

__all__ = [
    "DenseAssociativeMemory",
    "DenseAssociativeMemoryClassifier",
    "fit_window",
    "hyperparameter_window",
    "preset",
]
__version__ = "0.1.0"
