# What __init__.py imports when it is first used, for type checkers and editors.

from . import attention as attention
from . import capacity as capacity
from . import completion as completion
from . import continuous_energies as continuous_energies
from . import datasets as datasets
from . import energies as energies
from . import export as export
from . import figures as figures
from . import inspection as inspection
from . import learning_rule as learning_rule
from . import losses as losses
from . import model_selection as model_selection
from . import network as network
from . import recall as recall
from . import tabular as tabular
from . import updates as updates
from ._checkpoint import Checkpoint as Checkpoint
from .associative_memory import DenseAssociativeMemory as DenseAssociativeMemory
from .classifier import (
    DenseAssociativeMemoryClassifier as DenseAssociativeMemoryClassifier,
)
from .continuous_memory import (
    ContinuousAssociativeMemory as ContinuousAssociativeMemory,
)
from .duality import from_mlp as from_mlp
from .duality import to_mlp as to_mlp
from .export import to_onnx as to_onnx
from .model_selection import fit_window as fit_window
from .model_selection import hyperparameter_window as hyperparameter_window
from .model_selection import preset as preset
from .tabular import make_tabular_classifier as make_tabular_classifier

__version__: str
