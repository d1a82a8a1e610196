"""The processes that train one network together. Today there is one.

Everything that several processes must agree on goes through ``World``: the seed, the time, when to
stop, who writes and prints, which streams each of them trains, and sums over the validation part.
There is one code path; a single process communicates nothing (as in nanochat's ``common.py``).
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
    """The processes that train together, as seen by number ``rank`` of ``size``.

    This class is a single process. A world of several overrides ``all_reduce``, ``broadcast`` and
    ``barrier``. All ranks must call these, and every method that uses them, in the same order.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that decides, writes and prints."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor, op: Literal["sum", "mean", "max"] = "sum") -> Tensor:
        """Replace ``tensor`` by its sum, mean or maximum over all ranks, in place."""
        return tensor

    def broadcast(self, value: T) -> T:
        """The main process's ``value``, which may be anything that can be pickled."""
        return value

    def barrier(self) -> None:
        """Wait until every rank has called this."""

    def rows(self, batch: int) -> slice:
        """The streams of a batch that this rank trains: a block, as large as every other rank's."""
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def decide(self, action: Callable[[], T]) -> T:
        """Run ``action`` on the main process only; what it returns or raises, all ranks do.

        ``action`` must not call methods that communicate.
        """
        if self.size == 1:
            return action()
        outcome: tuple[T | None, BaseException | None] = None, None
        if self.is_main:
            try:
                outcome = action(), None
            except (Exception, Interrupted) as error:
                outcome = None, error
        value, failure = self.broadcast(outcome)
        if failure is not None:
            raise failure
        return cast(T, value)

    def check_signals(self) -> None:
        """Raise ``Interrupted`` on all ranks if any of them has received a signal."""
        signum = interrupts.received()
        if self.size > 1:
            import torch

            signum = int(self.all_reduce(torch.tensor(signum), "max"))
        if signum:
            raise Interrupted.by(signum)


ALONE = World()


def join_world() -> World:
    """The world that this process belongs to."""
    return ALONE


class Member(Protocol):
    """An object that belongs to a world."""

    world: World


M = TypeVar("M", bound=Member)


def on_main(method: Callable[Concatenate[M, P], T]) -> Callable[Concatenate[M, P], T]:
    """Run a method on the main process only: ``World.decide`` for every call of it."""

    def decided(self: M, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.world.decide(lambda: method(self, *args, **kwargs))

    functools.update_wrapper(decided, method)
    return decided
