"""What several commands share: options made from declarations, and how texts are read."""

from __future__ import annotations

import functools
import inspect
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, get_args, get_type_hints

import typer

from charrnn.cli.command import is_from_environment
from charrnn.config import TextConfig, TrainConfig, WeightDtype
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.generation.sample_config import SampleConfig
from charrnn.paths import bundled_checkpoints, own_checkpoints
from charrnn.settings import Option, declared

DEVICE_BYTES = 1 << 20  # that a device may give before it counts as endless


def takes(*options: Option) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command function these options, as in::

        @takes(OUT, *declared(ModelConfig), QUIET)
        def train(corpus: list[str] = CORPUS, *, quiet: bool = False, **settings: Any) -> None:

    typer finds a command's parameters in the signature of its function. The function that is
    returned has a signature with the arguments of ``command`` and one parameter for each option.
    When typer calls it, it calls ``command`` with the values of those options that were given, by
    their Python names; for all others the defaults of ``command`` hold, and they are what the help
    page shows.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own, hints = inspect.signature(command).parameters, get_type_hints(command)
        shown = [_with_default(option, own) for option in options if not option.python_only]
        by_name = {option.name: option for option in shown}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            arguments = {name: value for name, value in given.items() if name not in by_name}
            values = {
                name: _value(option, given[name])
                for name, option in by_name.items()
                if _is_given(option, given[name])
            }
            command(**arguments, **values)

        keyword, positional = (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
        parameters = [
            *(p.replace(annotation=hints[p.name]) for p in own.values() if p.kind is positional),
            *(inspect.Parameter(o.name, keyword, default=_typer_option(o), annotation=_typed_as(o))
              for o in shown),
        ]  # fmt: skip
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.options = by_name  # type: ignore[attr-defined]  # for charrnn.cli.command
        return run

    return decorate


def _with_default(option: Option, parameters: Mapping[str, inspect.Parameter]) -> Option:
    """``option`` with the default that the command's own parameter of that name has, if any."""
    parameter = parameters.get(option.name)
    if parameter is None or option.unset:
        return option
    return option.but(default=parameter.default)


def _is_given(option: Option, found: Any) -> bool:
    """Whether typer found a value; a switch that can only be turned on is never given as off."""
    switch = option.kind is bool and "/" not in option.flag
    return bool(found) if switch else found is not None


def _value(option: Option, found: Any) -> Any:
    """What typer found on the command line or in the environment, as the setting's value."""
    if option.repeated:
        return tuple(option.parse(text) for text in found)
    return found if option.kind is bool else option.parse(found)


def _typed_as(option: Option) -> Any:
    """The type by which typer knows a switch, a text, or a list of texts."""
    return list[str] if option.repeated else bool if option.kind is bool else str


def _typer_option(option: Option) -> Any:
    """typer's form of ``option``; its default is None, by which ``takes`` knows what was given."""
    default = "" if option.default_text == "off" else option.default_text  # as of any switch
    return typer.Option(
        None,
        option.flag,
        *option.more,
        help=f"{option.help} Default: {default}." if default else option.help,
        envvar=option.variable,
        metavar=option.placeholder or None,
        autocompletion=option.complete or (_choices_of(option) if option.choices else None),
        callback=whole_variable if option.repeated else None,
    )


def _choices_of(option: Option) -> Callable[[str], list[str]]:
    return lambda incomplete: [c for c in option.allowed if c.startswith(incomplete)]


def whole_variable(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """What may be repeated on the command line is one text in a variable, spaces and all."""
    variable = str(param.envvar)
    return [os.environ[variable]] if is_from_environment(ctx, param) else value


def path(text: str) -> Path:
    """A path; an empty one, which would be the current folder, is a slip."""
    if not text:
        raise typer.BadParameter("the path is empty.")
    return Path(text)


def runs(incomplete: str) -> list[str]:
    """Names of checkpoints that begin so, for a shell to complete: the user's own, the bundled."""
    found = [path.parent.name for path in (*own_checkpoints(), *bundled_checkpoints())]
    # others would need quotes, which typer does not set: a shell would run what is in them
    plain = [name for name in found if re.fullmatch(r"[\w.][\w.-]*", name)]
    return [name for name in dict.fromkeys(plain) if name.startswith(incomplete)]


WEIGHT_DTYPE = Option(
    name="weight_dtype",
    kind=str,
    choices=get_args(WeightDtype),
    more=("--form",),
    help="Number format of the weights: int8 is fastest, float32 is exact.",
)
JSON = Option(name="json", kind=bool, help="Print JSON.")
CHECKPOINT = typer.Argument(
    None,
    help="Checkpoint file, its folder or the name of a run. Default: the newest under "
    "./checkpoints, or the bundled one.",
    parser=path,
    metavar="CHECKPOINT",
    autocompletion=runs,
)
[SEED] = declared(SampleConfig, "seed")
[UNKNOWN] = declared(SampleConfig, "unknown")
[THREADS] = declared(TrainConfig, "threads")
[_ENCODING] = declared(TextConfig, "encoding")
ENCODING = _ENCODING.but(
    help="Encoding of the text that is read.", unset="that of the checkpoint's corpus"
)


def read_text(path: str | Path) -> bytes:
    """The bytes of a text; ``-`` is standard input.

    Raises:
        CorpusError: it cannot be read, or never ends.

    """
    if str(path) == "-":
        return _whole(sys.stdin.buffer, "standard input")
    if not str(path):
        raise CorpusError("the text's path is empty: name a file, or - for standard input")
    try:
        with open(path, "rb") as file:
            return _whole(file, str(path))
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from None


def _whole(file: IO[bytes], name: str) -> bytes:
    if not _is_device(file):
        return file.read()
    text = file.read(DEVICE_BYTES + 1)
    if len(text) > DEVICE_BYTES:
        raise CorpusError(f"{name} is a device that may never end: take a part of it with head -c")
    return text


def _is_device(file: IO[bytes]) -> bool:
    """Whether ``file`` is something like ``/dev/zero``, not a terminal, where somebody types."""
    try:
        return stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty()
    except (OSError, ValueError):  # not a file of the system's
        return False


@contextmanager
def naming(text: str) -> Iterator[None]:
    """Within this block, errors about a text are ``titled`` with its name."""
    try:
        yield
    except (CorpusError, UnknownCharacterError) as error:
        error.args = (titled(text, error.message),)
        raise


def titled(name: str, message: str) -> str:
    """What is said about the text ``name``, if it has one."""
    return f"{name}: {message}" if name else message
