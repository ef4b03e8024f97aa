"""Data that several tests share."""

import os
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# Before SciPy is imported: scikit-learn's check of Array API input needs it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skdam._gpu import count_devices
from skdam.datasets import load_mnist

# The same cases in every run; --hypothesis-profile=thorough draws new ones.
settings.register_profile("default", max_examples=40, deadline=None, derandomize=True)
settings.register_profile(
    "thorough",
    max_examples=2000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("default")


@pytest.fixture(scope="session")
def digits():
    """Return X_train, X_test, y_train, y_test, pixels in [-1, 1]."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 8 - 1, y, random_state=0, stratify=y)


@pytest.fixture(scope="session")
def mnist():
    """Return MNIST, from the folder named by SKDAM_MNIST."""
    if not os.environ.get("SKDAM_MNIST"):
        pytest.skip("SKDAM_MNIST does not name a folder with MNIST's IDX files")
    return load_mnist()


def pytest_report_header(config):
    if config.option.markexpr == "slow":
        return "These are the slow tests: about five minutes on two cores."
    return "All tests take about five minutes on two cores; pytest -m slow runs others."


def pytest_collection_modifyitems(items):
    for name in ("onnx", "skl2onnx"):
        if find_spec(name) is None:
            for item in items:
                if item.nodeid.startswith("skdam/export.py"):
                    item.add_marker(pytest.mark.skip(reason=f"{name} is missing"))
    if count_devices() == 0:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="CuPy sees no CUDA device"))
