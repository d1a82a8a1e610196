"""A hostile checkpoint does nothing but fail.

Named case by case: each is refused in words, before much memory is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint import header as header_module
from charrnn.checkpoint.file import load
from charrnn.errors import CheckpointError
from charrnn.textmodel import TextModel
from tests.support.checkpoints import (
    ZEROS,
    data_of,
    forge,
    forge_raw,
    header_of,
    note_of,
    tiny,
    with_note,
)  # fmt: skip

GIVEN = Path("given.safetensors")
HEAD = "head.bias"


def honest() -> tuple[dict[str, Any], bytes]:
    tiny().save(GIVEN)
    blob = GIVEN.read_bytes()
    return header_of(blob), data_of(blob)


def refused(content: bytes, saying: str) -> None:
    """``content`` is refused in a short line that says so, with less than 64 MiB."""
    GIVEN.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=saying) as caught:
            load(GIVEN)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_what_forge_makes_is_read() -> None:
    header, data = honest()
    GIVEN.write_bytes(forge(header, data))
    assert load(GIVEN).meta == tiny().meta


# --- the header's bytes


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, (4 << 20) + 1, 1, 0])
def test_the_headers_size(size: int) -> None:
    refused(size.to_bytes(8, "little") + bytes(5 << 20), "not a charrnn checkpoint, or it is cut")


def test_a_wrong_checksum() -> None:
    header, data = honest()
    blob = bytearray(forge(header, data))
    blob[-1] ^= 1
    refused(bytes(blob), "its checksum does not match")


def test_no_checksum_and_two_of_them() -> None:
    header, data = honest()
    text = json.dumps(header, separators=(",", ":"))
    refused(forge_raw(text.replace('"sha256":"', '"other":"').encode(), data), "has no checksum")
    twice = text.replace("{", '{"%s":{"sha256":"%s"},' % ("x", "1" * 64), 1)  # noqa: UP031
    refused(forge_raw(twice.encode(), data), "without a position|has no checksum")


@pytest.mark.parametrize(
    ("raw", "saying"),
    [
        (b'{"a":1,"a":2}', "a name occurs twice"),
        (b"[" * 100_000, "too many parts"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "more than 20 digits"),
        (b'{"a":NaN}', "NaN is not a number"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":"\xff"}', "not JSON"),
        ('{"a":1}'.encode("utf-16"), "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "has no metadata"),
        (b'{"__metadata__":[]}', "has no metadata"),
        (b'{"__metadata__":{"charrnn":1}}', "has no metadata"),
        (b"{" + b",".join(b'"%d":{}' % i for i in range(200_000)) + b"}", "too many parts"),
        (b"[" + b"{}," * 1_000_000 + b"{}]", "too many parts"),
        (b'"\\' * 1_000_000, "too many parts"),
        (b'"' + b"\\\\" * 1_000_000, "not JSON"),  # a pattern that backtracks would not come back
        # 4 MiB of these took 60 to 240 MiB
        (b'{"a":[' + b"999," * 1_000_000 + b"1]}", "too many parts"),
        (b'{"a":[' + b"1.5," * 1_000_000 + b"1]}", "too many parts"),
        (b'{"a":[' + b'"ab",' * 800_000 + b"1]}", "too many parts"),
        (b"[" + b'"",' * 1_300_000 + b'""]', "too many parts"),
        (b"]" * 4_000_000, "too many parts"),
        (b'{"a":"' + "😀".encode() + b"a" * 4_000_000 + b'"}', "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
    ],
    ids=range(23),
)
def test_invalid_headers(raw: bytes, saying: str) -> None:
    refused(forge_raw(raw, b""), saying)


@pytest.mark.parametrize("note", ['"\ud800"', '{"a":"\ud800"}', "[[1]]", "{", '{"a":1,"a":1}'])
def test_invalid_metadata(note: str) -> None:
    header, data = honest()
    header["__metadata__"] = {"charrnn": note}
    refused(forge(header, data), "not JSON|not a JSON object")


# --- the tensors


def change_tensor(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[HEAD].update(values)


def add_tensors(count: int) -> Callable[[dict[str, Any]], None]:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return lambda header: header.update({f"more.{i}": empty for i in range(count)})


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (add_tensors(65), "tensors, more than 64"),
        (change_tensor(shape=[2**41]), "too large"),
        (change_tensor(shape=[2**20, 2**21]), "too large"),
        (change_tensor(shape=[2**62, 0]), "too large"),
        (change_tensor(shape=[2**63]), "invalid shape"),
        (change_tensor(shape=[-1]), "invalid shape"),
        (change_tensor(shape=[True]), "invalid shape"),
        (change_tensor(shape=[1.0]), "invalid shape"),
        (change_tensor(shape=[1] * 5), "invalid shape"),
        (change_tensor(shape="ab"), "invalid shape"),
        (change_tensor(dtype="BF16"), "type 'BF16'"),
        (change_tensor(dtype=["F32"]), "type"),
        (change_tensor(data_offsets=[0, 2**63]), "without a position"),
        (change_tensor(data_offsets=[-4, 0]), "without a position"),
        (change_tensor(data_offsets=[0]), "without a position"),
        (change_tensor(data_offsets=[0, 4]), "does not fit its data"),  # lies over another one
        (lambda header: header.update(x=1), "without a position"),
        (lambda header: header.update(x={}), "without a position"),
        (change_tensor(more=1), "a tensor of type"),
    ],
    ids=range(19),
)
def test_tensors_that_lie(change: Callable[[dict[str, Any]], None], saying: str) -> None:
    header, data = honest()
    change(header)
    refused(forge(header, data), saying)


def test_data_that_belongs_to_no_tensor() -> None:
    header, data = honest()
    refused(forge(header, data + b"\0\0\0\0"), "belongs to no tensor")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(bad: float) -> None:
    made = tiny()
    made.weights[HEAD][0] = bad
    made.save(GIVEN)
    refused(GIVEN.read_bytes(), f"{HEAD} has values that are not finite")


def int8_file() -> tuple[dict[str, Any], bytes]:
    tiny().save(GIVEN, weight_dtype="int8")
    blob = GIVEN.read_bytes()
    return header_of(blob), data_of(blob)


@pytest.mark.parametrize("dtype", ["F32", "F64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 3e38, 1e-46])
def test_scales_that_are_no_scales(bad: float, dtype: str) -> None:
    """Too large, times 128, is not finite; too small is 0."""
    header, data = int8_file()
    start, stop = header["scales"]["data_offsets"]
    values = np.frombuffer(data[start:stop], np.float32).astype({"F32": "<f4", "F64": "<f8"}[dtype])
    values[-1] = bad
    more = values.nbytes - (stop - start)
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= stop:
            entry["data_offsets"] = [place + more for place in entry["data_offsets"]]
    header["scales"] |= {"dtype": dtype, "data_offsets": [start, stop + more]}
    blob = forge(header, data[:start] + values.tobytes() + data[stop:])
    refused(blob, "scales has values that are not (finite|positive)")


def rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({new: header.pop(old)})


def reshape(name: str, *shape: int) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(shape=list(shape))


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (rename("scales", "more"), "scales is missing"),
        (reshape("scales", 256, 1), r"scales is \(256, 1\), but its configuration says \(256,\)"),
        (lambda h: h["scales"].update(dtype="F16", shape=[512]), r"scales is \(512,\), but"),
        (lambda h: h["scales"].update(dtype="I8", shape=[1024]), r"scales is \(1024,\), but"),
        (reshape("layers.0.weight_hh", 16, 64), r"weight_hh is \(16, 64\), but its"),
        (lambda h: h["layers.0.weight_hh"].update(dtype="U8"), "weight_hh is uint8, but weights"),
    ],
    ids=range(6),
)
def test_int8_that_lies(change: Callable[[dict[str, Any]], None], saying: str) -> None:
    header, data = int8_file()
    change(header)
    refused(forge(header, data), saying)


@pytest.mark.parametrize("number", [1, 2])
def test_int8_in_an_older_format(number: int) -> None:
    header, data = int8_file()
    note = note_of(header) | {"format": number}
    refused(forge(with_note(header, note), data), "is int8, but weights must be floating point")


def test_an_int8_embedding() -> None:
    header, data = int8_file()
    start, stop = header["embedding.weight"]["data_offsets"]
    half = (start + stop) // 2
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= stop:
            entry["data_offsets"] = [place - (stop - half) for place in entry["data_offsets"]]
    header["embedding.weight"] |= {"dtype": "I8", "data_offsets": [start, half]}
    refused(forge(header, data[:half] + data[stop:]), "embedding.weight is int8, but weights must")


def test_a_large_file_is_refused_by_its_header_alone() -> None:
    header, data = honest()
    del header[HEAD]
    with open(GIVEN, "wb") as file:
        file.write(forge(header, data))
        os.truncate(file.fileno(), 6 << 30)  # sparse: the claim costs the attacker nothing
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        load(GIVEN)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    os.truncate(GIVEN, header_module.MAX_FILE_BYTES + 1)
    with pytest.raises(CheckpointError, match="more than any checkpoint"):
        load(GIVEN)


def grown(size: int, signed: bool, last: float = 0.0) -> None:
    """``GIVEN`` with a tensor of ``size`` bytes, sparse; the head's last bias becomes ``last``."""
    header, data = honest()
    stop = header[HEAD]["data_offsets"][1]
    data = data[: stop - 4] + np.float32(last).tobytes() + data[stop:]
    offsets = [len(data), len(data) + size]
    header["state.hx"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": offsets}
    blob = forge(header, data)
    if signed:
        begin, digest = blob.index(b'"sha256":"') + 10, hashlib.sha256()
        digest.update(blob[:begin] + ZEROS.encode() + blob[begin + 64 :])
        for _ in range(size >> 20):
            digest.update(bytes(1 << 20))
        blob = blob[:begin] + digest.hexdigest().encode() + blob[begin + 64 :]
    GIVEN.write_bytes(blob)
    os.truncate(GIVEN, len(blob) + size)


@pytest.mark.parametrize(
    ("signed", "saying"), [(False, "checksum does not match"), (True, "not finite")]
)
def test_a_large_file_is_checked_before_it_is_kept(signed: bool, saying: str) -> None:
    grown(48 << 20, signed, last=np.nan)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=saying):
        load(GIVEN, extra=True)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_tensors_that_are_not_asked_for_take_no_memory() -> None:
    grown(48 << 20, signed=True)
    tracemalloc.start()
    assert load(GIVEN).extra == {}
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert load(GIVEN, extra=True).extra["state.h"].nbytes == 48 << 20


