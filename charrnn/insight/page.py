"""One HTML page that shows what a network learned, without scripts or references to other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.checkpoint.file import Checkpoint
from charrnn.generation.numpy_engine import Array
from charrnn.insight.facts import facts
from charrnn.insight.findings import SHORTEST, Finding, find
from charrnn.insight.markup import escaped, table, visible
from charrnn.insight.memory import memory
from charrnn.insight.novelty import LENGTHS, Copies
from charrnn.insight.passages import EXCERPT, Passages
from charrnn.insight.pictures import curves, symbol_map
from charrnn.insight.traces import Trace
from charrnn.insight.traits import texts, traits
from charrnn.text.vocab import Ids, Vocab

OFTEN = 5  # occurrences in the text that a symbol needs for a place on the map
LABEL = 16  # characters of a symbol on the map, at most
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
u { text-decoration: none; border-bottom: 1px solid #aaa; margin-right: 1px; }
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
    kind = checkpoint.vocab.unit
    text, read = Passages.of(checkpoint.vocab, trace.ids), texts(checkpoint.vocab, trace.ids)
    about = escaped(facts(checkpoint))
    parts = [f"<h1>{escaped(name)}</h1>", f'<p class="about">{about}</p>']
    parts += _learning(history)
    parts += _surprises(checkpoint.vocab, text, trace, source)
    parts += _copying(checkpoint.vocab, text, copied)
    parts += _units(text, traits(read), trace, kind)
    parts += memory(checkpoint, read, trace)
    parts += _characters(checkpoint, symbols, trace.ids, kind)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escaped(name)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _learning(history: History) -> list[str]:
    lines = {"training part": history.train_nats, "validation part": history.val_nats}
    drawing = curves("Losses", lines, "characters read", "nats/char")
    return ["<h2>How it learned</h2>", drawing] if drawing else []


def _surprises(vocab: Vocab, text: Passages, trace: Trace, source: str) -> list[str]:
    start = text.busiest(trace.nats)
    levels = np.digitize(np.nan_to_num(trace.nats), SURPRISES)
    marks = [f"s{level}" if level else "" for level in levels.tolist()]
    chars = vocab.widths[trace.ids[~np.isnan(trace.nats)]].sum()
    mean = float(np.nansum(trace.nats, dtype=np.float64) / chars)
    several = "Symbols of several characters are underlined. " if vocab.long else ""
    return [
        "<h2>What surprised it</h2>",
        f'<p class="about">{escaped(source)}: {mean:.3f} nats/char. The darker a {vocab.unit}, '
        f"the less the network expected it. {several}This is the passage in which that varies "
        "most.</p>",
        text.colored(marks, start),
    ]


def _copying(vocab: Vocab, text: Passages, copied: Mapping[str, Copies]) -> list[str]:
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
    characters = "".join(text.symbols) if vocab.long else text.symbols
    longest = "".join(characters[own.start : own.start + min(own.length, EXCERPT)])
    return [
        heading,
        '<p class="about">How many of the characters are in runs that occur word for word in the '
        "training part. As many characters of the validation part show how much the author "
        "repeats themselves. The longest such run in this text:</p>",
        f"<pre>{escaped(longest)}</pre>",
        table(rows),
    ]


def _units(text: Passages, known: dict[str, Array], trace: Trace, kind: str) -> list[str]:
    found = find(trace.units, known, trace.width)
    several = "A symbol just read counts as each kind of character that it has. "
    parts = [
        "<h2>What single units follow</h2>",
        '<p class="about">Each unit was chosen because it correlates with a trait in the first '
        "half of the text. Its correlation r is measured in the second half, shown here where the "
        f"trait varies most. {several * (kind == 'symbol')}Orange: the value of the unit is "
        "positive; blue: negative.</p>",
    ]
    if len(text) < 2 * SHORTEST:
        parts.append(f"<p>The text is too short: {2 * SHORTEST} {kind}s are needed.</p>")
    elif not found:
        parts.append("<p>No unit follows any of the traits.</p>")
    return parts + [_unit(text, trace, finding, known[finding.trait]) for finding in found]


def _unit(text: Passages, trace: Trace, finding: Finding, trait: Array) -> str:
    values = trace.units[:, finding.layer * trace.width + finding.unit].astype(np.float32)
    start = text.busiest(trait, len(text) // 2)
    shown = values[start : text.stop(start)]
    shades = np.rint(values / max(float(np.abs(shown).max()), 1e-6) * LEVELS)
    marks = [
        f"{'p' if level > 0 else 'n'}{min(abs(level), LEVELS)}" if level else ""
        for level in shades.astype(int).tolist()
    ]
    title = (
        f"{finding.trait}: layer {finding.layer + 1}, unit {finding.unit + 1}, r = {finding.r:.2f}"
    )
    return f"<h3>{escaped(title)}</h3>{text.colored(marks, start)}"


def _characters(checkpoint: Checkpoint, symbols: Sequence[str], ids: Ids, kind: str) -> list[str]:
    # embeddings of rare characters are still close to their random initial values
    counts = np.bincount(ids, minlength=len(symbols))
    known = np.flatnonzero(counts >= OFTEN)
    vectors = checkpoint.weights["embedding.weight"][known].astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    shown = [symbols[index] for index in known.tolist()]
    labels, kinds = [*map(_label, shown)], [*map(_kind, shown)]
    drawing = symbol_map(f"{kind.capitalize()}s", vectors, labels, kinds, counts[known].tolist())
    if not drawing:
        return []
    several = " Longer symbols have the color of their first character, or black for a vowel."
    dots = f" A dot is a {kind} without room for its name."
    return [
        f"<h2>How it sees the {kind}s</h2>",
        f'<p class="about">The directions of the embeddings of {kind}s that occur at least '
        f"{OFTEN} times in the text, in the plane in which they are furthest apart. Vowels are "
        "orange, other letters black, capitals blue, digits violet, all others green."
        f"{several * bool(checkpoint.vocab.long)}{dots * ('<circle' in drawing)}</p>",
        drawing,
    ]


def _label(symbol: str) -> str:
    shown = visible(symbol.replace("\n", "⏎").replace(" ", "␣"))
    return shown if len(shown) <= LABEL else f"{shown[: LABEL - 1]}…"


def _kind(symbol: str) -> str:
    first = symbol[0]
    if first.isupper():
        return "capital"
    if symbol.lower() in tuple("aeiou"):
        return "vowel"
    if first.isalpha():
        return "letter"
    return "digit" if first.isdigit() else "other"
