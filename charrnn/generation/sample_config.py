"""Sampling settings, frozen and validated. Imports only the standard library."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

from charrnn.arguments import check_known, checked, plain
from charrnn.config import RANDOM_SEED, Unknown
from charrnn.errors import ConfigError
from charrnn.generation.filters import FILTERS, Filter, reserve
from charrnn.settings import MAX_INT64, check_declared, declared, setting


@checked
@dataclass(frozen=True, init=False)
class SampleConfig:
    """How characters are drawn.

    ``SampleConfig(temperature=0.7, top_k=40)``: besides the settings below, every registered
    filter is a keyword argument, and ``config.top_k`` is its value.

    Args:
        filters: pairs (name, value), for example those of another configuration.
        settings: settings and filters by name; they override ``filters``.

    Attributes:
        filters: the active filters, as pairs (name, value) in the order in which they apply.

    Raises:
        ConfigError: a name is unknown or a value is out of range.
    """

    temperature: float = setting(
        0.8,
        flag="--temp",
        low=0,
        help="Randomness: 0 always picks the likeliest character, 1 samples from the learned "
        "distribution.",
    )
    length: int = setting(
        1000,
        aliases=("-n",),
        low=0,
        high=MAX_INT64,
        help="Characters per sample, such as 500, 64k or 1e6; 0 never ends.",
    )
    stop: tuple[str, ...] = setting(
        (), low=1, help="End a sample before this text; may be given several times."
    )
    keep_stop: bool = setting(
        False, needs=("stop",), help="With --stop: keep the stop text at the end of the sample."
    )
    sentences: int = setting(
        0, low=0, high=MAX_INT64, help="End a sample after N sentences; 0 sets no limit."
    )
    count: int = setting(1, low=1, high=MAX_INT64, help="Number of samples.")
    seed: int = setting(
        0,
        low=0,
        high=MAX_INT64,
        unset=RANDOM_SEED,
        help="Random seed; sample i depends only on the seed and i.",
    )
    unknown: Unknown = setting(
        "error",
        help="What to do with characters that are not in the vocabulary: error rejects the text, "
        "skip drops them, replace turns them into spaces.",
    )
    final_temperature: float | None = setting(
        None,
        low=0,
        python_only=True,
        help="Randomness of the last character, if it changes over the length of a sample.",
    )
    filters: tuple[tuple[str, Any], ...] = ()

    def __init__(self, *, filters: Iterable[tuple[str, Any]] = (), **settings: Any) -> None:
        options = *declared(SampleConfig), *(filter.option for filter in FILTERS.values())
        check_known(settings, options, what="sampling setting")
        settings = {name: plain(value) for name, value in settings.items()}
        own = {o.name: settings.pop(o.name, o.default) for o in declared(SampleConfig)}
        # __setattr__ is disabled in a frozen class
        self.__dict__.update(own, filters=_active(dict(filters) | settings))
        check_declared(self)

    def __getattr__(self, name: str) -> Any:
        """The value of the filter ``name``; if it is off, the value that disables it."""
        if name in FILTERS:
            return dict(self.filters).get(name, FILTERS[name].off)
        raise AttributeError(f"SampleConfig has no setting {name!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; every filter is there, also those that are off."""
        own = {option.name: getattr(self, option.name) for option in declared(SampleConfig)}
        return own | {name: getattr(self, name) for name in FILTERS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration with the settings and filters in ``values``.

        Raises:
            ConfigError: a name is unknown or a value is out of range.

        """
        return cls(**values)

    @property
    def chain(self) -> tuple[tuple[Filter, Any], ...]:
        """The active filters and their values, in the order in which they apply."""
        return tuple((FILTERS[name], value) for name, value in self.filters)

    @property
    def compiled(self) -> bool:
        """Whether the compiled draw knows every active filter."""
        return all(FILTERS[name].compiled for name, _ in self.filters)

    def at(self, place: int) -> Self:
        """The configuration with the temperature of the character ``place`` of a sample."""
        if self.final_temperature is None:
            return self
        part = min(place / max(self.length - 1, 1), 1.0)
        there = copy(self)  # without validation: a number between two that are valid
        change = self.final_temperature - self.temperature
        there.__dict__.update(temperature=self.temperature + part * change, final_temperature=None)
        return there


reserve(dir(SampleConfig))


def _active(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The active filters among ``values``, validated, in the order in which they apply."""
    for name in values:
        if name not in FILTERS:
            raise ConfigError(f"unknown filter {name!r}", f"choose from {', '.join(FILTERS)}")
    given = [(filter, values[name]) for name, filter in FILTERS.items() if name in values]
    for filter, value in given:
        filter.option.check(value)
    return tuple((filter.name, value) for filter, value in given if value != filter.off)
