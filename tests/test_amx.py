"""Permission to use AMX tiles, and their shapes."""

from __future__ import annotations

import ctypes
import platform

import pytest

from charrnn import amx
from tests.support.checkpoints import python

GET_PERMISSION = 0x1022


def test_linux_knows_of_the_permission() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        assert not amx.permitted()
        return
    program = f"""
import ctypes, os
from charrnn import amx
print(amx.permitted(), flush=True)
if os.fork() == 0:  # a forked process has it, too
    allowed = ctypes.c_uint64()
    syscall = ctypes.CDLL(None).syscall
    numbers = map(ctypes.c_long, ({amx._ARCH_PRCTL}, {GET_PERMISSION}))
    syscall(*numbers, ctypes.byref(allowed))
    print(bool(allowed.value >> {amx._TILE_DATA} & 1), flush=True)
    os._exit(0)
os.wait()
"""
    parents, childs = python(program).split()
    assert parents == childs


def test_a_variable_keeps_tiles_from_being_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    class Library:
        @staticmethod
        def syscall(*numbers: ctypes.c_long) -> int:
            asked.append([number.value for number in numbers])
            return 0

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    monkeypatch.setenv("CHARRNN_AMX", "0")
    assert not amx.permitted.__wrapped__()
    assert asked == []
    monkeypatch.setenv("CHARRNN_AMX", "1")
    assert amx.permitted.__wrapped__()
    assert asked == [[158, 0x1023, 18]]  # arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)


def test_a_palette_has_rows_and_widths_where_the_processor_reads_them() -> None:
    found = amx.palette([(16, 64), (8, 48)])
    assert len(found) == 64
    assert (found[0], found[16:20], found[48:50]) == (1, bytes([64, 0, 48, 0]), bytes([16, 8]))
    assert sum(found) == 1 + 64 + 48 + 16 + 8
    assert amx.palette() == amx.palette([(16, 64)] * 8)
