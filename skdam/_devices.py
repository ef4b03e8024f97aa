"""Where arrays live, and where the work is done.

Under ``sklearn.config_context(array_api_dispatch=True)`` everything follows X. NumPy
arrays are computed on where the parameter ``device`` says, and the results come back.
"""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import (
    array_namespace,
    device,
    is_array_api_obj,
    is_cupy_array,
    is_cupy_namespace,
    is_numpy_array,
    is_numpy_namespace,
)
from scipy import sparse
from sklearn.utils._array_api import _convert_to_numpy, get_namespace_and_device

from . import _gpu

Array = Any

LEAST_FLOP = 1e11
"""Operations above which a GPU pays: about a second of work for two CPU cores.

To start CUDA and to compile the kernels takes some seconds in a process, and a fit some
tenths of a second beside its epochs.
"""


@dataclass(frozen=True)
class Device:
    """A namespace of arrays, and one of its devices, as the namespace names it."""

    xp: Any
    device: Any

    @classmethod
    def of(cls, X: Any) -> Device:
        """Return the device of X if array API dispatch applies to it, else the host."""
        if type(X) is np.ndarray:
            # Whether dispatch applies or not; asking scikit-learn takes time.
            return HOST
        _, is_dispatched, _ = get_namespace_and_device(X)
        follows = is_dispatched and is_array_api_obj(X)
        return cls.of_array(X) if follows else HOST

    @classmethod
    def of_array(cls, array: Array) -> Device:
        """Return where an array lives."""
        if type(array) is np.ndarray:
            return HOST
        return cls(array_namespace(array), device(array))

    @property
    def has_double(self) -> bool:
        """Whether the device computes in double precision."""
        known = self.xp.__array_namespace_info__().dtypes(
            kind="real floating", device=self.device
        )
        return "float64" in known

    @property
    def is_host(self) -> bool:
        """Whether NumPy arrays live here."""
        return is_numpy_namespace(self.xp)

    def asarray(self, array: Any, dtype: str | None = None, copy: bool | None = None):
        """Return an array here, from wherever it is."""
        if is_array_api_obj(array) and self.of_array(array) != self:
            array = to_numpy(array)
        if dtype is None and isinstance(array, np.ndarray) and array.dtype == float:
            # Single precision on a device that has no double.
            dtype = "float64" if self.has_double else "float32"
        dtype = None if dtype is None else getattr(self.xp, dtype)
        return self.xp.asarray(array, dtype=dtype, device=self.device, copy=copy)

    def session(self, advice: str) -> AbstractContextManager:
        """Return the context in which to compute here.

        The advice says what to do if the device's memory does not suffice.
        """
        if is_cupy_namespace(self.xp):
            return _gpu.session(self.device, advice)
        return nullcontext()

    def resident(self, X: Any, working_bytes: int) -> AbstractContextManager:
        """Return a context with X here, or X itself if it is sent by minibatches."""
        if is_cupy_namespace(self.xp) and not is_cupy_array(X):
            return _gpu.hold(X, working_bytes)
        return nullcontext(X if sparse.issparse(X) else self.asarray(X))


HOST = Device(array_namespace(np.empty(0)), "cpu")


def check_device_name(name: str) -> None:
    """Check the form of the parameter ``device``."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(
            f"device={name!r} must be 'auto', 'cpu', 'cuda', or a device such as "
            "'cuda:1'."
        )


def compute_device(name: str, X: Any, flop: float = math.inf) -> Device:
    """Return where to do some floating-point operations on X.

    The name "auto" stands for where X lives; for NumPy arrays it is CUDA where CuPy
    sees a device and the work is worth it.
    """
    home = Device.of(X)
    on_host = home is HOST or home.is_host
    is_small = flop < LEAST_FLOP or not _gpu.count_devices()
    if on_host and (name == "cpu" or (name == "auto" and is_small)):
        return home
    check_device_name(name)
    if on_host:
        return _cuda_device(name)
    if name != "auto":
        kind, _, number = name.partition(":")
        # "cpu", "mps:0", "cuda:1", or CuPy's "<CUDA Device 1>"
        where = re.findall(r"[a-z]+|\d+", str(home.device).lower())
        if kind not in where or (number and where[-1] != number):
            raise ValueError(
                f"device={name!r}, but X is an array of {home.xp.__name__} on "
                f"{home.device}; arrays other than NumPy's are computed on where they "
                "are, with device='auto'."
            )
    return home


def n_stored(X: Any) -> int:
    """Return how many values samples hold, of sparse ones those that are stored."""
    return X.nnz if sparse.issparse(X) else math.prod(X.shape)


def _cuda_device(name: str) -> Device:
    where = _gpu.device_named("cuda" if name == "auto" else name)
    import array_api_compat.cupy as xp

    return Device(xp, where)


def check_same_device(X: Any, fitted: Array, name: str) -> None:
    """Check that X lives where the model was fitted; a model on the host goes anywhere.

    Errors give the name of the called method.
    """
    if is_numpy_array(fitted):
        return
    here, home = Device.of(X), Device.of_array(fitted)
    if home == here:
        return
    hint = ""
    if is_array_api_obj(X) and Device.of_array(X) == home:
        hint = (
            " Without sklearn.config_context(array_api_dispatch=True) X is treated as "
            "a NumPy array."
        )
    raise ValueError(
        f"Inputs passed to {name}() must use the same namespace and the same device as "
        f"those passed to fit(): X is an array of {here.xp.__name__} on "
        f"{here.device}, the model was fitted with {home.xp.__name__} on "
        f"{home.device}.{hint}"
    )


def to_numpy(array: Any) -> Any:
    """Return an array of any namespace on the host; leave anything else as it is."""
    if not is_array_api_obj(array) or is_numpy_array(array) or sparse.issparse(array):
        return array
    return _convert_to_numpy(array, array_namespace(array))


def take_rows(array: Array, rows: slice | np.ndarray) -> Array:
    """Return some rows, given on the host, of an array that lives anywhere."""
    if is_numpy_array(array) or sparse.issparse(array):
        return array[rows]
    if isinstance(rows, slice):
        return array[rows, ...]
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(rows, device=device(array)), axis=0)


def widest_float(like: Array) -> Any:
    """Return double precision, or single on a device that has no double."""
    here = Device.of_array(like)
    return here.xp.float64 if here.has_double else here.xp.float32
