"""Raises an exception at random instants inside the Python interface, and checks the next call.

    python -m tests.support.interrupted sample|score|train COUNT

Prints how many calls were interrupted, at least ``COUNT``.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import charrnn
from charrnn.checkpoint.file import Checkpoint
from charrnn.config import ModelConfig
from tests.support.networks import letters, random_weights


class Interruption(Exception):
    """What the timer raises."""


def raise_interruption(*_: object) -> None:
    raise Interruption


def model() -> charrnn.TextModel:
    """Large enough that two threads sample."""
    vocab = letters()
    config = ModelConfig(len(vocab), embedding=16, hidden=384, layers=2)
    return charrnn.TextModel(Checkpoint(config, vocab, random_weights(config)), threads=2)


def calls(folder: Path) -> dict[str, Callable[[], object]]:
    """Each call returns something that is the same every time."""
    used = model()
    text = "all happy families are alike, every unhappy family is unhappy in its own way." * 9
    corpus = folder / "corpus.txt"
    corpus.write_text(text * 20)

    def train() -> object:
        result = charrnn.train(
            corpus, out=folder / f"run{time.monotonic_ns()}", hidden=32, layers=1, steps=12, seed=1
        )
        return charrnn.load(result.best).checkpoint.weights["head.bias"].tobytes()

    return {
        "sample": lambda: used.sample("all ", length=150, seed=1),
        "score": lambda: used.score(text),
        "train": train,
    }


def main(kind: str, count: int) -> None:
    """Interrupt ``count`` calls."""
    signal.signal(signal.SIGALRM, raise_interruption)
    with tempfile.TemporaryDirectory() as folder:
        call = calls(Path(folder))[kind]
        expected, rng, takes, interrupted = call(), random.Random(1), 60.0, 0
        while interrupted < count:
            began = time.perf_counter()
            assert call() == expected, f"another result after {interrupted} interruptions"
            takes = min(takes, time.perf_counter() - began)
            for _ in range(10):
                try:
                    signal.setitimer(signal.ITIMER_REAL, max(1e-5, rng.uniform(0, takes)))
                    call()
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interruption:
                    interrupted += 1
        assert call() == expected
    print(interrupted)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
