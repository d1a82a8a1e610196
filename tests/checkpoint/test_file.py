"""Checkpoints: written whole or not at all, read as if a stranger had made them."""

from __future__ import annotations

import errno
import io
import os
import random
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from charrnn import atomic_io as files
from charrnn.atomic_io import sweep_temporaries, write_atomic
from charrnn.checkpoint.file import Tensors, load
from charrnn.errors import CheckpointError
from tests.security import fuzz_checkpoints, hostile
from tests.support.checkpoints import (
    charrnn,
    data_of,
    forge,
    header_of,
    note_of,
    python,
    tiny,
    with_note,
)
from tests.support.half_files import HalfFile
from tests.support.processes import dead_process

BEST = Path("best.safetensors")


@pytest.fixture
def blob() -> bytes:
    tiny().save(BEST)
    return BEST.read_bytes()


def refused(content: bytes) -> str:
    Path("given.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load(Path("given.safetensors"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


# --- what is saved comes back


def test_everything_comes_back() -> None:
    extra: Tensors = {"cx": np.zeros((2, 3, 0), np.float32), "m": np.arange(6, dtype=np.int64)}
    made = replace(tiny(), extra=extra)
    made.save(BEST)
    back = load(BEST, extra=True)
    assert (back.config, back.vocab, back.meta) == (made.config, made.vocab, made.meta)
    for name, value in (dict(made.weights) | made.extra).items():
        kept = (dict(back.weights) | back.extra)[name]
        assert kept.dtype == value.dtype
        assert np.array_equal(kept, value)
    assert load(BEST).extra == {}
    assert np.array_equal(load(Path()).weights["head.bias"], made.weights["head.bias"])  # a folder


def test_half_precision_comes_back_as_float32() -> None:
    made = tiny()
    made.save(BEST, half=True)
    for name, value in load(BEST).weights.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, made.weights[name].astype(np.float16))


def test_saving_twice_writes_the_same_bytes(blob: bytes) -> None:
    tiny().save(BEST)
    assert BEST.read_bytes() == blob


def test_any_reader_of_safetensors_reads_it(blob: bytes) -> None:
    tensors = load_file(BEST)
    assert {name: value.shape for name, value in tensors.items()} == tiny().config.shapes()


def test_a_corpus_name_that_looks_like_the_checksum_is_harmless() -> None:
    name = f'"sha256":"{"0" * 64}"'
    replace(tiny(), meta={"corpus": {"name": name, "sha256": "0" * 64}}).save(BEST)
    assert load(BEST).meta["corpus"]["name"] == name


def test_saving_over_the_file_that_was_loaded_is_safe(blob: bytes) -> None:
    loaded = load(BEST)
    loaded.save(BEST)
    assert BEST.read_bytes() == blob


# --- a save is atomic, whenever the process is killed

_KILLER = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from charrnn.checkpoint.file import load
from tests.support.checkpoints import tiny

