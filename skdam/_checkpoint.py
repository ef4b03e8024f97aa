"""Checkpoints: a fit that was stopped at any moment goes on from the last one.

A checkpoint is a zip archive, as NumPy's ``.npz``: arrays as ``.npy``, and a header as
JSON. Nothing in it is code, so that it can be read without trust.
"""

from __future__ import annotations

import glob
import json
import os
import pickle
import re
import time
import uuid
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from scipy import sparse
from sklearn.utils._param_validation import Interval, validate_params

from ._devices import to_numpy
from ._samples import Samples

HEADER = "header.json"

ANEW = "To start anew, delete it or give another path"

WITHOUT_EFFECT = ("device", "verbose", "warm_start")
"""Parameters that may change while a fit is stopped; of a warm start, the network that
it starts from counts."""


class Checkpoint:
    """Callback that lets a fit that was stopped at any moment go on from there.

    It saves the training from time to time. To go on after a crash, run the same
    program again: ``fit`` finds the checkpoint of the same data and parameters, goes on
    from it, and ends with the same bits as if it had never been stopped. A fit that was
    complete is restored without training.

    Set it on the classifier itself, also inside a pipeline or a search. Read more in
    the :ref:`user guide <long_runs>`.

    Parameters
    ----------
    path : str or path-like
        A name that ends in ".npz" is the file of a single fit. Anything else is a
        folder, made if need be, with one file for each fit: a search needs it.

    every : int, default=1
        Epochs between two checkpoints.

    min_seconds : float, default=10
        Least time between two checkpoints, so that they cost short epochs little. The
        end of a fit is always saved.

    Notes
    -----
    ``fit`` raises ValueError if ``random_state`` is None, since a run that draws other
    numbers each time cannot go on; if the file is damaged or no checkpoint; and if it
    is one of another version of the package, of other data or of other parameters, and
    says which. In a folder, other data or parameters have a file of their own. The
    parameters ``device`` and ``verbose`` may change.

    Files are written beside the old ones and then renamed, so that there is a whole one
    at every moment. If one cannot be written, a warning says so and training goes on.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skdam import Checkpoint, DenseAssociativeMemoryClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> folder = tempfile.mkdtemp()
    >>> clf = DenseAssociativeMemoryClassifier(random_state=0)
    >>> clf = clf.set_callbacks(Checkpoint(folder)).fit(X - X.mean(axis=0), y)
    >>> restored = clf.fit(X - X.mean(axis=0), y)  # without training
    """

    @validate_params(
        {
            "path": [str, os.PathLike],
            "every": [Interval(Integral, 1, None, closed="left")],
            "min_seconds": [Interval(Real, 0, None, closed="left")],
        },
        prefer_skip_nested_validation=True,
    )
    def __init__(
        self, path: str | os.PathLike, *, every: int = 1, min_seconds: float = 10.0
    ):
        # A worker process may have another working directory.
        self.path = os.path.abspath(os.path.expanduser(path))
        self.every = every
        self.min_seconds = min_seconds

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.path!r}, every={self.every}, "
            f"min_seconds={self.min_seconds})"
        )

    # The protocol of callbacks: the classifier offers its training itself.

    def setup(self, estimator, context) -> None:
        """Refuse estimators other than the classifier."""
        from .classifier import DenseAssociativeMemoryClassifier

        if not isinstance(estimator, DenseAssociativeMemoryClassifier):
            raise TypeError(
                "Checkpoint must be set on DenseAssociativeMemoryClassifier itself, "
                f"also inside a pipeline or a search; it was set on "
                f"{type(estimator).__name__}."
            )

    def teardown(self, estimator, context) -> None:
        """Do nothing."""

    def on_fit_task_begin(self, estimator, context) -> None:
        """Do nothing."""

    def on_fit_task_end(self, estimator, context) -> None:
        """Do nothing."""


def checkpoint_of(estimator: Any) -> Checkpoint | None:
    """Return the checkpoint among the callbacks of an estimator, if there is one."""
    callbacks = getattr(estimator, "_skl_callbacks", [])
    found = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    if len(found) > 1:
        raise ValueError(
            f"Set one Checkpoint only; callbacks hold {len(found)}: {found}."
        )
    return found[0] if found else None


