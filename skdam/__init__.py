"""Dense Associative Memory (Krotov & Hopfield 2016) for scikit-learn."""

from .associative_memory import DenseAssociativeMemory
from .classifier import DenseAssociativeMemoryClassifier
from .presets import preset

__all__ = ["DenseAssociativeMemory", "DenseAssociativeMemoryClassifier", "preset"]
__version__ = "0.1.0"
