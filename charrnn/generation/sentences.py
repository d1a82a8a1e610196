"""Ends a text after so many sentences.

A sentence ends with ``.``, ``!``, ``?`` or ``…`` and the quotation marks and brackets that follow,
before white space and something other than a lowercase letter; and with ``。``, ``！`` or ``？``
before anything but such a mark. A full stop after a single capital letter, or after a title such as
Mr. or Dr., ends none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from charrnn.errors import ConfigError
from charrnn.text.vocab import Vocab

ENDS, WIDE_ENDS, CLOSING = ".!?…", "。！？", "\"'”’»)]}›」』"
# a name, not the end of a sentence, follows these
TITLES = "Mr Mrs Ms Messrs Mme Mlle Dr Prof St Rev Hon Capt Col Gen Lt Sgt vs"
_OPEN = re.compile(rf"(?:^|[^\w])(?:[^\W\d_a-z]|{'|'.join(TITLES.split())})\.$")
_MARK = re.compile(rf"[\s{re.escape(ENDS + WIDE_ENDS + CLOSING)}]")
LONGEST = max(map(len, TITLES.split())) + 2  # characters that ``_OPEN`` looks at


class SentenceStop:
    """Passes ids on until ``count`` sentences are complete; holds back what may follow the last.

    Args:
        vocab: the vocabulary.
        count: at least 1.

    Attributes:
        stopped: whether they are complete.

    Raises:
        ConfigError: a symbol of several characters may end a sentence, or has white space.

    """

    def __init__(self, vocab: Vocab, count: int) -> None:
        self._symbols = [*map(chr, vocab.codes), *vocab.long]
        if any(_MARK.search(symbol) for symbol in vocab.long):
            reason = "needs a model that has each full stop and each space as a symbol of its own"
            raise ConfigError(reason, setting="sentences")
        self._left, self.stopped = count, False
        self._tail = ""  # the last characters before the sentence's end
        self._ended = ""  # the kind of end that may be there: one of ``ENDS`` or ``WIDE_ENDS``
        self._held: list[int] = []  # white space after it

    def push(self, ids: Sequence[int]) -> list[int]:
        """Add ``ids``; return the ids, including earlier ones, that can be printed now."""
        out: list[int] = []
        for index in ids:
            if self.stopped:
                break
            out += self._one(index)
        return out

    def finish(self) -> list[int]:
        """End the text; return the ids held back, which are no part of a further sentence."""
        held, self._held = self._held, []
        return [] if self.stopped else held

    def _one(self, index: int) -> list[int]:
        symbol = self._symbols[index]
        if self._ended and self._is_over(symbol):
            self._left, self._ended = self._left - 1, ""
            if not self._left:
                self.stopped = True
                return []
        if self._ended and symbol.isspace():
            self._held.append(index)
            return []
        held, self._held = self._held, []
        if self._ended and (held or symbol not in ENDS + WIDE_ENDS + CLOSING):
            self._ended = ""
        self._tail = (self._tail + symbol)[-LONGEST:]
        if symbol in ENDS + WIDE_ENDS and not _OPEN.search(self._tail):
            self._ended = symbol
        return [*held, index]

    def _is_over(self, symbol: str) -> bool:
        """Whether ``symbol`` shows that the sentence has ended."""
        if self._ended in WIDE_ENDS:
            return symbol not in ENDS + WIDE_ENDS + CLOSING
        # a lowercase letter goes on with the sentence, and a full stop with an ellipsis
        goes_on = symbol.isspace() or symbol[0].islower() or symbol in ENDS
        return bool(self._held) and not goes_on
