"""One LSTM layer over a window, forward alone and about as exact as float32, on a Hopper GPU.

A GPU multiplies float32 numbers slowly and float16 numbers fast. Here each factor is the sum of two
float16 numbers, its high half and its low half, and a product is high x high + high x low + low x
high, summed in float32 (``lstm_exact.cu``; Ootomo & Yokota 2022). What is left out is 2^-22 of it.

Shapes and the order of gates are those of ``cluster_lstm``.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.model.kernels.cuda.cluster_lstm import (
    CAPABILITY,
    SIZES,
    THREADS,
    UNITS,
    Loop,
    side_by_side,
    source,
)
from charrnn.model.kernels.cuda.driver import CudaError, Kernel, Module, compiled

# streams of a cluster, and how long a time step takes, relative to the first
STREAMS = {8: 1.0, 16: 1.5, 24: 2.0}
MOST_SHARED = 227 * 1024 - 128  # bytes of a block, without what the loops declare themselves
LARGEST = 2.0**14  # weights are scaled to it: the low halves of small ones are not lost in float16


ENABLED = True  # otherwise float32 layers run in cuDNN
OPTIONS: tuple[str, ...] = ()  # what else the compiler is told


def kept(H: int, S: int) -> int:
    """The products whose low weights must lie in registers, because shared memory is full."""
    over = _shared(H, S, 0) - MOST_SHARED
    products = max(0, -(-over // (32 * THREADS)))
    return products + products % 2


def _shared(H: int, S: int, in_registers: int) -> int:
    """Bytes of shared memory: outputs, sums that two warps exchange, low weights."""
    tiles = S // 8
    return 8 * S * (H + 8) + 8192 * ((tiles + 1) // 2) + 32 * THREADS * (H // 32 - in_registers)


def loops(H: int, options: tuple[str, ...]) -> list[Loop]:
    """The loops for each number of streams, compiled and loaded on the current device.

    Raises:
        OSError: the compiler is missing.
        CudaError: the source does not compile or load.

    """
    code = source("lstm_exact.cu")
    each = [(f"-DH={H}", f"-DS={S}", f"-DKEPT={kept(H, S)}", *options) for S in STREAMS]
    with ThreadPoolExecutor() as threads:  # the compiler is busy for half a second each time
        codes = list(threads.map(lambda words: compiled(code, words, CAPABILITY), each))
    torch.cuda.current_stream().synchronize()  # now the device has a context
    found = []
    for (S, step), binary in zip(STREAMS.items(), codes, strict=True):
        shared = _shared(H, S, kept(H, S))
        kernel = Kernel(Module(binary), "lstm_exact", H // UNITS, THREADS, shared)
        found.append(Loop(kernel, S, kernel.most_clusters(), step))
    return found


@functools.cache
def every_loop(H: int, device: torch.device, options: tuple[str, ...] = ()) -> tuple[Loop, ...]:
    """The loops, compiled with ``options``, if the device can run them; else none."""
    known = H in SIZES and device.type == "cuda"
    if not known or torch.cuda.get_device_capability(device) != CAPABILITY:
        return ()
    try:
        return tuple(loop for loop in loops(H, options) if loop.at_once)
    except (OSError, CudaError):
        return ()


def runs(H: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether ``exact_layer`` runs a layer of ``H`` units on ``device`` in ``dtype``."""
    return ENABLED and dtype == torch.float32 and bool(every_loop(H, device, OPTIONS))


def fastest(found: tuple[Loop, ...], B: int) -> Loop:
    """The loop that takes least time for ``B`` streams."""
    fit = [loop for loop in found if loop.streams <= B]
    return min(fit, key=lambda loop: loop.seconds(B))


def halves(w: Tensor) -> tuple[Tensor, Tensor]:
    """``w`` as high and low halves ``(2, ...)`` in float16, and what to multiply their sum by."""
    largest = w.abs().amax().clamp_min(1e-30)
    scale = largest / torch.frexp(largest).mantissa / LARGEST  # a power of two
    scaled = w / scale
    split = torch.empty(2, *w.shape, dtype=torch.float16, device=w.device)
    split[0] = scaled
    split[1] = scaled - split[0]
    return split, scale


def product_of_halves(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """``x (N, I) @ w.T`` in float32, for ``w (M, I)``, and what to multiply it by.

    One product of float16 numbers with rows of 3 I: the small products come first, because a sum
    loses more of what is added to it the larger it is.
    """
    (high, low), scale = halves(w)
    parts = torch.empty(len(x), 3, x.shape[1], dtype=torch.float16, device=x.device)
    parts[:, 1] = x
    parts[:, 0] = x - parts[:, 1]
    parts[:, 2] = parts[:, 1]
    a, b = parts.flatten(1), torch.cat((high, low, high), 1).t()
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32), scale
    return a.float() @ b.float(), scale


def exact_layer(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    loop: Loop | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer over a window without gradients, on a device for which ``runs`` says so.

    Args:
        x: ``(T, B, I)``.
        w_ih: ``(4H, I)``, as all parameters in torch's order of gates.
        w_hh: ``(4H, H)``.
        bias: ``(4H,)``.
        hx: the hidden state ``(B, H)``.
        cx: the cell state ``(B, H)``.
        loop: the time loop; None for the fastest.

    Returns:
        Outputs ``(T, B, H)`` and the state after the window, in float32.

    """
    (x, hx, cx), B = _enough(x, hx, cx), x.shape[1]
    z, scale = product_of_halves(x.flatten(0, 1), side_by_side(w_ih, torch.float32))
    y, h, c = _window(z, scale, w_hh, bias, hx, cx, loop)
    return y[:, :B], h[:B], c[:B]


def exact_symbols(
    ids: Tensor,
    embedding: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    loop: Loop | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``exact_layer`` for the rows ``ids (T, B)`` of ``embedding (V, E)``.

    The input product is computed once per symbol, unless there are fewer positions.
    """
    (ids, hx, cx), B = _enough(ids, hx, cx), ids.shape[1]
    weights = side_by_side(w_ih, torch.float32).t()
    if len(embedding) < ids.numel():
        z = F.embedding(ids.flatten(), embedding @ weights)
    else:
        z = F.embedding(ids.flatten(), embedding) @ weights
    y, h, c = _window(z, z.new_ones(()), w_hh, bias, hx, cx, loop)
    return y[:, :B], h[:B], c[:B]


def _enough(x: Tensor, hx: Tensor, cx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x (T, B, ...)``, ``hx`` and ``cx`` with as many streams as a cluster has at least."""
    short = min(STREAMS) - x.shape[1]
    if short <= 0:
        return x, hx, cx
    rest = [0] * (2 * (x.dim() - 2))
    return F.pad(x, (*rest, 0, short)), F.pad(hx, (0, 0, 0, short)), F.pad(cx, (0, 0, 0, short))


def _window(
    z: Tensor,
    scale: Tensor,
    w_hh: Tensor,
    bias: Tensor,
    hx: Tensor,
    cx: Tensor,
    loop: Loop | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loop over ``z (T B, 4H)``, which must still be multiplied by ``scale``."""
    (B, H), T = hx.shape, len(z) // len(hx)
    loop = loop or fastest(every_loop(H, z.device, OPTIONS), B)
    w, recurrent = halves(side_by_side(w_hh, torch.float32))
    scales, before = torch.stack((recurrent, scale)), (hx.contiguous(), cx.contiguous())
    y, cells = z.new_empty(T, B, H), z.new_empty(B, H)
    loop(z, w, side_by_side(bias, torch.float32), scales, y, *before, cells, T, B)
    return y, y[-1], cells
