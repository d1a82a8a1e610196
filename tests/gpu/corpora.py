"""The texts of the three cases that the ``best`` preset is trained on, and their goals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charrnn.text.splits import Parts, split

NOVEL = "warpeace_input.txt"
WORKS = "tolstoy"  # a folder with more works of Tolstoy


@dataclass(frozen=True)
class Case:
    """A text, how it is split, and the goal for its test part in nats per character."""

    text: Path
    args: tuple[str, ...]
    goal: float


def paper(data: Path, place: Path) -> Case:
    """War and Peace byte by byte, split as Karpathy et al. did."""
    return Case(data / NOVEL, ("--bytes", "--split", "interleaved"), 0.99)


def contiguous(data: Path, place: Path) -> Case:
    """War and Peace with LF, its last two tenths for validation and test."""
    path = place / "war-and-peace.txt"
    path.write_bytes((data / NOVEL).read_bytes().replace(b"\r", b""))
    return Case(path, ("--val-frac", "0.1", "--test-frac", "0.1"), 1.025)


def tolstoy(data: Path, place: Path) -> Case:
    """The other works in the order of their names, then War and Peace with LF and without mark.

    Validation and test are the last two tenths of War and Peace.
    """
    works = sorted((data / WORKS).glob("*.txt"))
    before = "".join(path.read_bytes().decode() for path in works)
    novel = (data / NOVEL).read_bytes().decode("utf-8-sig").replace("\r", "")
    path = place / "tolstoy.txt"
    path.write_bytes((before + novel).encode())
    val, test = fractions(len(before), len(novel))
    return Case(path, ("--val-frac", str(val), "--test-frac", str(test)), 0.97)


CASES = {"p": paper, "c": contiguous, "tolstoy": tolstoy}


def fractions(before: int, novel: int) -> tuple[float, float]:
    """Fractions of a text of ``before + novel`` characters that are the last two tenths of the end.

    The parts are to the character those of the novel alone with fractions of 0.1 and 0.1.
    """
    whole = before + novel
    (a, b), (_, end) = split(novel, "contiguous", 0.1, 0.1).val[0], (0, novel)
    val, test = (round(part / whole, 12) for part in (b - a, end - b - 0.5))
    wanted = Parts(((0, before + a),), ((before + a, before + b),), ((before + b, whole),))
    assert split(whole, "contiguous", val, test) == wanted
    return val, test
