"""Everything that charrnn raises on purpose: errors in one tree, and signals beside it.

    CharRNNError                 exit 1   anything below
    ├── UserError                exit 2   the request is invalid or cannot be carried out
    │   ├── ConfigError                   an option or a configuration value is invalid
    │   ├── CorpusError                   a text is missing, too short or of the wrong kind
    │   │   └── DecodingError             a text is not in its encoding (``.offset``)
    │   ├── UnknownCharacterError         a text has a character that is not in the vocabulary
    │   └── CheckpointError               a checkpoint is missing, damaged or not one of ours
    ├── TrainingError            exit 1   a run had to stop
    │   ├── NonFiniteLossError            the loss is NaN or infinite
    │   ├── SaveError                     checkpoints can no longer be written
    │   ├── FolderBusyError               another process is training into the output folder
    │   └── LostProcessError              another process of the run has ended or does not answer
    ├── CacheError               exit 1   an encoded text could not be written to the cache
    └── DownloadError            exit 1   a corpus could not be downloaded completely

    Interrupted                           a signal stopped the work; what could be saved is saved
    ├── Cancelled                exit 130 Ctrl-C (SIGINT): a KeyboardInterrupt
    └── Terminated               exit 143 SIGTERM, or 129 for SIGHUP: a SystemExit

A signal is no ``Exception``: it passes through ``except Exception: continue`` and through event
loops, as the KeyboardInterrupt or SystemExit that it is.

An error is one line: what is wrong, where, and what to do. The command line prints it after
``charrnn: `` on stderr, and a traceback only if ``CHARRNN_DEBUG=1``. What to do is a hint
(``charrnn.hints``), which names settings in braces: the command line prints its own options for
them, ``str(error)`` the arguments of the Python interface.
"""

from __future__ import annotations

import copyreg
import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charrnn.hints import PYTHON, Hint, Style


class Told(BaseException):
    """Base of ``CharRNNError`` and ``Interrupted``: a message, and a hint what to do.

    Args:
        message: what is wrong, and where; data may be part of it.
        hint: what to do: a constant text with settings in braces (``"choose another {out}"``).
        setting: the setting at fault, in its Python name; the message then follows its name.
        values: values for settings that the hint names.

    """

    style: Style = PYTHON  # how str() spells settings; the command line sets its own

    def __init__(self, message: str, hint: str = "", *, setting: str = "", **values: Any) -> None:
        super().__init__(message)
        self.hint = Hint(hint, values)
        self.setting = setting

    @property
    def message(self) -> str:
        """What is wrong, without ``setting`` and ``hint``."""
        return str(self.args[0])

    def spelled(self, style: Style) -> str:
        """The whole line, with settings as ``style`` spells them."""
        subject = f"{style.setting(self.setting)} " if self.setting else ""
        advice = f"; {self.hint.spelled(style)}" if self.hint else ""
        return f"{subject}{self.message}{advice}"

    def __str__(self) -> str:
        return self.spelled(self.style)

    def __reduce__(self) -> tuple[Any, ...]:
        # copies and unpickled errors skip __init__, whose arguments differ from class to class
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class CharRNNError(Told, Exception):
    """Base of all errors that charrnn raises on purpose."""

    exit_code = 1


class UserError(CharRNNError):
    """The request is invalid or cannot be carried out."""

    exit_code = 2


class ConfigError(UserError):
    """An option or a configuration value is invalid."""


class CorpusError(UserError):
    """A text is missing, too short or of the wrong kind."""


class DecodingError(CorpusError):
    """A text is not in its encoding; ``offset`` is the first bad byte."""

    def __init__(self, message: str, offset: int, hint: str = "", **values: Any) -> None:
        super().__init__(message, hint, **values)
        self.offset = offset


class UnknownCharacterError(UserError):
    """A text has a character that is not in the vocabulary."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or not one of ours."""


class TrainingError(CharRNNError):
    """A run had to stop."""


class NonFiniteLossError(TrainingError):
    """The loss is NaN or infinite."""


class SaveError(TrainingError):
    """Checkpoints can no longer be written."""


class FolderBusyError(TrainingError):
    """Another process is training into the output folder."""


class LostProcessError(TrainingError):
    """Another process of the run has ended or does not answer."""


class CacheError(CharRNNError):
    """An encoded text could not be written to the cache."""


class DownloadError(CharRNNError):
    """A corpus could not be downloaded completely."""


class Interrupted(Told):
    """A signal stopped the work; whatever could be saved has been saved.

    ``Interrupted.by(signum)`` is the one to raise: a ``Cancelled`` or a ``Terminated``.
    """

    def __init__(self, signum: int, message: str = "", hint: str = "", **values: Any) -> None:
        super().__init__(message or f"stopped by {signal.Signals(signum).name}", hint, **values)
        self.signum = signum

    @staticmethod
    def by(signum: int, message: str = "", hint: str = "", **values: Any) -> Interrupted:
        """What the signal ``signum`` raises."""
        kind = Cancelled if signum == signal.SIGINT else Terminated
        return kind(signum, message, hint, **values)

    @property
    def exit_code(self) -> int:
        """128 + signal number, as shells report it."""
        return 128 + self.signum


class Cancelled(Interrupted, KeyboardInterrupt):
    """Ctrl-C, that is SIGINT."""


class Terminated(Interrupted, SystemExit):
    """SIGTERM or SIGHUP; a program that does not catch it exits with 128 + signal number."""

    @property
    def code(self) -> int:  # type: ignore[override]
        """The exit status of the process."""
        return self.exit_code


# the words of torch, and of NVIDIA's libraries
_OUT_OF_MEMORY = "can't allocate memory", "out of memory", "alloc_failed"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, torch or a GPU's library says with ``error`` that memory ran out."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _OUT_OF_MEMORY)


def counted(number: int, noun: str) -> str:
    """A number and what it counts: ``1 step``, ``2,000 steps``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def naming(text: str, reader: str = "") -> Iterator[None]:
    """Put the name of a text before the errors about it that this block raises.

    Which characters are unknown depends on who reads: ``reader`` is the checkpoint, if it has to
    be named because nobody did.
    """
    try:
        yield
    except (CorpusError, UnknownCharacterError) as error:
        message = titled(text, error.message)
        if reader and isinstance(error, UnknownCharacterError):
            message += f" ({reader})"
        error.args = (message,)
        raise


def titled(name: str, message: str) -> str:
    """``message`` about the text ``name``, which may be empty."""
    return f"{name}: {message}" if name else message


def os_reason(error: OSError) -> str:
    """The system's own message for ``error``, without a file."""
    # only a standard stream can be closed without our knowing
    return "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)


def unreadable(path: str | Path, error: OSError) -> CorpusError:
    """The error of a text that cannot be read at ``path``, which may be an address by mistake."""
    is_address = str(path).startswith(("http:/", "https:/", "ftp:/"))  # a Path loses a slash
    hint = "download it first, and name the file" if is_address else ""
    return CorpusError(f"cannot read {path}: {os_reason(error)}", hint)


def os_message(error: OSError, path: str | Path = "") -> str:
    """The system's own message for ``error`` after the file concerned, or else ``path``."""
    named = error.filename or path
    return f"{named}: {os_reason(error)}" if str(named) else os_reason(error)
