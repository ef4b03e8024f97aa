"""Fits that are killed with SIGKILL, and go on from their checkpoints.

``python killed_fits.py 50`` kills fits at fifty random moments, ``python killed_fits.py
while-writing`` before and after each call that writes. All must end with the bits of a
fit that was left in peace. Each fit runs in a process of its own, forked before
anything is computed here.
"""

import itertools
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits

import skdam._checkpoint
from skdam import Checkpoint, DenseAssociativeMemoryClassifier

WRITING = [
    *((os, name) for name in ("fsync", "replace", "unlink")),
    *((skdam._checkpoint, name) for name in ("_sync", "_write_array")),
]


def fits():
    """Return parameters, how X is held, and names of validation data."""
    rng = np.random.RandomState(5)
    return [
        ({"temperature_ramp": (2.0, 8), "random_state": rng}, np.asarray, False),
        ({"early_stopping": True, "n_iter_no_change": 9}, sparse.csr_array, False),
        ({"formulation": "energy", "power": 20}, np.float32, True),
    ]


def fit(number, folder):
    """Return all that a fit leaves behind."""
    parameters, held, is_validated = fits()[number]
    X, y = load_digits(return_X_y=True)
    X = held(X / 8 - 1)
    rng = parameters.get("random_state", 0)
    clf = DenseAssociativeMemoryClassifier(
        40, **{"random_state": rng, "max_iter": 25} | parameters
    )
    if folder is not None:
        clf.set_callbacks(Checkpoint(folder, min_seconds=0))
    validation = {"X_val": X[1200:], "y_val": y[1200:]} if is_validated else {}
    clf.fit(X[:1200], y[:1200], np.linspace(1, 2, 1200), **validation)
    network = clf.network_
    return (
        network.weights.tobytes(),
        (network.temperature, network.confidence, clf.n_iter_, clf.best_iter_),
        (clf.loss_curve_, clf.validation_loss_curve_, clf.validation_scores_),
        rng.randint(2**31) if rng else 0,
    )


def start(number, folder, result, prepare=lambda: None):
    """Fit in a new process; return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        prepare()
        result.write_bytes(pickle.dumps(fit(number, folder)))
        status = 0
    finally:
        os._exit(status)


def was_killed(child):
    """Wait for the end of a process, and tell whether it was killed."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, f"a fit failed: {status}"
    return False


def kill_in_call(module, name, number, is_after):
    """Let the process be killed before or after a call of a function."""
    original, calls = getattr(module, name), [0]

    def killing(*args, **kwargs):
        calls[0] += 1
        try:
            if is_after or calls[0] != number:
                return original(*args, **kwargs)
        finally:
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, killing)


def assert_same_bits(number, folder, result, expected):
    """Let a fit go on to its end."""
    if not result.exists():
        assert not was_killed(start(number, folder, result))
    assert result.read_bytes() == expected, number
    result.unlink()
    # Nothing lies about.
    assert len(list(folder.iterdir())) == 1, number


def kill_at_random(n_kills, scratch):
    result, kills = scratch / "result", 0
    for number in itertools.cycle(range(len(fits()))):
        began = time.perf_counter()
        assert not was_killed(start(number, None, result))
        seconds = time.perf_counter() - began
        expected, folder = result.read_bytes(), scratch / f"{kills}"
        result.unlink()
        # Most are killed several times.
        for _ in range(min(10, n_kills - kills)):
            child = start(number, folder, result)
            time.sleep(random.uniform(0, 0.6 * seconds))
            os.kill(child, signal.SIGKILL)
            if not was_killed(child):
                break
            kills += 1
        assert_same_bits(number, folder, result, expected)
        if kills == n_kills:
            return


def kill_while_writing(scratch):
    result = scratch / "result"
    points = [*itertools.product(WRITING, (False, True))]
    for number in range(len(fits())):
        assert not was_killed(start(number, None, result))
        expected = result.read_bytes()
        result.unlink()
        for i, ((module, name), is_after) in enumerate(points):
            if i % len(fits()) != number:
                continue
            kill = partial(kill_in_call, module, name, 2 + i, is_after)
            folder = scratch / f"{i}"
            assert was_killed(start(number, folder, result, kill)), name
            assert_same_bits(number, folder, result, expected)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if sys.argv[1] == "while-writing":
            kill_while_writing(Path(scratch))
        else:
            kill_at_random(int(sys.argv[1]), Path(scratch))
