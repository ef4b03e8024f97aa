"""The CUDA kernels, as far as a machine without a GPU can tell.

Their source is compiled by NVRTC, where CuPy is installed; and by the host's compiler,
so that whole trainings are run as on a device and compared with NumPy's kernels.
"""

from contextlib import contextmanager

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose

import skdam.training
from skdam.energies import (
    Exponential,
    LogCosh,
    Polynomial,
    RectifiedPolynomial,
    Softplus,
)
from skdam.formulations import get_formulation
from skdam.kernels import cuda as module
from skdam.kernels.reference import ReferenceKernel
from skdam.objectives import PowerError
from skdam.training import Descent, LearningRate, State, TemperatureRamp, train

ENERGIES = [
    *(RectifiedPolynomial(n) for n in (1, 1.5, 2, 3, 4, 5, 20, 30.5, 100)),
    *(Polynomial(n) for n in (1, 2, 3, 4, 20, 31)),
    LogCosh(),
    Softplus(),
    Exponential(),
]


@pytest.fixture
def cuda(monkeypatch, tmp_path_factory):
    """Return ``skdam.kernels.cuda`` with the host in the place of a device."""
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("no C++ compiler for the host")
    cupy = cuda_on_cpu.make_cupy(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(module, "cupy", cupy)
    module._module.cache_clear()
    monkeypatch.setattr(module, "THREADS", 64)
    monkeypatch.setattr(module, "CLASS_TILE", 3)
    monkeypatch.setattr(module, "MEMORIES_PER_CHUNK", 4)
    monkeypatch.setattr(module, "_recordable_gemm", lambda *_: cupy.cuda.cublas.gemmEx)
    return module


def problem(dtype, n_memories=7, n_features=9, n_classes=4, n_samples=71):
    rng = np.random.default_rng(0)
    return (
        rng.uniform(-1, 1, (n_memories, n_features)).astype(dtype),
        rng.uniform(-1, 1, (n_memories, n_classes)).astype(dtype),
        rng.uniform(-1, 1, (n_samples, n_features)).astype(dtype),
        rng.integers(n_classes, size=n_samples, dtype=np.int32),
        rng.uniform(0.5, 2, n_samples),
    )


def run(
    open_kernel, on_device, data, formulate, objective, monkeypatch, streamed=False
):
    """Train for four epochs; return memories, their state and the epochs' reports."""
    monkeypatch.setattr(
        skdam.training, "kernel_for", contextmanager(lambda *a: (yield open_kernel(*a)))
    )
    memories, connections, X, codes, weights = data
    state = State.at_rest(memories.copy(), connections.copy())
    if on_device:
        as_device = lambda array: array.view(cuda_on_cpu.ndarray)  # noqa: E731
        state = State(*(as_device(part) for part in vars(state).values()))
        codes = as_device(codes)
        weights = None if weights is None else as_device(weights)
        X = X if streamed else as_device(X)
    descent = Descent(
        objective,
        LearningRate(0.1, "exponential", 0.8, n_epochs=4),
        TemperatureRamp(4.0, 2.0, n_epochs=3),
        momentum=0.8,
        batch_size=36,
        gradient_tolerance=0,
    )
    reports = [
        (epoch.loss, *epoch.hits)
        for _, epoch in train(
            state,
            X,
            codes,
            weights,
            formulate,
            descent,
            epochs=range(4),
            reach=13.0,
            rng=np.random.RandomState(0) if weights is not None else None,
        )
    ]
    return *(np.asarray(part) for part in vars(state).values()), reports


@pytest.mark.parametrize("energy", ENERGIES, ids=repr)
@pytest.mark.parametrize("formulation", ["feedforward", "energy"])
def test_training_on_a_device_is_training_on_the_host(
    formulation, energy, cuda, monkeypatch
):
    def formulate(temperature):
        return get_formulation(formulation, energy, temperature)

    def reference(memories, connections, formulation, batch_size, reach, precision):
        return ReferenceKernel(formulation)

    def cuda_kernel(memories, connections, formulation, batch_size, reach, precision):
        return cuda.CudaKernel(formulation, 4, memories.dtype, reach, precision)

    data = problem(np.float64)
    expected = run(reference, False, data, formulate, PowerError(3), monkeypatch)
    result = run(cuda_kernel, True, data, formulate, PowerError(3), monkeypatch)
    for one, other in zip(result, expected, strict=True):
        assert_allclose(one, other, rtol=1e-9, atol=1e-10)
