"""Recall on a GPU, or on the host in the place of one."""

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdam import DenseAssociativeMemory
from skdam._backends import recall_cpu, recall_cuda
from skdam._backends.overlap_tables import overlap_tables
from skdam.energies import Exponential, LogCosh, Polynomial, RectifiedPolynomial


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, monkeypatch, tmp_path_factory):
    """Let the host be the device, or leave the GPU to it."""
    if request.param == "host":
        if cuda_on_cpu.COMPILER is None:
            pytest.skip("no C++ compiler for the host")
        cupy = cuda_on_cpu.make_cupy(tmp_path_factory.getbasetemp())
        monkeypatch.setattr(recall_cuda, "cupy", cupy)
        monkeypatch.setattr(recall_cuda, "THREADS", 64)
    recall_cuda._module.cache_clear()
    yield request.param
    recall_cuda._module.cache_clear()


@pytest.mark.parametrize(
    "energy",
    [
        Polynomial(2),
        Polynomial(5),
        RectifiedPolynomial(3),
        RectifiedPolynomial(100),
        LogCosh(),
        Exponential(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("clamped", [False, True])
def test_does_what_the_host_does(clamped, energy, device):
    rng = np.random.default_rng(0)
    patterns = rng.choice(np.array([-1, 1], np.int8), (21, 90))
    states = rng.choice(np.array([-1, 0, 1], np.int8), (5, 21))
    tables = overlap_tables(energy, 21)
    energies = np.asarray(Polynomial(2).value(np.arange(-21.0, 22.0)))
    # Data frames come column by column.
    result, expected = (
        backend.recall(
            np.asfortranarray(patterns),
            np.asfortranarray(states),
            tables,
            recall_cpu.sweep_orders(0, 21),
            free=np.asfortranarray(states == 0) if clamped else None,
            energy_of_overlap=energies,
        )
        for backend in (recall_cuda, recall_cpu)
    )
    assert (expected.states != states).any()
    for one, other in zip(result, expected, strict=True):
        assert_array_equal(one, other)


def test_the_last_sweep(device):
    rng = np.random.default_rng(1)
    patterns = rng.choice(np.array([-1, 1], np.int8), (40, 30))
    states = rng.choice(np.array([-1, 1], np.int8), (6, 40))
    tables = overlap_tables(Polynomial(2), 40)
    result, expected = (
        backend.recall(
            patterns, states, tables, recall_cpu.sweep_orders(0, 40), max_sweeps=1
        )
        for backend in (recall_cuda, recall_cpu)
    )
    assert not expected.converged.all()
    assert_array_equal(result.states, expected.states)
    assert_array_equal(result.converged, expected.converged)


def test_nvrtc_compiles_the_source():
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    program = nvrtc.createProgram(recall_cuda.source(), "recall.cu", (), ())
    try:
        nvrtc.compileProgram(
            program, (*recall_cuda.OPTIONS, "--gpu-architecture=sm_90")
        )
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))


@pytest.mark.gpu
def test_the_estimator(digits):
    X = digits[0][:200] > 0
    cues = np.where(np.arange(64) < 32, X, np.nan)
    for clamp in ("known", None):
        memory = DenseAssociativeMemory(10, clamp=clamp, random_state=0).fit(X)
        expected, energies = memory.set_params(device="cpu").recall(
            cues, return_trajectory=True
        )
        result = memory.set_params(device="cuda").recall(cues, return_trajectory=True)
        assert_array_equal(result[0], expected)
        assert_allclose(result[1], energies)