made, path, rng = tiny(), Path(sys.argv[1]), random.Random(7)
replace(made, meta={"number": 0}).save(path)
committed = 0
for _ in range(int(sys.argv[2])):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for number in range(committed + 1, committed + 10**6):
            replace(made, meta={"number": number}).save(path)
            os.write(writer, number.to_bytes(8, "little"))
    os.close(writer)
    time.sleep(0.002 + rng.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while told := os.read(reader, 8):
        committed = int.from_bytes(told, "little")
    os.close(reader)
    found = load(path).meta["number"]
    assert committed <= found <= committed + 1, (committed, found)
    committed = found
print(committed)
"""


def kill_savers(times: int) -> None:
    path = Path("run/best.safetensors")
    assert int(python(_KILLER, str(path), str(times))) > 0
    sweep_temporaries(path.parent)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_fifty_kills_lose_no_committed_checkpoint() -> None:
    kill_savers(50)


@pytest.mark.soak
def test_a_thousand_kills_lose_no_committed_checkpoint() -> None:
    kill_savers(1000)


# --- any failing call leaves the old file or the new one


class FailingDisk:
    """The file layer, whose ``nth`` call (and, if ``for_good``, every later one) fails."""

    def __init__(self, nth: int, code: int, for_good: bool) -> None:
        self.left, self.code, self.for_good = nth, code, for_good
        self.failed = False

    def call(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0 or (self.for_good and self.left < 0):
            self.failed = True
            raise OSError(self.code, os.strerror(self.code))
        return real(*args, **kwargs)

    def open_file(self, path: Path, mode: str) -> HalfFile:
        return HalfFile(self.call, self.call(io.FileIO, path, mode))

    def __getattr__(self, name: str) -> Any:  # os.fsync, os.replace, os.open, os.close …
        real = getattr(os, name)
        if name in ("fsync", "replace", "open", "close"):
            return lambda *args: self.call(real, *args)
        return real


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("for_good", [False, True])
def test_any_failing_call_leaves_the_old_file_or_the_new_one(
    code: int, for_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = Path("run/best.safetensors"), tiny()
    for nth in range(1, 30):
        replace(made, meta={"age": "old"}).save(path)
        disk = FailingDisk(nth, code, for_good)
        with monkeypatch.context() as patched:
            patched.setattr(files, "os", disk)
            patched.setattr(files, "open", disk.open_file, raising=False)
            try:
                replace(made, meta={"age": "new"}).save(path)
            except OSError as error:
                raised = error.errno
            else:
                raised = 0
        assert raised == (code if disk.failed else 0)
        assert load(path).meta["age"] in (("old", "new") if raised else ("new",))
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        if not disk.failed:
            break
    assert nth >= 8  # open, write, flush, fsync, close, replace, the folder's open, fsync, close


def test_a_save_is_synced_before_it_is_renamed_and_its_folder_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, fsync, rename = [], os.fsync, os.replace

    def sync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replace_and_say(old: Path, new: Path) -> None:
        assert Path(old).parent == Path(new).parent  # one file system
        calls.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace_and_say)
    tiny().save(Path("run/best.safetensors"))
    assert calls == ["file", "rename", "folder"]


def test_temporary_files_that_could_not_be_removed_are_swept_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path("run/best.safetensors")
    tiny(meta={"age": "old"}).save(path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        patched.setattr(Path, "unlink", fail)
        patched.setattr(os, "unlink", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            tiny(meta={"age": "new"}).save(path)
    assert len(list(path.parent.iterdir())) == 2
    assert load(path).meta == {"age": "old"}
    code = "import sys, pathlib, charrnn.atomic_io as f; f.sweep_temporaries(pathlib.Path('run'))"
    name = next(path.parent.glob(".*")).rename(path.parent / f".best.tmp-{dead_process()}-1")
    assert name.exists()
    python(code)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_only_temporary_files_of_dead_processes_are_swept() -> None:
    numbers = dead_process(), 10**30, os.getpid()
    left = [f".best.safetensors.tmp-{number}-1" for number in numbers]
    kept = ["best.safetensors", f".x.tmp-{os.getppid()}-1", "notes.tmp-1-1", ".x.tmp-1"]
    for name in left + kept:
        Path(name).touch()
    assert {path.name for path in sweep_temporaries(Path())} == set(left)
    assert {path.name for path in Path().iterdir()} == set(kept)


def test_a_file_that_is_being_written_is_not_swept() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one "
        assert sweep_temporaries(Path()) == []
        yield b"two"

    write_atomic(Path("file"), chunks())
    assert Path("file").read_bytes() == b"one two"


# --- corruption is found


def flip_bits(blob: bytes, times: int) -> None:
    rng = random.Random(3)
    for _ in range(times):
        place, bit = rng.randrange(len(blob)), rng.randrange(8)
        refused(blob[:place] + bytes([blob[place] ^ 1 << bit]) + blob[place + 1 :])


def test_200_flipped_bits_are_found(blob: bytes) -> None:
    flip_bits(blob, 200)


@pytest.mark.soak
def test_2000_flipped_bits_are_found(blob: bytes) -> None:
    flip_bits(blob, 2000)


def test_a_file_cut_anywhere_is_refused(blob: bytes) -> None:
    header = 8 + int.from_bytes(blob[:8], "little")
    rng = random.Random(4)
    places = {*range(header + 1), *(rng.randrange(header, len(blob)) for _ in range(200))}
    for place in sorted(places, reverse=True):
        os.truncate(BEST, place)
        with pytest.raises(CheckpointError):
            load(BEST)
    refused(blob + b"\0")


@pytest.mark.soak
def test_a_damaged_run_resumes_from_the_previous_checkpoint_and_says_so() -> None:
    Path("text.txt").write_text("the quick brown fox\n" * 200)
    args = ["--size", "8", "--layers", "1", "--threads", "1", "-q", "--out", "run"]
    done = charrnn("train", "text.txt", "--steps", "40", "--seed", "1", *args)
    assert done.returncode == 0, done.stderr
    rng = random.Random(5)
    for number in range(5):
        last = Path("run/last.safetensors")
        content = bytearray(last.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        last.write_bytes(content)
        assert charrnn("info", str(last)).returncode == 2
        more = ("--resume", "--steps", str(60 + number * 20), "-q", "--out", "run")
        done = charrnn("train", *more)
        assert done.returncode == 0, done.stderr
        (line,) = [x for x in done.stderr.splitlines() if b"last.safetensors" in x]
        assert line.endswith(b"resuming from previous.safetensors"), line
        assert load(last, extra=True).meta["progress"]["step"] == 60 + number * 20


# --- a hostile file does nothing but fail (tests/security/fuzz_checkpoints.py)


def fuzz(count: int, seed: int, folder: Path) -> None:
    total = fuzz_checkpoints.run(count, seed, folder)
    print(total)
    assert total.failures == []
    assert total.inputs == count
    assert set(total.attacks) == {attack.__name__ for attack in hostile.ATTACKS}
    assert count * 0.05 < total.loaded < count * 0.5


def test_500_hostile_files_load_or_are_refused(tmp_path: Path) -> None:
    fuzz(500, 1, tmp_path)


@pytest.mark.soak
def test_100_000_hostile_files_load_or_are_refused(tmp_path: Path) -> None:
    fuzz(100_000, 2, tmp_path)


# --- formats


def test_files_to_share_stay_format_1_and_what_resuming_needs_is_format_2() -> None:
    made = tiny()
    made.save("shared")
    replace(made, extra={"state.h": np.ones((2, 3, 16), np.float32)}).save("resumed")
    numbers = {
        name: note_of(header_of(Path(name).read_bytes()))["format"]
        for name in ("shared", "resumed")
    }
    assert numbers == {"shared": 1, "resumed": 2}


def test_tensors_of_format_1_are_read_by_their_names_of_today() -> None:
    """There, a cell without a cell state had one without width."""
    state = np.arange(96, dtype=np.float32).reshape(2, 3, 16)
    for cx in (np.ones((2, 3, 16), np.float32), np.ones((2, 3, 0), np.float32)):
        replace(tiny(), extra={"state.hx": state, "state.cx": cx, "m": state}).save("new")
        blob = Path("new").read_bytes()
        header = header_of(blob)
        old = with_note(header, note_of(header) | {"format": 1})
        Path("old").write_bytes(forge(old, data_of(blob)))
        extra = load(Path("old"), extra=True).extra
        assert set(extra) == {"state.h", "m"} | ({"state.c"} if cx.size else set())
        assert extra["state.h"].tobytes() == state.tobytes()


@pytest.mark.parametrize("number", [0, 5, True, 1.0, "1", None])
def test_other_formats_are_refused(number: object) -> None:
    tiny().save("new")
    header = header_of(Path("new").read_bytes())
    changed = with_note(header, note_of(header) | {"format": number})
    Path("old").write_bytes(forge(changed, data_of(Path("new").read_bytes())))
    with pytest.raises(CheckpointError, match=r"format .* use a newer charrnn"):
        load(Path("old"))
