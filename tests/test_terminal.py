"""Contract line 12: what a file or a model says cannot drive a terminal; a pipe gets it raw."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli.output import TextWriter
from charrnn.console import harmless, one_line
from charrnn.text.vocab import Vocab
from tests.support import META, charrnn, environment, tiny

CONTROLS = [*range(9), *range(11, 32), *range(0x7F, 0xA0)]
BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1bPq\x9b31m\x7f\u202e[bold]\r"
# colours and boxes of rich are ours; anything else that begins with ESC is not
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]")


def on_a_terminal(*args: str, **env: str) -> str:
    """What ``charrnn args`` sends to a terminal, stdout and stderr together."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "charrnn", *args]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment(**env)):
        os.close(slave)
        seen = b""
        try:
            while piece := os.read(master, 4096):
                seen += piece
        except OSError:  # Linux says so when the last writer has left
            pass
    os.close(master)
    return seen.decode()


def raw_controls(seen: str) -> set[int]:
    """Code points that a terminal would obey, but for newlines, tabs and our own colours."""
    seen = OURS.sub("", seen.replace("\r\n", "\n"))
    return set(map(ord, seen)) & {*CONTROLS, *BIDI}


@pytest.fixture
def hostile() -> Path:
    """A checkpoint whose alphabet is all control characters and whose note and name lie."""
    codes = tuple(sorted({*CONTROLS, *BIDI, *map(ord, "ab\n")}))
    meta = {
        "corpus": {**META["corpus"], "name": HOSTILE},
        "losses": {"val": HOSTILE},
        "made": HOSTILE,
        HOSTILE: {HOSTILE: HOSTILE},
        "path": "/spoofed",
    }
    folder = Path("checkpoints") / ("evil" + HOSTILE.replace("/", ""))
    tiny(Vocab(codes, (1,) * len(codes)), meta).save(folder / "best.safetensors")
    return folder


@pytest.mark.parametrize("code", [*CONTROLS, *BIDI])
def test_every_control_character_is_written_out(code: int) -> None:
    shown = harmless(f"a{chr(code)}b\n\t")
    assert raw_controls(shown) == set()
    assert re.fullmatch(r"a\\(x[0-9a-f]{2}|u[0-9a-f]{4}|r)b\n\t", shown)
    assert "\n" not in one_line(chr(code) + "\n\t")


def test_a_sample_on_a_terminal_is_harmless(hostile: Path) -> None:
    for args in (["--count", "2"], ["--lines", "--count", "2"], ["--json"], ["--escape", "always"]):
        seen = on_a_terminal("sample", str(hostile), "--length", "400", "--seed", "1", *args)
        assert raw_controls(seen) == set(), args
        assert "\\x1b" in seen or "\\u001b" in seen


def test_a_sample_in_a_pipe_is_raw_unless_asked(hostile: Path) -> None:
    args = ["sample", str(hostile), "--length", "400", "--seed", "1"]
    assert b"\x1b" in charrnn(*args).stdout
    assert b"\x1b" not in charrnn(*args, "--escape", "always").stdout
    raw = on_a_terminal(*args, "--escape", "never")
    assert "\x1b" in raw


@pytest.mark.parametrize("plain", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_tables_are_harmless(hostile: Path, plain: dict[str, str]) -> None:
    path = str(hostile)
    for args in (["info", path], ["ls"]):
        assert raw_controls(on_a_terminal(*args, **plain)) == set(), args


def test_json_and_errors_are_harmless(hostile: Path) -> None:
    path = str(hostile)
    for args in (["info", path, "--json"], ["ls", "--json"]):
        assert raw_controls(on_a_terminal(*args)) == set(), args
    for args in (["info", HOSTILE], ["train", HOSTILE], ["info", path, HOSTILE], [HOSTILE]):
        assert raw_controls(on_a_terminal(*args)) == set(), args


def test_names_are_shown_and_not_read_as_markup(hostile: Path) -> None:
    assert "[bold]" in on_a_terminal("info", str(hostile))
    assert "/spoofed" not in charrnn("info", str(hostile), "--json").stdout.decode()


def test_a_scored_text_is_harmless(hostile: Path) -> None:
    Path("text").write_text("ab\x1b[2J\x9b\u202e\nb\x07a\n")
    for args in (["--per-line"], ["--per-line", "--json"], ["--color"], []):
        seen = on_a_terminal("score", "text", "--model", str(hostile), "--unknown", "skip", *args)
        assert raw_controls(seen) == set(), args


def test_escapes_do_not_depend_on_where_pieces_end(tmp_path: Path) -> None:
    raw = ("é\x1b[2J\r\n\r" + HOSTILE).encode() + b"\xff"
    written = set()
    for size in (1, 2, 3, 100):
        with open(tmp_path / "out", "w", encoding="utf-8") as stream:
            writer = TextWriter(stream, "always")
            for start in range(0, len(raw), size):
                writer.put(raw[start : start + size])
            writer.end_sample(b"")
            writer.end()
        written.add((tmp_path / "out").read_text())
    assert len(written) == 1
    assert raw_controls(written.pop()) == set()


def test_decoded_alphabets_keep_their_controls() -> None:
    vocab = Vocab((7, 27), (1, 1))
    assert vocab.decode(np.array([0, 1])) == "\x07\x1b"
