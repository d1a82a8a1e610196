"""The shape of a network: its settings, those of its cell among them, and what they imply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charrnn import cells
from charrnn.arguments import checked
from charrnn.cells.base import MAX_WIDTH as MAX_WIDTH
from charrnn.errors import CheckpointError, ConfigError
from charrnn.settings import NOTHING, Option, Settings, check, declared, setting

MAX_VOCABULARY = 65_535
MAX_LAYERS = 8
_LATER = frozenset({"reverse", "bidirectional"})  # settings that version 0.1 lacks
FROM_BUDGET = "chosen from the corpus and the time budget"


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The shape of a network: embedding (V, E) → L recurrent layers of H → head (V).

    With ``sum_layers`` the head reads the sum of all layers' outputs instead of the last layer's.
    With ``reverse`` the network reads from right to left. With ``bidirectional`` it has a second
    stack of layers that reads from right to left, and the head reads what both stacks put out, side
    by side: it names a character from those before and those after it.
    ``cell_options`` are the values of settings that the cell alone has: a dictionary, or pairs
    (name, value). Those that are missing get their defaults, and all are kept as pairs.
    """

    vocab_size: int = setting(
        low=1, high=MAX_VOCABULARY, python_only=True, help="Number of symbols in the vocabulary."
    )
    cell: str = setting("lstm", choices=cells.names, metavar="CELL", help="Type of recurrent cell.")
    embedding: int = setting(
        128, low=1, high=MAX_WIDTH, unset="chosen from --size", help="Width of the embedding."
    )
    hidden: int = setting(
        512,
        flag="--size",
        low=1,
        high=MAX_WIDTH,
        unset=FROM_BUDGET,
        help="Hidden units per layer.",
    )
    layers: int = setting(2, low=1, high=MAX_LAYERS, help="Number of recurrent layers.")
    sum_layers: bool = setting(
        False,
        flag="--sum-layers/--last-layer",
        unset="the sum of all layers",
        help="Feed the output layer the sum of all layers, or only the last layer.",
    )
    cell_options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()
    reverse: bool = setting(
        False,
        absent=False,
        excludes=("lines",),
        help="Read the text from its end to its beginning: predict each character from those "
        "after it.",
    )
    bidirectional: bool = setting(
        False,
        absent=False,
        excludes=("reverse", "lines"),
        help="Predict each character from both its sides, with layers in each direction; such a "
        "network fills gaps.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given, own = dict(self.cell_options), cells.get(self.cell).options
        for name in sorted(given.keys() - {option.name for option in own}):
            raise self._foreign(name)
        pairs = []
        for option in own:
            value = given.get(option.name, option.default)
            value = tuple(value) if isinstance(value, list) else value  # JSON has lists alone
            option.check(value)
            pairs.append((option.name, value))
        object.__setattr__(self, "cell_options", tuple(pairs))  # the dataclass is frozen
        least = self.definition.least_hidden
        wanted = f"a whole number of at least {least} for this {self.cell} network"
        check(self.hidden >= least, "hidden", self.hidden, wanted)
        if self.bidirectional:
            self._check_bidirectional()

    def _check_bidirectional(self) -> None:
        """Check that a network of these settings can have two stacks of layers.

        Raises:
            ConfigError: it cannot.

        """
        if self.reverse:
            reason = "reads in both directions"
            raise ConfigError(reason, "omit {reverse}", setting="bidirectional")
        if self.definition.after_head is not None:
            reason = f"needs another cell: each step of {self.cell} reads the head's last output"
            raise ConfigError(reason, "choose another {cell}", setting="bidirectional")
        most = MAX_LAYERS // 2
        wanted = f"at most {most} for a bidirectional network, which has as many in each direction"
        check(self.layers <= most, "layers", self.layers, wanted)
        most = MAX_VOCABULARY - 1  # one more stands for what is not known
        wanted = f"at most {most:,} for a bidirectional network"
        check(self.vocab_size <= most, "vocab_size", self.vocab_size, wanted)

    def _foreign(self, name: str) -> ConfigError:
        """The error of an option that this cell does not have."""
        owners = cells.owners(name)
        hint = "omit it, or choose {cell}" if owners else "omit it"
        reason = f"is not a setting of the cell {self.cell}"
        return ConfigError(reason, hint, setting=name, cell=owners[0] if owners else None)

    def check_causal(self, wish: str) -> None:
        """Check that the network reads in one direction, which it must to do what ``wish`` says.

        Raises:
            CheckpointError: it is bidirectional.

        """
        if self.bidirectional:
            message = f"the network reads both sides of a character: it cannot {wish}"
            raise CheckpointError(message, "{fill()} fills gaps with it")

    @property
    def options(self) -> tuple[Option, ...]:
        """The declarations of its settings, those of the cell among them."""
        return *declared(ModelConfig), *cells.get(self.cell).options

    def value(self, name: str) -> Any:
        """The value of the setting ``name``, which may be one of the cell's."""
        own = dict(self.cell_options)
        return own[name] if name in own else getattr(self, name)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; those of the cell stand beside the others."""
        values = {option.name: self.value(option.name) for option in self.options}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    def to_file(self) -> dict[str, Any]:
        """The settings for a file: without those that version 0.1 lacks, where they are off.

        So that version still reads the networks that it can run, and refuses all others.
        """
        return {n: v for n, v in self.to_dict().items() if n not in _LATER or v}

    @classmethod
    @checked
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings from ``values``, as ``to_dict`` returns them.

        Raises:
            ConfigError: a name is unknown, a setting without a default is missing, or a value is
                invalid.

        """
        of_cells = {option.name for option in cells.options()} & values.keys()
        own = {name: value for name, value in values.items() if name not in of_cells}
        if "cell_options" in own:
            raise ConfigError(f"{cls.__name__}: unknown setting 'cell_options'")
        return super().from_dict(own | {"cell_options": {name: values[name] for name in of_cells}})

    @property
    def definition(self) -> cells.Cell:
        """The recurrent cell that ``cell`` names, for this vocabulary and the cell's options."""
        return cells.configured(self.cell, self.vocab_size, dict(self.cell_options))

    @property
    def direction(self) -> str:
        """How it reads, in a word, if not from left to right."""
        return "bidirectional" if self.bidirectional else "reverse" if self.reverse else ""

    @property
    def stacks(self) -> tuple[str, ...]:
        """What the names of the layers' weights begin with, for each stack of layers."""
        return ("layers", "backward") if self.bidirectional else ("layers",)

    @property
    def output_width(self) -> int:
        """Width of a layer's output."""
        return self.definition.output_width(self.hidden)

    @property
    def features(self) -> int:
        """Width of the head's input."""
        return self.output_width * len(self.stacks)

    @property
    def state_widths(self) -> dict[str, int]:
        """Name and width of each part of a layer's recurrent state."""
        return self.definition.state_widths(self.hidden)

    @property
    def cycle(self) -> int:
        """The number of characters after which the cell's clocks repeat; 1 without clocks."""
        return math.lcm(*self.definition.cycles.values())

    def layer_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter of recurrent layer ``layer`` (from 0)."""
        inputs = self.embedding if layer == 0 else self.output_width
        return self.definition.parameters(inputs, self.hidden)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight, in the order in which they are stored.

        ``embedding.weight (V, E)``; ``layers.LAYER.NAME`` for each layer and each parameter that
        the cell declares, and then ``backward.LAYER.NAME`` if it has layers that read from right to
        left; ``head.weight (V, features)``, ``head.bias (V,)``.
        """
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocab_size, self.embedding)}
        for stack in self.stacks:
            for layer in range(self.layers):
                for name, shape in self.layer_shapes(layer).items():
                    shapes[f"{stack}.{layer}.{name}"] = shape
        shapes["head.weight"] = (self.vocab_size, self.features)
        shapes["head.bias"] = (self.vocab_size,)
        return shapes

    @property
    def parameters(self) -> int:
        """Number of weights in the network, without those that are always 0."""
        unused = len(self.stacks) * self.layers * self.definition.unused(self.hidden)
        return sum(math.prod(shape) for shape in self.shapes().values()) - unused

    def agrees(self, name: str, value: object) -> bool:
        """Whether ``value`` means what the setting ``name`` is; a cell may have several names."""
        if name == "cell" and value in cells.names():
            return cells.get(str(value)) is cells.get(self.cell)
        value = list(value) if isinstance(value, tuple) else value
        return bool(self.to_dict().get(name, NOTHING) == value)


def model_options() -> tuple[Option, ...]:
    """The declarations of all settings of a network, those of every cell among them."""
    return *declared(ModelConfig), *cells.options()
