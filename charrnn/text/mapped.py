"""Ids in files: long ones are mapped into memory, short ones are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import CorpusError
from charrnn.text.vocab import Ids

IN_MEMORY = 1 << 25  # bytes; shorter arrays of ids are read whole, and then need no file


class _Mapped(np.memmap):
    """Ids on disk. If the file was cut short, reading raises an error; mmap alone would crash."""

    _mmap: Any  # NumPy's own

    def __getitem__(self, index: Any) -> Any:
        if self._mmap.size() < self.nbytes:
            raise CorpusError(
                f"the encoded text {self.filename} was cut short",
                "name its file to encode it again",
            )
        return np.asarray(np.ndarray.__getitem__(self, index))


def read_ids(path: Path, dtype: Any, length: int) -> Ids:
    """The ``length`` ids in the file at ``path``.

    Raises:
        ValueError: the file holds more or fewer.

    """
    size = path.stat().st_size
    if size != length * dtype.itemsize:
        raise ValueError(f"{path} has {size} bytes")
    return _Mapped(path, dtype, "r") if size > IN_MEMORY else np.fromfile(path, dtype)
