"""What a text that does not decode looks like: another encoding, or another kind of file.

Kinds of files are told by their first bytes. Encodings are told by what the bytes would be as
letters and punctuation; a guess is made only where few other encodings would do.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = 1 << 16  # bytes that are enough to tell

UNPACK = "unpack it first"
EXPORT = "save it as plain text first"


@dataclass(frozen=True)
class Kind:
    """What a file looks like.

    Attributes:
        name: in words, such as ``cp1252`` or ``a PDF document``.
        encoding: the encoding that reads it, if it is a text.
        advice: what to do first, if that makes it a text.
        damaged: whether it is a text with bytes that are in no encoding.

    """

    name: str
    encoding: str = ""
    advice: str = ""
    damaged: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it is a text, if perhaps a damaged one."""
        return bool(self.encoding) or self.damaged


BINARY = Kind("binary data")

# the beginnings of files; of several that fit, the first counts
_MARKS = (
    (codecs.BOM_UTF32_LE, Kind("utf-32", "utf-32")),
    (codecs.BOM_UTF32_BE, Kind("utf-32", "utf-32")),
    (codecs.BOM_UTF16_LE, Kind("utf-16", "utf-16")),
    (codecs.BOM_UTF16_BE, Kind("utf-16", "utf-16")),
    (codecs.BOM_UTF8, Kind("utf-8 with a byte order mark", "utf-8-sig")),
)
_FILES = (
    (b"\x1f\x8b", Kind("a gzip file", advice="unpack it first, with gunzip for instance")),
    (b"\x28\xb5\x2f\xfd", Kind("a zstd file", advice="unpack it first, with unzstd for instance")),
    (b"BZh", Kind("a bzip2 file", advice="unpack it first, with bunzip2 for instance")),
    (b"\xfd7zXZ\0", Kind("an xz file", advice="unpack it first, with unxz for instance")),
    (b"\x04\x22\x4d\x18", Kind("an lz4 file", advice="unpack it first, with unlz4 for instance")),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", advice=UNPACK)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", advice=UNPACK)),
    (b"%PDF-", Kind("a PDF document", advice=EXPORT)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an old Word or Excel document", advice=EXPORT)),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG image")),
    (b"\xff\xd8\xff", Kind("a JPEG image")),
    (b"GIF87a", Kind("a GIF image")),
    (b"GIF89a", Kind("a GIF image")),
    (b"II*\0", Kind("a TIFF image")),
    (b"MM\0*", Kind("a TIFF image")),
    (b"ID3", Kind("an MP3 recording")),
    (b"OggS", Kind("an Ogg recording")),
    (b"fLaC", Kind("a FLAC recording")),
    (b"\x7fELF", Kind("a program")),
    (b"MZ", Kind("a program")),
    (b"\xcf\xfa\xed\xfe", Kind("a program")),
    (b"SQLite format 3\0", Kind("an SQLite database")),
    (b"PAR1", Kind("a Parquet table")),
    (b"\x93NUMPY", Kind("a NumPy array")),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file")),
)
_ZIP = b"PK\x03\x04"
# what is stored first in a zip file, or in its list of contents
_ZIPPED = (
    (b"word/", Kind("a Word document", advice=EXPORT)),
    (b"xl/", Kind("an Excel table", advice=EXPORT)),
    (b"ppt/", Kind("a PowerPoint document", advice=EXPORT)),
    (b"application/epub", Kind("an EPUB book", advice=EXPORT)),
    (b"application/vnd.oasis.opendocument", Kind("an OpenDocument file", advice=EXPORT)),
    (b"/data.pkl", Kind("a PyTorch file")),
)
_RIFF = {b"WEBP": "a WebP image", b"WAVE": "a WAV recording", b"AVI ": "an AVI film"}

_WESTERN = ("cp1252", "cp1250", "iso8859-2", "mac-roman", "cp850")
_CYRILLIC = ("cp1251", "koi8-r", "cp866", "mac-cyrillic", "iso8859-5")
_FREQUENT = "оеаинтсрвл"  # more than half of a text in a Slavic language
# letters beyond ASCII among all letters: at most in Latin script, at least in another one
_MOST_LATIN, _LEAST_OTHER = 0.6, 0.5
_FEW = 3  # bytes beyond ASCII, which tell little: then it is the most usual encoding, or none
_CYRILLIC_LETTERS = frozenset(map(chr, range(0x400, 0x460)))
_ALONE = "àéèíóúáÀÉ"  # words of one letter
_LIKELY = 0.9


def kind_of(raw: bytes, encoding: str = "utf-8") -> Kind | None:
    """What a file that begins with ``raw`` and is not in ``encoding`` looks like; None: no idea."""
    raw = raw[:HEAD]
    for beginning, kind in (*_MARKS, *_FILES):
        if raw.startswith(beginning):
            return _damaged(encoding) if _same(kind.encoding, encoding) else kind
    found = _archive(raw) or _other_file(raw) or _wide(raw)
    if found or b"\0" in raw or _controls(raw) > 0.01:
        return found or BINARY
    return _text(raw, encoding)


def _damaged(encoding: str) -> Kind:
    return Kind(f"{encoding} with damaged bytes", advice="repair it", damaged=True)


