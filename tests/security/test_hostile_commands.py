"""A hostile checkpoint does nothing but fail, as somebody who was given one meets it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn import model_config
from charrnn.checkpoint import header as limits
from tests.support.checkpoints import (
    ROOT,
    ZEROS,
    data_of,
    environment,
    forge,
    forge_raw,
    header_of,
    note_of,
    tiny,
    with_note,
)
from tests.support.checkpoints import charrnn as process
from tests.support.command_line import leave


def hostile_files() -> dict[str, bytes]:
    """A file of each kind."""
    tiny().save(Path("given.safetensors"))
    whole = Path("given.safetensors").read_bytes()
    header, data = header_of(whole), data_of(whole)
    note = note_of(header)
    deep = json.dumps(note | {"meta": {}}).replace('"meta": {}', '"meta": ' + "[" * 99 + "]" * 99)
    raw = header | {"__metadata__": {"charrnn": deep, "sha256": ZEROS}}
    bad = np.full(len(data) // 4, np.nan, "<f4").tobytes()
    return {
        "empty": b"",
        "zip": b"PK\x03\x04" + bytes(100),
        "length": (2**63).to_bytes(8, "little") + whole[8:],
        "cut": whole[:-1],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "deep": forge_raw(json.dumps(raw, separators=(",", ":")).encode(), data),
        "not finite": forge(header, bad),
        "control": forge(with_note(header, note | {"config": {"\x1b]0;x\x07\n": 1}}), data),
        "format": forge(with_note(header, note | {"format": "\x1b[2J\u202e"}), data),
    }


COMMANDS = {
    "info": ["info", "run"],
    "sample": ["sample", "run", "--length", "1"],
    "score": ["score", "text.txt", "--model", "run"],
    "fill": ["fill", "the _", "--model", "run"],
    "from": ["train", "text.txt", "--from", "run", "--steps", "1", "--out", "new"],
    "resume": ["train", "--resume", "--out", "run"],
    "export": ["export", "run", "page.html"],
    "ls": ["ls", "."],
}


def given_to(command: str, content: bytes) -> list[str]:
    """The arguments, when ``content`` is the run's only checkpoint."""
    Path("run").mkdir(exist_ok=True)
    Path("text.txt").write_text("the quick brown fox\n" * 9)
    for name in ("best", "last"):
        Path(f"run/{name}.safetensors").write_bytes(content)
    return COMMANDS[command]


def said_well(command: str, code: int, out: str, err: str) -> None:
    assert not {*range(32), 0x7F, 0x202E} & set(map(ord, out + err)) - {9, 10}
    assert "Traceback" not in err
    assert "bug" not in err
    if command == "ls":
        assert (code, err) == (0, "")
        assert re.search(r"^run\tdamaged", out, re.M)
        return
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert re.match(r"charrnn: run/(best|last)\.safetensors (is|has) ", err)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_given_a_hostile_file_says_one_line(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for content in hostile_files().values():
        said_well(command, *leave(given_to(command, content), capfd))
        assert not Path("new/best.safetensors").exists()


def as_a_process(command: str, content: bytes) -> None:
    done = process(*given_to(command, content))
    said_well(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("command", ["sample", "resume"])
def test_a_process_given_a_hostile_file_says_one_line(command: str) -> None:
    as_a_process(command, hostile_files()["control"])


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS)
def test_any_process_given_any_hostile_file_says_one_line(command: str) -> None:
    for content in hostile_files().values():
        as_a_process(command, content)


# --- a run's last checkpoint that lies (tests/security/resumed_lies.py)


def told_lies(*count: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.security.resumed_lies", *count]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    *wrong, tried = done.stdout.splitlines()
    assert tried.endswith(" tried"), done.stderr
    assert wrong == []


def test_a_run_whose_last_checkpoint_lies_is_resumed_or_refused() -> None:
    told_lies("15")


@pytest.mark.soak
def test_a_run_whose_last_checkpoint_tells_any_lie_is_resumed_or_refused() -> None:
    told_lies()


# --- what is written about it


def test_the_limits_in_the_security_policy_are_the_constants() -> None:
    written = {
        "file": f"{limits.MAX_FILE_BYTES >> 30} GiB",
        "header": f"{limits.MAX_HEADER_BYTES >> 20} MiB",
        "JSON names and brackets in it": f"{limits.MAX_JSON_PARTS:,}",
        "JSON strings": f"{limits.MAX_JSON_TEXTS:,}",
        "JSON values": f"{limits.MAX_JSON_VALUES:,}",
        "JSON nesting": f"{limits.MAX_JSON_DEPTH}",
        "digits of a number": f"{limits.MAX_DIGITS}",
        "tensors": f"{limits.MAX_TENSORS}",
        "numbers in a tensor": f"2^{math.log2(limits.MAX_TENSOR_ELEMENTS):g}",
        "vocabulary": f"{model_config.MAX_VOCABULARY:,} symbols",
        "layers, width": f"{model_config.MAX_LAYERS}, {model_config.MAX_WIDTH:,}",
    }
    text = (ROOT / "SECURITY.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", text, re.M))
    assert {key: rows.get(key) for key in written} == written
