"""Several charrnn that train together, as torchrun would start them, but in milliseconds."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import Process, fork

Patches = Sequence[Sequence[Any]]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def together(
    size: int,
    *args: str,
    place: Path,
    patches: Mapping[int, Patches] | None = None,
    restarts: int = 0,
    launch: str = "one",
    **env: str,
) -> list[Process]:
    """``charrnn args`` as ``size`` processes; ``patches`` are those of each rank.

    ``restarts`` is how often the launcher ``launch`` has started them before.
    """
    meeting = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "TORCHELASTIC_RESTART_COUNT": str(restarts),
        "TORCHELASTIC_RUN_ID": launch,
        **env,
    }
    return [
        fork(
            *args,
            place=place,
            patches=(patches or {}).get(rank, ()),
            **(meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)}),
        )
        for rank in range(size)
    ]


def codes(processes: list[Process]) -> list[int]:
    """The exit codes of all of them."""
    return [process.wait() for process in processes]