def identify(
    params: dict[str, Any],
    samples: Samples,
    classes: np.ndarray,
    validation: Samples | None,
    previous: Any,
) -> dict[str, dict[str, str]]:
    """Return what tells a fit from others: its parameters, and hashes of its data.

    The samples are all, those that are set aside among them; the validation data are
    those that the user gave, and ``previous`` is the network to start from.
    """
    data = {
        "X": samples.X,
        "y": (samples.codes, classes),
        "sample_weight": samples.sample_weights,
    }
    if previous is not None:
        data["the network to start from"] = (
            *(to_numpy(previous.weights), previous.intercept, previous.input_scale),
            *(_stated(previous.energy), previous.loss),
        )
    if validation is not None:
        data |= {
            "X_val": validation.X,
            "y_val": validation.codes,
            "sample_weight_val": validation.weights,
        }
    hashes = {name: _hash(value) for name, value in data.items() if value is not None}
    return {"parameters": _described(params), "data": hashes}


def _described(params: dict[str, Any]) -> dict[str, str]:
    """Return the parameters that decide what a fit gives, as text or as a hash.

    Parameters that do not say what they stand for in another process are an error.
    """
    if params["random_state"] is None:
        raise ValueError(
            "Checkpoint needs a random_state that is an int or a RandomState instance; "
            "with random_state=None a fit that was stopped cannot go on, since the "
            "next one draws other numbers."
        )
    texts = {}
    for name, value in params.items():
        if name in WITHOUT_EFFECT:
            continue
        if _is_plain(value):
            texts[name] = repr(value)
            continue
        kind = type(value).__name__
        try:
            if isinstance(value, np.random.RandomState):
                value = value.get_state(legacy=False)
            elif not isinstance(value, dict | np.ndarray):
                value = _stated(value)
            texts[name] = f"{kind} {_hash(value)[:12]}"
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"Checkpoint could not know {name}={kind}() again: its attributes "
                f"cannot be pickled ({error})."
            ) from error
    return texts


def _stated(value: Any) -> tuple:
    """Return what an object is: its class, what its methods do, and its attributes.

    A worker process may be unable to import the class.
    """
    kind = type(value)
    code = [
        (name, part.__code__.co_code, part.__code__.co_names, constants)
        for cls in kind.__mro__
        for name, part in sorted(vars(cls).items())
        if hasattr(part, "__code__")
        for cells in [[cell.cell_contents for cell in part.__closure__ or ()]]
        # The names of objects hold their address, which changes.
        for constants in [re.sub(" at 0x.*?>", "", f"{part.__code__.co_consts}{cells}")]
    ]
    return kind.__module__, kind.__qualname__, code, getattr(value, "__dict__", {})


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _hash(value: Any) -> str:
    if sparse.issparse(value):
        value = value.shape, value.data, value.indices, value.indptr
    # An array that is mapped from a file is as good as any other.
    return joblib.hash(to_numpy(value), "sha1", coerce_mmap=True)


def _is_alive(process: str) -> bool:
    """Tell whether a process of this machine, by its number, is running."""
    if not process.isdigit():
        return False
    if os.name == "nt":
        # On Windows, the signal 0 is Ctrl-C.
        return True
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


