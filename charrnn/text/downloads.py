"""Downloads of public-domain corpora, each known by its address and hash."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from charrnn.atomic_io import ABANDONED_S, atomic_file, check_folder, sweep_temporaries
from charrnn.errors import ConfigError, DownloadError, os_reason

TIMEOUT_S = 60
BLOCK = 1 << 16


@dataclass(frozen=True)
class KnownCorpus:
    """A text on the internet: its address, file name, size in bytes and sha256."""

    url: str
    file: str
    size: int
    sha256: str


KNOWN = {
    "war-and-peace": KnownCorpus(
        "https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",
        "warpeace_input.txt",
        3_258_246,
        "fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
    ),
    "tinyshakespeare": KnownCorpus(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "tinyshakespeare.txt",
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}


def fetch(name: str, folder: Path, known: dict[str, KnownCorpus] | None = None) -> Path:
    """The path of the corpus ``name`` in ``folder``, downloaded unless it is there already.

    Args:
        name: a key of ``known``.
        folder: where to put it; created if it does not exist.
        known: the corpora to choose from. Default: ``KNOWN``.

    Raises:
        ConfigError: the name is unknown, or something else stands where the text or its folder
            would be.
        DownloadError: the download failed, is not the expected text, or cannot be kept in
            ``folder``.

    """
    known = KNOWN if known is None else known
    if name not in known:
        raise ConfigError(f"there is no corpus {name!r}, only {', '.join(known)}")
    corpus = known[name]
    path = folder / corpus.file
    if os.path.isfile(path) and hashlib.sha256(path.read_bytes()).hexdigest() == corpus.sha256:
        return path
    try:
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder", "choose another {out}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file", "choose another {out}")
        check_folder(folder, corpus.size)
        folder.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(folder, least_age_s=ABANDONED_S)
        _download(corpus, path)
    except OSError as error:
        message = f"cannot write to {path}: {os_reason(error)}"
        raise DownloadError(message, "choose another {out}") from None
    return path


def _download(corpus: KnownCorpus, path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with atomic_file(path) as file:
        for block in _received(corpus):
            digest.update(block)
            size += len(block)
            file.write(block)
        if digest.hexdigest() != corpus.sha256:
            raise DownloadError(
                f"{corpus.url} is not the expected text ({size:,} bytes, sha256 "
                f"{digest.hexdigest()[:16]}…): nothing was kept"
            )


def _received(corpus: KnownCorpus) -> Iterator[bytes]:
    """What the server sends, up to a little more than ``corpus`` has.

    Raises:
        DownloadError: it cannot be reached, or sends no more.

    """
    left = corpus.size
    try:
        with urllib.request.urlopen(corpus.url, timeout=TIMEOUT_S) as response:
            while left >= 0 and (block := response.read(BLOCK)):
                left -= len(block)
                yield block
    except (OSError, ValueError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        # if an address cannot be reached, urllib's error wraps the real reason
        told = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        reason = " ".join(str(told).split())[:200]  # may be text that a server sent
        message = f"could not download {corpus.url}: {reason}"
        raise DownloadError(message, "try again later") from None
