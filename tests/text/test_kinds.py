"""A text that does not decode is said to be what it is, with the setting that reads it."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from charrnn.errors import DecodingError
from charrnn.text import sources
from charrnn.text.decoding import decode_text
from charrnn.text.kinds import HEAD, kind_of
from tests.support.texts import encode

TEXTS = {
    "German": "Er könnte die Straße über den Fluß gehen; „Größe“ – äußerst süß. Ärger, Übung.\n",
    "French": "L’été, c’est à Noël… où l’élève a reçu une œuvre : déjà vu et forcément.\n",
    "Spanish": "¿Qué será de ti? ¡Mañana será otro día, señor! El niño comió según su tía.\n",
    "English": "It’s a naïve café — “quoted” text… and it costs £5.\n",
    "Polish": "Zażółć gęślą jaźń. Łódź, książę, święto. Nie mógł już wytrzymać, więc wyszedł.\n",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy. Řekl, že přijde.\n",
    "Russian": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья.\n",
}
ENCODED = [
    *((name, "cp1252") for name in ("German", "French", "Spanish", "English")),
    *((name, "mac-roman") for name in ("German", "French", "Spanish", "English")),
    *((name, "cp850") for name in ("German", "Spanish")),
    *((name, e) for name in ("Polish", "Czech") for e in ("cp1250", "iso8859-2")),
    *(("Russian", e) for e in ("cp1251", "koi8-r", "cp866", "iso8859-5", "mac-cyrillic")),
    *((name, e) for name in TEXTS for e in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
    *((name, e) for name in TEXTS for e in ("utf-16", "utf-32")),
]
ASCII = b"".join(b"%d plain words in a line\n" % n for n in range(20))


def zipped(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/").replace("_", "."), content)
    return archive.getvalue()


def tarred() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        information = tarfile.TarInfo("text.txt")
        information.size = len(ASCII)
        file.addfile(information, io.BytesIO(ASCII))
    return archive.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(9))
    return file.getvalue()


FILES = {
    "a gzip file": gzip.compress(ASCII),
    "a bzip2 file": bz2.compress(ASCII),
    "an xz file": lzma.compress(ASCII),
    "a zstd file": b"\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc",
    "a zip archive": zipped(a_txt=ASCII),
    "a Word document": zipped(Content_xml=b"", word__document_xml=ASCII),
    "an Excel table": zipped(Content_xml=b"", xl__workbook_xml=ASCII),
    "an EPUB book": zipped(mimetype=b"application/epub+zip"),
    "an OpenDocument file": zipped(mimetype=b"application/vnd.oasis.opendocument.text"),
    "a PyTorch file": zipped(archive__data_pkl=b"\x80\x02"),
    "a tar archive": tarred(),
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "an old Word or Excel document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99),
    "a PNG image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a JPEG image": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "a GIF image": b"GIF89a\x01\0\x01\0\x80",
    "a WebP image": b"RIFF\x24\0\0\0WEBPVP8 \xff",
    "a WAV recording": b"RIFF\x24\0\0\0WAVEfmt \xff",
    "an Ogg recording": b"OggS\0\x02\0\0\0\0\0\xff",
    "a program": b"\x7fELF\x02\x01\x01\0\0\xff",
    "an SQLite database": b"SQLite format 3\0\x10\0\x01\xff",
    "a safetensors file": save({"weight": np.full((3, 3), -1.5)}),
    "a NumPy array": array(),
    "a Python pickle": pickle.dumps({"a": ASCII}, protocol=4),
    "binary data": random.Random(1).randbytes(4000),
}


@pytest.mark.parametrize(("language", "encoding"), ENCODED)
@pytest.mark.parametrize("count", [1, 40])
def test_an_encoding_is_told_by_its_letters(language: str, encoding: str, count: int) -> None:
    raw = (TEXTS[language] * count).encode(encoding, "ignore")
    kind = kind_of(raw)
    assert kind is not None
    assert kind.encoding == encoding
    assert kind.is_text
    decode_text(raw, kind.encoding)


@pytest.mark.parametrize("text", ["naïve", "na\xefve\n", "café", "Grüße", "1 £\n", "Ünal, Öz"])
def test_a_few_letters_are_enough_for_the_usual_encoding(text: str) -> None:
    kind = kind_of(text.encode("cp1252"))
    assert kind is not None
    assert (kind.name, kind.encoding) == ("cp1252 or latin-1", "cp1252")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_text_is_called_what_it_is(name: str) -> None:
    kind = kind_of(FILES[name])
    assert kind is not None
    assert kind.name == name
    assert not kind.is_text


def test_texts_of_the_encoding_that_failed_are_not_called_that() -> None:
    text = TEXTS["Russian"] * 9
    assert kind_of(text.encode(), "ascii") == kind_of(text.encode(), "cp1252")
    found = kind_of(text.encode(), "ascii")
    assert found is not None
    assert found.encoding == "utf-8"
    damaged = kind_of(text.encode() + b"\xff\n")
    assert damaged is not None
    assert (damaged.name, damaged.encoding) == ("utf-8 with damaged bytes", "")
    assert kind_of(b"\xef\xbb\xbfabc \xe9 abc") is not None
    greek = "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.".encode("cp1253")
    assert kind_of(greek) is None  # better than a wrong guess
    assert kind_of(ASCII) is None


def said(*texts: bytes, encoding: str = "utf-8") -> str:
    with pytest.raises(DecodingError) as caught:
        encode(*texts, encoding=encoding)
    return str(caught.value)


def test_a_corpus_names_the_file_the_place_and_the_setting() -> None:
    raw = "one\ntwo\nna\xefve caf\xe9\n".encode("cp1252")
    where = "t1.txt is not utf-8 at byte 10 (line 3, column 3), it looks like cp1252 or latin-1; "
    assert said(ASCII, raw) == where + "set encoding='cp1252', or omit it with skip_bad"
    where = "t0.txt is not ascii at byte 2 (line 1, column 3), it looks like utf-8; "
    assert said("na\xefve".encode(), encoding="ascii") == where + "set encoding='utf-8'"
    packed = "it looks like an xz file; unpack it first, with unxz for instance"
    wanted = f"t0.txt is not utf-8 at byte 0, {packed}, or read it with is_bytes"
    assert said(FILES["an xz file"]) == wanted
    assert "byte 1, it looks like a gzip file; unpack" in said(gzip.compress(FILES["a gzip file"]))
    odd = "t0.txt is not utf-8 at byte 491 (line 21, column 2); set encoding, or read it with is_"
    assert said(ASCII + b"a\xa4b c\xb9d e\xb2f").startswith(odd)


def test_the_place_is_that_of_an_editor_wherever_blocks_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = "αβ\nγδε\r\nζ".encode("utf-16") + b"\xff"
    wanted = "byte 20 (line 3, column 2), it looks like utf-16 with damaged bytes; repair it"
    assert wanted in said(raw, encoding="utf-16")
    for block in (1, 3, 4, 7):
        monkeypatch.setattr(sources, "BLOCK", block)
        assert wanted in said(raw, encoding="utf-16")


def test_what_is_strange_far_from_the_beginning_is_looked_at() -> None:
    raw = ASCII * (4 * HEAD // len(ASCII)) + "Er könnte über die Straße gehen\n".encode("cp1252")
    assert "it looks like cp1252 or latin-1" in said(raw)


def test_a_text_to_read_says_the_same() -> None:
    with pytest.raises(DecodingError) as caught:
        decode_text("one\nna\xefve\n".encode("cp1252"), "utf-8")
    wanted = "the text is not utf-8 at byte 6 (line 2, column 3), it looks like cp1252 or latin-1; "
    assert str(caught.value) == wanted + "set encoding='cp1252'"
    with pytest.raises(DecodingError, match=r"looks like a PNG image; name a text$"):
        decode_text(FILES["a PNG image"], "utf-8")


def test_nul_characters_in_a_corpus_say_what_it_is() -> None:
    wide = encode("plain words, line after line\n".encode("utf-16-le")).kind_with_nul
    assert wide is not None
    assert wide.encoding == "utf-16-le"
    packed = encode(FILES["a tar archive"]).kind_with_nul
    assert packed is not None
    assert packed.name == "a tar archive"
    assert encode(ASCII).kind_with_nul is None
    assert encode(bytes(range(256)), is_bytes=True).kind_with_nul is None


def test_marks_are_those_of_the_codecs(tmp_path: Path) -> None:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),
    ):
        kind = kind_of(mark + "a\xff".encode("latin-1"), "ascii")
        assert kind is not None
        assert kind.encoding == encoding
