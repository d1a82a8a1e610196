"""A world of several processes: torch's process groups do the work.

gloo carries what is in the computer's memory, NCCL what is on GPUs. Objects are sent as pickles,
which torch does; so the processes must trust their network, as torch's documentation says.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from charrnn import interrupts
from charrnn.config import read_duration
from charrnn.errors import ConfigError, LostProcessError, is_out_of_memory
from charrnn.training.distributed import World, launched_size

T = TypeVar("T")
_DIST: Any = dist  # torch's type stubs lack its stores
TIMEOUT = "CHARRNN_RANK_TIMEOUT"
TIMEOUT_S = 300.0  # without an answer of another process
BEAT_S = 2.0  # between signs of life of a main process that is busy
_RUNS = itertools.count(1)
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG in linux/prctl.h
MEETING_S = 0.01  # between two looks whether the others have come
REPEATED_S = 5.0  # launchers pass on signals that the process may have received itself


class ProcessWorld(World):
    """The processes of ``group``, a process group of torch's (None: the default one)."""

    def __init__(self, timeout_s: float, group: Any = None) -> None:
        local = [int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")]
        super().__init__(dist.get_rank(group), dist.get_world_size(group), local[0], local[1] or 1)
        self._timeout_s, self._group = timeout_s, group

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Name what is wrong if another process does not answer in this block."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            # of several exchanges at once, the first times out, and ends the others
            late = any(word in str(error).lower() for word in ("timed out", "timeout"))
            what = f"has not answered for {self._timeout_s:g} s" if late else "has ended"
            raise LostProcessError(f"another process of the run {what}") from error

    def all_reduce(self, tensor: Tensor, op: Literal["sum", "max"] = "sum") -> Tensor:
        """Replace ``tensor`` by its sum or maximum over all ranks, in place."""
        with self._answered():
            how = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX}[op]
            dist.all_reduce(tensor, how, self._group)
        return tensor

    def begin_sum(self, tensor: Tensor) -> Callable[[], object]:
        """Begin to replace ``tensor`` by its sum over all ranks; what this returns waits for it."""
        with self._answered():
            work: Any = dist.all_reduce(tensor, dist.ReduceOp.SUM, self._group, async_op=True)

        def wait() -> None:
            with self._answered():
                work.wait()

        return wait

    def gather(self, value: T) -> list[T]:
        """The ``value`` of every rank."""
        values: list[Any] = [None] * self.size
        with self._answered():
            dist.all_gather_object(values, value, self._group)
        return values

    def broadcast(self, value: T) -> T:
        """The main process's ``value``."""
        values = [value]
        with self._answered():
            cpu = torch.device("cpu")
            dist.broadcast_object_list(values, group=self._group, device=cpu, group_src=0)
        return values[0]

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        self.all_reduce(torch.zeros(1))

    @contextmanager
    def main_is_busy(self) -> Iterator[None]:
        """A block in which the main process gives signs of life while it works."""
        if not self.is_main:
            while self.broadcast(True):
                pass
            yield
            return
        over = threading.Event()

        def beat() -> None:
            with suppress(LostProcessError):  # which the main thread will find, too
                while not over.wait(BEAT_S):
                    self.broadcast(True)
                self.broadcast(False)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def join_world() -> World:
    """The world that this process belongs to, as a launcher such as torchrun says in variables.

    Waits until all its processes have come.

    Raises:
        LostProcessError: they have not.

    """
    world = _meet() if launched_size() > 1 else World()
    world.launch = _launch(next(_RUNS))
    return world


def is_restarted() -> bool:
    """Whether torchrun has started this process again, because one of the processes has ended."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def _launch(run: int) -> str | None:
    """What names the ``run``-th run of this process, and is the same after it was restarted."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    if name == "none":  # torchrun's default; torchrun itself stays
        name = f"process {os.getppid()} on {socket.gethostname()}"
    return f"run {run} of {name}" if name else None


@functools.cache
def _meet() -> ProcessWorld:
    """Meet the other processes, as the environment says, and stay together until the end."""
    timeout_s = _timeout_s()
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    interrupts.expect_repeats(REPEATED_S)
    _end_with_launcher()
    timeout = timedelta(seconds=timeout_s)
    try:
        if not dist.is_initialized():
            store, rank, size = next(_DIST.rendezvous("env://", timeout=timeout))
            store = _of_this_start(store, rank, size, timeout_s)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=timeout
            )
            return ProcessWorld(timeout_s)
        group = dist.new_group(backend=backend, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LostProcessError(f"the processes of the run have not met: {reason}") from error
    return ProcessWorld(timeout_s, group)


def _of_this_start(store: Any, rank: int, size: int, timeout_s: float) -> Any:
    """A part of ``store`` that nobody has used before.

    torchrun keeps its store when it restarts processes, so that one could take the address of
    another from the last start for the new one. So each asks the first with a word of its own,
    and the first names the same new part to all.
    """
    end = time.monotonic() + timeout_s

    def wait() -> None:
        interrupts.check()
        if time.monotonic() > end:
            raise RuntimeError(f"not all {size:,} have come within {timeout_s:g} s")
        time.sleep(MEETING_S)

    part, word = (os.urandom(8).hex() for _ in range(2))
    if rank:
        store.set(f"ask/{rank}", word)
        while not store.check([f"answer/{word}"]):
            wait()
        part = store.get(f"answer/{word}").decode()
        store.set(f"{part}/{rank}", word)
        return _DIST.PrefixStore(part, store)
    for other in range(1, size):
        while not store.check([f"{part}/{other}"]):
            if store.check([f"ask/{other}"]):  # maybe of the last start
                store.set(f"answer/{store.get(f'ask/{other}').decode()}", part)
            wait()
    return _DIST.PrefixStore(part, store)


def _end_with_launcher() -> None:
    """Save and end, as at SIGTERM, when torchrun is killed: nobody else would end its processes."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGTERM)


def _timeout_s() -> float:
    text = os.environ.get(TIMEOUT, f"{TIMEOUT_S:g}")
    try:
        if (seconds := read_duration(text)) > 0:
            return seconds
    except ValueError:
        pass
    raise ConfigError(f"{TIMEOUT} is {text!r}: it must be a duration above 0, such as 90s or 5m")
