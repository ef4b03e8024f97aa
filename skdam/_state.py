"""Estimators are saved as arrays, numbers and names, without types of our own.

So skops reads a model without trusting anything of this package but the estimators.
"""

from __future__ import annotations

from typing import Any

from ._samples import Statistics
from ._training import TrainingState
from .attention import StoredVectors
from .continuous_energies import Entmax, LogSumExp, LogSumPower
from .energies import NamedEnergy
from .learning_rule import Scaled
from .losses import BinaryLogLoss, LogLoss, PowerError
from .network import Network
from .updates import EnergyDifference, Feedforward

KINDS = {
    kind.__name__: kind
    for kind in (
        BinaryLogLoss,
        EnergyDifference,
        Entmax,
        Feedforward,
        LogLoss,
        LogSumExp,
        LogSumPower,
        Network,
        PowerError,
        Scaled,
        Statistics,
        StoredVectors,
        TrainingState,
        *NamedEnergy.known.values(),
    )
    # Energies of the user's own are read where they come from.
    if kind.__module__.partition(".")[0] == "skdam"
}

KIND = "skdam.kind"
"""Key of a packed value's type."""


def pack(value: Any) -> Any:
    """Return a value of a known type as a dict of its fields, and others as they are.

    Examples
    --------
    >>> from skdam._state import pack, unpack
    >>> from skdam.losses import PowerError
    >>> pack(PowerError(2))
    {'skdam.kind': 'PowerError', 'exponent': 2, 'multilabel': False}
    >>> unpack(pack(PowerError(2)))
    PowerError(exponent=2, multilabel=False)
    """
    name = type(value).__name__
    if KINDS.get(name) is not type(value):
        return value
    # The state of an object without fields is None.
    fields = value._asdict() if isinstance(value, tuple) else value.__getstate__() or {}
    return {KIND: name} | {field: pack(part) for field, part in fields.items()}


def unpack(state: Any) -> Any:
    """Return the value that was packed."""
    if not isinstance(state, dict) or KIND not in state:
        return state
    fields = {name: unpack(part) for name, part in state.items() if name != KIND}
    return KINDS[state[KIND]](**fields)


class PlainStateMixin:
    """An estimator that is saved without types of our own among its attributes."""

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: pack(value) for name, value in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: unpack(value) for name, value in state.items()})
