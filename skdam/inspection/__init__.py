"""What a trained network is made of: features or prototypes, as numbers and pictures.

Krotov and Hopfield (2016) tell features from prototypes by two counts: the classes that
a memory votes for (:func:`recognition_units`), and the memories that decide about a
sample (:func:`decisive_memories`). With a small power n, each memory votes for several
classes, and many memories decide together. With a large n, each memory stands for one
class and decides alone (section "Feature to prototype transition").

How a network can be deceived is the subject of Krotov and Hopfield (2017):
:func:`adversarial_examples` and :func:`rubbish_images` follow the exact gradient of the
scores by the features, :func:`input_gradient`.

The functions return numbers. Each Display draws what one of them returns, or the
results of :mod:`skdam.model_selection`. Classifiers may be at the end of a pipeline.
The Displays need matplotlib.
"""

from .adversarial import (
    AdversarialExamples,
    adversarial_examples,
    input_gradient,
    rubbish_images,
)
from .blend import BlendDisplay
from .contributions import DecisiveMemoriesDisplay, contributions, decisive_memories
from .learning_curves import LearningCurvesDisplay
from .memories import MemoriesDisplay
from .recognition_units import RecognitionUnitsDisplay, recognition_units
from .window import WindowDisplay

__all__ = [
    "AdversarialExamples",
    "BlendDisplay",
    "DecisiveMemoriesDisplay",
    "LearningCurvesDisplay",
    "MemoriesDisplay",
    "RecognitionUnitsDisplay",
    "WindowDisplay",
    "adversarial_examples",
    "contributions",
    "decisive_memories",
    "input_gradient",
    "recognition_units",
    "rubbish_images",
]
