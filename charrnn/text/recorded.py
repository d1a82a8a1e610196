"""What the metadata of a checkpoint say about its corpus. They may come from anywhere."""

from __future__ import annotations

from typing import Any

from charrnn.config import Split
from charrnn.errors import CheckpointError


def recorded(
    corpus: dict[str, Any], checkpoint: str
) -> tuple[tuple[str, str, str], tuple[Split, float, float, int]]:
    """What the metadata of a checkpoint called ``checkpoint`` say about its ``corpus``.

    Returns:
        Name, sha256 and encoding of the corpus; and the arguments of ``split`` after its length.

    Raises:
        CheckpointError: they do not say how the corpus was split.

    """
    try:
        how = corpus["split"]
        cuts = how["kind"], float(how["val_frac"]), float(how["test_frac"]), how.get("rule", 1)
        return (str(corpus["name"]), str(corpus["sha256"]), str(corpus["encoding"])), cuts
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        message = f"{checkpoint} does not say how its corpus was split"
        raise CheckpointError(message, "score a whole file") from None


def read_as(corpus: dict[str, Any]) -> dict[str, Any]:
    """How much of its files was read: ``max_bytes`` and ``skip_bad``, for ``encode_corpus``."""
    most = corpus.get("max_bytes")
    max_bytes = most if type(most) is int and most > 0 else None
    return {"max_bytes": max_bytes, "skip_bad": corpus.get("skip_bad") is True}
