"""What several commands share: options made from declarations, and how texts are read."""

from __future__ import annotations

import functools
import inspect
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, get_args

import typer

from charrnn.cli.command import is_from_environment, variable_of
from charrnn.cli.output import Escape
from charrnn.config import StateDtype, TextConfig, TrainConfig, WeightDtype
from charrnn.errors import ConfigError, CorpusError, unreadable
from charrnn.generation.sample_config import SampleConfig
from charrnn.paths import bundled_checkpoints, own_checkpoints
from charrnn.settings import MAX_INT64, Option, declared
from charrnn.text.packed import packing_of, unpacked

DEVICE_BYTES = 1 << 20  # a device that gives more counts as endless


def takes(*options: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command function these options, as in::

        @takes(OUT, *declared(ModelConfig), QUIET)
        def train(corpus: list[str] = CORPUS, *, quiet: bool = False, **settings: Any) -> None:

    typer reads a command's parameters from the signature of its function, so the function that is
    returned has a signature with all of them. It calls ``command`` with the values that were given
    on the command line or in the environment, by their Python names. For everything else the
    defaults of ``command`` hold; the help page shows them.

    Raises:
        ValueError: two options have the same name, flag or variable.

    """
    _check_distinct(options)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters
        shown = {o.name: _with_default(o, own) for o in options if not o.python_only}

        @functools.wraps(command)
        def run(**found: Any) -> None:
            values = {name: _value(shown[name], found.pop(name)) for name in shown}
            given = {name: value for name, value in values.items() if value is not None}
            command(**found, **given)  # what is left in found are the arguments

        signature = _signature(command, shown.values())
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        run.options = shown  # type: ignore[attr-defined]  # charrnn.cli.command reads them
        return run

    return decorate


def _check_distinct(options: Iterable[Option]) -> None:
    """Otherwise the last of two equal options would silently replace the first."""
    words = [{o.name, *o.variables, *o.flag.split("/"), *o.aliases} for o in options]
    twice = [word for word, count in Counter(chain.from_iterable(words)).items() if count > 1]
    if twice:
        raise ValueError(f"two options are called {', '.join(sorted(twice))}")


def _signature(command: Callable[..., None], options: Iterable[Option]) -> inspect.Signature:
    """The arguments of ``command``, and a parameter for each option, as typer wants them."""
    own, keyword = inspect.signature(command).parameters.values(), inspect.Parameter.KEYWORD_ONLY
    arguments = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
    parameters = [
        inspect.Parameter(o.name, keyword, default=_typer_option(o), annotation=_typed_as(o))
        for o in options
    ]
    return inspect.Signature([*arguments, *parameters])


def _with_default(option: Option, parameters: Mapping[str, inspect.Parameter]) -> Option:
    """``option`` with the default that the command's own parameter of that name has, if any."""
    parameter = parameters.get(option.name)
    if parameter is None or option.unset:
        return option
    return option.replace(default=parameter.default)


def _value(option: Option, found: Any) -> Any:
    """What typer found on the command line or in the environment as a value; None: nothing."""
    if option.kind is bool:
        can_be_off = "/" in option.flag  # --on/--off
        return found if can_be_off else found or None
    if option.repeated:
        return tuple(map(option.parse, found)) if found else None
    return None if found is None else option.parse(found)


def _typed_as(option: Option) -> Any:
    """The type that typer needs to know: a switch, a text, or a list of texts."""
    return list[str] if option.repeated else bool if option.kind is bool else str


def _typer_option(option: Option) -> Any:
    """``option`` for typer. Its default is None there, which shows what was not given."""
    default = "" if option.default_text == "off" else option.default_text  # true of any switch
    return typer.Option(
        None,
        option.flag,
        *option.aliases,
        help=f"{option.meaning} Default: {default}." if default else option.meaning,
        envvar=option.variable if len(option.variables) == 1 else list(option.variables),
        metavar=option.placeholder or None,
        autocompletion=option.complete or (_choices_of(option) if option.choices else None),
        callback=whole_variable if option.repeated else None,
    )


def _choices_of(option: Option) -> Callable[[str], list[str]]:
    return lambda incomplete: [c for c in option.allowed if c.startswith(incomplete)]


def whole_variable(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """One text, spaces included, from the variable of an option that may be repeated."""
    return [os.environ[variable_of(param)]] if is_from_environment(ctx, param) else value


def path(text: str) -> Path:
    """A path. An empty one is refused: it would be the current folder."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


def runs(incomplete: str) -> list[str]:
    """Names of checkpoints that begin with ``incomplete``: the user's own, then the bundled."""
    found = [path.parent.name for path in (*own_checkpoints(), *bundled_checkpoints())]
    # other names need quotes, which typer does not add: a shell would run what they contain
    plain = [name for name in found if re.fullmatch(r"[\w.][\w.-]*", name)]
    return [name for name in dict.fromkeys(plain) if name.startswith(incomplete)]


WEIGHT_DTYPE = Option(
    name="weight_dtype",
    kind=str,
    choices=get_args(WeightDtype),
    aliases=("--form",),
    help="Number format of the weights: int8 is fastest, float32 is exact.",
)
STATE_DTYPE = Option(
    name="state_dtype",
    kind=str,
    choices=get_args(StateDtype),
    unset="int8 for lines, int16 for other texts",
    help="Number format of the states that int8 weights are multiplied with: int8 is faster for "
    "many texts at once.",
)
ESCAPE = Option(
    name="escape",
    kind=str,
    choices=get_args(Escape),
    default="auto",
    help="Write control characters as escapes such as \\x1b; auto does so on a terminal.",
)
JSON = Option(name="json", kind=bool, help="Print JSON.")
QUIET = Option(name="quiet", kind=bool, aliases=("-q",), help="Print only warnings and errors.")
CHECKPOINT = typer.Argument(
    None,
    help="Checkpoint file, its folder or the name of a run. Default: the newest under "
    "./checkpoints, or the bundled tolstoy.",
    parser=path,
    metavar="CHECKPOINT",
    autocompletion=runs,
)
MODEL = Option(
    name="checkpoint",
    kind=Path,
    flag="--model",
    metavar="CHECKPOINT",
    complete=runs,
    unset="as for sample",
    help="Checkpoint to predict with.",
)
CORPUS = Option(
    name="corpus",
    kind=Path,
    repeated=True,
    absent=None,
    unset="the cached copy",
    help="Corpus the network was trained on, to find what it copied; may be repeated, in the order "
    "in which the files were named for train.",
)
TOP = Option(
    name="top", kind=int, low=1, high=MAX_INT64, metavar="K", help="Show only the K likeliest."
)
[SEED] = declared(SampleConfig, "seed")
[UNKNOWN] = declared(SampleConfig, "unknown")
[THREADS] = declared(TrainConfig, "threads")
SAMPLE_THREADS = THREADS.replace(unset="at most 2")
[_ENCODING] = declared(TextConfig, "encoding")
ENCODING = _ENCODING.replace(
    help="Encoding of the text that is read.", unset="that of the checkpoint's corpus"
)


def typed(text: str) -> str:
    """An argument decoded as UTF-8, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def check_rivals(options: Iterable[Option], values: Mapping[str, Any]) -> None:
    """Check that no two of ``options`` that exclude each other are given among ``values``.

    Raises:
        ConfigError: two are.

    """
    given = {o.name: o for o in options if values.get(o.name) not in (None, False, "", 0, ())}
    for option in given.values():
        for name in option.excludes:
            if name in given:
                other = given[name].flag
                raise ConfigError(
                    f"{option.flag} cannot be combined with {other}: omit one of them"
                )


def read_text(path: str | Path) -> bytes:
    """The bytes of a text, unpacked; ``-`` is standard input.

    Raises:
        CorpusError: it cannot be read, is endless, or is packed and damaged.

    """
    if not str(path):
        raise CorpusError("the path of the text is empty: name a file, or - for standard input")
    name = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            return _unpacked(_whole(sys.stdin.buffer, name), name)
        with open(path, "rb") as file:
            return _unpacked(_whole(file, name), name)
    except OSError as error:
        raise unreadable(name, error) from None


def _unpacked(raw: bytes, name: str) -> bytes:
    packing = packing_of(raw)
    return b"".join(unpacked([raw], packing, name)) if packing else raw


def _whole(file: IO[bytes], name: str) -> bytes:
    if not _is_device(file):
        return file.read()
    text = file.read(DEVICE_BYTES + 1)
    if len(text) > DEVICE_BYTES:
        raise CorpusError(f"{name} is a device that may never end: take a part of it with head -c")
    return text


def _is_device(file: IO[bytes]) -> bool:
    """Whether ``file`` is a device such as ``/dev/zero``, but not a terminal."""
    try:
        return stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty()
    except (OSError, ValueError):  # it has no file descriptor
        return False
