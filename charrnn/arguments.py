"""Checks arguments where other people's programs call: annotations say which types are wanted.

Without it a wrong argument would raise an error somewhere inside, about something that the caller
has never seen. Values (ranges, choices) are checked by whoever uses them.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from charrnn.errors import ConfigError
from charrnn.option import Option

T = TypeVar("T", bound=Callable[..., Any])

FIRST = 100  # so many items of a long sequence are looked at
# what a class accepts besides its own instances
_ACCEPTED: dict[Any, Any] = {
    bytes: (bytes, bytearray),
    int: numbers.Integral,  # NumPy's, too
    float: numbers.Real,
    tuple: (tuple, list),
    Path: os.PathLike,
}
_PLAIN = (str, bytes, int, float, list, tuple, dict, set, NoneType)  # that a message can show


def checked(target: T) -> T:
    """Check the arguments of a function before every call; of a class, of all its public methods.

    The decorated functions raise ``ConfigError`` if an argument is of a type that its annotation
    does not allow. ``Annotated[bool, "advice"]`` adds advice to the message.
    """
    if not isinstance(target, type):
        function: T = _checked(target)
        return function
    for name, member in list(vars(target).items()):
        if name == "__init__" or not name.startswith("_"):
            if inspect.isfunction(member):
                setattr(target, name, _checked(member))
            elif isinstance(member, classmethod):
                setattr(target, name, classmethod(_checked(member.__func__)))
    return target


def _checked(function: Any) -> Any:
    @functools.cache  # when it is called, all names in annotations are known
    def declaration() -> tuple[inspect.Signature, dict[str, Any]]:
        return inspect.signature(function), get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def run(*args: Any, **named: Any) -> Any:
        signature, hints = declaration()
        try:
            given = signature.bind(*args, **named).arguments
        except TypeError:  # Python itself says what is missing or too much
            return function(*args, **named)
        for name, value in given.items():
            _check(signature.parameters[name], value, hints.get(name, Any))
        return function(*args, **named)

    return run


def _check(parameter: inspect.Parameter, value: Any, hint: Any) -> None:
    if parameter.kind is parameter.VAR_KEYWORD:
        return
    advice = ""
    if get_origin(hint) is Annotated:
        hint, text = get_args(hint)
        advice = f"; {text}"
    for item in value if parameter.kind is parameter.VAR_POSITIONAL else (value,):
        if not fits(item, hint):
            reason = f"is {_shown(item)}: it must be {wanted(hint)}{advice}"
            raise ConfigError(reason, setting=parameter.name)


def fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of a type that the annotation ``hint`` allows, as far as is easily seen.

    The choices of a ``Literal`` are left to whoever takes them.
    """
    if type(value) is hint:  # which is most of the work where there are many
        return True
    hint = _spelled_out(hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any or origin is Literal:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in args)
    if origin is not None:
        return _fits_generic(value, origin, args)
    if not isinstance(hint, type):
        return True
    if getattr(hint, "_is_protocol", False):
        return all(callable(getattr(value, name, None)) for name in _methods(hint))
    if isinstance(value, bool):
        return hint in (bool, object)
    return isinstance(value, _ACCEPTED.get(hint, hint))


def _fits_generic(value: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    if origin.__name__ == "Callable":
        return callable(value)
    if not isinstance(value, _ACCEPTED.get(origin, origin)):
        return False
    if hasattr(value, "dtype") and len(args) == 2:  # NumPy's arrays: shape, dtype
        [kind] = get_args(args[1])
        return kind is Any or issubclass(value.dtype.type, get_origin(kind) or kind)
    if not isinstance(value, (list, tuple, str, bytes)) or not args:
        return True
    if origin is tuple and args[-1] is not ...:
        return len(value) == len(args) and all(map(fits, value, args))
    return all(fits(item, args[0]) for item in value[:FIRST])


def wanted(hint: Any) -> str:
    """The types that an annotation allows, in words: ``str, Path or None``."""
    hint = _spelled_out(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        *most, last = [wanted(part) for part in args]
        return f"{', '.join(most)} or {last}"
    if origin is not None and origin.__name__ == "Callable":
        return "a function"
    if origin is not None and origin.__name__ == "ndarray":
        return "a NumPy array" + (" of whole numbers" if "integer" in str(args[-1]) else "")
    if getattr(hint, "_is_protocol", False):
        return f"an object with the methods {', '.join(_methods(hint))}"
    if hint is NoneType:
        return "None"
    if origin is None and isinstance(hint, type):
        return hint.__name__
    return re.sub(r"\b(collections\.abc|typing|pathlib)\.", "", str(hint))


def _spelled_out(hint: Any) -> Any:
    """The type that a ``type`` alias stands for, as NumPy's ``NDArray`` is one from 2.5 on."""
    while hasattr(alias := get_origin(hint) or hint, "__value__"):
        hint = alias.__value__[get_args(hint)] if get_args(hint) else alias.__value__
    return hint


def _methods(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


def _shown(value: Any) -> str:
    if isinstance(value, _PLAIN):
        return reprlib.repr(value)
    if hasattr(value, "dtype"):
        return f"an array of {value.dtype}"
    return f"of type {type(value).__name__}"


def plain(value: Any) -> Any:
    """A number of NumPy's as one of Python's own; anything else as it is."""
    is_number = isinstance(value, numbers.Number) and hasattr(value, "item")
    return value.item() if is_number else value


def check_known(
    names: Iterable[str],
    options: Sequence[Option],
    others: Sequence[str] = (),
    what: str = "setting",
) -> None:
    """Check that every name is that of an option, or one of ``others``.

    Raises:
        ConfigError: one is not; its hint names what may have been meant. An option's flag counts
            as another word for it.

    """
    known = [*others, *(option.name for option in options)]
    words = {_word(flag): o.name for o in options for flag in (*o.flag.split("/"), *o.aliases)}
    words |= {name: name for name in known}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(_word(name), words, n=2)
            meant = [words[_word(name)]] if _word(name) in words else [words[word] for word in near]
            choices = " or ".join(f"{{{word}}}" for word in dict.fromkeys(meant))
            hint = f"did you mean {choices}?" if meant else f"choose from {', '.join(known)}"
            raise ConfigError(f"unknown {what} {name!r}", hint)


def _word(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()
