"""Where arrays live: NumPy's on the host, and those of other namespaces where they are.

Under ``sklearn.config_context(array_api_dispatch=True)`` everything follows X.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array
from scipy import sparse
from sklearn.utils._array_api import _convert_to_numpy, get_namespace_and_device

__all__ = ["Place", "check_same_place", "take", "to_numpy"]

Array = Any


@dataclass(frozen=True)
class Place:
    """A namespace of arrays, and one of its devices.

    Parameters
    ----------
    xp : module
        Array API namespace.
    device : object
        Device, in the terms of the namespace.

    Examples
    --------
    >>> import numpy as np
    >>> from skdam.devices import Place
    >>> Place.of(np.zeros(2)).put([1, 2], "float32").dtype
    dtype('float32')
    """

    xp: Any
    device: Any

    @classmethod
    def of(cls, X: Any) -> Place:
        """Return where X is to be worked on: where it lives, or else the host."""
        _, is_dispatched, _ = get_namespace_and_device(X)
        follows = is_dispatched and is_array_api_obj(X)
        return cls.of_array(X if follows else np.empty(0))

    @classmethod
    def of_array(cls, array: Array) -> Place:
        """Return where an array lives."""
        return cls(array_namespace(array), device(array))

    def put(self, array: Any, dtype: str | None = None) -> Array:
        """Return an array here, from NumPy, a sequence, or here already."""
        dtype = None if dtype is None else getattr(self.xp, dtype)
        return self.xp.asarray(array, dtype=dtype, device=self.device)


def check_same_place(X: Any, fitted: Array, name: str) -> None:
    """Check that X lives where the model was fitted; a model on the host goes anywhere.

    Raises
    ------
    ValueError
        If the model would have to leave its device.
    """
    place = Place.of(X)
    home = Place.of_array(fitted)
    if is_numpy_array(fitted) or home == place:
        return
    raise ValueError(
        f"Inputs passed to {name}() must use the same namespace and the same device as "
        f"those passed to fit(): X is an array of {place.xp.__name__} on "
        f"{place.device}, the model was fitted with {home.xp.__name__} on "
        f"{home.device}."
    )


def to_numpy(array: Any) -> Any:
    """Return an array of any namespace on the host; leave anything else as it is."""
    if not is_array_api_obj(array) or is_numpy_array(array) or sparse.issparse(array):
        return array
    return _convert_to_numpy(array, array_namespace(array))


def take(array: Array, rows: slice | np.ndarray) -> Array:
    """Return some rows, given on the host, of an array that lives anywhere."""
    if is_numpy_array(array) or sparse.issparse(array):
        return array[rows]
    if isinstance(rows, slice):
        return array[rows, ...]
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(rows, device=device(array)), axis=0)