@pytest.mark.soak
def test_the_largest_file_is_refused_in_little_memory() -> None:
    grown(header_module.MAX_FILE_BYTES - (1 << 20), signed=False)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(CheckpointError, match="checksum does not match"):
        load(GIVEN, extra=True)
    print(f"8 GiB refused after {time.process_time() - began:.1f} s")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("second", range(2, 8))
def test_a_header_whose_length_begins_like_a_pickle_is_read(second: int) -> None:
    wanted = 0x10000 + 0x100 * second + 0x80  # as bytes 80 0N 01 00 …
    tiny(meta={"x": ""}).save(GIVEN)
    filler = "x" * (wanted - int.from_bytes(GIVEN.read_bytes()[:8], "little"))
    tiny(meta={"x": filler}).save(GIVEN)
    assert GIVEN.read_bytes()[:3] == bytes((0x80, second, 1))
    assert load(GIVEN).meta == {"x": filler}


def test_what_the_reader_would_refuse_is_not_written() -> None:
    tiny().save(GIVEN)
    before = GIVEN.read_bytes()
    with pytest.raises(CheckpointError, match="and 4,194,304"):
        tiny(meta={"x": "a" * (5 << 20)}).save(GIVEN)
    assert GIVEN.read_bytes() == before


# --- the note


