"""What a trained network is made of: features or prototypes, as numbers and pictures.

Krotov and Hopfield (2016) tell features from prototypes by two counts: the classes that
a memory votes for (:func:`recognition_units`), and the memories that decide about a
sample (:func:`decisive_memories`). Memories of a small power n each vote for several
classes and decide together; those of a large one each stand for one class and decide
alone (section "Feature to prototype transition").

The functions return numbers, and each Display draws what one of them, or a window of
:mod:`skdam.window`, holds. Networks may be at the end of a pipeline. The Displays need
matplotlib.
"""

from .displays import (
    DecisiveMemoriesDisplay,
    LearningCurvesDisplay,
    MemoriesDisplay,
    RecognitionUnitsDisplay,
    WindowDisplay,
)
from .measures import contributions, decisive_memories, recognition_units

__all__ = [
    "DecisiveMemoriesDisplay",
    "LearningCurvesDisplay",
    "MemoriesDisplay",
    "RecognitionUnitsDisplay",
    "WindowDisplay",
    "contributions",
    "decisive_memories",
    "recognition_units",
]
