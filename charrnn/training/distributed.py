"""The processes that train one network together; by default there is one.

Everything that several processes must agree on goes through ``World``: the seed, the time, when to
stop, who writes and prints, which streams each of them trains, and sums over gradients and the
validation part. There is one code path; a single process communicates nothing (as in nanochat's
``common.py``). ``charrnn.training.processes`` is a world of several.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast

from charrnn import interrupts
from charrnn.errors import CharRNNError, ConfigError, Interrupted

if TYPE_CHECKING:
    from torch import Tensor

    from charrnn.config import GradCompression

T = TypeVar("T")
P = ParamSpec("P")
# what a launcher tells each process; torchrun and Kubernetes do
MEETING = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"


class World:
    """The processes that train together, as seen by number ``rank`` of ``size``.

    This class is a single process. A world of several overrides ``all_reduce``, ``gather``,
    ``broadcast`` and ``barrier``. All ranks must call these, and every method that uses them, in
    the same order. ``local_rank`` and ``local_size`` count the processes on this machine only.
    ``launch`` names the run among those that a launcher starts (None: there is no launcher).
    """

    launch: str | None = None

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1
    ) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        self._signum = 0  # what the last pulse told of signals

    @property
    def is_main(self) -> bool:
        """Whether this is the process that decides, writes and prints."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor, op: Literal["sum", "max"] = "sum") -> Tensor:
        """Replace ``tensor`` by its sum or maximum over all ranks, in place."""
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[], object]:
        """Begin to replace ``tensor`` by its sum over all ranks; what this returns waits for it."""
        self.all_reduce(tensor)
        return lambda: None

    def sum_gradient(self, vector: Tensor, compression: GradCompression = "none") -> None:
        """Replace ``vector (P + 1,)``, a gradient and a loss, by its sum over all ranks, in place.

        ``bf16`` sends the gradient as bfloat16, as torch's ``bf16_compress_hook`` does: what each
        rank contributes is rounded, and so is every partial sum. The loss loses nothing.
        """
        if self.size == 1:
            return
        if compression == "none":
            self.all_reduce(vector)
            return
        _sum_in_bfloat16(self, vector)

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every rank, which may be anything that can be pickled."""
        return [value]

    def broadcast(self, value: T) -> T:
        """The main process's ``value``, which may be anything that can be pickled."""
        return value

    def barrier(self) -> None:
        """Wait until every rank has called this."""

    @contextmanager
    def main_is_busy(self) -> Iterator[None]:
        """A block in which the main process works for long; the others wait where it begins.

        Nothing in it may communicate.
        """
        yield

    def rows(self, batch: int) -> slice:
        """The streams of a batch that this rank trains: one of ``size`` blocks, about equal.

        Raises:
            ConfigError: there are fewer streams than ranks.

        """
        if batch < self.size:
            reason = f"is {batch:,}, fewer streams than the {self.size:,} processes"
            raise ConfigError(reason, "try {batch}", setting="batch", batch=self.size)
        first, stop = (batch * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(first, stop)

    def decide(self, action: Callable[[], T], *, slow: bool = False) -> T:
        """Run ``action`` on the main process only; what it returns or raises, all ranks do.

        ``action`` must not call methods that communicate. If it may be ``slow``, the other ranks
        wait as long as it takes.
        """
        if self.size == 1:
            return action()
        outcome: tuple[T | None, BaseException | None] = None, None
        with self.main_is_busy() if slow else nullcontext():
            if self.is_main:
                try:
                    outcome = action(), None
                except (Exception, Interrupted) as error:
                    outcome = None, error
        value, failure = self.broadcast(outcome)
        if failure is not None:
            raise raised_by_all(failure)
        return cast(T, value)

    def agree(self, action: Callable[[], T]) -> T:
        """Run ``action`` on every rank; what it raises on one of them, all raise.

        ``action`` must not call methods that communicate.
        """
        if self.size == 1:
            return action()
        value: T | None = None
        failed: BaseException | None = None
        try:
            value = action()
        except (Exception, Interrupted) as error:
            failed = error
        for rank, failure in enumerate(self.gather(_from_here(failed))):
            if failure is not None:
                first, host = failure
                if rank:
                    first.add_note(f"process {rank} on {host}")
                raise raised_by_all(first)
        return cast(T, value)

    def pulse(self, seconds: float) -> float:
        """The main process's ``seconds``; ``check_pulse`` then knows the signals of all ranks."""
        if self.size == 1:
            return seconds
        import torch

        mine = seconds if self.is_main else 0.0, float(interrupts.received())
        seconds, signum = self.all_reduce(torch.tensor(mine, dtype=torch.float64), "max").tolist()
        self._signum = int(signum)
        return seconds

    def check_pulse(self) -> None:
        """``check_signals``, by what the last pulse told."""
        if self.size == 1:
            self.check_signals()
        elif self._signum:
            raise raised_by_all(Interrupted.by(self._signum))

    def check_signals(self) -> None:
        """Raise ``Interrupted`` on all ranks if any of them has received a signal."""
        if self.size == 1:
            interrupts.check()
            return
        self.pulse(0.0)
        self.check_pulse()


ALONE = World()


def _sum_in_bfloat16(world: World, vector: Tensor) -> None:
    """Replace ``vector (P + 1,)`` by its sum over all ranks; the first P cross as bfloat16.

    The last crosses as three bfloat16, which together have the 24 bits of a float32. Each rank has
    three places of its own, where the others add zeros, so that nothing is rounded.
    """
    import torch

    count = len(vector) - 1
    sent = torch.empty(count + 3 * world.size, dtype=torch.bfloat16, device=vector.device)
    losses = sent[count:].view(world.size, 3).zero_()
    sent[:count].copy_(vector[:-1])
    left = vector[-1].clone()
    for place in losses[world.rank]:
        place.copy_(left)
        left -= place
    world.all_reduce(sent)
    vector[:-1].copy_(sent[:count])
    vector[-1].copy_(losses.to(vector.dtype).sum())


E = TypeVar("E", bound=BaseException)


def raised_by_all(error: E) -> E:
    """``error`` with a mark: all ranks raise it, each at the same place."""
    error.of_all_ranks = True  # type: ignore[attr-defined]
    return error


def raised_here(error: E) -> E:
    """``error`` with a mark: only this process raises it, so only it can say what is wrong."""
    error.of_this_process = True  # type: ignore[attr-defined]
    error.add_note(f"process {os.environ['RANK']} on {os.uname().nodename}")
    return error


def is_said_by_main(error: BaseException) -> bool:
    """Whether the main process says what ``error`` says, and this is another one."""
    return not is_main_process() and not getattr(error, "of_this_process", False)


def is_raised_by_all(error: BaseException) -> bool:
    """Whether all ranks raise ``error``, so that they may go on communicating."""
    return getattr(error, "of_all_ranks", False)


@contextmanager
def alike() -> Iterator[None]:
    """A block that does the same on all ranks, so that they raise the same errors."""
    try:
        yield
    except CharRNNError as error:
        raise raised_by_all(error) from error.__cause__


def _from_here(error: BaseException | None) -> tuple[BaseException, str] | None:
    return None if error is None else (error, os.uname().nodename)


def launched_size() -> int:
    """How many processes were launched to train together."""
    values = {name: os.environ.get(name, "") for name in MEETING}
    size = values["WORLD_SIZE"]
    return int(size) if all(values.values()) and size.isdecimal() and int(size) > 1 else 1


def is_launched() -> bool:
    """Whether torchrun has started this process as one of several."""
    return launched_size() > 1 and "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Whether this process prints and writes: it is alone, or the first of those launched."""
    return launched_size() == 1 or os.environ["RANK"] == "0"


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
