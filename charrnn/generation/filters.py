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

from typing import TYPE_CHECKING, Any

from charrnn.errors import ConfigError
from charrnn.generation.filter_register import FILTERS, Context, Filter, reserve, sampling_filter
from charrnn.model_config import MAX_VOCABULARY
from charrnn.settings import MAX_INT64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from charrnn.generation.filter_register import Weights

__all__ = ["FILTERS", "Context", "Filter", "reserve", "sampling_filter"]

# top-p tries this many of the likeliest characters before it sorts them all
TOP_P_CANDIDATES = 64


def _allowed(characters: str, context: Context) -> Any:
    from charrnn.generation.constraints import marks_of

    marks = marks_of(context.vocab, characters, "allow")
    if not marks.any():
        raise ConfigError("has no character of the vocabulary", setting="allow")
    marks[list(context.ends)] = True
    return marks


@sampling_filter(
    off="",
    help="Write only these characters or symbols; a line end may still end a text.",
    metavar="CHARACTERS",
    prepare=_allowed,
)
def allow(p: Weights, characters: str, context: Context) -> Weights:
    """Keep ``characters`` only."""
    p[:, ~context.prepared("allow", characters)] = 0
    return p


def _banned(characters: str, context: Context) -> Any:
    from charrnn.generation.constraints import marks_of

    return marks_of(context.vocab, characters, "ban")


@sampling_filter(
    off="",
    help="Write none of these characters or symbols.",
    metavar="CHARACTERS",
    prepare=_banned,
)
def ban(p: Weights, characters: str, context: Context) -> Weights:
    """Drop ``characters``."""
    p[:, context.prepared("ban", characters)] = 0
    return p


def _word_ban(path: str, context: Context) -> Any:
    from charrnn.generation.constraints import WordBan, words_of

    return WordBan(context.forward("ban_words").vocab, words_of(path))


@sampling_filter(
    off="",
    help="Write none of the words in a file (one per line), in upper or lower case; longer words "
    "may contain them.",
    metavar="FILE",
    prepare=_word_ban,
)
def ban_words(p: Weights, path: str, context: Context) -> Weights:
    """Let no text have one of the words in the file ``path`` as a whole word."""
    from charrnn.generation.constraints import WordStates

    if "ban_words" not in context.memo:
        ban = context.prepared("ban_words", path)
        context.memo["ban_words"] = WordStates(ban, context)
    context.memo["ban_words"].forbid(p)
    return p


@sampling_filter(
    off=0,
    help="Write no run of N characters twice in a text; 0 disables it.",
    low=0,
    high=MAX_INT64,
)
def no_repeat(p: Weights, length: int, context: Context) -> Weights:
    """Let no run of ``length`` characters occur twice in a text, prime included.

    Source: Paulus et al., "A Deep Reinforced Model for Abstractive Summarization", 2018 (of words).
    """
    from charrnn.generation.constraints import Repetitions

    if "no_repeat" not in context.memo:
        context.memo["no_repeat"] = Repetitions(length, context)
    context.memo["no_repeat"].forbid(p)
    return p


def _copies(length: int, context: Context) -> Any:
    from charrnn.generation.constraints import CopyIndex

    training = context.forward("max_copy").training
    if training is None:
        raise ConfigError("needs the text that the network learned", setting="max_copy")
    ids, ranges = training()
    return CopyIndex(ids, ranges, length)


@sampling_filter(
    off=0,
    help="Copy at most N characters in a row from the training text; 0 disables it.",
    low=0,
    high=MAX_INT64,
    prepare=_copies,
)
def max_copy(p: Weights, length: int, context: Context) -> Weights:
    """Let no more than ``length`` characters in a row of a text be those of the training text."""
    context.prepared("max_copy", length).forbid(p, context)
    return p


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
