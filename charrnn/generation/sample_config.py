"""How characters are drawn, as frozen, validated settings. The standard library alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, get_args

from charrnn.config import SEED_LIMIT, Unknown, check, check_choice, check_real, check_whole
from charrnn.errors import ConfigError
from charrnn.generation.filters import FILTERS, Filter


@dataclass(frozen=True, init=False)
class SampleConfig:
    """How characters are drawn.

    ``SampleConfig(temperature=0.7, top_k=40)``: besides the settings below, every registered
    filter is a keyword, and ``config.top_k`` is its value.

    Args:
        temperature: logits are divided by it; 0 takes the likeliest character.
        length: characters in a sample; 0: endless.
        stop: a sample ends before the first of these texts.
        count: samples, 1 to 100,000.
        seed: sample i draws from a generator seeded with (seed, i).
        unknown: what to do about characters of the prime that the vocabulary lacks.
        filters: pairs (name, value); of another configuration, for instance.
        values: further filters by name. They win over ``filters``.

    Attributes:
        filters: those that are on, as pairs (name, value) in the order in which they apply.

    Raises:
        ConfigError: a name is unknown or a value is out of range.
    """

    temperature: float
    length: int
    stop: tuple[str, ...]
    count: int
    seed: int
    unknown: Unknown
    filters: tuple[tuple[str, Any], ...]

    def __init__(
        self,
        *,
        temperature: float = 0.8,
        length: int = 1000,
        stop: tuple[str, ...] = (),
        count: int = 1,
        seed: int = 0,
        unknown: Unknown = "error",
        filters: Iterable[tuple[str, Any]] = (),
        **values: Any,
    ) -> None:
        check_real("temperature", temperature, True, "a finite number")
        check_real("temperature", temperature, temperature >= 0, "at least 0")
        check_whole("length", length, 0, SEED_LIMIT - 1)
        check(isinstance(stop, tuple), "stop", stop, "a tuple of texts")
        for text in stop:
            good = isinstance(text, str) and text != ""
            check(good, "stop", text, "a text of at least one character")
        check_whole("count", count, 1, 100_000)
        check_whole("seed", seed, 0, SEED_LIMIT - 1)
        check_choice("unknown", unknown, get_args(Unknown))
        # the way around a frozen class's __setattr__
        self.__dict__.update(
            temperature=temperature, length=length, stop=stop, count=count, seed=seed,
            unknown=unknown, filters=_active(dict(filters) | values),
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        """The value of the filter ``name``; that which turns it off where none was given."""
        if name in FILTERS:
            return dict(self.filters).get(name, FILTERS[name].off)
        raise AttributeError(f"SampleConfig has no setting {name!r}")

    @property
    def chain(self) -> tuple[tuple[Filter, Any], ...]:
        """The filters that are on and their values, in the order in which they apply."""
        return tuple((FILTERS[name], value) for name, value in self.filters)

    @property
    def compiled(self) -> bool:
        """Whether the compiled draw knows every filter that is on."""
        return all(FILTERS[name].compiled for name, _ in self.filters)


def _active(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The pairs of ``values`` that filter anything, validated, in the order of the chain."""
    for name in values:
        if name not in FILTERS:
            known = [field.name for field in fields(SampleConfig) if field.name != "filters"]
            choices = ", ".join([*known, *FILTERS])
            raise ConfigError(f"unknown sampling setting {name!r}", f"choose from {choices}")
    given = [(filter, values[name]) for name, filter in FILTERS.items() if name in values]
    for filter, value in given:
        filter.check(value)
    return tuple((filter.name, value) for filter, value in given if value != filter.off)
