"""A CUDA device on the host: what the package uses of CuPy, as strict as CuPy or more
so, and the kernels' source compiled by the host's compiler.

The threads of a block are fibers; warps run in random order. Work waits in its stream
until something needs it, and a stream that records takes nothing but launches. Memory
is full of NaN until it is written, and has guards at both ends.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import types
import weakref

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")

PRELUDE = r"""
#include <ucontext.h>
#include <cmath>
#include <cstdlib>
#include <cstring>
using std::exp; using std::expm1; using std::fabs; using std::fmax; using std::fmin;
using std::log; using std::log1p; using std::pow; using std::tanh;
struct Dim { unsigned x, y, z; };
static Dim threadIdx, blockIdx, blockDim;
#define FUNCTION static inline
#define __global__
#define __launch_bounds__(threads)
#define __shared__ __attribute__((section("shared_memory"))) static
#define HIDDEN __attribute__((weak, visibility("hidden")))
extern HIDDEN char __start_shared_memory[], __stop_shared_memory[];

enum State { READY, AT_BARRIER, IN_WARP, AT_END };
static ucontext_t scheduler, fibers[1024];
static char *stacks;
static State states[1024];
static unsigned masks[1024], turns[1024];
static char exchanged[2][1024][8];
static void (*current_kernel)(void *);
static void *current_arguments;

