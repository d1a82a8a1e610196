"""Which records are accepted: settings, frozen and validated. Imports the standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.settings import MAX_INT64, Settings, setting

TRIES = 1000  # for each record that is wanted, unless ``max_tries`` is given


@dataclass(frozen=True)
class RecordConfig(Settings):
    """Which records are accepted. By default all are, but none that has no end.

    Raises:
        ConfigError: a value is invalid.
    """

    prefix: str = setting(
        "",
        excludes=("prime", "prime_file"),
        help="Begin each record with this text, which is printed, too.",
    )
    unique: bool = setting(False, help="Accept no record twice.")
    novel: bool = setting(False, help="Accept no record that is in the training text.")
    match: str | None = setting(
        None,
        low=1,
        metavar="REGEX",
        help="Accept only records that contain a match of this regular expression.",
    )
    max_tries: int | None = setting(
        None,
        low=1,
        high=MAX_INT64,
        unset="1,000 for each of --count",
        help="Give up after N records, accepted or not.",
    )

    @property
    def given(self) -> list[str]:
        """The names of the conditions that differ from their defaults."""
        return [o.name for o in self.options if self.value(o.name) != o.default]

    def __post_init__(self) -> None:
        super().__post_init__()
        if "\n" in self.prefix:
            raise ConfigError("has a line end, with which a record ends", setting="prefix")
        if self.match is not None:
            try:
                re.compile(self.match)
            except (re.error, RecursionError, OverflowError) as error:
                reason = f"is not a regular expression: {error}"
                raise ConfigError(reason, setting="match") from None