def _same(one: str, other: str) -> bool:
    """Whether two encodings are one, apart from a byte order mark in UTF-8."""
    if not one:
        return False
    first, second = (codecs.lookup(name).name.removesuffix("-sig") for name in (one, other))
    return first == second


def _archive(raw: bytes) -> Kind | None:
    if raw.startswith(_ZIP):
        named = (kind for entry, kind in _ZIPPED if entry in raw)
        return next(named, Kind("a zip archive", advice=UNPACK))
    return Kind("a tar archive", advice=UNPACK) if raw[257:262] == b"ustar" else None


def _other_file(raw: bytes) -> Kind | None:
    if raw[:4] == b"RIFF" and raw[8:12] in _RIFF:
        return Kind(_RIFF[raw[8:12]])
    if raw[4:8] == b"ftyp":
        return Kind("a film or an image")
    header = int.from_bytes(raw[:8], "little")  # of safetensors: the size of a JSON
    if raw[8:10] == b'{"' and 2 <= header < 2**32:
        return Kind("a safetensors file")
    return Kind("a Python pickle") if raw[:1] == b"\x80" and raw[1:2] in b"\2\3\4\5" else None


def _controls(raw: bytes) -> float:
    """The share of control characters that texts do not have."""
    usual = b"\t\n\v\f\r\x1a\x1b"
    return sum(byte < 0x20 and byte not in usual for byte in raw) / max(len(raw), 1)


def _wide(raw: bytes) -> Kind | None:
    """Two or four bytes for each character, without a byte order mark.

    The high bytes of a text are few, most of them the same.
    """
    raw = raw[: len(raw) // 4 * 4]
    for name, high in (("utf-32-le", 3), ("utf-32-be", 0)):
        if len(raw) >= 16 and not any(raw[high::4]) and _decodes(raw, name):
            return Kind(name, name)
    for name, high in (("utf-16-le", 1), ("utf-16-be", 0)):
        if _two(raw[high::2]) > 0.85 and _two(raw[1 - high :: 2]) < 0.6 and b"\0" in raw[high::2]:
            text = raw.decode(name, "ignore")
            if _decodes(raw, name) and sum(map(str.isprintable, text)) > 0.8 * len(text):
                return Kind(name, name)
    return None


def _two(values: bytes) -> float:
    """The share of the two most frequent bytes."""
    counts = sorted((values.count(value) for value in set(values)), reverse=True)
    return sum(counts[:2]) / max(len(values), 1)


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(raw)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def _text(raw: bytes, encoding: str) -> Kind | None:
    """Which encoding makes letters of the bytes beyond ASCII."""
    decoded = raw.decode("utf-8", "replace")
    beyond = sum(char > "\x7f" for char in decoded)
    damaged = decoded.count("\ufffd") - raw.count("\ufffd".encode())
    if beyond and damaged <= 0.1 * beyond:
        return _damaged(encoding) if _same("utf-8", encoding) else Kind("utf-8", "utf-8")
    high = sum(byte > 0x7F for byte in raw)
    letters = high + sum(chr(byte).isalpha() for byte in raw if byte < 0x80)
    names: tuple[str, ...] = _WESTERN if high <= _MOST_LATIN * letters else ()
    names += _CYRILLIC if high >= _LEAST_OTHER * letters else ()
    names = names if high > _FEW else _WESTERN[:1]
    for share, name in sorted(_shares(raw, names), reverse=True)[:1]:
        if share >= _LIKELY and not _same(name, encoding):
            return Kind(_also(raw, name), name)
    return None


def _also(raw: bytes, name: str) -> str:
    """``name``, and the encoding that differs from it only in bytes that ``raw`` does not have."""
    twins = name == "cp1252" and not any(0x80 <= byte < 0xA0 for byte in raw)
    return "cp1252 or latin-1" if twins else name


def _shares(raw: bytes, encodings: tuple[str, ...]) -> Iterator[tuple[float, str]]:
    """For each encoding that decodes ``raw``, how many characters beyond ASCII fit where they are.

    Of equal ones, the first of ``encodings`` is the largest.
    """
    for rank, name in enumerate(encodings):
        if _decodes(raw, name):
            text = raw.decode(name)
            if name in _WESTERN or _is_slavic(text):
                yield _fitting(text) - rank / 1000, name


def _is_slavic(text: str) -> bool:
    letters = [char.lower() for char in text if char > "\x7f" and char.isalpha()]
    return sum(char in _FREQUENT for char in letters) > len(letters) / 2


def _fitting(text: str) -> float:
    """The share of the characters beyond ASCII that stand where such characters do."""
    beyond = fitting = 0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char > "\x7f":
            beyond += 1
            fitting += _fits(before, char, after)
    return fitting / max(beyond, 1)


def _fits(before: str, char: str, after: str) -> bool:
    """A letter in a word, capital only at its beginning or among capitals; signs between words."""
    beside = before, after
    inside = before.isalpha() and after.isalpha()
    if not char.isalpha() or char in "ªºˆƒ":
        return (char == "’" or not inside) and (char.isprintable() or char == "\xa0")
    if char.isupper() and (before.islower() or (before.isalpha() and after.islower())):
        return False
    if char in _CYRILLIC_LETTERS:
        return not any(other.isascii() and other.isalpha() for other in beside)
    return before.isalpha() or after.isalpha() or char in _ALONE
