"""The register of sampling filters: how one is declared, and what it can look at.

``charrnn.generation.filters`` has the filters themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from charrnn.errors import ConfigError
from charrnn.settings import Option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.text.splits import Range
    from charrnn.text.vocab import Ids, Vocab

    Training: TypeAlias = Callable[[], tuple[Ids, tuple[Range, ...]]]
    Weights: TypeAlias = NDArray[np.float32]

Function = TypeVar("Function", bound=Callable[..., Any])


class Context:
    """What a filter can look at besides the weights: the vocabulary and the texts so far.

    N streams that an engine advances together share one, from their first character to their last.
    It exists only if some active filter is not ``compiled``.

    Attributes:
        vocab: the vocabulary.
        prime: ids ``(P,)`` of the text that all streams continue; may be empty.
        length: the characters that each stream will draw at most; 0 if there is no bound.
        ends: the id of the line feed if it ends a text: no filter may forbid it as a side effect.
        reverse: whether texts are drawn from their ends.
        training: returns the ids of the text that the network learned, and the ranges it read.
        memo: where a filter can keep what it computes (a mask, an index of the texts) under its
            own name. A filter may be called several times for the same character, so update this
            to the length of ``texts`` rather than once per call.
        shared: what filters have prepared (``sampling_filter``) for all streams, by their names.
    """

    def __init__(
        self,
        vocab: Vocab,
        prime: Ids,
        streams: int,
        *,
        length: int = 0,
        ends: tuple[int, ...] = (),
        reverse: bool = False,
        training: Training | None = None,
        shared: dict[str, Any] | None = None,
    ) -> None:
        import numpy as np

        self.vocab, self.prime = vocab, prime
        self.length, self.ends, self.reverse, self.training = length, ends, reverse, training
        self.memo: dict[str, Any] = {}
        self.shared: dict[str, Any] = {} if shared is None else shared
        self._texts, self._length = np.empty((streams, 64), np.int32), 0

    @property
    def texts(self) -> NDArray[np.int32]:
        """Ids ``(N, t)``: the t characters that each stream has drawn, without the prime."""
        return self._texts[:, : self._length]

    def last(self, count: int, drawn: int | None = None) -> NDArray[np.int32] | None:
        """The last ``count`` characters ``(N, count)`` of each text, prime included.

        ``drawn`` says how many of the drawn characters count (default: all). None if a text has
        fewer.
        """
        import numpy as np

        texts = self.texts[:, :drawn]
        own = texts[:, max(texts.shape[1] - count, 0) :]
        missing = count - own.shape[1]
        if missing > len(self.prime):
            return None
        before = self.prime[len(self.prime) - missing :].astype(np.int32)
        return np.concatenate([np.tile(before, (len(own), 1)), own], axis=1)

    def append(self, ids: Ids) -> None:
        """Add the characters ``ids (N,)``, one for each stream."""
        import numpy as np

        if self._length == self._texts.shape[1]:
            self._texts = np.concatenate([self._texts, np.empty_like(self._texts)], axis=1)
        self._texts[:, self._length] = ids
        self._length += 1

    def prepared(self, name: str, value: Any) -> Any:
        """What the filter ``name`` prepares for ``value``, once for all streams."""
        if name not in self.shared:
            prepare = FILTERS[name].prepare
            self.shared[name] = None if prepare is None else prepare(value, self)
        return self.shared[name]

    def forward(self, name: str) -> Context:
        """The context itself, for a filter ``name`` that follows texts from left to right.

        Raises:
            ConfigError: they are drawn from right to left.

        """
        if self.reverse:
            raise ConfigError("needs a model that reads from left to right", setting=name)
        return self


@dataclass(frozen=True)
class Filter:
    """A registered filter: ``apply`` with its declaration (see ``sampling_filter``)."""

    apply: Callable[[Weights, Any, Any], Weights]
    option: Option
    compiled: bool
    prepare: Callable[[Any, Context], Any] | None = None

    @property
    def name(self) -> str:
        """Its name, which is also the name of its setting."""
        return self.option.name

    @property
    def off(self) -> Any:
        """The value that disables it."""
        return self.option.default


# in the order in which they apply
FILTERS: dict[str, Filter] = {}
_reserved: set[str] = set()


def reserve(names: Iterable[str]) -> None:
    """Allow no filter that is called like an attribute of ``SampleConfig``.

    Raises:
        ValueError: one is registered already.
    """
    _reserved.update(names)
    for name in FILTERS:
        _check_free(name)


def _check_free(name: str) -> None:
    if name in _reserved:
        raise ValueError(f"a sampling filter cannot be called {name!r}: SampleConfig has that name")


def sampling_filter(
    *,
    off: Any,
    help: str,
    compiled: bool = False,
    prepare: Callable[[Any, Context], Any] | None = None,
    **declaration: Any,
) -> Callable[[Function], Function]:
    """Register a function as a filter; its name is also that of its setting and flag.

    The function takes weights ``p (N, V)``, float32 of at least 0 that need not sum to 1; the value
    of its setting; and a ``Context``. It returns weights of the same shape, and may change ``p`` in
    place. A row's result must not depend on the other rows, so that a sample does not depend on
    the samples drawn with it.

    At temperature 0 the likeliest character has weight 1 and all others 0. If a filter forbids
    every character of a row that has any weight, the weights are computed again without these
    characters; it is an error only if the whole vocabulary is forbidden.

    Args:
        off: the value that disables the filter, its default. Its type is that of the setting: bool,
            int, float, str or a tuple of str.
        help: a sentence for `the help of the command line`.
        compiled: whether the compiled draw knows a filter of this name. Such a filter never
            forbids the likeliest character and gets no context.
        prepare: makes of the value and a context without texts what the function needs for all
            streams (``context.prepared``), and raises an error if the value cannot be used. It is
            called before anything is drawn.
        declaration: further attributes of its ``charrnn.settings.Option``, such as ``low``,
            ``high``, ``above``, ``below``, ``choices`` and ``metavar``.

    Raises:
        ValueError: the name is taken, by a filter or by an attribute of ``SampleConfig``.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        if name in FILTERS:
            raise ValueError(f"a sampling filter called {name!r} is registered already")
        _check_free(name)
        repeated = isinstance(off, tuple)
        kind = str if repeated else type(off)
        option = Option(
            name=name, kind=kind, default=off, help=help, repeated=repeated, **declaration
        )
        FILTERS[name] = Filter(function, option, compiled, prepare)
        return function

    return register
