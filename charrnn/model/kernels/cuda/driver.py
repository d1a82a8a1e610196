"""Compiles CUDA C++ at run time and launches it: NVRTC, which comes with torch, and the driver.

Both are C libraries, called through ctypes. Structures and numbers are those of ``cuda.h``.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# CUfunction_attribute and CUlaunchAttributeID of cuda.h
_MOST_SHARED_MEMORY, _ANY_CLUSTER, _CLUSTER = 8, 14, 4


class CudaError(RuntimeError):
    """A kernel cannot be compiled, loaded or launched."""


class _Attribute(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_int),
        ("pad", ctypes.c_char * 4),
        ("value", ctypes.c_uint * 16),
    )


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


@functools.cache
def _compiler() -> ctypes.CDLL:
    """NVRTC in the version that torch was built with.

    Raises:
        OSError: it is missing.

    """
    major = (torch.version.cuda or "").partition(".")[0]
    windows = sys.platform == "win32"
    return ctypes.CDLL(f"nvrtc64_{major}0_0.dll" if windows else f"libnvrtc.so.{major}")


def _check(library: ctypes.CDLL, code: int, what: str) -> None:
    if code:
        raise CudaError(f"{what}: {library._name} answers {code}")


def compiled(source: str, options: Sequence[str], capability: tuple[int, int]) -> bytes:
    """Machine code of ``source`` for GPUs of the compute ``capability``.

    Raises:
        OSError: the compiler is missing.
        CudaError: the source is wrong; the message has the compiler's own.

    """
    library, program = _compiler(), ctypes.c_void_p()
    major, minor = capability
    words = [word.encode() for word in (f"-arch=sm_{major}{minor}", *options)]
    code = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"charrnn.cu", 0, None, None
    )
    _check(library, code, "creating a program")
    try:
        array = (ctypes.c_char_p * len(words))(*words)
        if library.nvrtcCompileProgram(program, len(words), array):
            raise CudaError(_text(library, program, "ProgramLog").decode(errors="replace"))
        return _text(library, program, "CUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(library, library[f"nvrtcGet{what}Size"](program, ctypes.byref(size)), what)
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, library[f"nvrtcGet{what}"](program, buffer), what)
    return buffer.raw


class Kernel:
    """A kernel of a loaded module, launched in clusters of thread blocks."""

    def __init__(self, module: Module, name: str, cluster: int, threads: int, shared: int) -> None:
        self._module, self._name = module, name  # the module must stay loaded
        self.cluster, self._function = cluster, ctypes.c_void_p()
        found = _driver().cuModuleGetFunction(
            ctypes.byref(self._function), module.handle, name.encode()
        )
        _check(_driver(), found, f"finding {name}")
        for attribute, value in ((_MOST_SHARED_MEMORY, shared), (_ANY_CLUSTER, 1)):
            code = _driver().cuFuncSetAttribute(self._function, attribute, value)
            _check(_driver(), code, f"setting an attribute of {name}")
        self._attribute = _Attribute(_CLUSTER)
        self._attribute.value[0:3] = [cluster, 1, 1]
        self._threads, self._shared = threads, shared

    def _launch(self, blocks: int, stream: int) -> _Launch:
        return _Launch(
            (blocks, 1, 1),
            (self._threads, 1, 1),
            self._shared,
            stream,
            ctypes.pointer(self._attribute),
            1,
        )

    def most_clusters(self) -> int:
        """How many clusters the device runs at once; 0 if it can run none."""
        found, launch = ctypes.c_int(), self._launch(self.cluster, 0)
        code = _driver().cuOccupancyMaxActiveClusters(
            ctypes.byref(found), self._function, ctypes.byref(launch)
        )
        return 0 if code else found.value

    def __call__(self, clusters: int, *arguments: Tensor | int | None) -> None:
        """Launch on the current stream: tensors are passed as pointers, None as a null pointer.

        Raises:
            CudaError: the launch failed.

        """
        values: list[Any] = [
            ctypes.c_int(a)
            if isinstance(a, int)
            else ctypes.c_void_p(None if a is None else a.data_ptr())
            for a in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values)
        )
        stream = torch.cuda.current_stream().cuda_stream
        launch = self._launch(clusters * self.cluster, stream)
        code = _driver().cuLaunchKernelEx(ctypes.byref(launch), self._function, pointers, None)
        _check(_driver(), code, f"launching {self._name}")


class Module:
    """Machine code, loaded on the current device."""

    def __init__(self, code: bytes) -> None:
        self.handle = ctypes.c_void_p()
        _check(_driver(), _driver().cuModuleLoadData(ctypes.byref(self.handle), code), "loading")
