"""One LSTM layer over a whole window on a GPU whose thread blocks form clusters, as one node.

cuDNN's persistent kernels meet on the whole device after every time step. Here each cluster of
blocks carries some streams through the window on its own, with its weights in registers and its
states in shared memory (``lstm.cu``). Everything that is not recurrent is one large product.

Shapes are time first: x (T, B, I), y (T, B, H), state (B, H). Gates lie side by side: row 4 u + p
of a matrix is gate p of unit u.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.model.kernels.cuda.driver import CudaError, Kernel, Module, compiled

CAPABILITY = (9, 0)  # tested there; other GPUs take cuDNN
SIZES = (128, 256, 384, 512)  # hidden units: a cluster has at most 16 blocks of 32
DTYPES = {torch.float16: "-DF16", torch.bfloat16: "-DBF16"}
UNITS, THREADS = 32, 256  # of a block
# streams of a cluster, and how long a time step takes forward and backward, relative to the first
# (512 units on an H200)
STREAMS = {16: (1.0, 1.0), 24: (1.43, 1.48), 32: (1.79, 1.62)}


@dataclass(frozen=True)
class Loop:
    """A compiled time loop: ``streams`` of each cluster, of which the device runs ``at_once``."""

    kernel: Kernel
    streams: int
    at_once: int
    step: float  # relative time of a time step

    def seconds(self, B: int) -> float:
        """A relative time for ``B`` streams."""
        return -(-self.clusters(B) // self.at_once) * self.step

    def clusters(self, B: int) -> int:
        """How many clusters ``B`` streams need."""
        return -(-B // self.streams)

    def __call__(self, *arguments: Tensor | int | None) -> None:
        """Launch; the last argument is the number of streams."""
        B = arguments[-1]
        assert isinstance(B, int)
        self.kernel(self.clusters(B), *arguments)


@dataclass(frozen=True)
class Loops:
    """The time loops of a layer, forward and backward."""

    forward: Loop
    backward: Loop


def _loaded(code: bytes, H: int, S: int) -> Loops:
    """The loops for clusters of ``S`` streams, loaded on the current device."""
    tiles, module, pair = -(-S // 8), Module(code), []
    forward = 4 * S * (H + 8) + 8192 * ((tiles + 1) // 2)  # bytes of shared memory
    backward = 32 * H * tiles + 4 * S * (4 * UNITS + 8)
    for name, shared, step in zip(
        ("lstm_forward", "lstm_backward"), (forward, backward), STREAMS[S], strict=True
    ):
        kernel = Kernel(module, name, H // UNITS, THREADS, shared)
        pair.append(Loop(kernel, S, kernel.most_clusters(), step))
    return Loops(*pair)


def source(name: str) -> str:
    """The CUDA source in the file ``name``, after what all of them share."""
    folder = Path(__file__).parent
    return "\n".join((folder / each).read_text() for each in ("clusters.cuh", name))


@functools.cache
def every_loop(H: int, dtype: torch.dtype, device: torch.device) -> tuple[Loops, ...]:
    """The loops for each number of streams, if the device can run them; else none."""
    known = H in SIZES and dtype in DTYPES and device.type == "cuda"
    if not known or torch.cuda.get_device_capability(device) != CAPABILITY:
        return ()
    code = source("lstm.cu")
    options = [(f"-DH={H}", f"-DS={S}", DTYPES[dtype]) for S in STREAMS]
    try:
        with ThreadPoolExecutor() as threads:  # the compiler is busy for half a second each time
            codes = list(threads.map(lambda words: compiled(code, words, CAPABILITY), options))
        torch.cuda.current_stream(device).synchronize()  # now the device has a context
        found = [_loaded(code, H, S) for code, S in zip(codes, STREAMS, strict=True)]
    except (OSError, CudaError):
        return ()
    return tuple(each for each in found if each.forward.at_once and each.backward.at_once)


def runs(H: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether these kernels run a layer of ``H`` units in ``dtype`` on ``device``."""
    return bool(every_loop(H, dtype, device))


