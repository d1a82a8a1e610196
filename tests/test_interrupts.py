"""Signals in somebody else's program: one sets a flag, a second one raises, and handlers return."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from charrnn import interrupts
from charrnn.errors import Cancelled, Terminated
from charrnn.interrupts import SIGNALS

RAISED: dict[int, tuple[Any, Any]] = {
    signal.SIGINT: (Cancelled, KeyboardInterrupt),
    signal.SIGTERM: (Terminated, SystemExit),
    signal.SIGHUP: (Terminated, SystemExit),
}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Each signal has a handler of the host program, and has it again after the test."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    own: dict[int, Any] = {signum: lambda *_: None for signum in SIGNALS}
    for signum, handler in own.items():
        signal.signal(signum, handler)
    yield
    assert {signum: signal.getsignal(signum) for signum in SIGNALS} == own
    for number, found in before.items():
        signal.signal(number, found)


def look_after(*signums: int) -> None:
    """Receive signals, then look for them."""
    with interrupts.graceful():
        for signum in signums:
            signal.raise_signal(signum)
        assert interrupts.received() == signums[0]
        interrupts.check()
        pytest.fail("the check raised nothing")


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_is_raised_where_the_work_looks_for_it(signum: int) -> None:
    with pytest.raises(RAISED[signum][0]) as stopped:
        look_after(signum)
    assert stopped.value.signum == signum
    assert interrupts.received() == 0


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_after_the_last_look_is_not_lost(signum: int) -> None:
    with pytest.raises(RAISED[signum][0]), interrupts.graceful():
        signal.raise_signal(signum)
    assert interrupts.received() == 0


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_signal_raises_at_once_and_is_no_interrupted(
    signum: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_repeated_s", 0.0)
    monkeypatch.setattr("os._exit", lambda code: pytest.fail("it ended the host program"))
    cleaned = []

    def work() -> None:
        with interrupts.graceful():
            signal.raise_signal(signal.SIGTERM)
            try:
                signal.raise_signal(signum)
                pytest.fail("it waited for the next check")
            finally:
                cleaned.append(True)

    with pytest.raises(RAISED[signum][1]) as raised:
        work()
    assert cleaned
    assert type(raised.value) is RAISED[signum][1]  # nobody takes it for one that may save
    assert getattr(raised.value, "code", 130) == 128 + signum


def test_a_request_that_is_sent_twice_in_a_row_is_one() -> None:
    with pytest.raises(Cancelled):
        look_after(signal.SIGINT, signal.SIGINT, signal.SIGINT)


def test_a_handler_that_python_did_not_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    known = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda n: None if n == signal.SIGHUP else known(n))
    with interrupts.graceful():
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGTERM) is interrupts._remember
        assert signal.getsignal(signal.SIGHUP) is not interrupts._remember


def test_another_thread_leaves_signals_to_the_main_one() -> None:
    """While the main thread waits for a slow reader, another one may begin and end such a wait."""

    def elsewhere() -> None:
        with interrupts.graceful(), interrupts.at_once():
            pass

    def wait() -> None:
        with interrupts.graceful(), interrupts.at_once():
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            signal.raise_signal(signal.SIGINT)
            pytest.fail("it waited for the next check")

    with pytest.raises(Cancelled):
        wait()


@pytest.mark.parametrize("own_process", [False, True])
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_that_comes_in_a_callback_of_c_code_is_not_lost(
    signum: int,
    own_process: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A compiler works in C for seconds; Python sees a signal in the function that C calls then."""
    monkeypatch.setattr(interrupts, "_own_process", own_process)
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signum))

    def compile_something() -> None:
        with interrupts.graceful(), interrupts.at_once():
            callback()
            for _ in range(1000):
                time.sleep(0.01)
            pytest.fail("it went on")

    with pytest.raises(RAISED[signum][0]):
        compile_something()
    assert capfd.readouterr() == ("", "")


def test_a_signal_in_the_last_callback_is_raised_once() -> None:
    callback = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGINT))
    hook, saved = sys.unraisablehook, []

    def compile_and_save() -> None:
        with interrupts.graceful():
            with interrupts.at_once():
                callback()
            time.sleep(3 * interrupts.AGAIN_S)  # nothing is raised here any more
            saved.append(True)

    with pytest.raises(Cancelled):
        compile_and_save()
    assert saved
    assert sys.unraisablehook is hook


def test_other_exceptions_in_callbacks_are_reported_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: seen.append(dropped.exc_type))
    with interrupts.graceful(), interrupts.at_once():
        ctypes.CFUNCTYPE(None)(lambda: 1 / 0)()
    assert seen == [ZeroDivisionError]
