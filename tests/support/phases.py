"""What a test changes in a charrnn that runs as a process: it says where it is, waits, or fails.

Everything is named by its place, as in ``charrnn.training.loop.validation.evaluate``. A process
says that it has come to a place by making the file ``phase`` in the folder where it was started.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PHASE = "phase"


def _wrap(place: str, wrapper: Callable[..., Any]) -> None:
    """Put ``wrapper``, which gets the real thing first, in the place of what is there."""
    owner, name = place.rsplit(".", 1)
    try:
        target = importlib.import_module(owner)
    except ModuleNotFoundError:  # a class
        module, kind = owner.rsplit(".", 1)
        target = getattr(importlib.import_module(module), kind)
    real = getattr(target, name)
    setattr(target, name, lambda *args, **more: wrapper(real, *args, **more))


def _say() -> None:
    Path(PHASE).touch()


def _until_signalled() -> None:
    from charrnn import interrupts

    end = time.monotonic() + 30
    while not interrupts.received() and time.monotonic() < end:
        time.sleep(0.002)


def _for_ever() -> None:
    while True:
        time.sleep(1)


def _at(place: str, nth: int, then: Callable[[], None]) -> None:
    """At the ``nth`` call of ``place``: say so, do ``then``, and go on as if nothing were."""
    calls = []

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            _say()
            then()
        return real(*args, **more)

    _wrap(place, wrapper)


def hold(place: str, nth: int = 1) -> None:
    """Say so and wait for a signal."""
    _at(place, nth, _until_signalled)


def stay(place: str, nth: int = 1) -> None:
    """Say so and never go on."""
    _at(place, nth, _for_ever)


def pause(place: str, nth: int, seconds: float) -> None:
    """Say so and go on after a while."""
    _at(place, nth, lambda: time.sleep(seconds))


def _halfway(nth: int, then: Callable[[], None]) -> None:
    """``_at`` the moment when half of the ``nth`` checkpoint's bytes are written."""
    files = []

    def halves(chunks: list[bytes]) -> Iterator[bytes]:
        data = b"".join(chunks)
        yield data[: len(data) // 2]
        _say()
        then()
        yield data[len(data) // 2 :]

    def wrapper(real: Callable[..., Any], path: Path, chunks: list[bytes]) -> None:
        files.append(path)
        real(path, halves(chunks) if len(files) == nth else chunks)

    _wrap("charrnn.checkpoint.file.write_atomic", wrapper)


def hold_halfway(nth: int) -> None:
    """Say so and wait for a signal with the ``nth`` checkpoint half written."""
    _halfway(nth, _until_signalled)


def stay_halfway(nth: int) -> None:
    """Say so and never go on with the ``nth`` checkpoint half written."""
    _halfway(nth, _for_ever)


def cold() -> None:
    """No kernel is loaded yet."""
    from charrnn.model.kernels.fused_lstm import compiled_window

    compiled_window.cache_clear()


def slow(place: str, seconds: float) -> None:
    """Take longer at every call."""

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        time.sleep(seconds)
        return real(*args, **more)

    _wrap(place, wrapper)


def poison(step: int) -> None:
    """The loss of one step is not a number."""
    calls = []

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        calls.append(1)
        loss, state = real(*args, **more)
        return (loss * float("nan") if len(calls) == step else loss), state

    _wrap("charrnn.training.loop.optimizer.Stepper.loss", wrapper)


def meet(place: str, file: str) -> None:
    """Wait for ``file`` before ``place``, then write down when it was reached."""

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        while not Path(file).exists():
            time.sleep(0)
        import os

        Path(f"reached-{os.getpid()}").write_text(str(time.time()))
        return real(*args, **more)

    _wrap(place, wrapper)


def ignore(signum: int) -> None:
    """Begin with a signal ignored, as after ``nohup``."""
    import signal

    signal.signal(signum, signal.SIG_IGN)


def repeat(place: str, signum: int) -> None:
    """Before ``place``, send this process a signal that it has had already."""
    import os

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signum)
        return real(*args, **more)

    _wrap(place, wrapper)


def small_memory() -> None:
    """Map every encoded text, however short."""
    from charrnn.text import mapped

    mapped.IN_MEMORY = 0


def small_files(size: int) -> None:
    """No file may grow beyond ``size`` bytes; a disk is full in the same way."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def every_step() -> None:
    """Validate and save at every step; steps that are saved for good go to the file ``saved``."""
    _wrap("charrnn.training.loop.trainer.Trainer._due", lambda real, self: _is_new(self.progress))

    def wrapper(real: Callable[..., Any], self: Any) -> Any:
        done = real(self)
        with open("saved", "a") as file:
            file.write(f"{self.progress.step}\n")
        return done

    _wrap("charrnn.training.loop.trainer.Trainer._save_last", wrapper)


def _is_new(progress: Any) -> bool:
    return bool(progress.validated_step != progress.step)


def during(place: str, first: int, after: int, begin: str, end: str, *values: Any) -> None:
    """Do ``begin`` (of this module) before the ``first`` call of ``place``, ``end`` at another."""
    calls = []

    def wrapper(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        calls.append(1)
        for number, act in ((first, begin), (after, end)):
            if len(calls) == number:
                globals()[act](*values)
        return real(*args, **more)

    _wrap(place, wrapper)


def fill(path: str) -> None:
    """Fill the disk that ``path`` lies on."""
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


def free(path: str) -> None:
    """Free it again."""
    Path(path).unlink()


def cut(path: str) -> None:
    """Cut a file, named by a pattern, to nothing."""
    for found in Path().glob(path):
        with open(found, "r+b") as file:
            file.truncate(0)


def lose(path: str) -> None:
    """Remove a file."""
    Path(path).unlink()


def nothing(*_: object) -> None:
    """Do nothing."""


def remove_all(pattern: str) -> None:
    """Remove what matches."""
    for found in Path().glob(pattern):
        found.unlink()


def measured(place: str) -> None:
    """Give the result of a benchmark without measuring."""

    class Result:
        def to_dict(self) -> dict[str, object]:
            return {"chars_per_second": 1.0}

    _wrap(place, lambda *_, **__: Result())


def no_network() -> None:
    """Fail to download anything."""

    def wrapper(*_: object, **__: object) -> None:
        raise OSError("there is no network")

    _wrap("charrnn.text.downloads._download", wrapper)
