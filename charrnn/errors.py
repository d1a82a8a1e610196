"""Everything that charrnn raises on purpose, in one tree.

    CharRNNError                 exit 1   anything below
    ├── UserError                exit 2   what was asked for cannot be done as asked
    │   ├── ConfigError                   an option or a configuration value is out of range
    │   ├── CorpusError                   a text is missing, too short or of the wrong kind
    │   │   └── DecodingError             a text is not what its encoding says (``.offset``)
    │   ├── UnknownCharacterError         a text has a character that the vocabulary lacks
    │   └── CheckpointError               a checkpoint is missing, damaged or not ours
    ├── TrainingError            exit 1   a run had to stop
    │   ├── NonFiniteLossError            the loss is NaN or infinite
    │   ├── SaveError                     checkpoints can no longer be written
    │   └── FolderBusyError               another trainer holds the output folder
    ├── CacheError               exit 1   what is kept of a text could not be written to the cache
    ├── DownloadError            exit 1   a corpus could not be fetched whole
    └── Interrupted              exit 128 + signal number

Messages are one line: the thing, the place, what to do. The command line prints them after
``charrnn: `` on stderr; nothing else is ever printed about them unless ``CHARRNN_DEBUG=1``.
"""

from __future__ import annotations

import signal
from pathlib import Path


class CharRNNError(Exception):
    """Base of everything that charrnn raises on purpose."""

    exit_code = 1


class UserError(CharRNNError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class ConfigError(UserError):
    """An option or a configuration value is out of range; ``settings`` are those that it names."""

    def __init__(self, message: str, *settings: str) -> None:
        super().__init__(message)
        self.settings = settings


class CorpusError(UserError):
    """A text is missing, too short or of the wrong kind."""


class DecodingError(CorpusError):
    """A text is not what its encoding says; ``offset`` is the first bad byte."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class UnknownCharacterError(UserError):
    """A text has a character that the vocabulary lacks."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or not ours."""


class TrainingError(CharRNNError):
    """A run had to stop."""


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite."""


class SaveError(TrainingError):
    """Checkpoints can no longer be written."""


class FolderBusyError(TrainingError):
    """Another trainer holds the output folder."""


class CacheError(CharRNNError):
    """What is kept of a text could not be written to the cache."""


class DownloadError(CharRNNError):
    """A corpus could not be fetched whole."""


class Interrupted(CharRNNError):
    """A signal asked the program to leave; what could be saved has been saved."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """128 + signal number, as shells report it."""
        return 128 + self.signum


def counted(number: int, noun: str) -> str:
    """``number`` of what ``noun`` names, in words: ``1 step``, ``2,000 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def said_by(error: OSError, place: str | Path = "") -> str:
    """What the system says, and of which file; ``place`` where it names none."""
    named = error.filename or place
    reason = error.strerror or str(error)
    return f"{named}: {reason}" if str(named) else reason
