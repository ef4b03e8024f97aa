"""A CUDA device on the host: what the package uses of CuPy, as strict as CuPy or more
so, with kernels compiled by the host's compiler (``cuda_on_cpu.h``).

Work waits in its stream until something needs it, and a stream that records takes
nothing but launches. Memory is full of NaN until it is written, and has guards at both
ends. Arrays mix with none of the host. Kernels check how they are launched.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import types
import weakref
from pathlib import Path

import numpy as np

COMPILER = shutil.which("g++") or shutil.which("clang++")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skdam-tests"

PRELUDE = Path(__file__).with_suffix(".h").read_text()

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
            f'extern "C" int launch_{name}(unsigned grid_x, unsigned grid_y, '
            f"unsigned grid_z, unsigned n_threads, {parameters}) {{\n"
            f"return run({{grid_x, grid_y, grid_z}}, n_threads, "
            f"[=] {{ {name}({names}); }}); }}\n"
        )
    command = [COMPILER, *"-std=c++17 -O1 -w -shared -fPIC -U_FORTIFY_SOURCE".split()]
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

    current = None

    def __init__(self, non_blocking=False):
        self.queue, self.n_issued = [], 0
        self.recorded, self.is_valid = None, True
        self.ptr, self.outer = id(self), []

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
        self.outer.append(Stream.current)
        Stream.current = self

    def __exit__(self, *_):
        Stream.current = self.outer.pop()


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
        if not any(np.may_share_memory(host, pinned) for pinned in PINNED):
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


for _name in ("add", "radd", "mul", "rmul", "abs"):
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
        same = dtype is None or dtype == a.dtype
        return a if same else on_device(on_host(a).astype(dtype))
    # As NumPy and CuPy do it, in the order in which it is.
    values = np.asarray(a, dtype)
    return on_device(values, "C" if values.flags.c_contiguous else "F")


def ascontiguousarray(a, dtype=None):
    dtype = a.dtype if dtype is None else dtype
    plain = a.flags.c_contiguous and dtype == a.dtype
    return a if plain else on_device(on_host(a).astype(dtype))


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
        streams, workspaces = {}, {}

        def set_stream(handle, stream):
            streams[handle.value] = stream.value
            workspaces.pop(handle.value, None)

        def set_workspace(handle, workspace, n_bytes):
            assert Memory.holds(workspace.value, n_bytes.value)
            workspaces[handle.value] = workspace.value

        def gemm(handle, transa, transb, m, n, k, alpha, a, a_kind, lda, b, b_kind, ldb,
                 beta, c, c_kind, ldc, compute, algorithm):  # fmt: skip
            assert a_kind == b_kind == c_kind
            assert compute in [(68, 77), (70,)][c_kind]
            assert streams[handle.value] == Stream.current.ptr
            assert handle.value in workspaces
            a = _matrix(a, *((k, m) if transa else (m, k)), lda, a_kind)
            b = _matrix(b, *((n, k) if transb else (k, n)), ldb, b_kind)
            c = _matrix(c, m, n, ldc, c_kind)
            alpha, beta = alpha._obj.value, beta._obj.value

            def multiply():
                product = (a.T if transa else a) @ (b.T if transb else b)
                # What is not added to may be NaN.
                c[...] = alpha * product + (beta * c if beta else 0)

            Stream.current.do(multiply)

        self.create = iter(range(1, 2**20)).__next__
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
        function = getattr(self.library, f"launch_{name}")
        signature = self.signatures[name]

        def launch(grid, block, arguments):
            grid = (*grid, 1, 1)[:3]
            (n_threads,) = block
            assert n_threads % 32 == 0 and 0 < n_threads <= 1024
            assert min(grid) > 0 and grid[0] < 2**31 and max(grid[1:]) < 2**16
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


def make_cupy(folder=CACHE):
    """Return what can stand for ``cupy``; what it compiles is kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    Stream.current = Stream()
    pool = types.SimpleNamespace(free_bytes=lambda: 0, n_trims=0)

    def free_all_blocks():
        pool.n_trims += 1

    pool.free_all_blocks = free_all_blocks
    library = CuBLAS()
    cuda = types.SimpleNamespace(
        Stream=Stream,
        Device=Device,
        get_current_stream=lambda: Stream.current,
        alloc_pinned_memory=alloc_pinned_memory,
        cublas=types.SimpleNamespace(
            create=library.create, CUBLASError=CUBLASError, library=library
        ),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError),
        driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
    )
    return types.SimpleNamespace(
        ndarray=ndarray,
        empty=empty,
        zeros=lambda shape, dtype=float: on_device(np.zeros(shape, dtype)),
        array=lambda a: on_device(on_host(a) if isinstance(a, ndarray) else a),
        asarray=asarray,
        ascontiguousarray=ascontiguousarray,
        asnumpy=asnumpy,
        RawModule=lambda code, options: RawModule(code, options, folder),
        get_default_memory_pool=lambda: pool,
        cuda=cuda,
    )
