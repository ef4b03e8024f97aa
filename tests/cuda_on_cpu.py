"""A CUDA device on the host: CuPy's calls that the kernels use, and the kernels' source
compiled by the host's compiler.

Every thread of a block is a thread, ``__syncthreads`` a barrier, and blocks run one
after the other. A stream that records keeps calls for later, and refuses allocations.
"""

import ctypes
import hashlib
import re
import shutil
import subprocess
import types
from functools import cache

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")

PRELUDE = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using namespace std;
struct Dim { unsigned x, y, z; };
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim;
static barrier<> *block_barrier;
static double exchanged[1024];
#define FUNCTION static inline
#define __global__
#define __launch_bounds__(threads)
#define __shared__ static
static void __syncthreads() { block_barrier->arrive_and_wait(); }
static double __shfl_down_sync(unsigned, double mine, int offset) {
    exchanged[threadIdx.x] = mine;
    __syncthreads();
    bool inside = threadIdx.x % 32 + offset < 32;
    double other = inside ? exchanged[threadIdx.x + offset] : mine;
    __syncthreads();
    return other;
}
template <class Kernel> static void run(Dim grid, unsigned n_threads, Kernel kernel) {
    barrier<> together(n_threads);
    block_barrier = &together;
    blockDim = {n_threads, 1, 1};
    vector<thread> threads;
    for (unsigned t = 0; t < n_threads; ++t)
        threads.emplace_back([=] {
            threadIdx = {t, 0, 0};
            for (unsigned z = 0; z < grid.z; ++z)
                for (unsigned y = 0; y < grid.y; ++y)
                    for (unsigned x = 0; x < grid.x; ++x) {
                        blockIdx = {x, y, z};
                        kernel();
                        __syncthreads();
                    }
        });
    for (auto &thread : threads) thread.join();
}
"""


def launchers(source):
    """Return C functions that run each kernel of a source over a grid."""
    text = ""
    for name, parameters in re.findall(
        r'extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(([^)]*)\)',
        source,
    ):
        names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
        text += (
            f'extern "C" void launch_{name}(unsigned gx, unsigned gy, unsigned gz, '
            f"unsigned n_threads, {parameters}) "
            f"{{ run({{gx, gy, gz}}, n_threads, [=] {{ {name}({names}); }}); }}\n"
        )
    return text


@cache
def compiled(source, options, folder):
    text = PRELUDE + source + launchers(source)
    name = hashlib.sha256((text + str(options)).encode()).hexdigest()[:16]
    library = folder / f"{name}.so"
    (folder / f"{name}.cc").write_text(text)
    options = [o for o in options if not o.startswith("--std")]
    subprocess.run(
        [COMPILER, "-std=c++20", "-O0", "-pthread", "-shared", "-fPIC", *options]
        + ["-o", str(library), str(folder / f"{name}.cc")],
        check=True,
    )
    return ctypes.CDLL(str(library))


class ndarray(np.ndarray):
    """An array on the device, told from the host's by its type."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    def set(self, host, stream=None):
        assert type(host) is np.ndarray
        assert host.shape == self.shape
        assert host.dtype == self.dtype
        assert not stream.recording
        self[...] = host


class Graph:
    def __init__(self, calls):
        self.calls = calls

    def launch(self):
        for call in self.calls:
            call()


class Stream:
    """The one stream of the device."""

    recording = None
    ptr = 1

    def do(self, call):
        if self.recording is None:
            call()
        else:
            self.recording.append(call)

    def begin_capture(self):
        self.recording = []

    def is_capturing(self):
        return self.recording is not None

    def end_capture(self):
        graph, self.recording = Graph(self.recording), None
        return graph


def columns(pointer, n_rows, n_columns, dtype):
    """Return the matrix at an address, column after column."""
    kind = ctypes.c_double if dtype == np.float64 else ctypes.c_float
    address = ctypes.cast(int(pointer), ctypes.POINTER(kind))
    return np.ctypeslib.as_array(address, (n_columns, n_rows)).T


def make_cupy(folder):
    """Return a module that can stand for ``cupy``."""
    cupy, cuda = types.ModuleType("cupy"), types.ModuleType("cupy.cuda")
    stream = Stream()

    def made(make):
        def checked(*args, **kwargs):
            assert stream.recording is None, "allocation while recording"
            return make(*args, **kwargs).view(ndarray)

        return checked

    def asarray(a, dtype=None):
        if isinstance(a, ndarray) and a.dtype == dtype:
            return a
        return made(np.array)(a, dtype, order="C")

    def ascontiguousarray(a, dtype=None):
        if a.flags.c_contiguous and dtype in (None, a.dtype):
            return a
        return made(np.ascontiguousarray)(a, dtype)

    class RawModule:
        def __init__(self, code, options):
            self.library = compiled(code, options, folder)

        def get_function(self, name):
            function = getattr(self.library, f"launch_{name}")

            def launch(grid, block, arguments):
                grid = (*grid, 1, 1)[:3]
                values = [
                    ctypes.c_void_p(a.ctypes.data)
                    if isinstance(a, ndarray)
                    else np.ctypeslib.as_ctypes_type(a.dtype)(a.item())
                    for a in arguments
                ]
                stream.do(lambda: function(*grid, *block, *values))

            return launch

    def gemmEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb,
               beta, C, Ctype, ldc, compute, algo):  # fmt: skip
        dtype = np.float64 if Ctype == 1 else np.float32
        assert Atype == Btype == Ctype
        assert compute in ({70} if Ctype == 1 else {68, 77})
        assert (transb, ldc, ldb, algo) == (0, m, k, -1)
        assert lda == (k if transa else m)
        assert columns(alpha, 1, 1, dtype) == 1
        assert columns(beta, 1, 1, dtype) == 0

        def multiply():
            a = columns(A, *((k, m) if transa else (m, k)), dtype)
            columns(C, m, n, dtype)[...] = (a.T if transa else a) @ columns(
                B, k, n, dtype
            )

        stream.do(multiply)

    cupy.ndarray = ndarray
    cupy.asnumpy = lambda a: np.array(a, subok=False)
    cupy.empty = made(np.empty)
    cupy.arange = made(np.arange)
    cupy.asarray = asarray
    cupy.ascontiguousarray = ascontiguousarray
    cupy.RawModule = RawModule
    cupy.cuda = cuda
    cuda.get_current_stream = lambda: stream
    cuda.device = types.SimpleNamespace(get_cublas_handle=lambda: 0)
    cuda.cublas = types.SimpleNamespace(gemmEx=gemmEx)
    return cupy
