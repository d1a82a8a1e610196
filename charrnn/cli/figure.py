"""The picture that a command is asked for: its option, and what is checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
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


def checked_picture(
    out: Path | None, setting: str = "out", *, made: Path | None = None, tables: Sequence[str] = ()
) -> str:
    """The format of the picture; all that it needs is there, or the folder ``made`` will be.

    Formats among ``tables`` are none of matplotlib's, which they do not need.
    """
    from charrnn.insight.figures import FORMATS, check_matplotlib

    if out is None:
        return ""
    if str(out) == "-" or out.is_dir():
        raise ConfigError(f"is {out}: name a file", setting=setting)
    ending = out.suffix.removeprefix(".").lower()
    if ending and ending not in (*FORMATS, *tables) and (out.is_file() or not out.exists()):
        kinds = ", ".join(f".{kind}" for kind in FORMATS)
        others = "".join(f", and a table in .{kind}" for kind in tables)
        raise ConfigError(
            f"ends in {out.suffix}: a picture ends in {kinds}{others}", setting=setting
        )
    if ending not in tables:
        check_matplotlib()
    check_writable(out, PICTURE_BYTES, setting, made=made)
    return ending if ending in (*FORMATS, *tables) else FORMATS[0]
