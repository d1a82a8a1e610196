"""A picture of the program at work: commands run on a pseudo-terminal, and what they print as SVG.

    python -m charrnn.cli.picture charrnn/cli/terminal.svg              # what the README shows
    python -m charrnn.cli.picture other.svg "charrnn ls" "charrnn info"

The commands run one after the other in an empty folder. Nothing is edited: if a command prints too
much, the middle is left out and a line says how much that was.
"""

from __future__ import annotations

import argparse
import os
import pty
import shlex
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from charrnn.atomic_io import atomic_file
from charrnn.console import harmless, one_line
from charrnn.paths import home_folder

COLUMNS, ROWS = 80, 24
MOST_LINES = 14  # of one command
HEAD_LINES = 3  # of those, when the middle is left out
PROMPT = "$ "
README = (
    "charrnn train --time 60s",
    'charrnn sample war-and-peace --temp 0.8 --prime "Natasha " --seed 1 -n 236',
)

# rich's own, without its font from the network: the reader's monospaced font does as well
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Unpresentable(Exception):
    """A command failed, or printed what no picture should show."""


def record(command: Sequence[str], folder: Path) -> str:
    """What ``command``, run in ``folder``, prints on a terminal of ``COLUMNS`` columns.

    Raises:
        Unpresentable: it does not exist, or exits with another code than 0.

    """
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (ROWS, COLUMNS))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, "TERM": "xterm-256color"}
    with open(here, "rb", buffering=0) as screen:
        try:
            # the child finds the command on our path, not on the one that it will have
            process = subprocess.Popen(
                ["/usr/bin/env", *command], cwd=folder, env=env, start_new_session=True,
                stdin=there, stdout=there, stderr=there,
            )  # fmt: skip
        finally:
            os.close(there)
        pieces = []
        try:
            while piece := screen.read(1 << 16):
                pieces.append(piece)
        except OSError:  # how Linux says that the last writer has closed the terminal
            pass
    if code := process.wait():
        raise Unpresentable(f"{shlex.join(command)} exited with {code}")
    return b"".join(pieces).decode()


def screen_lines(output: str) -> list[Text]:
    """``output`` as the lines that are left on the screen, colored, at most ``COLUMNS`` wide.

    Raises:
        Unpresentable: it holds control characters, or paths of this machine.

    """
    text = Text.from_ansi(output.replace("\r\n", "\n").rstrip())  # else \r begins a line anew
    # rich drops some controls silently, and leaves others
    for seen in (output.translate({ord("\r"): None, ord("\x1b"): None}), text.plain):
        if harmless(seen) != seen:
            raise Unpresentable(f"the output holds control characters: {one_line(seen)}")
    homes = [f"{home}{os.sep}"] if (home := home_folder()) else []
    for private in (*homes, os.getcwd()):
        if private in text.plain:
            raise Unpresentable(f"the output holds a path of this machine: {private}")
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        line.rstrip()
        lines += line.divide(range(COLUMNS, len(line), COLUMNS)) if line.plain else [line]
    return lines


def shortened(lines: list[Text], most: int) -> list[Text]:
    """``lines``; of more than ``most`` the first and last, and how many were left out."""
    if len(lines) <= most:
        return lines
    tail = most - HEAD_LINES - 1
    missing = len(lines) - HEAD_LINES - tail
    return [*lines[:HEAD_LINES], Text(f"⋮ {missing} more lines", "dim"), *lines[-tail:]]


def picture(commands: Sequence[str], most: int = MOST_LINES) -> str:
    """An SVG of ``commands``, each as one would type it, and of at most ``most`` lines from each.

    Raises:
        Unpresentable: as ``record`` and ``screen_lines``.

    """
    with open(os.devnull, "w") as nowhere, tempfile.TemporaryDirectory() as folder:
        console = Console(record=True, file=nowhere, width=COLUMNS, force_terminal=True)
        for number, command in enumerate(commands):
            if number:
                console.print()
            console.print(Text(PROMPT, "green").append(command, "bold white"))
            for line in shortened(screen_lines(record(shlex.split(command), Path(folder))), most):
                console.print(line, no_wrap=True, crop=False)
    return console.export_svg(title="charrnn", code_format=SVG, unique_id="charrnn")


def main(args: Sequence[str] | None = None) -> None:
    """Write a picture to the file that the first argument names."""
    parser = argparse.ArgumentParser("charrnn.cli.picture", description="Save output as SVG.")
    parser.add_argument("file", type=Path, help="The SVG file.")
    parser.add_argument(
        "commands", nargs="*", default=README, help="Commands to run, each as one argument."
    )
    parser.add_argument("--most", type=int, default=MOST_LINES, help="Lines from each command.")
    asked = parser.parse_args(args)
    try:
        svg = picture(asked.commands, asked.most)
    except Unpresentable as error:
        parser.exit(1, f"{error}\n")
    with atomic_file(asked.file) as file:
        file.write(svg.encode())


if __name__ == "__main__":
    main()
