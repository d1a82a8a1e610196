"""Hostile checkpoints: a real one is taken apart, changed where it hurts, and signed again.

Every attack is a function of a seeded generator and the ``Draft`` that it changes. Most files get
a checksum that fits, so that what lies behind the checksum is reached.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from charrnn import cells
from charrnn.config import ModelConfig, model_options
from tests.security.drafts import (
    FOREIGN,
    GIB,
    MIB,
    NAMES,
    NUMBERS,
    SIZES,
    SPECIAL,
    THINGS,
    VALUES,
    WIDTHS,
    Draft,
    base,
    edit,
    note_or_table,
    pick,
)  # fmt: skip
from tests.support.checkpoints import ZEROS


def header_length(rng: random.Random, draft: Draft) -> None:
    length = rng.choice([0, 1, 2**63, 2**64 - 1, 4 * MIB, 4 * MIB + 1, 2**32, None, None])
    shift = rng.choice([-8, -1, 1, 8, 100])

    def lie(blob: bytes) -> bytes:
        right = int.from_bytes(blob[:8], "little")
        wrong = max(right + shift, 0) if length is None else length
        return wrong.to_bytes(8, "little") + blob[8:]

    draft.after.append(lie)


def many_tensors(rng: random.Random, draft: Draft) -> None:
    if rng.random() < 0.2:  # ten million of them would fill this header
        draft.after.append(lambda blob: (700 * MIB).to_bytes(8, "little") + blob[8:])
        draft.size = GIB
        return
    end = len(draft.data)
    for i in range(rng.choice([1, 20, 51, 52, 60, 500])):
        place = rng.choice([0, end, end, end // 2])
        shape = rng.choice([[0], [0], [0, 5], [1], [2**62, 0], [0, 2**62], [2**41], []])
        entry = {"dtype": rng.choice(list(WIDTHS)), "shape": shape, "data_offsets": [place, place]}
        draft.table[f"more.{i}"] = entry


def shapes(rng: random.Random, draft: Draft) -> None:
    entry = draft.tensor(rng)
    lies = [
        [rng.choice(SIZES) for _ in range(rng.randrange(6))],
        [2**32, 2**32],
        [2**16] * 4,
        [1] * 40,
    ]
    old = entry.get("shape")
    turned = old[::-1] if isinstance(old, list) else old
    entry["shape"] = rng.choice([*lies, turned, [[8]], [8.0], ["8"], [True], [None], [], "8", None])


def places(rng: random.Random, draft: Draft) -> None:
    entry, other = draft.tensor(rng), draft.tensor(rng)
    offsets = entry.get("data_offsets")
    start, stop = offsets if isinstance(offsets, list) and len(offsets) == 2 else (0, 0)
    entry["data_offsets"] = rng.choice([
        other.get("data_offsets"), [stop, start], [0, 0], [-4, 0], [start, stop, stop], [start], [],
        [0, len(draft.data)], [rng.choice(SIZES), rng.choice(SIZES)], [float(0), 4], ["0", "4"],
        [True, False], {"0": 0, "1": 4}, [len(draft.data), len(draft.data) + 8],
    ])  # fmt: skip


def zero_sizes(rng: random.Random, draft: Draft) -> None:
    for i in range(rng.randrange(1, 9)):
        place = rng.choice([0, len(draft.data), len(draft.data)])
        shape = rng.choice([[0], [0, 0], [0, 2**31], [0, 2**31 + 1], [3, 0, 5], [2**15, 2**16, 0]])
        dtype = rng.choice(["F32", "F64", "U8"])
        draft.table[f"empty.{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place]}


def dtypes(rng: random.Random, draft: Draft) -> None:
    """A tensor of another type, in a place as large as before or as that type needs."""
    entry, dtype = draft.tensor(rng), rng.choice([*WIDTHS, "F8_E4M3", "f32", "<f4", "object", "O"])
    offsets, old = entry.get("data_offsets"), entry.get("dtype")
    entry["dtype"] = dtype
    if dtype not in WIDTHS or old not in WIDTHS or offsets is None or rng.random() < 0.3:
        return
    start, stop = offsets
    if not 0 <= start <= stop <= len(draft.data):  # only claimed
        return
    size = (stop - start) // WIDTHS[old] * WIDTHS[dtype]
    for other in draft.table.values():
        if isinstance(other, dict) and other is not entry and other["data_offsets"][0] >= stop:
            other["data_offsets"] = [
                place + size - (stop - start) for place in other["data_offsets"]
            ]
    entry["data_offsets"] = [start, start + size]
    # 0x11 and 0x2f repeated are finite in every type
    filling = rng.choice([b"\0", b"\x11", b"\x2f", b"\xff", b"\x7f"]) * size
    draft.data = draft.data[:start] + filling + draft.data[stop:]


def duplicates(rng: random.Random, draft: Draft) -> None:
    """A name twice, in the note or in the header, spelled the same or with an escape."""

    def twice(text: str) -> str:
        found = list(re.finditer(r'(?<!\\)"([\w.]+)":', text))
        if not found:
            return text
        name = rng.choice(found)
        first = rng.choice([name[1], f"\\u{ord(name[1][0]):04x}{name[1][1:]}"])
        value = rng.choice(["1", "null", "{}", '"x"', '{"charrnn":"{}"}'])
        return f'{text[: name.start()]}"{first}":{value},{text[name.start() :]}'

    if rng.random() < 0.5:
        draft.note_edits.append(twice)
    else:
        draft.edits.append(lambda raw: twice(raw.decode("latin-1")).encode("latin-1"))


def deep(rng: random.Random, draft: Draft) -> None:
    depth = rng.choice([28, 29, 30, 31, 32, 33, 100, 1000, 5000, 100_000])
    opening, closing = rng.choice(
        [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ("[", ""), ("", "]")]
    )
    owner, key = pick(rng, note_or_table(rng, draft))
    owner[key] = draft.mark(opening * depth + rng.choice(["1", "", "{}"]) + closing * depth)


def numbers(rng: random.Random, draft: Draft) -> None:
    owner, key = pick(rng, note_or_table(rng, draft))
    owner[key] = draft.mark(rng.choice(NUMBERS))


def types(rng: random.Random, draft: Draft) -> None:
    """A bool, a float or a text for a whole number, and the like."""
    owner, key = pick(rng, note_or_table(rng, draft))
    old = owner[key]
    near = (
        [float(old), str(old), bool(old), [old], old + 1]
        if type(old) is int and abs(old) < 2**53
        else [old]
    )
    owner[key] = rng.choice([*near, *VALUES])


def tree(rng: random.Random, draft: Draft) -> None:
    """Remove, rename or copy a part."""
    owner, key = pick(rng, note_or_table(rng, draft))
    kind = rng.randrange(3)
    if kind == 0:
        del owner[key]
    elif kind == 1 and isinstance(owner, dict):
        owner[rng.choice(NAMES)] = owner.pop(key)
    else:
        other, name = pick(rng, note_or_table(rng, draft))
        owner[key] = json.loads(json.dumps(other[name]))


def names(rng: random.Random, draft: Draft) -> None:
    """Names and texts that are paths, controls, look-alikes, or no text at all."""
    if rng.random() < 0.5:
        name = rng.choice(list(draft.table) or [""])
        draft.table[rng.choice(NAMES)] = draft.table.pop(name, {})
        return
    meta = draft.note.get("meta") if isinstance(draft.note, dict) else None
    part = rng.choice(["corpus", "losses", "made"])
    if isinstance(meta, dict) and isinstance(meta.get(part), dict):
        meta[part][rng.choice([*meta[part], "command", "licence"])] = rng.choice(NAMES)


def vocabulary(rng: random.Random, draft: Draft) -> None:
    if not isinstance(draft.note, dict):
        return
    size = rng.choice([0, 1, 29, 29, 29, 256, 257, 65_535, 65_536, 90_000])
    start = rng.choice([0, 32, -3, 0xD000, 0x10FF00, 0x10000])
    codes: list[Any] = list(range(start, start + size))
    if codes and rng.random() < 0.5:
        codes[rng.randrange(size)] = rng.choice([codes[0], True, None, "a", 65.0, 2**70, -1, [65]])
    count = rng.choice([1, 1, 1, 0, -1, 2**63, 2**62, 1.5, True, "1"])
    counts = [count] * rng.choice([size, size, size, size + 1, 0])
    whole: Any = {
        "codes": codes,
        "counts": counts,
        "bytes": rng.choice([False, True, 1, "x", None]),
    }
    strange = [
        {"codes": "ab", "counts": "ab"},
        {"codes": {"a": 1}, "counts": [1]},
        [],
        "abc",
        None,
        {},
    ]
    draft.note["vocab"] = rng.choice(strange) if rng.random() < 0.1 else whole
    if rng.random() < 0.5 and isinstance(draft.note.get("config"), dict):
        draft.note["config"]["vocab_size"] = size


def config(rng: random.Random, draft: Draft) -> None:
    owner = draft.note.get("config") if isinstance(draft.note, dict) else None
    if isinstance(owner, dict):
        known = [option.name for option in model_options()]
        name = rng.choice([*known, "cell_options", "__class__", "self", "device"])
        sizes = [
            0,
            -1,
            1,
            3,
            8,
            9,
            17,
            16_384,
            16_385,
            65_535,
            65_536,
            2**40,
            2**64,
            1.0,
            True,
            "8",
            [8],
            [1, 2, 4],
            [4, 2],
            [1, 2.0],
            [True],
            [[1]],
            [1, 2**62],
            [65_535, 65_536],
            [1] * 1000,
            "1,2",
        ]
        owner[name] = rng.choice([*sizes, *cells.names(), "LSTM", "../lstm", None, {}])


def weights(rng: random.Random, draft: Draft) -> None:
    """Numbers that are none, or that become none when they are multiplied."""
    data = bytearray(draft.data)
    for _ in range(rng.choice([1, 1, 3, 500])):
        place = rng.randrange(max(len(data) // 4, 1)) * 4
        data[place : place + 4] = struct.pack("<f", rng.choice(SPECIAL))
    draft.data = bytes(data[: len(draft.data)])


def another_network(rng: random.Random, draft: Draft) -> None:
    """A whole and honest file of another shape: what follows strikes that."""
    size = rng.choice([1, 2, 5, 200, 300])
    cell = rng.choice(cells.names())
    options = {"context": rng.randrange(1, 50), "learn_decay": rng.random() < 0.5,
               "periods": rng.choice([(1,), (1, 2, 4), (3, 5)])}  # fmt: skip
    own = {option.name: options[option.name] for option in cells.get(cell).options}
    model = ModelConfig(
        size, cell, rng.randrange(1, 9), rng.randrange(4, 18), rng.randrange(1, 9),
        rng.random() < 0.5, own,
    )  # fmt: skip
    codes = list(range(size)) if size < 200 else list(range(0x3000, 0x3000 + size))
    draft.note = draft.note if isinstance(draft.note, dict) else {}
    draft.note |= {"config": model.to_dict()}
    draft.note["vocab"] = {
        "codes": codes,
        "counts": [1] * size,
        "bytes": size < 200 and rng.random() < 0.5,
    }
    dtype = rng.choice(["F32", "F32", "F16", "F64"])
    end, draft.table, blocks = 0, {}, []
    for name, shape in model.shapes().items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        stop = end + count * WIDTHS[dtype]
        draft.table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, stop]}
        kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]
        blocks.append(memoryview(_noise(kind))[: count * WIDTHS[dtype]])
        end = stop
    draft.data = b"".join(blocks)


@cache
def _noise(kind: str) -> bytes:
    return np.random.default_rng(1).standard_normal(40_000).astype(kind).tobytes()


def raw_header(rng: random.Random, draft: Draft) -> None:
    draft.edits.append(lambda raw: edit(rng, raw))


def raw_note(rng: random.Random, draft: Draft) -> None:
    draft.note_edits.append(
        lambda text: edit(rng, text.encode("utf-8", "replace")).decode("latin-1")
    )


def data(rng: random.Random, draft: Draft) -> None:
    """Too much, too little, or other data behind an honest header."""
    draft.data = rng.choice([
        edit(rng, draft.data), draft.data + bytes(rng.choice([1, 4, 4096])), b"", draft.data * 2,
        rng.randbytes(len(draft.data)), draft.data[: len(draft.data) // 2],
    ])  # fmt: skip


def damage(rng: random.Random, draft: Draft) -> None:
    """As time or a bad disk would: the checksum no longer fits."""
    draft.after.append(lambda blob: edit(rng, blob))


def checksum(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(6)
    own = f'"sha256":"{ZEROS}"'.encode()
    if kind == 0:
        draft.more["sha256"] = rng.choice([None, 1, "", "0" * 63, "0" * 65, "A" * 64, "g" * 64, []])
    elif kind == 1:  # another one before it
        draft.table = {"x": {"sha256": "1" * 64}} | draft.table
    elif kind == 2:
        draft.edits.append(
            lambda raw: raw.replace(own, own.replace(b":", rng.choice([b": ", b" :"])))
        )
    elif kind == 3:
        draft.after.append(lambda blob: blob.replace(b'"sha256":"', b'"sha256":"0', 1)[: len(blob)])
    elif kind == 4:
        draft.after.append(
            lambda blob: re.sub(rb'(?<="sha256":")[0-9a-f]{64}', lambda m: m[0].upper(), blob)
        )
    else:
        draft.edits.append(
            lambda raw: raw.replace(own, b'"sha256":"' + b"0" * 64 + b"\\u0000" + b'"')
        )


def encodings(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(5)
    if kind == 0:
        code = rng.choice(["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7", "cp500"])
        draft.edits.append(lambda raw: raw.decode("latin-1").encode(code, "replace"))
    elif kind == 1:
        text = rng.choice(["é", "😀", "\ud800", "\udc80", "\x7f", "\u2028"]).encode(
            "utf-8", "surrogatepass"
        )
        draft.edits.append(lambda raw: raw.replace(b'":"', b'":"' + text, 1))
    elif kind == 2:
        over = rng.choice([b"\xc0\x80", b"\xe0\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\x80"])
        draft.edits.append(lambda raw: raw.replace(b'":', over + b'":', 1))
    elif kind == 3:
        draft.note_edits.append(
            lambda text: text.replace('"', rng.choice(['"\\ud800', '"é', '"\\u0000']), 1)
        )
    else:
        draft.edits.append(lambda raw: rng.choice([b" ", b"\n\t", b"\x0b", b"\0"]) * 99 + raw)


def large(rng: random.Random, draft: Draft) -> None:
    """Megabytes of one thing, in the note or in the header."""
    thing = rng.choice(THINGS)
    count = rng.choice([30_000, 300_000, 780_000, 3_900_000]) // len(thing)
    text = rng.choice(["[{}1]", '"{}"', "{}", '{{"a":[{}1]}}']).format(thing * count)
    if rng.random() < 0.5:
        owner, key = pick(rng, note_or_table(rng, draft))
        owner[key] = draft.mark(text)
    else:
        draft.edits.append(lambda raw: raw[:-1] + b',"x":' + text.encode() + b"}")


def sparse(rng: random.Random, draft: Draft) -> None:
    """Many GiB that cost nothing to send."""
    draft.size = rng.choice([MIB, 100 * MIB, GIB, 6 * GIB, 8 * GIB, 8 * GIB + 1, 1 << 40])
    end = len(draft.data)
    if rng.random() < 0.5:  # a tensor that fills it, or nearly
        count = rng.choice([5 << 20, 2**31 - 1, 2**31, 2**31 + 1, 2**38])
        entry = {"dtype": "U8", "shape": [count], "data_offsets": [end, end + count]}
        draft.table[rng.choice(["more", "state.hx"])] = entry
    if rng.random() < 0.1:
        draft.after.append(lambda blob: (2 * GIB).to_bytes(8, "little") + blob[8:])


def foreign(rng: random.Random, draft: Draft) -> None:
    start, rest = rng.choice(FOREIGN), rng.choice([b"", rng.randbytes(64), bytes(5000)])
    draft.after.append(
        lambda blob: rng.choice([start + rest, start + blob, start + blob[len(start) :]])
    )


Attack = Callable[[random.Random, Draft], None]
ATTACKS: dict[Attack, float] = {
    header_length: 1, many_tensors: 2, shapes: 2, places: 2, zero_sizes: 1, dtypes: 2,
    duplicates: 2, deep: 2, numbers: 3, types: 3, tree: 2, names: 2, vocabulary: 2, config: 2,
    weights: 2, another_network: 4, raw_header: 2, raw_note: 2, data: 1, damage: 1, checksum: 1,
    encodings: 2, large: 0.6, sparse: 1, foreign: 1,
}  # fmt: skip


def attack(seed: int, index: int) -> tuple[bytes, int | None, list[str]]:
    """The ``index``-th hostile file of a seed: its bytes, its sparse size, its attacks' names."""
    rng = random.Random(f"{seed}/{index}")
    note, table, data = base("int8" if index % 4 == 0 else "float32")
    draft = Draft(json.loads(note), json.loads(table), data)
    count = rng.choices([1, 2, 3], [6, 3, 1])[0]
    chosen = rng.choices(list(ATTACKS), list(ATTACKS.values()), k=count)
    for one in chosen:
        with suppress(
            TypeError, LookupError, ValueError, ArithmeticError
        ):  # the one before left nothing to strike
            one(rng, draft)
    return draft.build(), draft.size, [one.__name__ for one in chosen]
