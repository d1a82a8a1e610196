"""Every test runs in a folder of its own, with a cache of the session's and a bare environment."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from charrnn.interrupts import SIGNALS

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # plain `pytest` too finds tests.support.networks
    sys.path.insert(0, str(ROOT))

settings.register_profile("charrnn", deadline=None)  # no test judges by the clock
settings.load_profile("charrnn")

_LOUD = {
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "LINES",
    "TTY_COMPATIBLE",
    "PYTHONUNBUFFERED",
}


MOST_WORKERS, WORKER_BYTES = 4, 2 << 30  # each worker loads torch, and its children train


@pytest.hookimpl(optionalhook=True)  # of the plugin xdist
def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``-n auto`` starts: one for each core, as far as memory goes."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores or 1, MOST_WORKERS, memory // WORKER_BYTES))


@pytest.fixture(scope="session")
def session_cache(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded corpora of the whole session; compiled code is shared by all its processes."""
    cache = tmp_path_factory.mktemp("cache")
    if hasattr(pytestconfig, "workerinput"):  # one of several
        for kind in ("training", "kernels"):
            code = tmp_path_factory.getbasetemp().parent / f"code-{kind}"
            code.mkdir(mode=0o700, exist_ok=True)
            (cache / kind).symlink_to(code)
    return cache


@pytest.fixture(scope="session")
def new_cache(session_cache: Path) -> Callable[[Path], str]:
    """``make(folder)``: a cache without corpora, in which the session's compiled code lies."""
    code = session_cache / "training"
    code.mkdir(exist_ok=True)

    def make(folder: Path) -> str:
        folder.mkdir()
        (folder / "training").symlink_to(code)
        return str(folder)

    return make


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, session_cache: Path) -> None:
    """No setting of whoever runs the tests reaches them, and nothing is written outside."""
    for name in list(os.environ):
        if name.startswith("CHARRNN_") or name in _LOUD:
            monkeypatch.delenv(name)
    for signum in SIGNALS:
        if signal.getsignal(signum) is signal.SIG_IGN:  # by nohup, or in the background
            signal.signal(signum, signal.SIG_DFL)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CHARRNN_CACHE", str(session_cache))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Whatever a test has started ends with it, even if the test fails."""
    yield
    if processes := sys.modules.get("tests.support.processes"):
        processes.end_all()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A text to train on."""
    from tests.support.processes import TEXT

    path = tmp_path / "novel.txt"
    path.write_text(TEXT)
    return path
