"""``charrnn next``, ``score --per-char`` and ``score --lines``."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.text.arriving import arriving_lines
from charrnn.textmodel import TextModel
from tests.support.checkpoints import environment, tiny
from tests.support.command_line import Call
from tests.support.networks import letters
from tests.text.test_packed import zstd

pytestmark = pytest.mark.usefixtures("a_run")
NOVEL = ("--model", "novel")


def test_next_lists_the_likeliest(call: Call) -> None:
    code, out, said = call("next", "the pr", *NOVEL, "--top", "3")
    assert (code, said) == (0, "")
    heading, *rows = [line.split("\t") for line in out.splitlines()]
    assert heading == ["symbol", "probability", "nats"]
    lines = call("next", "the pr", *NOVEL, "--top", "3", "--json")[1].splitlines()
    values = [json.loads(line) for line in lines]
    found = TextModel(tiny()).next("the pr", top=3)
    wanted = [{"symbol": c.symbol, "probability": c.probability, "nats": c.nats} for c in found]
    assert values == wanted
    assert [row[0] for row in rows] == [c.symbol.replace("\n", "\\n") for c in found]
    assert [row[1] for row in rows] == [f"{c.probability:.6f}" for c in found]
    assert len(call("next", *NOVEL)[1].splitlines()) == 11
    assert call("next")[2].startswith("charrnn: checkpoints/novel")


def test_next_reads_a_prefix_from_standard_input(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xe2\x82\xac")))
    code, _, said = call("next", "-", *NOVEL)
    assert code == 2
    assert said.startswith("charrnn: standard input: character '€' (U+20AC) at position 4")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the \xe2\x82\xacpr")))
    code, out, said = call("next", "-", *NOVEL, "--unknown", "skip")
    assert out == call("next", "the pr", *NOVEL)[1]
    assert "skipped" in said


def test_score_per_char(call: Call) -> None:
    Path("text.txt").write_text("the old\tprince\n".replace("\t", " "))
    code, out, _ = call("score", "text.txt", *NOVEL, "--per-char", "--json", "--top", "2")
    values = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert "".join(value["symbol"] for value in values) == "the old prince\n"
    assert values[0] == {"symbol": "t", "nats": None, "rank": None}
    assert all(len(value["top"]) == 2 for value in values[1:])
    assert all((v["rank"] == 1) == (v["top"][0]["symbol"] == v["symbol"]) for v in values[1:])
    total = json.loads(call("score", "text.txt", *NOVEL, "--json")[1])
    nats = sum(value["nats"] for value in values[1:])
    assert nats == pytest.approx(total["nats_per_char"] * total["chars"], rel=1e-6)
    rows = call("score", "text.txt", *NOVEL, "--per-char")[1].splitlines()
    assert rows[0] == "-\t-\tt"
    assert rows[-1] == f"{values[-1]['nats']:.4f}\t{values[-1]['rank']}\t\\n"
    row = call("score", "text.txt", *NOVEL, "--per-char", "--top", "1")[1].splitlines()[1]
    best = values[1]["top"][0]
    symbol, _, probability = row.split("\t")[3].rpartition(" ")
    assert symbol == best["symbol"].replace("\n", "\\n")
    assert 0 < float(probability) < 1


@pytest.mark.parametrize(
    "args",
    [
        ("--per-char", "--per-line"),
        ("--per-char", "--color"),
        ("--lines", "--per-char"),
        ("--lines", "--adapt"),
        ("--lines", "--split", "val"),
        ("--lines", "--exact"),
    ],
)
def test_what_does_not_go_together_is_refused(call: Call, args: tuple[str, ...]) -> None:
    Path("text.txt").write_text("the old prince\n")
    code, out, said = call("score", "text.txt", *NOVEL, *args)
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert args[0] in said


def test_score_lines_is_a_line_for_every_line(call: Call) -> None:
    text = "the old prince\n\nand the new\r\nthe old prince"
    Path("text.txt").write_bytes(text.encode())
    code, out, said = call("score", "text.txt", *NOVEL, "--lines")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, said) == (0, "")
    assert [row[2] for row in rows] == ["the old prince", "", "and the new", "the old prince"]
    assert [row[1] for row in rows] == ["15", "1", "12", "15"]
    assert rows[0] == rows[3]
    values = [
        json.loads(line)
        for line in call("score", "text.txt", *NOVEL, "--lines", "--json")[1].splitlines()
    ]
    assert [f"{value['nats']:.4f}" for value in values] == [row[0] for row in rows]
    assert [value["text"] for value in values] == [row[2] for row in rows]
    assert values[0]["nats_per_char"] == pytest.approx(values[0]["nats"] / 15)
    Path("none.txt").write_bytes(b"")
    assert call("score", "none.txt", *NOVEL, "--lines") == (0, "", "")


def test_the_worst_character_of_a_line_comes_first(call: Call) -> None:
    Path("text.txt").write_text("the old prince\n\nthe oldqprince\n")
    args = "score", "text.txt", *NOVEL, "--lines"
    plain = [row.split("\t") for row in call(*args)[1].splitlines()]
    rows = [row.split("\t") for row in call(*args, "--worst")[1].splitlines()]
    assert [row[1:] for row in rows] == plain
    values = [json.loads(line) for line in call(*args, "--json")[1].splitlines()]
    assert [f"{value['worst_nats']:.4f}" for value in values] == [row[0] for row in rows]
    own = TextModel(tiny())
    for line, value in zip(
        own.score_lines(Path("text.txt").read_text(), lines=True), values, strict=True
    ):
        at = value["worst_at"] - 1
        assert line.worst == at
        assert value["worst_nats"] == line.nats[at] == max(line.nats)
    code, _, said = call("score", "text.txt", *NOVEL, "--worst")
    assert (code, said) == (2, "charrnn: --worst needs --lines\n")
    assert next(own.score_lines("ab", lines=False)).worst == 1  # nothing comes before the first


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_packed_lines_are_the_lines(call: Call, pack: Callable[[bytes], bytes]) -> None:
    lines = b"the old prince\nand the new\n"
    Path("text").write_bytes(lines)
    Path("packed").write_bytes(pack(lines))
    plain, packed = (call("score", name, *NOVEL, "--lines") for name in ("text", "packed"))
    assert plain.code == 0
    assert plain == packed
    Path("packed").write_bytes(pack(lines)[:-1])
    code, _, said = call("score", "packed", *NOVEL, "--lines")
    assert (code, said.count("\n"), "is cut short" in said) == (2, 1, True)


def test_an_unknown_character_is_named_with_its_line(call: Call) -> None:
    Path("text.txt").write_text("the old\nthe €\nthe new\n")
    code, out, said = call("score", "text.txt", *NOVEL, "--lines")
    assert code == 2
    assert [line.split("\t")[2] for line in out.splitlines()] == ["the old"]
    wanted = "charrnn: text.txt: line 2: character '€' (U+20AC) at position 4 is not in the "
    assert said.startswith(wanted)
    assert said.endswith("; set --unknown to 'skip' or 'replace'\n")
    Path("text.txt").write_bytes("the old\r\nthe €\r\n€ new\r\n".encode())  # returns are known
    assert call("score", "text.txt", *NOVEL, "--lines")[1:] == (out, said)
    _, out, said = call("score", "text.txt", *NOVEL, "--lines", "--unknown", "replace")
    assert [line.split("\t")[2] for line in out.splitlines()] == ["the old", "the €", "€ new"]
    assert said.startswith("charrnn: text.txt: line 2: 1 of 5 characters is not in the vocabulary")
    assert said.endswith("(first: '€' U+20AC); later lines are not reported\n")


def test_a_model_without_a_line_end_has_no_lines(call: Call) -> None:
    tiny(letters("abc")).save("none")
    Path("text.txt").write_text("ab\n")
    code, out, said = call("score", "text.txt", "--model", "none", "--lines")
    assert (code, out) == (2, "")
    assert said == "charrnn: --lines needs a line end in the vocabulary; omit --lines\n"


def test_lines_in_another_encoding(call: Call) -> None:
    tiny(letters("\n abcdefï")).save("model")
    Path("text.txt").write_bytes("\ufeffab\nïd\n".encode("utf-16-le"))
    args = "score", "text.txt", "--model", "model", "--lines"
    out = call(*args, "--encoding", "utf-16-le")[1]
    assert [line.split("\t")[2] for line in out.splitlines()] == ["ab", "ïd"]
    Path("text.txt").write_bytes(b"ab\nab\n\xefd\n")
    code, _, said = call(*args)
    assert code == 2
    assert said == "charrnn: text.txt: the text is not utf-8 at byte 6; set --encoding\n"


def test_every_line_is_answered_before_the_next_is_sent() -> None:
    """Through pipes, without any flushing on this side but that of one line."""
    command = [sys.executable, "-m", "charrnn", "score", "-", *NOVEL, "--lines"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"the old prince\n", b"\n", b"and the new\n"):
            process.stdin.write(line)
            answer = process.stdout.read(1000)
            assert answer.endswith(b"\t" + line)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143


def test_lines_arrive_whole_wherever_a_block_ends() -> None:
    text = "äb\n\nlong line €\nlast".encode()
    for size in range(1, len(text) + 1):
        pipe, end = os.pipe()
        with os.fdopen(pipe, "rb", buffering=0) as file:
            lines: list[object] = []
            for start in range(0, len(text), size):
                os.write(end, text[start : start + size])
            os.close(end)
            slow: Any = Slow(file, size)
            for some in arriving_lines(slow, "the text", "utf-8"):
                lines += some
        assert lines == ["äb", "", "long line €", "last"]


class Slow(io.RawIOBase):
    """A file that gives ``size`` bytes at a time."""

    def __init__(self, file: io.RawIOBase, size: int) -> None:
        self._file, self._size = file, size

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        return os.read(self._file.fileno(), self._size)
