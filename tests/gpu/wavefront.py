"""Layers that overlap: layer l reads one chunk of a window while layer l + 1 reads the one before.

An experiment (``experiments.py``): each layer runs on a stream of its own, and an event hands each
chunk on. It pays if cuDNN's kernels for one layer leave part of the GPU idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from charrnn.model.layers import LayerState, Parameters, contiguous
from charrnn.model.torch_private import recurrent_layer


def _stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Streams:
    """A CUDA stream for each layer; on a processor everything runs in order."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.streams = [_stream(device) for _ in range(count)] if self.on_gpu else []

    @contextmanager
    def forked(self) -> Iterator[None]:
        """All streams begin after what was launched before, which waits for them at the end."""
        if self.on_gpu:
            for stream in self.streams:
                stream.wait_stream(torch.cuda.current_stream())
        yield
        if self.on_gpu:
            for stream in self.streams:
                torch.cuda.current_stream().wait_stream(stream)

    @contextmanager
    def on(self, number: int, after: int | None = None) -> Iterator[None]:
        """Launch on a stream, once the stream ``after`` has done what it was given until now."""
        if not self.on_gpu:
            yield
            return
        stream = self.streams[number]
        if after is not None:
            stream.wait_stream(self.streams[after])
        with torch.cuda.stream(stream):
            yield

    def use(self, number: int, *tensors: Tensor) -> None:
        """Keep the memory of ``tensors`` of other streams until this one has used it."""
        if self.on_gpu:
            for tensor in tensors:
                tensor.record_stream(self.streams[number])


def stacked(
    cell: str,
    x: Tensor,
    states: Sequence[LayerState],
    weights: Sequence[Parameters],
    dtype: torch.dtype,
    chunks: int,
    streams: Streams | None,
) -> tuple[Tensor, list[LayerState]]:
    """The outputs ``(B, T, H)`` of a stack of torch's layers over ``x (B, T, in)``, in chunks.

    Without ``streams``, everything runs on the current one: the same arithmetic in order.
    """
    packed = [
        contiguous(w, dtype) if x.is_cuda else [t.to(dtype) for t in w.values()] for w in weights
    ]
    after = [tuple(part.to(dtype) for part in state) for state in states]
    pieces: list[Tensor] = list(x.to(dtype).chunk(chunks, 1))
    done: list[list[Tensor]] = [[] for _ in weights]
    with streams.forked() if streams is not None else nullcontext():
        # chunk k of layer l in the order of k + l; of those, the last layer first, or it would wait
        # for a chunk of the layer below that it does not need yet
        for turn in range(chunks + len(weights) - 1):
            for layer in reversed(range(len(weights))):
                chunk = turn - layer
                if not 0 <= chunk < len(pieces):
                    continue
                given = pieces[chunk] if layer == 0 else done[layer - 1][chunk]
                before = layer - 1 if layer else None
                with streams.on(layer, before) if streams is not None else nullcontext():
                    if streams is not None:
                        streams.use(layer, given, *after[layer], *packed[layer])
                    y, after[layer] = recurrent_layer(
                        cell, given, after[layer], packed[layer], torch.is_grad_enabled()
                    )
                done[layer].append(y)
    return torch.cat(done[-1], 1), after
