"""Where a file cannot be written, the path that was asked for is named, before any work."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from charrnn import atomic_io
from charrnn.text import downloads
from tests.support.command_line import Call, commands, options

pytestmark = pytest.mark.usefixtures("a_run")

# a command that writes to PLACE, what stands in for its work, and what it says it writes
WRITERS = {
    "train text --steps 1 --out PLACE": ("charrnn.training.beginning._encoded", "PLACE"),
    "insight novel --text text --out PLACE": ("charrnn.insight.api.insight_page", "PLACE"),
    "data get tinyshakespeare --out PLACE": (
        "charrnn.text.downloads._received",
        "PLACE/tinyshakespeare.txt",
    ),
}
# the same where no place is named
UNSAID = {
    "train text --steps 1": ("charrnn.training.beginning._encoded", "checkpoints"),
    "insight novel --text text": ("charrnn.insight.api.insight_page", "novel.html"),
    "data get tinyshakespeare": (
        "charrnn.text.downloads._received",
        "data/tinyshakespeare.txt",
    ),
}
ALL = [(command, *rest) for command, rest in (WRITERS | UNSAID).items()]
# every option that names what is written, and what stands in for the work: files and folders
FILES = {
    "insight novel --text text --out": "charrnn.insight.api.insight_page",
    "plot novel --out": "charrnn.insight.learning.read_runs",
    "lab flow --text text --out": "charrnn.cli.lab_flow._of_cells",
    "lab compare text --plot": "charrnn.lab.compare.compare",
    "bench scale --plot": "charrnn.bench.scaling.predict",
}
FOLDERS = {
    "train text --steps 1 --out": "charrnn.training.beginning._encoded",
    "data get tinyshakespeare --out": "charrnn.text.downloads._received",
    "lab compare text --out": "charrnn.lab.compare.train",
}


@pytest.fixture(autouse=True)
def a_text() -> None:
    Path("text").write_text("the quick brown fox jumps over the lazy dog\n" * 40)


def no_work(patch: pytest.MonkeyPatch, place: str) -> None:
    """Make it an error to begin with the work."""

    def work(*_: object, **__: object) -> None:
        raise AssertionError("it began to work")

    patch.setattr(place, work)


class Disk(NamedTuple):
    """What ``shutil.disk_usage`` says of a disk."""

    total: int
    free: int


def refused(call: Call, command: str, place: str) -> tuple[int, str]:
    """Exit code and complaint of ``command`` with its PLACE."""
    code, out, err = call(*command.replace("PLACE", place).split())
    assert (out, err.count("\n")) == ("", 1), err
    assert ".tmp" not in err
    return code, err.removeprefix("charrnn: ").rstrip()


@pytest.mark.parametrize(("command", "work", "named"), ALL)
def test_a_folder_that_may_not_be_written_is_named(
    command: str, work: str, named: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(dir: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{dir}/.tmp-1")

    no_work(monkeypatch, work)
    monkeypatch.setattr(atomic_io, "TemporaryFile", denied)
    place = "place" if command.startswith("insight") else "new/place"
    named = named.replace("PLACE", place)
    wanted = f"cannot write to {named}: Permission denied; choose another --out"
    assert refused(call, command, place) == (1, wanted)
    assert not Path("new").exists()


def test_every_option_that_names_what_is_written_is_tried() -> None:
    names = [name for name, _ in commands()]
    tried = set()
    for line in FILES | FOLDERS:
        command = max((name for name in names if line.startswith(name)), key=len)
        tried.add((command, line.split()[-1]))
    named = {(name, option) for name, option, _ in options() if option in ("--out", "--plot")}
    assert tried == named


@pytest.mark.parametrize(("command", "work"), FILES.items())
def test_the_folder_of_a_file_must_exist(
    command: str, work: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    no_work(monkeypatch, work)
    wanted = f"{command.split()[-1]} is new/x.svg: there is no folder new; create it first"
    assert refused(call, f"{command} PLACE", "new/x.svg") == (2, wanted)
    Path("link.svg").symlink_to("new/x.svg")
    assert refused(call, f"{command} PLACE", "link.svg")[0] == 2
    assert not Path("new").exists()
    Path("new").mkdir()
    assert "it began to work" in call(*command.split(), "new/x.svg").err


@pytest.mark.parametrize(
    ("command", "work"),
    [*FOLDERS.items(), ("lab compare text --out new --plot", FOLDERS["lab compare text --out"])],
)
def test_a_folder_is_made(
    command: str, work: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    no_work(monkeypatch, work)
    place = "new/x.svg" if "--plot" in command else "new/place"
    assert "it began to work" in call(*command.split(), place).err


@pytest.mark.parametrize(("command", "work", "named"), ALL[1:3] + ALL[4:])
def test_a_disk_without_room_is_named(
    command: str, work: str, named: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``train`` knows what it needs only when it has read the text."""
    no_work(monkeypatch, work)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(1 << 30, 1000))
    named = named.replace("PLACE", "place")
    wanted = f"cannot write to {named}: No space left on device; choose another --out"
    assert refused(call, command, "place") == (1, wanted)


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_in_the_way_is_named(
    command: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, named = WRITERS[command]
    no_work(monkeypatch, work)
    named = named.replace("PLACE", "text/below")
    wanted = f"cannot write to {named}: Not a directory; choose another --out"
    assert refused(call, command, "text/below") == (1, wanted)


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work, _ in WRITERS.values():
        no_work(monkeypatch, work)
    train, insight, get = WRITERS
    assert refused(call, train, "text") == (2, "text is not a folder; choose another --out")
    assert refused(call, get, "text") == (2, "text is not a folder; choose another --out")
    wanted = "--out is checkpoints, a folder: name a file, or - for stdout"
    assert refused(call, insight, "checkpoints") == (2, wanted)
    Path("data/tinyshakespeare.txt").mkdir(parents=True)
    wanted = "data/tinyshakespeare.txt is not a file; choose another --out"
    assert refused(call, get, "data") == (2, wanted)
    shutil.rmtree("checkpoints")
    Path("checkpoints").touch()
    code, said = refused(call, "train text --steps 1", "")
    assert (code, said) == (2, "checkpoints is not a folder; choose another --out")


@pytest.mark.parametrize("command", [c for c in WRITERS if not c.startswith("train")])
def test_what_fails_in_the_end_names_no_temporary_file(
    command: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def received(_: Any) -> list[bytes]:
        return [b"text"]

    monkeypatch.setattr(downloads, "_received", received)
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setitem(
        downloads.KNOWN,
        "tinyshakespeare",
        downloads.KnownCorpus(
            "https://example.org",
            "tinyshakespeare.txt",
            4,
            "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1",
        ),
    )
    named = WRITERS[command][1].replace("PLACE", "place")
    wanted = f"cannot write to {named}: No space left on device; choose another --out"
    assert refused(call, command, "place") == (1, wanted)
