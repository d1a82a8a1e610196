"""Checkpoints without training, forged files, and Python and charrnn as processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from charrnn.text.vocab import Vocab
from tests.support.networks import letters, random_weights

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
ZEROS = "0" * 64

META: dict[str, Any] = {
    "corpus": {
        "name": "novel.txt",
        "sha256": "ab" * 32,
        "encoding": "utf-8",
        "chars": 1000,
        "lines": False,
        "split": {"kind": "contiguous", "val_frac": 0.1, "test_frac": 0.1},
    },
    "losses": {"train": 1.25, "val": 1.5},
    "made": {"by": "charrnn", "date": "2025-01-01"},
}


def real_text(name: str) -> Path:
    """A file of ../shared/data; skips the test where that folder is not."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs the real text {path}")
    return path


def tiny(vocab: Vocab | None = None, meta: dict[str, Any] | None = None) -> Checkpoint:
    """A small network with random weights and opinions."""
    vocab = vocab or letters()
    config = ModelConfig(len(vocab), embedding=8, hidden=16, layers=2)
    return Checkpoint(config, vocab, random_weights(config), META if meta is None else meta)


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which ``python -m charrnn`` finds this source tree."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def charrnn(*args: str, input: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """``charrnn args`` as a process of its own."""
    command = [sys.executable, "-m", "charrnn", *args]
    return subprocess.run(
        command, input=input, capture_output=True, env=environment(**env), timeout=120
    )


def python(program: str, *args: str, **env: str) -> str:
    """What a Python program writes to standard output; it must leave with 0."""
    command = [sys.executable, "-c", program, *args]
    done = subprocess.run(command, env=environment(**env), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def header_of(blob: bytes) -> dict[str, Any]:
    """The header of a safetensors file."""
    size = int.from_bytes(blob[:8], "little")
    header: dict[str, Any] = json.loads(blob[8 : 8 + size])
    return header


def data_of(blob: bytes) -> bytes:
    """The bytes behind the header."""
    return blob[8 + int.from_bytes(blob[:8], "little") :]


def forge_raw(header: bytes, data: bytes) -> bytes:
    """A file with any bytes for a header; 64 zeros after "sha256": become the right checksum."""
    blob = len(header).to_bytes(8, "little") + header + data
    place = blob.find(f'"sha256":"{ZEROS}"'.encode())
    if place < 0:
        return blob
    place += len('"sha256":"')
    digest = hashlib.sha256(blob).hexdigest().encode()
    return blob[:place] + digest + blob[place + 64 :]


def forge(header: dict[str, Any], data: bytes) -> bytes:
    """A file with ``header`` and ``data`` whose checksum fits."""
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        header = {**header, "__metadata__": {**metadata, "sha256": ZEROS}}
    return forge_raw(json.dumps(header, separators=(",", ":")).encode(), data)


def note_of(header: dict[str, Any]) -> dict[str, Any]:
    """charrnn's own note in a header."""
    note: dict[str, Any] = json.loads(header["__metadata__"]["charrnn"])
    return note


def with_note(header: dict[str, Any], note: Any) -> dict[str, Any]:
    """The header with another note."""
    metadata = {**header["__metadata__"], "charrnn": json.dumps(note)}
    return {**header, "__metadata__": metadata}
