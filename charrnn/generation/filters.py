"""Sampling filters: a chain of functions on the weights of the next character.

A filter is one function in this file and its declaration:

    @sampling_filter(off=False, help="Write no vowels.")
    def no_vowels(p: Weights, value: bool, context: Context) -> Weights:
        import numpy as np

        p[:, np.isin(context.vocab.codes, [ord(vowel) for vowel in "aeiou"])] = 0
        return p

Nothing else needs to change: ``SampleConfig(no_vowels=True)`` validates its value, ``charrnn
sample`` has ``--no-vowels``, and every engine applies it. The compiled draw knows only filters
that are declared ``compiled``; with any other, the compiled engine returns logits, and NumPy
filters and draws. ``python -m charrnn.cli.reference > charrnn/cli/README.md`` updates the option
reference.

Filters apply after the temperature, in the order of this file. A filter that forbids characters
belongs above those that keep the likeliest, so that these choose among the allowed characters.

The command line lists filters in its help, which must not wait for NumPy: import NumPy inside the
functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from charrnn.model_config import MAX_VOCABULARY
from charrnn.settings import Option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.text.vocab import Ids, Vocab

    Weights: TypeAlias = NDArray[np.float32]

# top-p tries this many of the likeliest characters before it sorts them all
TOP_P_CANDIDATES = 64

Function = TypeVar("Function", bound=Callable[..., Any])


class Context:
    """What a filter can look at besides the weights: the vocabulary and the texts so far.

    N streams that an engine advances together share one, from their first character to their last.
    It exists only if some active filter is not ``compiled``.

    Attributes:
        vocab: the vocabulary.
        prime: ids ``(P,)`` of the text that all streams continue; empty if there is none.
        memo: where a filter can keep what it computes (a mask, an index of the texts) under its
            own name. A filter may be called several times for the same character, so update this
            to the length of ``texts`` rather than once per call.
    """

    def __init__(self, vocab: Vocab, prime: Ids, streams: int) -> None:
        import numpy as np

        self.vocab, self.prime = vocab, prime
        self.memo: dict[str, Any] = {}
        self._texts, self._length = np.empty((streams, 64), np.int32), 0

    @property
    def texts(self) -> NDArray[np.int32]:
        """Ids ``(N, t)``: the t characters that each stream has drawn, without the prime."""
        return self._texts[:, : self._length]

    def append(self, ids: Ids) -> None:
        """Add the characters ``ids (N,)``, one for each stream."""
        import numpy as np

        if self._length == self._texts.shape[1]:
            self._texts = np.concatenate([self._texts, np.empty_like(self._texts)], axis=1)
        self._texts[:, self._length] = ids
        self._length += 1


@dataclass(frozen=True)
class Filter:
    """A registered filter: ``apply`` with its declaration (see ``sampling_filter``)."""

    apply: Callable[[Weights, Any, Any], Weights]
    option: Option
    compiled: bool

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
        help: a sentence for ``charrnn sample --help``.
        compiled: whether the compiled draw knows a filter of this name. Such a filter never
            forbids the likeliest character and gets no context.
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
        FILTERS[name] = Filter(function, option, compiled)
        return function

    return register


@sampling_filter(
    off=0,
    help="Sample from the K likeliest characters only; 0 disables it.",
    low=0,
    high=MAX_VOCABULARY,
    metavar="K",
    compiled=True,
)
def top_k(p: Weights, k: int, context: object) -> Weights:
    """Keep the ``k`` likeliest characters; of equally likely ones, those with the lowest ids."""
    import numpy as np

    V = p.shape[-1]
    if k >= V:
        return p
    least = np.partition(p, V - k, axis=-1)[:, V - k, None]
    return _keep_largest(p, least, np.full((len(p), 1), k))


@sampling_filter(
    off=1.0,
    help="Sample from the fewest likeliest characters whose probabilities add up to P; 1 disables "
    "it.",
    above=0,
    high=1,
    metavar="P",
    compiled=True,
)
def top_p(p: Weights, share: float, context: object) -> Weights:
    """Keep the fewest likeliest characters that hold ``share`` of the weight (nucleus sampling).

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
    """
    import numpy as np

    V = p.shape[-1]
    wanted = share * p.sum(axis=-1, keepdims=True, dtype=np.float64)  # (N, 1)
    for size in (min(TOP_P_CANDIDATES, V), V):
        likeliest = p if size == V else np.partition(p, V - size, axis=-1)[:, V - size :]
        likeliest = -np.sort(-likeliest, axis=-1)  # descending
        mass = np.cumsum(likeliest, axis=-1, dtype=np.float64)
        if size == V or (mass[:, -1:] >= wanted).all():
            break
    # the character that reaches the share is the last one kept
    kept = np.minimum((mass < wanted).sum(axis=-1, keepdims=True) + 1, size)
    return _keep_largest(p, np.take_along_axis(likeliest, kept - 1, axis=-1), kept)


@sampling_filter(
    off=0.0,
    help="Ignore characters less than P times as likely as the likeliest; 0 disables it.",
    low=0,
    high=1,
    metavar="P",
    compiled=True,
)
def min_p(p: Weights, share: float, context: object) -> Weights:
    """Keep the characters that have at least ``share`` of the likeliest one's weight.

    Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling", 2024.
    """
    import numpy as np

    p[p < np.float32(share) * p.max(axis=-1, keepdims=True)] = 0
    return p


def _keep_largest(p: Weights, least: NDArray[Any], kept: NDArray[Any]) -> Weights:
    """Zero all but the ``kept (N, 1)`` largest of each row of ``p (N, V)``, in place.

    ``least (N, 1)`` is the smallest value to keep; of equal values the lowest ids stay.
    """
    import numpy as np

    above, equal = p > least, p == least
    room = kept - above.sum(axis=-1, keepdims=True)
    p[~(above | (equal & (np.cumsum(equal, axis=-1) <= room)))] = 0
    return p
