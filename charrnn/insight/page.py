"""One HTML page that shows what a network learned, without scripts or references to other files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.file import Checkpoint
from charrnn.errors import counted
from charrnn.insight.findings import SHORTEST, Finding, find
from charrnn.insight.markup import escaped, table, visible
from charrnn.insight.memory import memory
from charrnn.insight.novelty import LENGTHS, Copies
from charrnn.insight.pictures import character_map, curves
from charrnn.insight.traces import Trace
from charrnn.insight.traits import traits
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.events import bits
from charrnn.training.rundir.metrics import MOST_NATS

EXCERPT = 1200  # characters in an excerpt of the text
STEP = 100  # excerpts of a text without lines start at multiples of it
OFTEN = 5  # occurrences in the text that a character needs for a place on the map
SURPRISES = (0.5, 1.5, 3.0, 5.0)  # nats at which the next shade starts
LEVELS = 4  # shades for the values of a unit, in each direction

_STYLE = """
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 14px/1.55 ui-monospace, monospace;
  border-left: 3px solid #ddd; padding-left: .8rem; }
.about { color: #666; }
td { padding: .1rem 1.5rem .1rem 0; } td + td { text-align: right; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: #555; } .rule { stroke: #e4e4e4; }
polyline { fill: none; stroke-width: 2; }
.line0 { stroke: #9a9a9a; } .dot0, svg .key0 { fill: #7a7a7a; }
.line1 { stroke: #0b6fb8; } .dot1, svg .key1 { fill: #0b6fb8; }
.line2 { stroke: #c2410c; } .dot2, svg .key2 { fill: #c2410c; }
.line3 { stroke: #15803d; } .dot3, svg .key3 { fill: #15803d; }
.unit0, svg .name0 { fill: #0b6fb8; } .unit1, svg .name1 { fill: #c2410c; }
.unit2, svg .name2 { fill: #15803d; } .unit3, svg .name3 { fill: #6b21a8; }
svg circle { fill-opacity: .6; }
svg .vowel { fill: #c2410c; font-weight: 600; } svg .letter { fill: #333; }
svg .capital { fill: #0b6fb8; } svg .digit { fill: #6b21a8; } svg .other { fill: #15803d; }
b { font-weight: 400; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media (max-width: 500px) { svg { font-size: 20px; } }
.s1 { background: #fdf3d8; } .s2 { background: #fbdca0; } .s3 { background: #f5a96b; }
.s4 { background: #e8694a; }
.p1 { background: #fde6d3; } .p2 { background: #fac49b; } .p3 { background: #f39a5c; }
.p4 { background: #e86f24; }
.n1 { background: #dcebf7; } .n2 { background: #aed3ee; } .n3 { background: #74b2e0; }
.n4 { background: #3c8fcd; }
"""


@dataclass(frozen=True)
class History:
    """Losses during training: pairs of characters read and nats per character."""

    train_nats: Sequence[tuple[float, float]] = ()
    val_nats: Sequence[tuple[float, float]] = ()


def page(
    name: str,
    checkpoint: Checkpoint,
    trace: Trace,
    history: History,
    copied: Mapping[str, Copies],
    source: str,
) -> str:
    """The page about ``checkpoint``.

    Args:
        name: the title.
        checkpoint: the network.
        trace: the network reading a text.
        history: the losses during training; empty if unknown.
        copied: what of the text, and then of other texts, occurs in the training part; empty if
            unknown.
        source: a description of the text.

    """
    symbols = list(checkpoint.vocab.symbols())
    kind = "symbol" if checkpoint.vocab.expression else "character"
    text = [symbols[index] for index in trace.ids]
    parts = [f"<h1>{escaped(name)}</h1>", _about(checkpoint)]
    parts += _learning(history)
    parts += _surprises(checkpoint.vocab, text, trace, source)
    parts += _copying(text, copied, kind)
    parts += _units(text, trace, kind)
    parts += memory(checkpoint, text, trace)
    parts += _characters(checkpoint, symbols, trace.ids, kind)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escaped(name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _about(checkpoint: Checkpoint) -> str:
    config, losses = checkpoint.config, checkpoint.about("losses")
    facts = [
        f"{config.cell} {config.layers} × {config.hidden}",
        f"{config.parameters:,} weights",
        counted(config.vocab_size, "symbol"),
    ]
    corpus = checkpoint.about("corpus").get("name")
    if isinstance(corpus, str):
        facts.append(f"trained on {corpus}")
    for part in ("val", "test"):
        value = losses.get(part)  # an untrusted file may hold anything
        if isinstance(value, float) and 0 <= value < MOST_NATS:
            facts.append(f"{part} {value:.4f} nats/char ({bits(value):.3f} bits)")
    return f'<p class="about">{escaped(" · ".join(facts))}</p>'


def _learning(history: History) -> list[str]:
    lines = {"training part": history.train_nats, "validation part": history.val_nats}
    drawing = curves("Losses", lines, "characters read", "nats/char")
    return ["<h2>How it learned</h2>", drawing] if drawing else []


def _surprises(vocab: Vocab, text: Sequence[str], trace: Trace, source: str) -> list[str]:
    start = excerpt(trace.nats, text)
    levels = np.digitize(np.nan_to_num(trace.nats), SURPRISES)
    marks = [f"s{level}" if level else "" for level in levels.tolist()]
    chars = vocab.widths[trace.ids[~np.isnan(trace.nats)]].sum()
    mean = float(np.nansum(trace.nats, dtype=np.float64) / chars)
    darker = "symbol" if vocab.expression else "character"
    return [
        "<h2>What surprised it</h2>",
        f'<p class="about">{escaped(source)}: {mean:.3f} nats/char. The darker a {darker}, '
        "the less the network expected it. This is the passage in which that varies most.</p>",
        _colored(text, marks, start),
    ]


def _copying(text: Sequence[str], copied: Mapping[str, Copies], kind: str) -> list[str]:
    heading = "<h2>What it copied</h2>"
    if not copied:
        return [heading, "<p>The corpus it was trained on is not available to compare with.</p>"]
    rows = [("length of a run", *copied)]
    rows += [
        (f"{length} or more", *(f"{each.shares[length]:.1%}" for each in copied.values()))
        for length in LENGTHS
    ]
    rows.append(("the longest", *(f"{each.length:,}" for each in copied.values())))
    own = next(iter(copied.values()))
    return [
        heading,
        f'<p class="about">How many of the {kind}s are in runs that occur word for word in the '
        f"training part. As many {kind}s of the validation part show how much the author "
        "repeats themselves. The longest such run in this text:</p>",
        f"<pre>{escaped(''.join(text[own.start : own.start + min(own.length, EXCERPT)]))}</pre>",
        table(rows),
    ]


def _units(text: Sequence[str], trace: Trace, kind: str) -> list[str]:
    known = traits(text)
    found = find(trace.units, known, trace.width)
    parts = [
        "<h2>What single units follow</h2>",
        '<p class="about">Each unit was chosen because it correlates with a trait in the first '
        "half of the text. Its correlation r is measured in the second half, shown here where the "
        "trait varies most. Orange: the value of the unit is positive; blue: negative.</p>",
    ]
    if len(text) < 2 * SHORTEST:
        parts.append(f"<p>The text is too short: {2 * SHORTEST} {kind}s are needed.</p>")
    elif not found:
        parts.append("<p>No unit follows any of the traits.</p>")
    return parts + [_unit(text, trace, finding, known[finding.trait]) for finding in found]


def _unit(text: Sequence[str], trace: Trace, finding: Finding, trait: NDArray[Any]) -> str:
    values = trace.units[:, finding.layer * trace.width + finding.unit].astype(np.float32)
    half = len(text) // 2
    start = half + excerpt(trait[half:], text[half:])
    shown = values[start : start + EXCERPT]
    shades = np.rint(values / max(float(np.abs(shown).max()), 1e-6) * LEVELS)
    marks = [
        f"{'p' if level > 0 else 'n'}{min(abs(level), LEVELS)}" if level else ""
        for level in shades.astype(int).tolist()
    ]
    title = (
        f"{finding.trait}: layer {finding.layer + 1}, unit {finding.unit + 1}, r = {finding.r:.2f}"
    )
    return f"<h3>{escaped(title)}</h3>{_colored(text, marks, start)}"


def _characters(checkpoint: Checkpoint, symbols: Sequence[str], ids: Ids, kind: str) -> list[str]:
    # embeddings of rare characters are still close to their random initial values
    known = np.flatnonzero(np.bincount(ids, minlength=len(symbols)) >= OFTEN)
    vectors = checkpoint.weights["embedding.weight"][known].astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    shown = [symbols[index] for index in known.tolist()]
    drawing = character_map(
        f"{kind.capitalize()}s", vectors, [_label(symbol) for symbol in shown], [*map(_kind, shown)]
    )
    if not drawing:
        return []
    return [
        f"<h2>How it sees the {kind}s</h2>",
        f'<p class="about">The directions of the embeddings of {kind}s that occur at least '
        f"{OFTEN} times in the text, in the plane in which they are furthest apart. Vowels are "
        "orange, other letters black, capitals blue, digits violet, all others green.</p>",
        drawing,
    ]


def _label(symbol: str) -> str:
    return {"\n": "⏎", " ": "␣"}.get(symbol) or visible(symbol)


def excerpt(values: NDArray[Any], text: Sequence[str]) -> int:
    """Where the passage of ``EXCERPT`` characters starts in which ``values`` vary most.

    If ``text`` has lines, it starts at the beginning of one.
    """
    last = max(len(text) - EXCERPT, 0)
    starts: Sequence[int] = [
        place for place in range(last + 1) if place == 0 or text[place - 1] == "\n"
    ]
    if len(starts) < last / EXCERPT:  # lines longer than the passage
        starts = range(0, last + 1, STEP)
    usable = np.nan_to_num(values.astype(np.float64))
    return max(starts, key=lambda start: float(usable[start : start + EXCERPT].std()))


def _colored(text: Sequence[str], marks: Sequence[str], start: int) -> str:
    stop = start + EXCERPT
    pairs = zip(text[start:stop], marks[start:stop], strict=True)
    return f"<pre>{''.join(_runs(pairs))}</pre>"


def _runs(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    for mark, run in groupby(pairs, key=lambda pair: pair[1]):
        marked = ("⏎\n" if mark and symbol == "\n" else symbol for symbol, _ in run)
        shown = escaped("".join(marked))
        yield f'<b class="{mark}">{shown}</b>' if mark else shown


def _kind(symbol: str) -> str:
    if symbol.isupper():
        return "capital"
    if symbol.lower() in tuple("aeiou"):
        return "vowel"
    if symbol.isalpha():
        return "letter"
    return "digit" if symbol.isdigit() else "other"
