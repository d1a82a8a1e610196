"""Text → memory-mapped ids and their metadata, cached under the hash of the source.

The source is read in blocks, at most three times (to hash, count and encode it), so memory does
not grow with it. A source that cannot be read twice (standard input, a FIFO) is first copied to
the cache; so is the text of a packed one, unless it is known already (``recalled.py``).
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import interrupts
from charrnn.atomic_io import (
    ABANDONED_S,
    FULL,
    atomic_file,
    sweep_temporaries,
    temporary_folder,
)
from charrnn.errors import CacheError, ConfigError, CorpusError, DecodingError, os_message
from charrnn.hints import Hint
from charrnn.paths import caches, usable_cache
from charrnn.text.decoding import BYTE_ORDER_MARK, markless
from charrnn.text.encoding import count, encoded
from charrnn.text.files import names
from charrnn.text.kinds import HEAD, Kind, kind_of
from charrnn.text.mapped import read_ids
from charrnn.text.notes import read_note, write_note
from charrnn.text.reading import Digest, Reading
from charrnn.text.recalled import Recalled
from charrnn.text.sources import Sieve, Source, blocks, open_sources, unpacked_copies
from charrnn.text.symbols import SymbolRule
from charrnn.text.vocab import Ids, Vocab, id_dtype

METADATA_VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """An encoded text: memory-mapped ``ids (N,)``, their vocabulary and their origin.

    ``name`` is that of the file or files, ``sha256`` the hash of their bytes, unpacked. ``records``
    says whether it was read as records (``charrnn.text.records``); ``skipped`` has a message for
    each file that was left out.
    """

    ids: Ids
    vocab: Vocab
    name: str
    sha256: str
    encoding: str
    records: bool = False
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def line_end(self) -> int | None:
        """The id of the line feed; None if the text has none."""
        return self.vocab.id_of("\n")

    @property
    def kind_with_nul(self) -> Kind | None:
        """What the text looks like if it has NUL characters, which texts do not have."""
        if self.vocab.is_bytes or self.vocab.id_of("\0") is None:
            return None
        return kind_of(self.vocab.decode_bytes(self.ids[:HEAD]))

    @property
    def lines(self) -> int:
        """How many line feeds the text has."""
        return 0 if self.line_end is None else self.vocab.counts[self.line_end]

    @property
    def chars(self) -> int:
        """How many characters the text has."""
        return int(np.dot(self.vocab.counts, self.vocab.widths)) if self.vocab.long else len(self)

    @cached_property
    def chars_per_symbol(self) -> float:
        """The mean number of characters of a symbol in the text; 1 if they have one each."""
        return self.chars / len(self) if self.vocab.long else 1.0

    @property
    def markless_encoding(self) -> str | None:
        """The encoding that would omit the byte order mark that the text begins with, if any."""
        better = markless(self.encoding)
        begins = better and self.vocab.id_of(BYTE_ORDER_MARK) == int(self.ids[0])
        return better if begins else None


def encode_corpus(
    paths: Sequence[str | Path],
    *,
    is_bytes: bool = False,
    encoding: str = "utf-8",
    records: bool = False,
    symbols: SymbolRule | None = None,
    max_bytes: int | None = None,
    skip_bad: bool = False,
    cache: Path | None = None,
) -> Corpus:
    """The concatenated texts in ``paths``, encoded; a text encoded before comes from the cache.

    Args:
        paths: files, folders and patterns (``charrnn.text.files``); ``-`` is standard input. What
            is packed with gzip or zstd is unpacked.
        is_bytes: whether symbols are bytes instead of characters.
        encoding: the encoding of the files; ``bytes`` is the same as ``is_bytes``.
        records: whether each line is a record: it ends with one line feed, even if the file has a
            carriage return before it, or lacks the last line end.
        symbols: how to cut the text into symbols; not with bytes. Default: into characters.
        max_bytes: use only so many bytes from the beginning. Default: all.
        skip_bad: omit files that are not texts, or are damaged; of those in folders and patterns
            also the ones that cannot be read.
        cache: the folder of the cache. Default: the user's, or if it cannot be written a temporary
            one.

    Raises:
        CorpusError: a path is missing, a folder without files or an endless device, or the text is
            empty.
        CacheError: the disk of the cache is full or fails.
        DecodingError: a text is not in ``encoding``, or its packed file is damaged; names the byte
            offset.

    """
    cache = cache or usable_cache() or temporary_folder()
    is_bytes = is_bytes or encoding == "bytes"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(cache, least_age_s=ABANDONED_S)
        reading = Reading("bytes" if is_bytes else encoding, records, symbols)
        sieve = Sieve(reading.check if skip_bad else None)
        with open_sources(paths, cache, max_bytes, sieve) as sources, _or_skipping(sources):
            corpus = _encode(sources, names(paths), is_bytes, reading, cache)
            return replace(corpus, skipped=tuple(sieve.omitted))
    except OSError as error:
        kind = CacheError if error.errno in (*FULL, errno.EIO) else CorpusError
        message = f"cannot encode the corpus: {os_message(error)}"
        raise kind(message, "set CHARRNN_CACHE to another folder") from error


@contextmanager
def _or_skipping(sources: Sequence[Source]) -> Iterator[None]:
    """Add to an error about one of several sources that it can be omitted."""
    try:
        yield
    except DecodingError as error:
        if len(sources) > 1:
            before, values = error.hint.text, error.hint.values
            error.hint = Hint(f"{before}, or " * bool(before) + "omit it with {skip_bad}", values)
        raise


def _encode(
    sources: Sequence[Source], name: str, is_bytes: bool, reading: Reading, cache: Path
) -> Corpus:
    recalled = Recalled(sources, reading, cache)
    key = recalled.key() if recalled.possible else None
    digest = recalled.digest(key) if key else None
    if digest is not None:
        found = _found(cache, digest, name, reading)
        if found is not None:
            return found
    with unpacked_copies(sources, cache) as copies:
        corpus = _encode_plain(copies, name, is_bytes, reading, cache)
    if key and digest is None:
        recalled.note(key, corpus.sha256)
    return corpus


def _encode_plain(
    sources: Sequence[Source], name: str, is_bytes: bool, reading: Reading, cache: Path
) -> Corpus:
    digest = _hash(sources, reading)
    cut = any(source.cut for source in sources)
    found = _found(cache, digest, name, reading, cut)
    if found is not None:
        return found
    vocab = count(sources, is_bytes, reading)
    reading = reading.settled(vocab.long)
    stem = _stem(cache, digest, reading, cut)
    _write(sources, reading, vocab, digest, stem)
    written = _from_cache(stem, digest, name, reading, cut)
    if written is None:
        message = f"the encoded corpus could not be read back from {cache}"
        raise CorpusError(message, "set CHARRNN_CACHE to a folder on another disk")
    return written


def cached_corpus(
    digest: str,
    name: str,
    encoding: str,
    cache: Path | None = None,
    *,
    records: bool = False,
    limited: bool = False,
    chars: object = None,
    symbols: SymbolRule | None = None,
    run: Path | None = None,
) -> Corpus | None:
    """The corpus whose source has the sha256 ``digest``, if it is in the cache.

    It is one that was read as ``records`` and cut into ``symbols``, or one that was not. If it was
    ``limited``, it may have been cut in the middle of a character or record. If ``chars`` is a
    whole number, it has so many characters. Without ``cache`` it may also be where the run in the
    folder ``run`` kept it (``charrnn.paths.cache_of_run``).
    """
    # the values may come from an untrusted checkpoint: they may form a path, or be no strings
    if not all(isinstance(value, str) for value in (digest, name, encoding)):
        return None
    if not re.fullmatch("[0-9a-f]{64}", digest):
        return None
    reading = Reading(encoding, records, symbols)
    folders = caches(run) if cache is None else (cache,)
    cuts = (True, False) if limited else (False,)
    # a limit may have cut nothing, and earlier versions did not keep apart what it cut
    found = (
        _found(folder, digest, name, reading, cut, marked=False)
        for cut in cuts
        for folder in folders
    )
    right = (c for c in found if c is not None and (type(chars) is not int or c.chars == chars))
    return next(right, None)


def _found(
    cache: Path,
    digest: str,
    name: str,
    reading: Reading,
    cut: bool = False,
    *,
    marked: bool = True,
) -> Corpus | None:
    """The corpus in the cache; None if it is missing or incomplete.

    If it must be ``marked``, also if it is not noted whether it was cut: what earlier versions cut
    is where a file with just these bytes would be.
    """
    known = reading.symbols.known if reading.symbols else ()
    for own in (reading.settled(()), reading) if known else (reading,):
        stem = _stem(cache, digest, own, cut)
        corpus = _from_cache(stem, digest, name, own, cut if marked else None)
        if corpus is not None and (not known or corpus.vocab.long == known):
            return corpus
    return None


def _stem(cache: Path, digest: str, reading: Reading, cut: bool = False) -> Path:
    """Where the ids are, without a suffix.

    A text that ``max_bytes`` cut may end within a character or a record, which is then omitted or
    stays open. A file with just these bytes is an error, or has one more line end.
    """
    return cache / f"{digest[:40]}-{reading.label}{'-cut' * cut}"


def _hash(sources: Sequence[Source], reading: Reading) -> str:
    digest = Digest(reading)
    for source in sources:
        for block in blocks(source):
            interrupts.check()
            digest.update(block)
        digest.end_file()
    if digest.size == 0:
        raise CorpusError(f"{sources[0].name} is empty: a corpus needs at least 2 characters")
    return digest.hexdigest()


def _write(
    sources: Sequence[Source], reading: Reading, vocab: Vocab, digest: str, stem: Path
) -> None:
    """Write the ids, and then the metadata that declare them complete."""
    again, of_ids = Digest(reading), hashlib.sha256()
    length = 0

    def blocks() -> Iterator[NDArray[Any]]:
        for raw, codes in reading.code_blocks(sources):
            interrupts.check()
            again.update(raw)
            if not raw:
                again.end_file()
            yield codes

    with atomic_file(stem.with_suffix(".ids")) as file:
        for ids in encoded(vocab, blocks()):
            of_ids.update(ids.data)
            file.write(ids.data)
            length += len(ids)
        if again.hexdigest() != digest:
            raise CorpusError(f"{sources[0].name} changed while it was being read", "start again")
    metadata = {
        "version": METADATA_VERSION,
        "sha256": digest,
        "ids_sha256": of_ids.hexdigest(),
        "encoding": reading.encoding,
        "length": length,
        "cut": any(source.cut for source in sources),
        "vocab": vocab.to_dict(),
    }
    write_note(stem.with_suffix(".json"), metadata)


def _from_cache(
    stem: Path, digest: str, name: str, reading: Reading, cut: bool | None
) -> Corpus | None:
    """The corpus in the cache; None if it is missing or incomplete, or not noted to be ``cut``."""
    metadata = _read_metadata(stem.with_suffix(".json"), digest)
    if metadata is None or cut not in (None, metadata.get("cut")):
        return None
    try:
        vocab = Vocab.from_dict(metadata["vocab"])
        dtype = id_dtype(len(vocab))
        ids = read_ids(stem.with_suffix(".ids"), dtype, int(metadata["length"]))
        whole = _hash_array(ids) == metadata["ids_sha256"]
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None
    whole = whole and vocab.expression == (reading.symbols.expression if reading.symbols else "")
    corpus = Corpus(ids, vocab, name, digest, reading.encoding, reading.records)
    return corpus if whole else None


def _read_metadata(path: Path, digest: str) -> dict[str, Any] | None:
    metadata = read_note(path) or {}
    current = metadata.get("version") == METADATA_VERSION and metadata.get("sha256") == digest
    return metadata if current else None


def _hash_array(ids: Ids, block: int = 1 << 22) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(ids), block):
        interrupts.check()
        digest.update(ids[start : start + block].data)
    return digest.hexdigest()