class FitFile:
    """The checkpoint of the fit of an identity, which its file must have, if any.

    ``saved`` holds the numbers and arrays of the checkpoint that was found, or None.
    """

    def __init__(self, checkpoint: Checkpoint, identity: dict[str, dict[str, str]]):
        from . import __version__

        self._checkpoint = checkpoint
        self._identity = {"skdam": __version__} | identity
        self.path = Path(checkpoint.path)
        if self.path.suffix != ".npz":
            self.path = self.path / f"{joblib.hash(identity)}.npz"
        self._prepare_folder()
        self.saved = self._read()
        self._written = time.monotonic()

    def _prepare_folder(self) -> None:
        """Make the folder, and see that a file can be written there."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Files of processes that were killed while they wrote.
            for left in folder.glob(f"{glob.escape(self.path.name)}.*.tmp"):
                with suppress(OSError):
                    if not _is_alive(left.name.split(".")[-3]):
                        left.unlink()
            with self._file_beside():
                pass
        except OSError as error:
            raise ValueError(
                f"Checkpoints cannot be written to {folder}: {error}"
            ) from error

    def _read(self) -> tuple[dict, dict] | None:
        """Return numbers and arrays of the file, if there is one."""
        arrays = {}
        try:
            with zipfile.ZipFile(self.path) as archive:
                header = json.loads(archive.read(HEADER))
                numbers = header["numbers"]
                trouble = _difference(header["fit"], self._identity)
                for name in [] if trouble else header["arrays"]:
                    arrays[name] = _read_array(archive, name)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._unreadable(error) from error
        if trouble:
            raise ValueError(f"{self.path} {trouble}")
        return numbers, arrays

    def _unreadable(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path} is damaged, or no checkpoint of skdam: "
            f"{type(error).__name__}: {error}. {ANEW}."
        )

    def restore(self, run: Any, settings: Any, rng: Any) -> None:
        """Bring a run, and the generator, to the checkpoint that was found, if any."""
        if self.saved is None:
            return
        try:
            run.restore(*self.saved, settings, rng)
        except Exception as error:
            raise self._unreadable(error) from error
        self.saved = None

    def is_due(self, n_epochs: int) -> bool:
        """Tell whether it is time for the next checkpoint."""
        checkpoint = self._checkpoint
        return (
            n_epochs % checkpoint.every == 0
            and time.monotonic() - self._written >= checkpoint.min_seconds
        )

    def write(self, numbers: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Put numbers and arrays in the place of the checkpoint before."""
        header = {"fit": self._identity, "numbers": numbers, "arrays": list(arrays)}
        text = json.dumps(header, default=lambda number: number.tolist())
        try:
            with self._file_beside() as file:
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr(HEADER, text)
                    for name, array in arrays.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                            _write_array(out, to_numpy(array))
                file.flush()
                os.fsync(file.fileno())
                file.close()
                os.replace(file.name, self.path)
                _sync(self.path.parent)
        except OSError as error:
            warnings.warn(
                f"The checkpoint {self.path} could not be written: {error}. Training "
                "goes on.",
                RuntimeWarning,
                stacklevel=7,
            )
        self._written = time.monotonic()

    @contextmanager
    def _file_beside(self) -> Iterator[Any]:
        """Open a new file beside the checkpoint; in the end its name is gone."""
        file = open(f"{self.path}.{os.getpid()}.{uuid.uuid4().hex}.tmp", "xb")
        try:
            yield file
        finally:
            file.close()
            with suppress(OSError):
                os.unlink(file.name)


def _difference(there: dict, here: dict) -> str:
    """Say in what the fit of a checkpoint differs from another one, if it does."""
    if there["skdam"] != here["skdam"]:
        return (
            f"was written by skdam {there['skdam']}, and version {here['skdam']} "
            f"cannot go on from it. {ANEW}."
        )
    params, own = there["parameters"], here["parameters"]
    differences = [
        f"{name} is {params.get(name)} there and {own.get(name)} here"
        for name in sorted({*params, *own})
        if params.get(name) != own.get(name)
    ]
    data, own = there["data"], here["data"]
    names = [name for name in {**own, **data} if data.get(name) != own.get(name)]
    if names:
        differences.append(f"it was fitted to other {', '.join(names)}")
    if not differences:
        return ""
    return (
        f"is the checkpoint of another fit: {'; '.join(differences)}. {ANEW}; several "
        "fits, as in a search, need a folder instead."
    )


def _write_array(out: Any, array: np.ndarray) -> None:
    """Write an array as ``numpy.save`` does, without a copy of it."""
    array = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(out, header)
    out.write(array)


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as entry:
        array = np.lib.format.read_array(entry, allow_pickle=False)
        if entry.read(1):
            raise ValueError(f"{name} is longer than it says")
    return array


def _sync(folder: Path) -> None:
    """Let the new name of a file reach the disk, where folders can be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
