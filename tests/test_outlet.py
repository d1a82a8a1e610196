"""Writing to streams of any kind; readers that are stuck are in reliability/."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from charrnn import interrupts, outlet
from charrnn.outlet import Outlet
from tests.support.checkpoints import environment

DATA = os.urandom(3 * select.PIPE_BUF + 5)


def test_a_slow_reader_gets_everything_in_order() -> None:
    read, write = os.pipe()
    got: list[bytes] = []

    def slowly() -> None:
        while piece := os.read(read, 1000):
            got.append(piece)

    reader = threading.Thread(target=slowly)
    with open(write, "w") as stream:
        reader.start()
        for number in range(40):
            stream.write(f"{number}\n")  # by somebody who does not flush
            outlet.write(stream, DATA)
    reader.join()
    os.close(read)
    assert b"".join(got) == b"".join(b"%d\n" % number + DATA for number in range(40))


def test_a_stream_that_leads_elsewhere_gets_text() -> None:
    """As in a notebook, whose streams have no buffer or none of the system's."""

    class Cell:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None: ...

    cell = Cell()
    outlet.write(cell, "naïve\n".encode())  # type: ignore[arg-type]
    assert cell.text == "naïve\n"
    memory = io.BytesIO()
    wrapped = io.TextIOWrapper(memory)
    outlet.write(wrapped, DATA)
    assert memory.getvalue() == DATA


def test_what_libraries_print_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w", encoding="utf-8") as stream:
        out = Outlet(stream)
        assert (out.write("naïve\n"), out.isatty(), out.encoding) == (6, False, "utf-8")
        assert out.fileno() == stream.fileno()
        out.flush()
        assert (tmp_path / "file").read_text(encoding="utf-8") == "naïve\n"


def test_errors_come_from_wherever_it_is_written() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:
        for data in (b"a", DATA):
            with pytest.raises(BrokenPipeError):
                outlet.write(stream, data)
    with open(os.devnull) as only_read, open(only_read.fileno(), "w", closefd=False) as stream:
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            outlet.write(stream, b"a")
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            outlet.check(stream)
    with open(os.devnull, "w") as stream:
        outlet.check(stream)


def test_a_file_gets_all_of_its_text_after_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_stopping", True)
    with open(tmp_path / "file", "w") as stream:
        outlet.write(stream, DATA)
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_stuck_reader_is_waited_for_once_and_written_to_again_in_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    with open(write, "w") as stream:
        while select.select([], [write], [], 0)[1]:
            outlet.write(stream, b"x" * select.PIPE_BUF)
        monkeypatch.setattr(interrupts, "_stopping", True)
        monkeypatch.setattr(outlet, "LAST_WORDS_S", 0.01)
        outlet.write(stream, b"too late")
        monkeypatch.setattr(outlet, "LAST_WORDS_S", 600.0)
        for _ in range(9):
            outlet.write(stream, b"not waited for")
        monkeypatch.setattr(interrupts, "_stopping", False)  # another run begins
        os.read(read, 1 << 20)
        outlet.write(stream, b"said")
    got = b""
    while piece := os.read(read, 1 << 20):
        got += piece
    os.close(read)
    assert b"not waited for" not in got
    assert b"said" in got


def test_a_pipe_that_somebody_else_has_made_non_blocking_loses_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with open(write, "w") as stream:
        writer = threading.Thread(target=outlet.write, args=(stream, DATA * 50))
        writer.start()
        got = b""
        while len(got) < len(DATA * 50):
            time.sleep(0.001)
            got += os.read(read, 5000)
        writer.join()
    os.close(read)
    assert got == DATA * 50


def test_waiting_for_a_reader_ends_with_control_c() -> None:
    """In a program that catches it."""
    program = """
import os, sys
from charrnn import outlet
try:
    outlet.write(sys.stdout, bytes(1 << 22))
except KeyboardInterrupt:
    os._exit(7)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout
        os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 7
