import gzip
import struct

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdam import Checkpoint
from skdam.datasets import load_mnist


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as stream:
        stream.write(header + array.tobytes())


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 3)):
        images = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", np.arange(n, dtype=np.uint8))
    return tmp_path


@pytest.mark.parametrize("by_variable", [False, True])
def test_reads_idx_files(by_variable, folder, monkeypatch):
    if by_variable:
        monkeypatch.setenv("SKDAM_MNIST", str(folder))
    mnist = load_mnist(None if by_variable else folder)
    assert mnist.X_train.shape == (5, 784)
    assert mnist.X_test.shape == (3, 784)
    assert mnist.X_train.dtype == np.float32
    assert_array_equal(mnist.y_test, [0, 1, 2])
    pixels = np.random.default_rng(0).integers(256, size=(5, 784), dtype=np.uint8)
    assert_allclose(mnist.X_train, pixels / 127.5 - 1, atol=1e-6)


def test_paths_may_begin_at_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    assert len(load_mnist("~").X_test) == 3
    assert Checkpoint("~/fits").path == str(folder / "fits")


def test_falls_back_on_openml(monkeypatch):
    monkeypatch.delenv("SKDAM_MNIST", raising=False)
    X = np.zeros((70000, 1))
    X[60000:] = 255

    def fetch(name, **options):
        assert name == "mnist_784"
        return X, np.full(70000, "7")

    monkeypatch.setattr("skdam.datasets.fetch_openml", fetch)
    mnist = load_mnist()
    assert len(mnist.X_train) == 60000
    assert (mnist.X_train == -1).all()
    assert (mnist.X_test == 1).all()
    assert_array_equal(mnist.y_test, 7)


def test_errors_say_what_to_do(folder, monkeypatch):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        load_mnist(folder)
    # Cut short in values, header and magic number; of another type; too long.
    whole = b"\x00\x00\x08\x01\x00\x00\x00\x09"
    other = b"\x00\x00\x0d" + whole[3:]
    for content in (whole, whole[:6], whole[:3], other, whole + bytes(10)):
        (folder / "t10k-labels-idx1-ubyte").write_bytes(content)
        with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is not an IDX"):
            load_mnist(folder)

    def offline(*args, **options):
        raise OSError("no network")

    monkeypatch.delenv("SKDAM_MNIST", raising=False)
    monkeypatch.setattr("skdam.datasets.fetch_openml", offline)
    with pytest.raises(ConnectionError, match="SKDAM_MNIST"):
        load_mnist()


def test_mnist_itself(mnist):
    assert mnist.X_train.shape == (60000, 784)
    assert mnist.X_test.shape == (10000, 784)
    assert_array_equal(mnist.y_train[:5], [5, 0, 4, 1, 9])
    assert_array_equal(mnist.y_test[:5], [7, 2, 1, 0, 4])
    assert_allclose([mnist.X_train.min(), mnist.X_train.max()], [-1, 1])
