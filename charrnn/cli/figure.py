"""The picture that a command is asked for: its option, and what is checked before any work."""

from __future__ import annotations

from pathlib import Path

from charrnn.cli.output import check_writable
from charrnn.errors import ConfigError
from charrnn.settings import Option

PICTURE_BYTES = 1 << 20  # a picture is smaller
PICTURE = Option(
    name="out",
    kind=Path,
    aliases=("-o",),
    variable="CHARRNN_LAB_OUT",
    unset="no picture",
    help="Picture to write; its name ends in .svg, .png or .pdf. Needs matplotlib.",
)


def checked_picture(out: Path | None, setting: str = "out", *, made: Path | None = None) -> str:
    """The format of the picture; all that it needs is there, or the folder ``made`` will be."""
    from charrnn.insight.figures import FORMATS, check_matplotlib

    if out is None:
        return ""
    if str(out) == "-" or out.is_dir():
        raise ConfigError(f"is {out}: name a file", setting=setting)
    ending = out.suffix.removeprefix(".").lower()
    if ending and ending not in FORMATS and (out.is_file() or not out.exists()):
        kinds = ", ".join(f".{kind}" for kind in FORMATS)
        raise ConfigError(f"ends in {out.suffix}: a picture ends in {kinds}", setting=setting)
    check_matplotlib()
    check_writable(out, PICTURE_BYTES, setting, made=made)
    return ending if ending in FORMATS else FORMATS[0]