def vocabulary(size: int) -> dict[str, Any]:
    codes = [c for c in range(size + 2048) if not 0xD800 <= c < 0xE000][:size]
    return {"codes": codes, "counts": [1] * size, "bytes": False}


def symbols(expression: str, *long: str) -> dict[str, Any]:
    """A vocabulary with symbols of several characters."""
    longer = {"long": list(long), "expression": expression}
    return {"codes": [65], "counts": [1] * (1 + len(long)), "bytes": False} | longer


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"format": 5}, "format 5 is not 4 or lower"),
        ({"format": "x" * 100_000}, "is not usable"),
        ({"config": None}, "no config"),
        ({"config": {}}, "missing setting 'vocab_size'"),
        ({"config": {"evil": 1}}, "unknown setting 'evil'"),
        ({"config": {"hidden": 2**40}}, "hidden is"),
        ({"config": {"hidden": 10**4000}}, "more than 20 digits"),
        ({"config": {"layers": True}}, "layers is True"),
        ({"config": {"cell": ["lstm"]}}, "cell is"),
        ({"config": {"hidden": 17}}, "but its configuration says"),
        ({"config": {"layers": 8}}, "layers.2.* is missing|configuration says"),
        ({"vocab": vocabulary(65_536)}, "1 to 65535 symbols"),
        ({"vocab": vocabulary(28)}, "28 symbols for a vocabulary of"),
        ({"vocab": {"codes": [65, 65], "counts": [1, 1], "bytes": False}}, "ascending"),
        ({"vocab": {"codes": [2**60], "counts": [1], "bytes": False}}, "below"),
        ({"vocab": {"codes": [256], "counts": [1], "bytes": True}}, "below 256"),
        ({"vocab": {"codes": [0xD800], "counts": [1], "bytes": False}}, "surrogates"),
        ({"vocab": {"codes": "abc", "counts": "abc", "bytes": False}}, "no vocabulary"),
        ({"vocab": {"codes": "é" * 500_000, "counts": [], "bytes": False}}, "no vocabulary"),
        ({"vocab": {"codes": [False, True], "counts": [1, 1], "bytes": False}}, "codes is"),
        ({"vocab": {"codes": [65], "counts": [True], "bytes": False}}, "counts"),
        ({"vocab": {"codes": [65], "counts": [2**63], "bytes": False}}, "counts"),
        ({"vocab": {"codes": 7}}, "no vocabulary"),
        ({"vocab": symbols("ab|cd")}, "format 1 has no symbols of several characters"),
        ({"format": 4, "vocab": symbols("(a+")}, "is not a regular expression"),
        ({"format": 4, "vocab": symbols("(a*)*b")}, "repeats a part that can match the empty text"),
        ({"format": 4, "vocab": symbols("((a{60}){60}){60}")}, "too large"),
        ({"format": 4, "vocab": symbols("(" * 450 + "a" + ")" * 450)}, "too many groups"),
        ({"format": 4, "vocab": symbols("ab" * 1000)}, "it must have 1 to 1,000"),
        ({"format": 4, "vocab": symbols("ab|cd", "ab\n", "cd")}, "invalid ones"),
        ({"format": 4, "vocab": symbols("ab|cd", "ab", "c" * 65)}, "invalid symbols"),
        ({"format": 4, "vocab": symbols("ab|cd", "cd", "ab")}, "not ascending"),
        ({"vocab": []}, "no vocab"),
        ({"meta": "x"}, "no meta"),
        ({"meta": {"losses": {"val": 10**400}}}, "more than 20 digits"),  # ls could not round it
    ],
    ids=range(35),
)
def test_metadata_that_lies(change: dict[str, Any], saying: str) -> None:
    header, data = honest()
    note = note_of(header) | change
    if "config" in change and isinstance(change["config"], dict) and change["config"]:
        note["config"] = note_of(header)["config"] | change["config"]
    refused(forge(with_note(header, note), data), saying)


