"""The processes that train one network together; today there is one.

Whatever several processes must agree on goes through ``World``: the seed, when to stop, what time
it is, who writes and prints, which streams belong to whom, sums over a validation part. There is
one code path; with one process nothing is sent and nothing waits, as in nanochat's ``common.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast

from charrnn import interrupts
from charrnn.errors import Interrupted

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
P = ParamSpec("P")


class World:
    """The processes that train together, as one of them sees it: number ``rank`` of ``size``.

    The default is a single process. One of several overrides ``all_reduce``, ``broadcast`` and
    ``barrier``; every rank must call them, and whatever uses them, in the same order.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process decides, writes and prints."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor, op: Literal["sum", "mean", "max"] = "sum") -> Tensor:
        """Replace ``tensor`` by its sum, mean or maximum over all ranks, in place."""
        return tensor

    def broadcast(self, value: T) -> T:
        """The main process's ``value``, which can be anything that pickles."""
        return value

    def barrier(self) -> None:
        """Wait until every rank has come here."""

    def rows(self, batch: int) -> slice:
        """Which streams of a batch this rank trains: a contiguous block, equal among the ranks."""
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def decide(self, action: Callable[[], T]) -> T:
        """Run ``action`` on the main process alone; every rank returns or raises what it did.

        An ``action`` must not call any other method of the world.
        """
        if self.size == 1:
            return action()
        outcome: tuple[T | None, Exception | None] = None, None
        if self.is_main:
            try:
                outcome = action(), None
            except Exception as error:
                outcome = None, error
        value, failure = self.broadcast(outcome)
        if failure is not None:
            raise failure
        return cast(T, value)

    def check_signals(self) -> None:
        """Raise ``Interrupted`` on every rank if a signal has come to any of them."""
        signum = interrupts.received()
        if self.size > 1:
            import torch

            signum = int(self.all_reduce(torch.tensor(signum), "max"))
        if signum:
            raise Interrupted(signum)


ALONE = World()


def join_world() -> World:
    """The world that this process was started into."""
    return ALONE


class Member(Protocol):
    """Whatever belongs to a world."""

    world: World


M = TypeVar("M", bound=Member)


def on_main(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """A method that runs on the main process only: ``World.decide`` for every call of it."""

    def decided(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.world.decide(lambda: method(self, *args, **kwargs))

    functools.update_wrapper(decided, method)
    return decided
