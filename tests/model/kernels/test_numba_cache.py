"""Compiled code is cached; a cache that fails costs only time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from charrnn.model.kernels import fused_lstm


def test_the_cache_depends_on_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels.numba_cache import digest, is_cached, numba_cache

    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path))
    before = numba.config.CACHE_DIR
    assert not is_cached("unit")
    with numba_cache("unit") as folder:
        assert str(folder) == numba.config.CACHE_DIR
        numba.cfunc("int64(int64)", cache=True)(_same)
        assert not is_cached("unit")  # there may be more to come
    assert before == numba.config.CACHE_DIR
    assert folder.parent.parent == tmp_path
    assert is_cached("unit")
    assert not is_cached("another")
    assert list(folder.rglob("*.nbi"))
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("simd.py", "lstm_kernels.py"):
        (copies / name).write_text(name)
    first = digest(copies, "unit")
    (copies / "simd.py").write_text("changed")
    assert digest(copies, "unit") != first


def _same(number: int) -> int:
    return number


def test_a_cache_on_a_full_disk_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels import numba_cache, units

    if units.matrix_unit() is None:
        pytest.skip("needs a processor that multiplies bfloat16")
    attempts: list[bool] = []

    @contextmanager
    def full(unit: str, *, private: bool = False) -> Iterator[None]:
        attempts.append(private)
        yield
        if not private:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(numba_cache, "numba_cache", full)
    assert fused_lstm.compiled_window.__wrapped__() is not None
    assert attempts == [False, True]


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from charrnn.model.kernels.numba_cache import numba_cache

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "file"))
    with numba_cache("unit") as folder:
        assert folder.is_dir()
