"""A world of several processes, played by threads of this one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from charrnn.errors import Interrupted
from charrnn.training.distributed import World

T = TypeVar("T")
Train = Callable[..., list[Any]]  # ``run`` by several ranks (the fixture ``train``)
HERE = threading.local()  # .world: that of the calling thread
PATIENCE_S = 60.0  # a rank that waits so long waits for one that will not come


def rank() -> int:
    """Which rank the calling thread plays."""
    world: World = HERE.world
    return world.rank


class ThreadWorld(World):
    """One of ``size`` threads; ``calls`` are the names of the methods that it has called."""

    def __init__(self, rank: int, barrier: threading.Barrier, table: list[Any]) -> None:
        super().__init__(rank, len(table), rank, len(table))
        self._meeting, self._table = barrier, table
        self.calls: list[str] = []

    def _exchange(self, call: str, value: object) -> list[Any]:
        """What every rank has brought to the same call."""
        self.calls.append(call)
        self._table[self.rank] = call, value
        self._meeting.wait(PATIENCE_S)
        found = list(self._table)
        self._meeting.wait(PATIENCE_S)
        assert {name for name, _ in found} == {call}, found
        return [value for _, value in found]

    def all_reduce(self, tensor: Tensor, op: Literal["sum", "max"] = "sum") -> Tensor:
        parts = torch.stack(self._exchange(f"all_reduce {op}", tensor.clone()))
        return tensor.copy_(parts.sum(0) if op == "sum" else parts.amax(0))

    def gather(self, value: T) -> list[T]:
        values: list[T] = self._exchange("gather", value)
        return values

    def broadcast(self, value: T) -> T:
        values: list[T] = self._exchange("broadcast", value)
        return values[0]

    def barrier(self) -> None:
        self._exchange("barrier", None)


def together(size: int, action: Callable[[World], T]) -> list[T | BaseException]:
    """What ``action`` returned or raised on each of ``size`` ranks.

    Asserts that all of them made the same calls in the same order.
    """
    barrier = threading.Barrier(size)
    table: list[Any] = [None] * size
    worlds = [ThreadWorld(rank, barrier, table) for rank in range(size)]

    def play(world: World) -> T | BaseException:
        try:
            return action(world)
        except threading.BrokenBarrierError:
            raise
        except (Exception, Interrupted) as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        outcomes = list(pool.map(play, worlds))
    assert all(world.calls == worlds[0].calls for world in worlds)
    return outcomes
