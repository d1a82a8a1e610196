"""Memory does not grow with the corpus.

Only anonymous memory counts: pages of mapped files belong to the system, which takes them back
when it needs them. The peak of ``VmHWM`` has both, so ``RssAnon`` is watched while a command runs.
"""

from __future__ import annotations

import gzip
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from charrnn.text import shuffle
from charrnn.text.splits import RangeMap
from tests.support.checkpoints import environment

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)

MIB, GIB = 1 << 20, 1 << 30
MOST_GROWTH = 64  # MiB
PIECE = "All happy families are alike – each in its own way.\nПривет, мир!\n" * 5000
TRAIN = ["--steps", "3", "--batch", "4", "--window", "16", "--size", "32", "--layers", "1"]
TRAIN += ["--threads", "1", "--seed", "1", "-q"]
numbers = itertools.count()


@pytest.fixture(autouse=True)
def nothing_large_is_left(
    tmp_path: Path,
    bare_environment: None,
    new_cache: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Everything that is cached goes with the test, except compiled code."""
    monkeypatch.setenv("CHARRNN_CACHE", new_cache(tmp_path / "encoded"))
    yield
    for path in tmp_path.glob("corpus-*"):
        path.unlink()
    shutil.rmtree(tmp_path / "encoded", ignore_errors=True)


def corpus(size: int) -> Path:
    """A text of about ``size`` bytes with characters of one, two and three bytes."""
    path, raw = Path(f"corpus-{size}.txt"), PIECE.encode()
    with open(path, "wb") as file:
        for _ in range(max(1, size // len(raw))):
            file.write(raw)
    return path


def peak(
    *args: str, within: Callable[[], None] | None = None, stdin: Path | None = None
) -> tuple[int, int]:
    """The most anonymous MiB that ``charrnn args`` had at any instant, and its exit code."""
    command = [sys.executable, "-m", "charrnn", *args]
    env = environment()
    with open(stdin or os.devnull, "rb") as file, open("err.txt", "wb") as err:
        process = subprocess.Popen(
            command, env=env, stdin=file, stdout=subprocess.DEVNULL, stderr=err, preexec_fn=within
        )
        most = 0
        while process.poll() is None:
            with suppress(OSError):
                text = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"RssAnon:\s+(\d+)", text)
                most = max(most, int(found[1]) if found else 0)
            time.sleep(0.004)
    return most // 1024, process.returncode


def training(path: Path, *more: str, chars: int = 20_000) -> int:
    """Peak of encoding ``path`` and training on it; about ``chars`` characters validate."""
    part = f"{chars / path.stat().st_size:.8f}"
    cuts = ["--val-frac", part, "--test-frac", "0"] if "--split" not in more else []
    source = ["-"] if "-" in more else [str(path)]
    out = f"run-{next(numbers)}"
    args = ["train", *source, *TRAIN, *cuts, *(word for word in more if word != "-"), "--out", out]
    megabytes, code = peak(*args, stdin=path if "-" in more else None)
    assert code == 0, Path("err.txt").read_text()
    return megabytes


def test_memory_does_not_grow_with_64_mib() -> None:
    small, large = corpus(MIB), corpus(64 * MIB)
    assert training(large) - training(small) <= MOST_GROWTH


@pytest.mark.soak
@pytest.mark.parametrize("more", [[], ["-"], ["--lines"], ["--bytes"]], ids=str)
def test_memory_does_not_grow_with_a_gib(more: list[str]) -> None:
    base = training(corpus(MIB), *more)
    for size in (32 * MIB, GIB):
        grown = training(corpus(size), *more) - base
        print(f"{more} {size / MIB:.0f} MiB: {grown} MiB over {base}")
        assert grown <= MOST_GROWTH


def packed_corpus(size: int) -> Path:
    """A text of ``size`` bytes, packed by gzip; unlike ``PIECE`` over and over, it is no bomb."""
    path, rng = Path(f"corpus-{size}.txt.gz"), np.random.default_rng(1)
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(size // MIB):
            file.write(rng.integers(97, 123, MIB).astype(np.uint8).tobytes())
    return path


@pytest.mark.soak
def test_memory_does_not_grow_with_a_text_that_is_packed() -> None:
    base = training(packed_corpus(MIB))
    grown = training(packed_corpus(256 * MIB)) - base
    print(f"256 MiB from gzip: {grown} MiB over {base}")
    assert grown <= MOST_GROWTH


@pytest.mark.soak
def test_memory_does_not_grow_with_a_gib_that_is_interleaved() -> None:
    cut = ["--split", "interleaved", "--val-frac", "0.005", "--test-frac", "0.005"]
    small, large = corpus(4 * MIB), corpus(GIB)
    assert training(large, *cut) - training(small, *cut) <= MOST_GROWTH


# --- under a limit


@contextmanager
def limited(size: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """What a child calls to live within ``size`` bytes, and by what means.

    A control group counts every page, mapped files' too, and takes those back before it kills.
    Where none can be made there is ``RLIMIT_DATA``, which counts what is private and writable;
    ``RLIMIT_AS`` counts addresses, of which torch maps more than it uses.
    """
    import resource

    def by_data() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    group = Path(f"/sys/fs/cgroup/memory/charrnn-test-{os.getpid()}")
    limit, members = group / "memory.limit_in_bytes", group / "cgroup.procs"
    if not group.parent.is_dir():  # the second version
        group = Path(f"/sys/fs/cgroup/charrnn-test-{os.getpid()}")
        limit, members = group / "memory.max", group / "cgroup.procs"
    try:
        group.mkdir()
        limit.write_text(str(size))
        assert int(limit.read_text()) <= size
    except OSError:
        with suppress(OSError):
            group.rmdir()
        yield "RLIMIT_DATA", by_data
        return

    def by_group() -> None:
        members.write_text(str(os.getpid()))
        by_data()

    try:
        yield "a control group and RLIMIT_DATA", by_group
    finally:
        group.rmdir()


@pytest.mark.soak
@pytest.mark.parametrize("more", [[], ["--lines"]], ids=str)
def test_a_gib_trains_within_two(more: list[str]) -> None:
    path = corpus(GIB)
    args = ["train", str(path), *TRAIN, "--val-frac", "0.00002", "--out", "run", *more]
    with limited(2 * GIB) as (means, within):
        _, code = peak(*args, within=within)
    print(means)
    assert code == 0, Path("err.txt").read_text()


# --- the lines of a text that is larger than memory


def plainly(text: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lines of ``text`` (they end with 1) shuffled the obvious way."""
    lines = np.split(text, np.flatnonzero(text == 1) + 1)
    order = [*rng.permutation(len(lines) - 1), len(lines) - 1]
    return np.concatenate([lines[i] for i in order])


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_lines_shuffled_in_blocks_and_in_files_are_those_shuffled_plainly(
    block: int, in_memory: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shuffle, "BLOCK", block)
    monkeypatch.setattr(shuffle, "IN_MEMORY", in_memory)
    monkeypatch.setenv("CHARRNN_CACHE", "cache")
    rng = np.random.default_rng(3)
    for size in (1, 2, 50, 900):
        ids = rng.integers(0, 2 + size % 9, size).astype(np.uint8)
        ranges = ((0, size),) if size < 10 else ((2, size // 3), (size // 2, size - 1))
        where = RangeMap(ranges)
        text = ids[where.positions(np.arange(where.length))]
        shuffled = shuffle.shuffled_lines(ids, where, 1, np.random.default_rng(size))
        assert np.array_equal(shuffled, plainly(text, np.random.default_rng(size)))
    assert not any(tmp_path.glob("cache/*"))  # no file is left
