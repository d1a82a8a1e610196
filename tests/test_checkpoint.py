"""Checkpoints: written whole or not at all, read as if a stranger had made them."""

from __future__ import annotations

import ast
import errno
import io
import os
import pickle
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from charrnn import files
from charrnn.checkpoint import load
from charrnn.errors import CheckpointError
from charrnn.files import sweep_temporaries, write_atomic
from tests import fuzz_checkpoints
from tests.support import ROOT, environment, tiny

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
    extra = {"cx": np.zeros((2, 3, 0), np.float32), "m": np.arange(6, dtype=np.int64)}
    made = replace(tiny(), extra=extra)
    made.save(BEST)
    back = load(BEST, extra=True)
    assert (back.config, back.vocab, back.meta) == (made.config, made.vocab, made.meta)
    for name, value in (made.weights | made.extra).items():
        kept = (back.weights | back.extra)[name]
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


def test_a_corpus_named_like_the_checksums_place_is_no_trap() -> None:
    name = f'"sha256":"{"0" * 64}"'
    replace(tiny(), meta={"corpus": {"name": name, "sha256": "0" * 64}}).save(BEST)
    assert load(BEST).meta["corpus"]["name"] == name


def test_saving_over_the_file_that_was_loaded_is_safe(blob: bytes) -> None:
    loaded = load(BEST)
    loaded.save(BEST)
    assert BEST.read_bytes() == blob


# --- contract 1: a save is atomic, whenever the process is killed

_KILLER = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
from charrnn.checkpoint import load
from tests.support import tiny

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
    command = [sys.executable, "-c", _KILLER, str(path), str(times)]
    result = subprocess.run(command, env=environment(), capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    assert int(result.stdout) > 0
    sweep_temporaries(path.parent)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_fifty_kills_lose_no_committed_checkpoint() -> None:
    kill_savers(50)


@pytest.mark.soak
def test_a_thousand_kills_lose_no_committed_checkpoint() -> None:
    kill_savers(1000)


# --- contract 2: any failing call leaves the old file or the new one


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

    def open_file(self, path: Path, mode: str) -> FailingFile:
        return FailingFile(self, self.call(io.FileIO, path, mode))

    def __getattr__(self, name: str) -> Any:  # os.fsync, os.replace, os.open, os.close …
        real = getattr(os, name)
        if name in ("fsync", "replace", "open", "close"):
            return lambda *args: self.call(real, *args)
        return real


class FailingFile:
    """A file of a ``FailingDisk``: a failing write leaves half of its bytes."""

    def __init__(self, disk: FailingDisk, file: io.FileIO) -> None:
        self.disk, self.file = disk, file

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self.file.write(data[:half])
        self.disk.call(self.file.write, data[half:])

    def flush(self) -> None:
        self.disk.call(self.file.flush)

    def fileno(self) -> int:
        return self.file.fileno()

    def __enter__(self) -> FailingFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()
        self.disk.call(lambda: None)


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


def test_what_dead_processes_left_is_swept_and_nothing_else() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [f".best.safetensors.tmp-{dead.pid}-1", f".x.tmp-{10**30}-1", f".x.tmp-{os.getpid()}-1"]
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


# --- contract 6: corruption is found


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
    for place in [*range(header + 1), *(rng.randrange(header, len(blob)) for _ in range(50))]:
        refused(blob[:place])
    refused(blob + b"\0")


# --- contract 7: a hostile file does nothing but fail (tests/fuzz_checkpoints.py)


def test_500_hostile_files_load_or_are_refused(tmp_path: Path) -> None:
    assert 0 < fuzz_checkpoints.run(500, seed=1, folder=tmp_path / "fuzz") < 250


@pytest.mark.soak
def test_100_000_hostile_files_load_or_are_refused(tmp_path: Path) -> None:
    fuzz_checkpoints.run(100_000, seed=2, folder=tmp_path / "fuzz")


# --- contract 8: no code is ever loaded


def test_foreign_files_are_refused_by_name() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"")
    assert "is a zip archive (PyTorch's torch.save writes those)" in refused(archive.getvalue())
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert "is a pickle" in refused(pickle.dumps({"a": 1}, protocol))
    assert "is a GGUF file" in refused(b"GGUF" + bytes(100))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"allow_pickle={ast.unparse(node.value)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield f"{node.func.id}()"


def test_nothing_in_charrnn_loads_code() -> None:
    pattern = re.compile(
        r"(c?pickle|dill|joblib|marshal|shelve|cloudpickle)(\.|$)|torch\.(load|jit\.load|hub)\b"
        r"|allow_pickle=(?!False)|^(eval|exec)\(\)$"
    )
    for path in (ROOT / "charrnn").rglob("*.py"):
        found = [name for name in _names(ast.parse(path.read_text())) if pattern.match(name)]
        assert not found, f"{path}: {found}"
