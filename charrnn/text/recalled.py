"""Which text packed files hold, noted in the cache: then it is known without unpacking them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn import interrupts
from charrnn.text.notes import read_note, write_note
from charrnn.text.reading import Reading
from charrnn.text.sources import Source, stored

VERSION = 1


@dataclass(frozen=True)
class Recalled:
    """The note about ``sources`` that are read as ``reading``, in the folder ``cache``.

    There is one only if a source is packed, and all of each source is read: the bytes of packed
    files are hashed for it, and most of them may lie beyond a limit.
    """

    sources: Sequence[Source]
    reading: Reading
    cache: Path

    @property
    def possible(self) -> bool:
        """Whether there may be a note."""
        return any(source.packing for source in self.sources) and all(
            source.limit is None for source in self.sources
        )

    def key(self) -> str:
        """What identifies the files: a hash over their bytes as they are stored.

        Raises:
            CorpusError: one can no longer be read.

        """
        whole = hashlib.sha256(self.reading.label.encode())
        for source in self.sources:
            digest = hashlib.sha256()
            for block in stored(source):
                interrupts.check()
                digest.update(block)
            whole.update(f" {source.packing} {digest.hexdigest()}".encode())
        return whole.hexdigest()

    def digest(self, key: str) -> str | None:
        """The hash of the text in the files with this ``key``; None if it is not known."""
        note = read_note(self._path(key)) or {}
        digest = note.get("sha256")
        right = (note.get("version"), note.get("key")) == (VERSION, key)
        return digest if right and re.fullmatch("[0-9a-f]{64}", str(digest)) else None

    def note(self, key: str, digest: str) -> None:
        """Note that the files with this ``key`` hold the text with the hash ``digest``.

        Not if they have changed meanwhile; and if the note cannot be written, they are unpacked
        again the next time.
        """
        if self.key() == key:
            with suppress(OSError):
                write_note(self._path(key), {"version": VERSION, "key": key, "sha256": digest})

    def _path(self, key: str) -> Path:
        return self.cache / f"{key[:40]}-packed.json"