def test_float64_weights_that_do_not_fit_float32() -> None:
    header, data = honest()
    start, stop = header[HEAD]["data_offsets"]
    V = header[HEAD]["shape"][0]
    shift = 4 * V
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= stop:
            entry["data_offsets"] = [place + shift for place in entry["data_offsets"]]
    header[HEAD] |= {"dtype": "F64", "data_offsets": [start, stop + shift]}
    wide = np.full(V, 1e300).tobytes()
    refused(forge(header, data[:start] + wide + data[stop:]), "not finite")


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe")
    with pytest.raises(CheckpointError, match="pipe is not a regular file"):
        load(Path("pipe"))


@pytest.mark.parametrize(
    "split",
    ["x", {}, {"kind": "contiguous", "val_frac": 10**400, "test_frac": 0}, {"kind": 1}, None],
)
def test_invalid_splits_are_not_scored(split: Any) -> None:
    made = tiny(meta={"corpus": {"split": split, "name": "x", "sha256": "../x", "encoding": ""}})
    with pytest.raises(CheckpointError, match="does not say how its corpus was split"):
        TextModel(made).score_split("val")


def test_the_placeholder_of_a_checksum_is_no_checksum() -> None:
    header, data = honest()
    blob = forge(header, data)
    digest = header_of(blob)["__metadata__"]["sha256"]
    refused(blob.replace(digest.encode(), ZEROS.encode()), "its checksum does not match")
