"""The CUDA source of the time loops, run on a processor (``emulated_gpu.hpp``), and plain torch.

It shows that every number is taken from its place and gets to its place, and that nobody waits for
ever; not how fast it is, nor how a GPU rounds.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.model.kernels.cuda.cluster_lstm import source
from charrnn.model.kernels.cuda.exact_lstm import STREAMS, halves
from tests.model.kernels import test_cluster_lstm as cluster_loops
from tests.model.kernels import test_exact_lstm as exact_loop

COMPILER = shutil.which("g++")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(COMPILER is None, reason="needs g++"),
]
H, T = 128, 4
REPLACED = re.compile(r"static __device__ __forceinline__ \w+ (\w+)\(.*?\n}\n", re.DOTALL)


def on_processor(name: str) -> str:
    """The source in C++: instructions of a GPU are left to the emulated one."""

    def without_instructions(function: re.Match[str]) -> str:
        text = function.group(0)
        alone = "asm" in text or function.group(1) in ("shared_address", "start", "unpack")
        return "" if alone else text

    text = REPLACED.sub(without_instructions, source(name))
    text = re.sub(r"typedef .*", "", text)
    text = re.sub(
        r'asm volatile\("bar.sync %0, (\d+);" :: "r"\((.*?)\).*', r"meet_named(\2, \1);", text
    )
    text = re.sub(
        r"extern __shared__ .* memory\[\];", "unsigned char* memory = mine().memory;", text
    )
    text = re.sub(r"__shared__ .* barriers\[2\];", "auto barriers = mine().barriers;", text)
    assert "asm" not in text
    return text


def compiled(name: str, kernel: str, arguments: int, folder: Path, *options: str) -> Any:
    """The kernel as a function of pointers (some may be None), T and B."""
    pointers = ", ".join(f"void* p{i}" for i in range(arguments))
    stored = " ".join(f"given[{i}].p = p{i};" for i in range(arguments))
    passed = ", ".join(f"given[{i}]" for i in range(arguments))
    code = f"""
#include "{Path(__file__).with_name("emulated_gpu.hpp")}"
{on_processor(name)}
struct Any {{ void* p; template <class P> operator P*() const {{ return (P*)p; }} }};
static Any given[{arguments}];
static int steps, streams;
extern "C" void run({pointers}, int T, int B) {{
  {stored} steps = T; streams = B;
  kernel = [] {{ {kernel}({passed}, steps, streams); }};
  launch((B + S - 1) / S, BLOCKS);
}}
"""
    path = folder / "loop.cpp"
    path.write_text(code)
    command = [str(COMPILER), "-O1", "-w", "-std=c++17", "-shared", "-fPIC", f"-DH={H}", *options]
    built = subprocess.run(
        [*command, str(path), "-o", str(folder / "loop.so")], capture_output=True, text=True
    )
    if "_Float16" in built.stderr:
        pytest.skip("this compiler has no float16")
    assert built.returncode == 0, built.stderr[:2000]
    return ctypes.CDLL(str(folder / "loop.so")).run


def call(run: Any, *arguments: Tensor | int | None) -> None:
    run(
        *(
            a if isinstance(a, int) else ctypes.c_void_p(None if a is None else a.data_ptr())
            for a in arguments
        )
    )


def drawn(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    rng = torch.Generator().manual_seed(sum(shape))
    return (scale * torch.randn(*shape, generator=rng)).to(dtype)


def error(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize(("S", "B"), [(16, 20), (24, 24), (32, 40)])
def test_training_loops(S: int, B: int, tmp_path: Path) -> None:
    half = torch.float16
    z, w = drawn(T, B, H, 4, dtype=half), drawn(H, 4, H, scale=0.08, dtype=half)
    both = []
    for emulated in (True, False):
        y = drawn(T + 1, B, H, scale=0.4).tanh().to(half)
        cells, gates = drawn(T + 1, B, H), torch.zeros(T, B, H, 4, dtype=half)
        rest = (y, cells, gates, T, B)
        if emulated:
            call(compiled("lstm.cu", "lstm_forward", 5, tmp_path, f"-DS={S}"), z, w, *rest)
        else:
            cluster_loops.forward(z, w, *rest)
        dy, dz = drawn(T, B, H, dtype=half), torch.zeros(T, B, H, 4, dtype=half)
        dh, dc = drawn(B, H), drawn(B, H, scale=0.5)
        dh0, dc0 = torch.zeros(B, H), torch.zeros(B, H)
        wt = w.view(4 * H, H).t().contiguous()
        back = (wt, gates, cells, dy, dz, dh, dc, dh0, dc0, T, B)
        if emulated:
            folder = tmp_path / "back"
            folder.mkdir()
            call(compiled("lstm.cu", "lstm_backward", 9, folder, f"-DS={S}"), *back)
        else:
            cluster_loops.backward(*back)
        both.append([y, cells, gates, dz, dh0, dc0])
    for found, wanted in zip(*both, strict=True):
        assert error(found, wanted) <= 2e-3


@pytest.mark.parametrize("in_registers", [0, 2])
@pytest.mark.parametrize("S", STREAMS)
def test_exact_loop(S: int, in_registers: int, tmp_path: Path) -> None:
    B = S + 5
    w, recurrent = halves(drawn(H, 4, H, scale=0.08))
    z, bias, scales = drawn(T, B, H, 4), drawn(H, 4), torch.stack((recurrent, torch.tensor(0.5)))
    h, c = drawn(B, H, scale=0.4).tanh(), drawn(B, H)
    run = compiled("lstm_exact.cu", "lstm_exact", 8, tmp_path, f"-DS={S}", f"-DKEPT={in_registers}")
    both = []
    for emulated in (True, False):
        y, cells = torch.zeros(T, B, H), torch.zeros(B, H)
        arguments = (z, w, bias, scales, y, h, c, cells, T, B)
        if emulated:
            call(run, *arguments)
        else:
            exact_loop.forward(*arguments)
        both.append([y, cells])
    for found, wanted in zip(*both, strict=True):
        assert error(found, wanted) <= 1e-6
