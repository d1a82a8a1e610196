"""``export_model``: a model in a file for use without charrnn. The command line calls this."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from charrnn.arguments import checked
from charrnn.atomic_io import write_atomic
from charrnn.errors import ConfigError
from charrnn.export.formats import format_of
from charrnn.textmodel import TextModel


@checked
def export_model(model: TextModel, file: str | Path) -> Path:
    """Write ``model`` to ``file`` in a form that can be used without charrnn.

    Args:
        model: a trained model, as ``charrnn.load`` returns it.
        file: the file. What its name ends in decides what it becomes: a web page that writes text
            by itself (``.html``), a network for ONNX runtimes (``.onnx``), or weights for plain
            torch modules (``.torch.safetensors``).

    Returns:
        The path of the file.

    Raises:
        ConfigError: the name of ``file`` ends in something else, or it is the checkpoint itself.
        CheckpointError: the format cannot hold such a network.
        ModuleNotFoundError: the format needs a package that is not installed.
        OSError: the file could not be written; an older file is still there.

    """
    path = Path(file)
    write_atomic(path, [exported(model, path)])
    return path


def exported(model: TextModel, file: Path) -> bytes:
    """The contents of ``file`` as an export of ``model``; raises as ``export_model``."""
    chosen = format_of(file)
    check_spared(model, file)
    return b"".join(chosen.write(model))


def check_spared(model: TextModel, file: Path) -> None:
    """Check that ``file`` is not the checkpoint of ``model``.

    Raises:
        ConfigError: it is.

    """
    with suppress(OSError):  # one of the two is not there
        if model.path is not None and file.samefile(model.path):
            raise ConfigError(f"is {file}, the checkpoint itself", "name another", setting="file")
