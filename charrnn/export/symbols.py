"""How a text is cut into symbols of several characters, for an engine that has no such expressions.

Other languages have other expressions: in JavaScript a word has ASCII letters only. So an engine
gets the program that ``charrnn.text.expressions`` makes, with each set of characters spelled out.
Only characters of the vocabulary matter, because a text with any other cannot be read at all.
"""

from __future__ import annotations

import re
from typing import Any

from charrnn.text.automaton import LINE_ENDS, LONGEST
from charrnn.text.expressions import compiled, leaves
from charrnn.text.vocab import Vocab


def cutting(vocab: Vocab) -> dict[str, Any] | None:
    """The program of the vocabulary's expression as JSON values; None if it has none.

    ``steps`` are those of ``charrnn.text.expressions.Step``, ``leaves`` the characters that each
    kind of leaf matches, ``longest`` the most characters of a match.
    """
    if not vocab.expression:
        return None
    program = compiled(vocab.expression)
    known = sorted({*map(chr, vocab.codes), *"".join(vocab.long)} - {*LINE_ENDS})
    kinds = {leaf: index for index, leaf in enumerate(leaves(program))}
    matchers = [re.compile(leaf, program.flags).fullmatch for leaf in kinds]
    return {
        "steps": [
            {"leaf": kinds[step.leaf]} if step.leaf else {"then": list(step.then)}
            for step in program.steps
        ],
        "leaves": ["".join(filter(match, known)) for match in matchers],
        "longest": LONGEST,
    }