def fastest(H: int, B: int, dtype: torch.dtype, device: torch.device) -> Loops:
    """The loops that take least time for ``B`` streams."""
    fit = [each for each in every_loop(H, dtype, device) if each.forward.streams <= B]
    return Loops(
        min((each.forward for each in fit), key=lambda loop: loop.seconds(B)),
        min((each.backward for each in fit), key=lambda loop: loop.seconds(B)),
    )


def side_by_side(w: Tensor, dtype: torch.dtype) -> Tensor:
    """``w (4H, ...)``, gate after gate, with the gates of each unit side by side, in ``dtype``."""
    pieces = w.view(4, len(w) // 4, -1).transpose(0, 1)
    typed = pieces.to(dtype, memory_format=torch.contiguous_format)  # one pass
    return typed.contiguous().view(w.shape)


def gate_after_gate(w: Tensor) -> Tensor:
    """The inverse of ``side_by_side``."""
    return w.view(len(w) // 4, 4, -1).transpose(0, 1).reshape(w.shape)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_ih: Tensor,
        bias: Tensor,
        w_hh: Tensor,
        hx: Tensor,
        cx: Tensor,
        loops: Loops,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        (T, B, _), H = x.shape, w_hh.shape[1]
        inputs = x.to(dtype).flatten(0, 1)
        wi, wh = side_by_side(w_ih, dtype), side_by_side(w_hh, dtype)
        z = torch.addmm(side_by_side(bias, dtype), inputs, wi.t())
        y = torch.empty(T + 1, B, H, dtype=dtype, device=x.device)
        cells = torch.empty(T + 1, B, H, device=x.device)
        y[0], cells[0] = hx, cx
        gates = torch.empty_like(z) if any(ctx.needs_input_grad) else None
        loops.forward(z, wh, y, cells, gates, T, B)
        ctx.loops = loops
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs, wi, wh, y, cells, gates)
        return y[1:], y[-1].to(hx.dtype), cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs, wi, wh, y, cells, gates = ctx.saved_tensors
        (dy, dhy, dcy), (T, B, H) = grads, y[1:].shape
        if dy is None:
            dy = torch.zeros_like(y[1:])
        dh, dc = (cells.new_zeros(B, H) if d is None else d.float() for d in (dhy, dcy))
        dh0, dc0 = torch.empty_like(dh), torch.empty_like(dc)
        dz = torch.empty_like(gates)
        wt = wh.t().contiguous()
        state = (dh.contiguous(), dc.contiguous(), dh0, dc0)
        ctx.loops.backward(wt, gates, cells, dy.contiguous(), dz, *state, T, B)
        dw_hh, dw_ih = (
            gate_after_gate(_product(dz.t(), given)) for given in (y[:-1].flatten(0, 1), inputs)
        )
        dbias = gate_after_gate(dz.sum(0, dtype=torch.float32))
        dx = (dz @ wi).view(T, B, -1) if ctx.needs_input_grad[0] else None
        return dx, dw_ih, dbias, dw_hh, dh0, dc0, None, None


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` in float32, which only GPUs can return for factors of 16 bits."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()


def lstm_layer(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    dtype: torch.dtype,
    loops: Loops | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer over a window, on a device for which ``runs`` says so.

    Args:
        x: ``(T, B, I)``.
        w_ih: ``(4H, I)``, as all parameters in torch's order of gates.
        w_hh: ``(4H, H)``.
        bias: ``(4H,)``.
        hx: the hidden state ``(B, H)``.
        cx: the cell state ``(B, H)``.
        dtype: float16 or bfloat16, of the products.
        loops: the time loops; None for the fastest.

    Returns:
        Outputs ``(T, B, H)`` in ``dtype``, and the state after the window in its own type.

    """
    B = x.shape[1]
    if short := max(0, min(STREAMS) - B):  # a cluster has no fewer streams
        x, hx, cx = (F.pad(part, (0, 0, 0, short)) for part in (x, hx, cx))
    loops = loops or fastest(w_hh.shape[1], B + short, dtype, x.device)
    y, hy, cy = _Layer.apply(x, w_ih, bias, w_hh, hx, cx, loops, dtype)  # type: ignore[no-untyped-call]
    return y[:, :B], hy[:B], cy[:B]
