"""A file that is written in halves, so that a write can fail or be cut short in its middle."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Self


class HalfFile:
    """``file`` through ``call``, call by call; a write that fails leaves half its bytes."""

    def __init__(self, call: Callable[..., Any], file: io.FileIO) -> None:
        self.call, self.file = call, file

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self.file.write(data[:half])
        self.call(self.file.write, data[half:])

    def flush(self) -> None:
        self.call(self.file.flush)

    def fileno(self) -> int:
        return self.file.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()
        self.call(lambda: None)
