"""The sum of a gradient over several machines, while the rest of it is still being computed.

A bucket is a stretch of the flat gradient. Backward completes it from its end, the head, to its
beginning, the embedding; each bucket crosses the network as soon as it is complete, as in torch's
``DistributedDataParallel`` (Li et al. 2020, "PyTorch Distributed").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import GradCompression
from charrnn.model.flat_parameters import FlatParameters
from charrnn.training.distributed import World

BUCKET = 1 << 18  # weights at least, a mebibyte: smaller messages mostly cost latency


def pays(flat: FlatParameters, world: World) -> bool:
    """Whether to sum in buckets: a large gradient on processors of several machines.

    On a single one the exchange is fast, and takes the cores that compute. With GPUs, a step is
    captured with its exchange in it.
    """
    several = world.size > world.local_size and flat.values.device.type == "cpu"
    return several and flat.decayed >= 2 * BUCKET


class Overlap:
    """Sums the gradient of ``flat`` over ``world``, each bucket once backward has completed it."""

    def __init__(
        self, network: nn.Module, flat: FlatParameters, world: World, compression: GradCompression
    ) -> None:
        self._flat, self._world, self._compression = flat, world, compression
        self._buckets, sizes = _buckets(network, flat, self._count)
        self._sizes, self._left = sizes, [0] * len(sizes)  # parameters that are not complete
        self._begun: list[Callable[[], object]] = []
        self._is_open = False

    def begin(self) -> None:
        """Expect a backward pass."""
        self._left, self._is_open = list(self._sizes), True
        self._begun.clear()

    def finish(self) -> None:
        """Sum what backward has left, wait for all, and sum the biases and the number beside."""
        self._is_open = False
        while len(self._begun) < len(self._buckets):
            self._begin_next()
        for wait in self._begun:  # the first to be begun knows best why it failed
            wait()
        self._world.sum_gradient(self._flat.to_reduce[self._flat.decayed :], self._compression)

    def _count(self, number: int) -> None:
        """A parameter of a bucket is complete; all processes begin buckets in the same order."""
        if not self._is_open:
            return
        self._left[number] -= 1
        while (first := len(self._begun)) < len(self._buckets) and self._left[first] == 0:
            self._begin_next()

    def _begin_next(self) -> None:
        bucket = self._buckets[len(self._begun)]
        if self._compression == "none":
            self._begun.append(self._world.begin_sum(bucket))
            return
        sent = bucket.to(torch.bfloat16)
        wait = self._world.begin_sum(sent)
        self._begun.append(lambda: (wait(), bucket.copy_(sent)))


def _buckets(
    network: nn.Module, flat: FlatParameters, complete: Callable[[int], None]
) -> tuple[list[Tensor], list[int]]:
    """Buckets of the matrices' gradients, the last first, and of how many parameters each is.

    Each parameter calls ``complete`` with the number of its bucket.
    """
    matrices: list[Any] = [p for p in network.parameters() if p.dim() > 1]
    buckets, sizes, stop, count = list[Tensor](), list[int](), flat.decayed, 0
    for parameter in sorted(matrices, key=lambda p: -p.grad.storage_offset()):
        number = len(buckets)
        parameter.register_post_accumulate_grad_hook(lambda _, number=number: complete(number))
        start, count = parameter.grad.storage_offset(), count + 1
        if stop - start >= BUCKET or start == 0:
            buckets.append(flat.grads[start:stop])
            sizes.append(count)
            stop, count = start, 0
    return buckets, sizes