static void wait_as(State state) {
    unsigned t = threadIdx.x;
    states[t] = state;
    swapcontext(&fibers[t], &scheduler);
}
static void __syncthreads() { wait_as(AT_BARRIER); }
template <class T> static T exchange(unsigned mask, T mine, unsigned lane) {
    unsigned t = threadIdx.x, turn = ++turns[t] % 2;
    masks[t] = mask;
    memcpy(exchanged[turn][t], &mine, sizeof mine);
    wait_as(IN_WARP);
    T other;
    bool inside = lane < 32 && mask >> lane & 1;
    memcpy(&other, exchanged[turn][inside ? t / 32 * 32 + lane : t], sizeof other);
    return other;
}
template <class T> static T __shfl_xor_sync(unsigned mask, T mine, int bits) {
    return exchange(mask, mine, threadIdx.x % 32 ^ bits);
}
template <class T> static T __shfl_down_sync(unsigned mask, T mine, int offset) {
    return exchange(mask, mine, threadIdx.x % 32 + offset);
}
static void run_fiber() {
    for (;;) {
        current_kernel(current_arguments);
        wait_as(AT_END);
    }
}
/* Run a block; return 1 where threads wait for others in vain. */
static int run_block(unsigned n) {
    static unsigned random = 1;
    memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    for (unsigned t = 0; t < n; ++t) states[t] = READY;
    for (;;) {
        unsigned n_warps = n / 32, warps[32];
        for (unsigned w = 0; w < n_warps; ++w) warps[w] = w;
        for (unsigned w = n_warps; w > 1; --w) {
            random = random * 1664525u + 1013904223u;
            unsigned other = (random >> 16) % w, held = warps[other];
            warps[other] = warps[w - 1];
            warps[w - 1] = held;
        }
        for (unsigned w = 0; w < n_warps; ++w)
            for (unsigned t = 32 * warps[w]; t < 32 * warps[w] + 32; ++t)
                if (states[t] == READY) {
                    threadIdx.x = t;
                    swapcontext(&scheduler, &fibers[t]);
                }
        unsigned at_end = 0, at_barrier = 0, released = 0;
        static bool complete[1024];
        for (unsigned t = 0; t < n; ++t) {
            at_end += states[t] == AT_END;
            at_barrier += states[t] == AT_BARRIER;
            complete[t] = states[t] == IN_WARP;
            for (unsigned lane = 0; complete[t] && lane < 32; ++lane) {
                unsigned other = t / 32 * 32 + lane;
                if (masks[t] >> lane & 1)
                    complete[t] = states[other] == IN_WARP && masks[other] == masks[t] &&
                                  turns[other] == turns[t];
            }
        }
        for (unsigned t = 0; t < n; ++t)
            if (complete[t]) states[t] = READY, ++released;
        if (at_end == n) return 0;
        if (at_barrier == n)
            for (unsigned t = 0; t < n; ++t) states[t] = READY;
        else if (!released)
            return 1;
    }
}
static int run(Dim grid, unsigned n, void (*kernel)(void *), void *arguments) {
    const size_t size = 65536;
    if (!stacks) stacks = (char *)malloc(1024 * size);
    current_kernel = kernel;
    current_arguments = arguments;
    blockDim = {n, 1, 1};
    for (unsigned t = 0; t < n; ++t) {
        getcontext(&fibers[t]);
        fibers[t].uc_stack.ss_sp = stacks + t * size;
        fibers[t].uc_stack.ss_size = size;
        makecontext(&fibers[t], run_fiber, 0);
    }
    for (unsigned z = 0; z < grid.z; ++z)
        for (unsigned y = 0; y < grid.y; ++y)
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = {x, y, z};
                if (run_block(n)) return 1;
            }
    return 0;
}
template <class Function> static int run(Dim grid, unsigned n, Function function) {
    return run(grid, n, [](void *f) { (*(Function *)f)(); }, &function);
}
"""

KERNEL = re.compile(
    r'extern "C" __global__ void(?: __launch_bounds__\(\w+\))?\s+(\w+)\(([^)]*)\)'
)
TYPES = {
    "double": np.float64,
    "float": np.float32,
    "int": np.int32,
    "unsigned": np.uint32,
    "signed char": np.int8,
    "unsigned char": np.uint8,
}
GUARD = 64
"""Bytes at both ends of an array, of which kernels must keep off."""


def compiled(source, options, folder):
    """Return the library of a source, compiled at most once for all runs."""
    text = PRELUDE + source
    for name, parameters in KERNEL.findall(source):
        names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
        text += (
            f'extern "C" int launch_{name}(unsigned grid_x, unsigned grid_y, unsigned grid_z, '
            f"unsigned n_threads, {parameters}) {{\n"
            f"    return run({{grid_x, grid_y, grid_z}}, n_threads, [=] {{ {name}({names}); }});\n}}\n"
        )
    command = [COMPILER, "-std=c++17", "-O1", "-w", "-shared", "-fPIC"]
    command += [option for option in options if not option.startswith("--std")]
    key = hashlib.sha256(repr((text, command)).encode()).hexdigest()[:20]
    library = folder / f"{key}.so"
    if not library.exists():
        part = folder / f"{key}.part{os.getpid()}"
        command += ["-o", str(part), "-x", "c++", "-"]
        subprocess.run(command, input=text.encode(), check=True)
        part.replace(library)
    return ctypes.CDLL(str(library))


class CUDARuntimeError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"CUDA error {status}")
        self.status = status


class CUDADriverError(CUDARuntimeError):
    pass


class CUBLASError(CUDARuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, ILLEGAL_STATE = 900, 901, 401


class Event:
    def __init__(self, stream):
        self.stream, self.place = stream, stream.n_issued

    def synchronize(self):
        self.stream.drain(self.place)


class Stream:
    """Does its work when something waits for it."""

    null = None
    current = None

    def __init__(self, non_blocking=False):
        self.queue, self.n_issued = [], 0
        self.recorded, self.is_valid = None, True
        self.ptr = id(self)

    def do(self, call):
        if self.recorded is None:
            self.queue.append(call)
            self.n_issued += 1
        elif self.is_valid:
            self.recorded.append(call)
        else:
            raise CUDARuntimeError(CAPTURE_INVALIDATED)

    def drain(self, place):
        if self.recorded is not None:
            self.is_valid = False
            raise CUDARuntimeError(CAPTURE_UNSUPPORTED)
        while self.queue and self.n_issued - len(self.queue) < place:
            self.queue.pop(0)()

    def synchronize(self):
        self.drain(self.n_issued)

    def record(self):
        return Event(self)

    def wait_event(self, event):
        event.synchronize()

    def begin_capture(self):
        if self.recorded is not None:
            raise CUDARuntimeError(ILLEGAL_STATE)
        self.recorded, self.is_valid = [], True

    def end_capture(self):
        if self.recorded is None:
            raise CUDARuntimeError(ILLEGAL_STATE)
        recorded, self.recorded = self.recorded, None
        if not self.is_valid:
            raise CUDARuntimeError(CAPTURE_INVALIDATED)
        return Graph(recorded)

    def __enter__(self):
        self.outer, Stream.current = Stream.current, self

    def __exit__(self, *_):
        Stream.current = self.outer


class Graph:
    def __init__(self, calls):
        self.calls = calls

    def launch(self):
        for call in self.calls:
            Stream.current.do(call)


class Device:
    id = 0
    mem_info = 2**33, 2**34

    def __init__(self, number=0):
        assert number == 0

    def __eq__(self, other):
        return isinstance(other, Device)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Memory:
    """Memory of the device, with guards, and NaN until it is written."""

    known = weakref.WeakSet()

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes
        self.bytes = np.full(n_bytes + 2 * GUARD, 0xFF, np.uint8)
        self.ptr = self.bytes.ctypes.data + GUARD
        self.known.add(self)

    def check(self):
        guards = self.bytes[:GUARD], self.bytes[GUARD + self.n_bytes :]
        assert all((guard == 0xFF).all() for guard in guards), "write out of bounds"

    @classmethod
    def holds(cls, address, n_bytes):
        return any(
            memory.ptr <= address and address + n_bytes <= memory.ptr + memory.n_bytes
            for memory in cls.known
        )


class ndarray:
    """An array on the device, which mixes with none of the host."""

    __array_ufunc__ = None

    def __init__(self, values, memory):
        # All that is read without waiting for the stream: shape, and the like.
        self._values, self.memory = values, memory
        self.data = types.SimpleNamespace(ptr=values.ctypes.data)

    shape = property(lambda self: self._values.shape)
    dtype = property(lambda self: self._values.dtype)
    strides = property(lambda self: self._values.strides)
    flags = property(lambda self: self._values.flags)
    itemsize = property(lambda self: self._values.itemsize)
    nbytes = property(lambda self: self._values.nbytes)
    device = property(lambda self: Device())
    T = property(lambda self: ndarray(self._values.T, self.memory))

    def __len__(self):
        return len(self._values)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __getitem__(self, key):
        values = self._values[on_host(key)]
        if np.shares_memory(values, self._values):
            return ndarray(values, self.memory)
        return on_device(values)

    def __setitem__(self, key, value):
        self._values[on_host(key)] = on_host(value)

    def fill(self, value):
        Stream.current.do(lambda: self._values.fill(value))

    def set(self, host, stream=None):
        assert type(host) is np.ndarray
        assert (host.shape, host.dtype) == (self.shape, self.dtype)
        assert host.flags.c_contiguous and self.flags.c_contiguous
        if not any(np.shares_memory(host, pinned) for pinned in PINNED):
            host = host.copy()
        (stream or Stream.current).do(lambda: np.copyto(self._values, host))

    def max(self, axis=None):
        return on_device(on_host(self).max(axis=axis))

    def copy(self):
        return on_device(on_host(self))


def _operator(name):
    return lambda self, *others: on_device(
        getattr(on_host(self), name)(*map(on_host, others))
    )


for _name in "add radd sub rsub mul rmul truediv rtruediv neg abs gt lt eq ne".split():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def on_device(values, order="C"):
    """Return a new array on the device."""
    assert Stream.current.recorded is None, "allocation while a stream records"
    array = empty(np.shape(values), np.asarray(values).dtype, order)
    array._values[...] = values
    return array


def on_host(value):
    """Return the values of an array of the device, when all work on it is done."""
    if isinstance(value, tuple):
        return tuple(map(on_host, value))
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, ndarray):
        Stream.current.synchronize()
        return value._values
    return value


def empty(shape, dtype=float, order="C"):
    assert Stream.current.recorded is None, "allocation while a stream records"
    dtype = np.dtype(dtype)
    memory = Memory(int(np.prod(shape)) * dtype.itemsize)
    values = memory.bytes[GUARD : GUARD + memory.n_bytes].view(dtype)
    return ndarray(values.reshape(shape, order=order), memory)


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype in (None, a.dtype) else on_device(on_host(a).astype(dtype))
    # As NumPy and CuPy do it, in the order in which it is.
    values = np.asarray(a, dtype)
    return on_device(values, "C" if values.flags.c_contiguous else "F")


def ascontiguousarray(a, dtype=None):
    plain = a.flags.c_contiguous and dtype in (None, a.dtype)
    return a if plain else on_device(on_host(a).astype(dtype or a.dtype))


def asnumpy(a):
    return on_host(a).copy()


def _matrix(pointer, n_rows, n_columns, leading, kind):
    """Return the matrix at an address, column after column."""
    dtype = np.dtype([np.float32, np.float64][kind])
    n_bytes = ((n_columns - 1) * leading + n_rows) * dtype.itemsize
    assert leading >= n_rows and Memory.holds(pointer, n_bytes)
    values = np.frombuffer((ctypes.c_char * n_bytes).from_address(pointer), dtype)
    strides = dtype.itemsize, leading * dtype.itemsize
    return np.lib.stride_tricks.as_strided(values, (n_rows, n_columns), strides)


class CuBLAS:
    """The library, as far as it is called directly."""

    def __init__(self):
        def set_stream(handle, stream):
            handle.stream, handle.workspace = stream, None
            return 0

        def set_workspace(handle, workspace, n_bytes):
            assert Memory.holds(workspace, n_bytes)
            handle.workspace = workspace
            return 0

        def gemm(handle, transa, transb, m, n, k, alpha, a, a_kind, lda, b, b_kind, ldb,
                 beta, c, c_kind, ldc, compute, algorithm):  # fmt: skip
            assert a_kind == b_kind == c_kind
            assert compute in [(68, 77), (70,)][c_kind]
            assert handle.stream == Stream.current.ptr
            assert handle.workspace is not None
            a = _matrix(a, *((k, m) if transa else (m, k)), lda, a_kind)
            b = _matrix(b, *((n, k) if transb else (k, n)), ldb, b_kind)
            c = _matrix(c, m, n, ldc, c_kind)
            alpha, beta = alpha._obj.value, beta._obj.value

            def multiply():
                product = (a.T if transa else a) @ (b.T if transb else b)
                # What is not added to may be NaN.
                c[...] = alpha * product + (beta * c if beta else 0)

            Stream.current.do(multiply)
            return 0

        self.cublasSetStream_v2 = set_stream
        self.cublasSetWorkspace_v2 = set_workspace
        self.cublasGemmEx = gemm


PINNED = []


def alloc_pinned_memory(n_bytes):
    PINNED.append(np.empty(n_bytes, np.uint8))
    return PINNED[-1]


class RawModule:
    """Kernels of a source, which check how they are launched."""

    def __init__(self, code, options, folder):
        self.library = compiled(code, options, folder)
        real = re.search(r"-DREAL=(\w+)", " ".join(options))
        types = TYPES | ({"real": TYPES[real[1]]} if real else {})
        self.signatures = {}
        for name, parameters in KERNEL.findall(code):
            parts = [p.replace("const ", "").strip() for p in parameters.split(",")]
            self.signatures[name] = [
                (types[re.match(r"[a-z ]*[a-z](?= )", part)[0]], "*" in part)
                for part in parts
            ]

    def get_function(self, name):
        function, signature = (
            getattr(self.library, f"launch_{name}"),
            self.signatures[name],
        )

        def launch(grid, block, arguments):
            grid = (*grid, 1, 1)[:3]
            (n_threads,) = block
            assert n_threads % 32 == 0 and 0 < n_threads <= 1024
            assert all(0 < n < most for n, most in zip(grid, (2**31, 2**16, 2**16)))
            values, arrays = [], []
            for (dtype, is_pointer), argument in zip(signature, arguments, strict=True):
                if isinstance(argument, ndarray):
                    assert is_pointer and argument.dtype == dtype, name
                    assert argument.flags.c_contiguous, name
                    arrays.append(argument)
                    argument = ctypes.c_void_p(argument.data.ptr)
                elif is_pointer:
                    assert type(argument) is np.intp and argument == 0, name
                    argument = ctypes.c_void_p(None)
                else:
                    assert type(argument) is dtype, name
                    argument = np.ctypeslib.as_ctypes_type(dtype)(argument.item())
                values.append(argument)

            def run():
                assert function(*grid, n_threads, *values) == 0, f"{name}: deadlock"
                for array in arrays:
                    array.memory.check()

            Stream.current.do(run)

        return launch


def make_cupy(folder):
    """Return a module that can stand for ``cupy``, and keeps what it compiles."""
    Stream.current = Stream()
    pool = types.SimpleNamespace(free_bytes=lambda: 0, n_trims=0)

    def free_all_blocks():
        pool.n_trims += 1

    pool.free_all_blocks = free_all_blocks
    cuda = types.SimpleNamespace(
        Stream=Stream,
        Device=Device,
        get_current_stream=lambda: Stream.current,
        alloc_pinned_memory=alloc_pinned_memory,
        cublas=types.SimpleNamespace(
            create=types.SimpleNamespace, CUBLASError=CUBLASError, library=CuBLAS()
        ),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError),
        driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
    )
    return types.SimpleNamespace(
        ndarray=ndarray,
        empty=empty,
        zeros=lambda shape, dtype=float: on_device(np.zeros(shape, dtype)),
        zeros_like=lambda a: on_device(np.zeros(a.shape, a.dtype)),
        array=lambda a: on_device(on_host(a) if isinstance(a, ndarray) else a),
        asarray=asarray,
        ascontiguousarray=ascontiguousarray,
        asnumpy=asnumpy,
        abs=abs,
        RawModule=lambda code, options: RawModule(code, options, folder),
        get_default_memory_pool=lambda: pool,
        cuda=cuda,
    )
