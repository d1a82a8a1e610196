"""The networks that an experiment compares: the same sizes, one for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charrnn import cells
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError


def networks(
    names: Sequence[str], vocab_size: int, settings: Mapping[str, Any]
) -> dict[str, ModelConfig]:
    """A network for each of the cells ``names``, by these names.

    Args:
        names: the cells.
        vocab_size: V.
        settings: further fields of ``ModelConfig``. Those that only some cells have go to these.

    Raises:
        ConfigError: a setting is invalid, or none of the cells has it.

    """
    of_cells = {option.name for option in cells.options()}
    found = {}
    for name in names:
        own = {option.name for option in cells.get(name).options}
        fitting = {n: value for n, value in settings.items() if n not in of_cells - own}
        values = fitting | {"vocab_size": vocab_size, "cell": name}
        found[name] = ModelConfig.from_dict(values)
    used = {option.name for name in names for option in cells.get(name).options}
    for name in sorted(settings.keys() & of_cells - used):
        owner = cells.owners(name)[0]
        reason = f"is not a setting of {', '.join(names)}"
        raise ConfigError(reason, "omit it, or choose {cells}", setting=name, cells=owner)
    return found
