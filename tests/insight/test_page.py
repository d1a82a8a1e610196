"""A page shows what was found, and nothing on it can do harm."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.insight.markup import visible
from charrnn.insight.novelty import LENGTHS, Copies
from charrnn.insight.page import History, page
from charrnn.insight.passages import EXCERPT
from charrnn.insight.traces import Trace, trace
from tests.support.checkpoints import tiny
from tests.support.networks import letters
from tests.support.texts import in_words

NASTY = "</pre><script>alert(1)</script>&\x1b]0;\x07\"'\u202e"


class Tags(HTMLParser):
    """The tags of a page, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.words, self.values = set[str](), "", [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def drawn(checkpoint: Checkpoint, text: str, **parts: object) -> str:
    """The page of a trace that is all zeros but for ``parts``."""
    ids = checkpoint.vocab.encode(text)
    units = np.zeros((len(ids), 32), np.float16)
    zeros = {"nats": np.zeros(len(ids)), "units": units, "width": 16}
    traced = Trace(**({"ids": ids} | zeros | parts))  # type: ignore[arg-type]
    return page("a name", checkpoint, traced, History(), {}, "a text")


def test_what_surprised_is_dark_where_it_stands() -> None:
    nats = np.zeros(200)
    nats[:8] = [np.nan, 0.4, 0.6, 1.6, 3.1, 5.1, 9, 0]
    made = drawn(tiny(), "abcdefgh" * 25, nats=nats)
    assert (
        '<pre>ab<b class="s1">c</b><b class="s2">d</b><b class="s3">e</b><b class="s4">fg</b>hab'
        in made
    )


def test_a_unit_is_shown_in_the_half_where_it_was_not_chosen() -> None:
    text = "abc def.\n" * 100 + "xyz xyz.\n" * 100
    units = np.zeros((len(text), 32), np.float16)
    units[:, 20] = [1 if symbol == " " else -0.5 for symbol in text]
    made = drawn(tiny(), text, units=units)
    shown = made[made.index("just read: a space: layer 2, unit 5, r = 1.00") :]
    part = shown[shown.index("<pre>") : shown.index("</pre>")]
    assert '<b class="p4"> </b><b class="n2">xyz.⏎\nxyz</b>' in part
    assert "abc" not in part


def test_the_map_is_of_the_characters_that_come_often() -> None:
    checkpoint = tiny()
    vectors = checkpoint.weights["embedding.weight"]
    vectors[:] = 0
    for symbol, place in (("a", (9, 9, 9)), ("b", (8, 9, 9)), ("c", (9, 9, 8)), ("q", (-9, 0, 0))):
        vectors[checkpoint.vocab.id_of(symbol), :3] = place
    made = drawn(checkpoint, "abc" * 50 + "qqqq").split("<svg")[-1]
    placed = re.findall(r'x="([\d.]+)" y="([\d.]+)" text-anchor="middle">(.)<', made)
    assert sorted(label for *_, label in placed) == ["a", "b", "c"]
    at = {label: np.array([float(x), float(y)]) for x, y, label in placed}
    apart = np.linalg.norm(at["b"] - at["c"])
    for label in "bc":  # as the directions lie in space
        assert 0.5 < np.linalg.norm(at["a"] - at[label]) / apart < 0.75
    middle = (np.max(list(at.values()), axis=0) + np.min(list(at.values()), axis=0)) / 2
    assert middle == pytest.approx([(52 + 708) / 2, (14 + 324) / 2], abs=1)


def test_symbols_of_several_characters_are_read_as_a_reader_expects() -> None:
    text = '"Prince, the old prince," he said (to Anna).\nThe old\n' * 60
    checkpoint = tiny(in_words(text))
    ids = checkpoint.vocab.encode(text)
    units = np.zeros((len(ids), 32), np.float16)
    names = list(checkpoint.vocab.symbols())
    units[:, 3] = [names[index][0].isupper() for index in ids.tolist()]
    copied = {"this text": Copies(dict.fromkeys(LENGTHS, 0.5), 1, 11)}
    nats = np.ones(len(ids), np.float32)
    made = page("n", checkpoint, Trace(ids, nats, units, 16), History(), copied, "a text")
    assert "a text: " + f"{len(ids) / len(text):.3f} nats/char. The darker a symbol" in made
    assert "Symbols of several characters are underlined. " in made
    assert "counts as each kind of character that it has. " in made
    assert "<pre>Prince, the</pre>" in made  # so many characters
    assert "<h3>just read: a capital: layer 1, unit 4, r = 1.00</h3>" in made
    shown = made.split("just read: a capital")[1]
    part = shown[shown.index("<pre>") + 5 : shown.index("</pre>")]
    assert '<b class="p4"><u>Prince</u></b>, <u>the</u> <u>old</u> <u>prince</u>,' in part
    passage = Tags(part).words.replace("⏎\n", "\n")
    assert passage in text
    assert EXCERPT - 10 < len(passage) <= EXCERPT
    drawn = made.split("How it sees the symbols")[1]
    colors = dict(map(reversed, re.findall(r'class="(\w+)"[^>]*>([^<]+)<', drawn)))
    assert colors["Anna"] == "capital"
    assert colors["old"] == colors["prince"] == "letter"
    assert "Longer symbols have the color of their first character" in drawn


def test_a_page_shows_the_text_and_nothing_of_it_is_markup() -> None:
    vocab = letters(NASTY + "ab\n")
    meta = {"corpus": {"name": NASTY}, "losses": {"val": float("inf"), "test": "1"}}
    checkpoint = tiny(vocab, meta)
    ids = vocab.encode((NASTY + "ab\n") * 60)
    history = History([(0, 3.0), (10, 2.0)], [(10, 2.5)])
    copied = {"this text": Copies(dict.fromkeys(LENGTHS, 0.5), 3, 50)}
    made = page(NASTY, checkpoint, trace(checkpoint, ids), history, copied, NASTY)
    read = Tags(made)
    assert not read.tags & {"script", "img", "link", "iframe", "a"}
    assert not [value for value in read.values if "alert" in value or "http" in value]
    shown = "".join(map(visible, (NASTY + "ab\n") * 60))
    assert shown[:EXCERPT] in read.words.replace("⏎\n", "\n")  # which stands where a mark does
    assert not set("\x1b\x07\u202e") & set(read.words)
    assert {"svg", "pre", "polyline"} <= read.tags


def test_what_was_copied_is_said_beside_what_its_author_repeats() -> None:
    shares = {20: 0.5, 40: 0.25, 80: 0.0014, 160: 0.0}
    text = "abcdefgh" * 25
    checkpoint, nothing = tiny(), dict.fromkeys(LENGTHS, 0.0)
    ids = checkpoint.vocab.encode(text)
    traced = Trace(ids, np.zeros(len(ids), np.float32), np.zeros((len(ids), 32), np.float16), 16)
    copied = {"this text": Copies(shares, 3, 12), "another": Copies(nothing, 0, 1)}
    made = page("a name", checkpoint, traced, History(), copied, "a text")
    assert "<pre>defghabcdefg</pre>" in made
    rows = re.findall(r"<tr>(.*?)</tr>", made.partition("<h2>What single units")[0])
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert cells == [
        ["length of a run", "this text", "another"],
        ["20 or more", "50.0%", "0.0%"], ["40 or more", "25.0%", "0.0%"],
        ["80 or more", "0.1%", "0.0%"], ["160 or more", "0.0%", "0.0%"],
        ["the longest", "12", "1"],
    ]  # fmt: skip
