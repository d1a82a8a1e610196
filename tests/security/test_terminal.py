"""Nothing that a file, an argument or the environment says can drive a terminal.

``EVERYTHING`` is put into each place whose text charrnn may print; what then comes to a real
pseudo-terminal must have no control character in it but newlines and tabs.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.file import load
from charrnn.cli.output import TextWriter
from charrnn.console import harmless, one_line
from charrnn.text.vocab import Vocab
from tests.support.checkpoints import (
    META,
    charrnn,
    data_of,
    environment,
    forge,
    header_of,
    note_of,
    tiny,
    with_note,
)
from tests.support.terminal import (
    BIDI,
    CONTROLS,
    LINES,
    UNWANTED,
    on_a_terminal,
    process_on_a_terminal,
    raw_controls,
)

SEQUENCES = (
    "\x1b]0;owned\x07\x1b]8;;http://x\x1b\\\x1b[2J\x1bPq\x1b\\\x1b_x\x1b\\\x9b31m\x9d0;x\x9c"
)
# an argument cannot hold U+0000, and rich's markup must come out as it is
EVERYTHING = "".join(map(chr, sorted(UNWANTED - {0}))) + SEQUENCES + "\r\n\t[bold]b[/bold]"
NAME = (EVERYTHING.replace("/", "")).encode()[:200].decode("utf-8", "ignore")  # for a file
SHOWN = "\\x1b"
ENVIRONMENTS: list[dict[str, Any]] = [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}]


def safe(*args: str, shown: str = SHOWN, code: int = 0, columns: int = 80, **env: str) -> str:
    """What ``charrnn args`` shows on a terminal, in which nothing obeys and ``shown`` stands."""
    seen = on_a_terminal(*args, columns=columns, **env)
    assert seen.code == code, seen.text
    assert raw_controls(seen.text, bar=args[0] == "train") == set(), args
    assert shown in seen.text, seen.text
    return seen.text


@pytest.fixture
def hostile() -> str:
    """A checkpoint whose vocabulary is all control characters and whose metadata and name lie."""
    codes = tuple(sorted({*UNWANTED, *map(ord, "ab\t\n")}))
    meta = {
        "corpus": {**META["corpus"], "name": EVERYTHING, "encoding": "latin-1"},
        "losses": {"val": EVERYTHING},
        "made": {"date": EVERYTHING, "command": EVERYTHING, "by": [EVERYTHING]},
        "licence": EVERYTHING,
        EVERYTHING: {EVERYTHING: EVERYTHING},
        "path": "/spoofed",
    }
    folder = Path("checkpoints") / NAME
    tiny(Vocab(codes, (1,) * len(codes)), meta).save(folder / "best.safetensors")
    return str(folder)


# --- character by character


@pytest.mark.parametrize("code", [0, *CONTROLS, *BIDI, *LINES])
def test_every_control_character_is_written_out(code: int) -> None:
    shown = harmless(f"a{chr(code)}b\n\t")
    assert raw_controls(shown) == set()
    assert re.fullmatch(r"a\\(x[0-9a-f]{2}|u[0-9a-f]{4}|r)b\n\t", shown)
    assert "\n" not in one_line(chr(code) + "\n\t")


def test_escapes_do_not_depend_on_where_pieces_end(tmp_path: Path) -> None:
    raw = ("é\x1b[2J\r\n\r" + EVERYTHING).encode() + b"\xff"
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


def test_decoding_keeps_control_characters() -> None:
    vocab = Vocab((7, 27), (1, 1))
    assert vocab.decode(np.array([0, 1])) == "\x07\x1b"


# --- sample


@pytest.mark.parametrize(
    "args",
    [
        ["--seed", "1"],
        ["--seed", "1", "--count", "2"],
        ["--seed", "1", "--lines", "--count", "9"],
        ["--seed", "1", "--prime", EVERYTHING, "--unknown", "skip"],
        ["--seed", "1", "--escape", "always"],
    ],
    ids=["", "count", "lines", "prime", "always"],
)
def test_a_sample_is_harmless(hostile: str, args: list[str]) -> None:
    safe("sample", hostile, "--length", "400", *args)


def test_a_sample_as_json_is_harmless(hostile: str) -> None:
    text = safe("sample", hostile, "--length", "400", "--seed", "1", "--json", shown="\\u009b")
    assert json.loads(text)["index"] == 0


def test_the_checkpoint_that_is_named_unasked_is_harmless(hostile: str) -> None:
    assert SHOWN in safe("sample", "--length", "1").split("seed")[0]


def test_escape_decides(hostile: str) -> None:
    args = ["sample", hostile, "--length", "400", "--seed", "1"]
    for more, raw in (([], "\x1b"), (["--json"], "\u202e")):
        assert raw in charrnn(*args, *more).stdout.decode()
        assert raw not in charrnn(*args, *more, "--escape", "always").stdout.decode()
        assert raw in on_a_terminal(*args, *more, "--escape", "never").text


# --- what the other commands print


@pytest.mark.parametrize("env", ENVIRONMENTS, ids=str)
@pytest.mark.parametrize("columns", [200, 80, 60, 30])
def test_tables_are_harmless(hostile: str, columns: int, env: dict[str, str]) -> None:
    for args in (["info", hostile], ["ls"]):
        seen = on_a_terminal(*args, columns=columns, **env)
        assert (seen.code, raw_controls(seen.text)) == (0, set()), args
        if env:
            assert "\x1b[3" not in seen.text  # no colour


def test_json_is_harmless(hostile: str) -> None:
    for args in (["info", hostile, "--json"], ["ls", "--json"]):
        json.loads(safe(*args, shown="\\u001b"))


def test_names_are_shown_and_not_read_as_markup(hostile: str) -> None:
    assert "[bold]b[/bold]" in safe("info", hostile, columns=500)
    assert "/spoofed" not in charrnn("info", hostile, "--json").stdout.decode()


def test_a_scored_text_is_harmless(hostile: str) -> None:
    Path("text").write_text(f"ab\n{EVERYTHING}\nb\x07a\n", newline="")
    score = ["score", "text", "--model", hostile, "--unknown", "skip"]
    for env in ENVIRONMENTS:
        safe(*score, "--per-line", **env)
        safe(*score, "--color", **env)
    safe(*score, "--per-line", "--json", shown="\\u001b")
    safe(*score, shown="perplexity")


def test_a_filled_text_is_harmless(hostile: str) -> None:
    fill = ["fill", f"ab§{EVERYTHING}b\x07a", "--gap", "§", "--model", hostile, "--unknown", "skip"]
    for env in ENVIRONMENTS:
        safe(*fill, **env)
        safe(*fill, "--count", "3", **env)
    safe(*fill, "--json", shown="\\u001b")


def test_errors_about_a_checkpoints_note_are_harmless(hostile: str) -> None:
    assert "cache" in safe("score", "--split", "val", "--model", hostile, code=2)
    Path("text").write_text("a")
    assert "sha256" in safe("score", "text", "--split", "val", "--model", hostile, code=2)


def test_damaged_checkpoints_are_harmless() -> None:
    tiny().save(Path("good"))
    blob = Path("good").read_bytes()
    header, data = header_of(blob), data_of(blob)
    note, weight = note_of(header), header["head.bias"]
    vocab = {**note["vocab"], "codes": [EVERYTHING]}
    wrong: list[dict[str, Any]] = [
        with_note(header, note | {"format": EVERYTHING}),
        with_note(header, note | {"config": note["config"] | {"cell": EVERYTHING}}),
        with_note(header, note | {"config": {EVERYTHING: 1}}),
        with_note(header, note | {"vocab": vocab}),
        {**header, EVERYTHING: weight},
        {**header, "head.bias": weight | {"dtype": EVERYTHING}},
    ]
    for number, bad in enumerate(wrong):
        path = Path("checkpoints", f"{number}", "best.safetensors")
        path.parent.mkdir(parents=True)
        path.write_bytes(forge(bad, data))
        safe("info", str(path), shown=str(path), code=2)
    assert safe("ls", shown="damaged").count("damaged") == len(wrong)


def test_bench_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    import charrnn.bench.sampling
    import charrnn.bench.training

    class Result:
        def to_dict(self) -> dict[str, object]:
            return {"machine": EVERYTHING, "ratio": 1.5}

    monkeypatch.setattr(charrnn.bench.sampling, "measure", lambda *_, **__: Result())
    monkeypatch.setattr(charrnn.bench.training, "bench_training", lambda *_, **__: Result())
    for what in ("train", "sample"):
        safe("bench", what)
        safe("bench", what, "--json", shown="\\u001b")


def test_downloads_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    import charrnn.text.downloads

    def fail(*_: object) -> None:
        raise ValueError(EVERYTHING)

    safe("data", "get", EVERYTHING, code=2)
    monkeypatch.setattr(charrnn.text.downloads, "_download", fail)
    safe("data", "get", "tinyshakespeare", code=1)
    monkeypatch.setattr(charrnn.text.downloads, "_download", lambda *_: None)
    safe("data", "get", "tinyshakespeare", "--out", NAME)
    assert os.fsencode(NAME) in charrnn_path("tinyshakespeare", NAME)


def charrnn_path(name: str, folder: str) -> bytes:
    """What a pipe gets from ``data get``, of a file that is there already."""
    program = (
        "import sys, charrnn.text.downloads as d; d._download = lambda *_: None\n"
        "from charrnn.cli.app import main; main(sys.argv[1:])"
    )
    args = [sys.executable, "-c", program, "data", "get", name, "--out", folder]
    return subprocess.run(args, env=environment(), capture_output=True, check=True).stdout


# --- train


def test_training_is_harmless(hostile: str) -> None:
    Path(f"{NAME}.txt").write_text("".join(map(chr, sorted(UNWANTED))) * 40, newline="")
    out = str(Path(NAME) / NAME)
    args = ["train", f"{NAME}.txt", "--steps", "2", "--size", "8", "--threads", "1", "--seed", "1"]
    text = safe(*args, "--out", out)
    assert "kept" in text
    lie_about_the_past(Path(out) / "last.safetensors")
    more = ["train", "--resume", "--threads", "1"]
    assert "not an exact" in safe(*more, "--out", out, "--steps", "3")
    assert "complete" in safe(*more, "--out", out, "--steps", "3", code=2, shown="complete")
    with open(Path(out) / ".lock", "w") as lock:
        lock.write(EVERYTHING)
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        safe(*more, "--out", out, "--steps", "9", code=1)
    # another network's weights, a bar, no colours
    start = ["--from", hostile, "--steps", "1", "--seed", "1", "--threads", "1"]
    assert "weights from" in safe("train", f"{NAME}.txt", *start, "--out", "a")
    for dull in ENVIRONMENTS[1:]:
        seen = on_a_terminal("train", f"{NAME}.txt", *start, "--out", *dull, **dull)
        assert (seen.code, raw_controls(seen.text)) == (0, set())
        assert "\x1b" not in seen.text


def lie_about_the_past(path: Path) -> None:
    saved = load(path, extra=True)
    resume: Any = saved.meta["resume"]
    resume = resume | {"environment": dict.fromkeys(resume["environment"], EVERYTHING)}
    dataclasses.replace(saved, meta=saved.meta | {"resume": resume}).save(path)


def test_json_of_a_training_is_harmless() -> None:
    Path(f"{NAME}.txt").write_text("abcdefgh\n" * 40)
    args = ["--steps", "1", "--size", "8", "--seed", "1", "--threads", "1", "--json", "-q"]
    for line in safe("train", f"{NAME}.txt", *args, shown="val_nats").splitlines():
        json.loads(line)


def test_errors_about_texts_are_harmless() -> None:
    Path(NAME).write_bytes(b"\xff" * 100)
    Path(f"{NAME}0").touch()
    assert "at byte 0" in safe("train", NAME, code=2)
    assert "empty" in safe("train", f"{NAME}0", code=2)
    Path(f"{NAME}1").mkdir()
    assert "folder" in safe("train", f"{NAME}1", code=2)
    Path("fine").write_text("abc\n" * 99)
    assert "encoding" in safe("train", "fine", "--encoding", EVERYTHING, code=2)
    assert "--preset" in safe("train", "fine", "--preset", EVERYTHING, code=2)
    assert "--time" in safe("train", "fine", "--time", EVERYTHING, code=2)
    tiny().save(Path("model"))
    for text in (EVERYTHING, EVERYTHING[30:], "\u202ea"):
        Path("text").write_text(text, newline="")
        shown = "vocabulary"
        assert "U+" in safe("score", "text", "--model", "model", code=2, shown=shown)
        assert "U+" in safe("sample", "model", "--prime", text, code=2, shown=shown)


# --- whatever else is said


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["info"],
        ["info", "x"],
        ["ls"],
        ["sample"],
        ["score"],
        ["train"],
        ["train", "--from"],
        ["data", "get"],
    ],
    ids="-".join,
)
def test_errors_are_harmless_and_one_line(args: list[str]) -> None:
    for words in (EVERYTHING, f"--x{EVERYTHING}"):
        seen = safe(*args, words, code=2)
        assert seen.replace("\r\n  ", " ").count("\n") == 1  # folded, but one line in a log


def test_environment_and_tracebacks_are_harmless() -> None:
    value = EVERYTHING
    safe("sample", code=2, CHARRNN_SEED=value, shown="CHARRNN_SEED")
    safe("sample", code=2, CHARRNN_UNKNOWN=value)
    safe("score", "x", code=2, CHARRNN_MODEL=value)
    Path("text").write_text("abc\n" * 99)
    Path("file").touch()
    safe("train", "text", code=2, CHARRNN_CACHE=f"file/{value}")
    assert "Traceback" in safe("info", value, code=2, CHARRNN_DEBUG="1")


def test_a_long_argument_is_quoted_in_part() -> None:
    text = safe("info", EVERYTHING * 1000, code=2)
    assert len(text) < 3000
    assert text.endswith("charrnn ls lists the checkpoints\r\n")


def test_a_whole_process_is_harmless(hostile: str) -> None:
    """As everything above, but with the end of the interpreter too."""
    for args in (["sample", "--length", "99"], ["info", hostile], ["ls"], ["info", EVERYTHING]):
        seen = process_on_a_terminal(*args)
        assert seen.code == (2 if EVERYTHING in args else 0)
        assert raw_controls(seen.text) == set(), args
        assert SHOWN in seen.text
