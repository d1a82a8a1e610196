"""Pages about networks: what they find is there, and nothing on them can do harm."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import CELLS, Cell, ModelConfig
from charrnn.errors import CheckpointError, CorpusError
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import position_nats
from charrnn.insight import novelty
from charrnn.insight.findings import correlations, find
from charrnn.insight.novelty import LENGTHS, Copies, Original, compare, copies, covered, runs
from charrnn.insight.page import EXCERPT, History, excerpt, page, visible
from charrnn.insight.pictures import character_map, curves, round_numbers
from charrnn.insight.traces import Trace, longest, trace
from charrnn.insight.traits import traits
from charrnn.text.splits import Parts
from charrnn.training.rundir.metrics import losses
from tests.support.checkpoints import META, ROOT, charrnn, tiny
from tests.support.networks import letters, random_weights

NASTY = "</pre><script>alert(1)</script>&\x1b]0;\x07\"'\u202e"


def network(cell: Cell, layers: int = 2) -> Checkpoint:
    vocab = letters()
    config = ModelConfig(len(vocab), cell=cell, embedding=8, hidden=16, layers=layers)
    return Checkpoint(config, vocab, random_weights(config), META)


# --- traces


@pytest.mark.parametrize("cell", CELLS)
def test_a_trace_is_what_the_engine_holds(cell: Cell) -> None:
    """Pieces that are read at once begin with a warm-up, by which the state is the carried one."""
    checkpoint, N = network(cell), 1500
    ids = np.random.default_rng(1).integers(0, len(checkpoint.vocab), N)
    found = trace(checkpoint, ids)
    engine, wanted = Engine(checkpoint.config, checkpoint.weights), []
    for index in ids:
        engine.step(np.array([index]))
        hx, cx = engine.state
        wanted.append((np.tanh(cx) if cx.size else hx)[:, 0].reshape(-1))
    largest = max(1.0, float(np.abs(wanted).max()))
    assert found.units.shape == (N, 32)
    assert np.abs(found.units - np.array(wanted) / largest).max() < 0.02
    nats = position_nats(checkpoint.config, checkpoint.weights, ids)
    assert np.array_equal(found.nats, nats, equal_nan=True)


def test_of_a_very_wide_network_less_is_traced() -> None:
    assert longest(ModelConfig(5, hidden=512, layers=3)) == 20_000
    widest = ModelConfig(5, hidden=16_384, layers=8)
    assert longest(widest) * widest.hidden * widest.layers <= 10**8


def test_a_text_of_one_character_has_no_trace() -> None:
    with pytest.raises(CorpusError, match="two characters"):
        trace(network("lstm"), np.array([1]))


def test_numbers_that_overflow_are_said() -> None:
    checkpoint = network("rnn-relu")
    checkpoint.weights["layers.0.weight_hh"][:] = 1e4
    checkpoint.weights["layers.0.bias_ih"][:] = 1e4
    with pytest.raises(CheckpointError, match="overflow"):
        trace(checkpoint, np.arange(20) % 5)


# --- traits and findings


def test_traits_are_those_of_the_text() -> None:
    text = 'He said "go (now)!"\nYes.'
    found = traits(text)
    told = {name: values.tolist() for name, values in found.items()}
    opened, closed = text.index('"'), text.rindex('"')
    assert told["inside quotation marks"] == [opened <= i < closed for i in range(len(text))]
    assert told["inside brackets"] == [text.index("(") <= i < text.index(")") for i in range(24)]
    assert told["how far into the line"] == [*range(1, 20), 0, 1, 2, 3, 4]
    assert told["how far into the word"][:8] == [1, 2, 0, 1, 2, 3, 4, 0]
    assert told["how far into the sentence"][17:] == [0, 1, 2, 3, 4, 5, 0]
    assert [text[i] for i in np.flatnonzero(found["just read: a capital"])] == ["H", "Y"]


def test_what_is_open_is_closed_at_a_blank_line() -> None:
    found = traits('"never closed (\r\n\r\nnext')
    assert not found["inside quotation marks"][-4:].any()
    assert not found["inside brackets"][-4:].any()
    assert found["inside quotation marks"][:14].all()


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(2)
    units, values = rng.normal(size=(300, 5)).astype(np.float16), rng.normal(size=300)
    units[:, 3] = 0.25
    found = correlations(units, values.astype(np.float32))
    for column in (0, 1, 2, 4):
        assert found[column] == pytest.approx(np.corrcoef(units[:, column], values)[0, 1], abs=1e-3)
    assert found[3] == 0


def test_the_unit_that_follows_a_trait_is_found() -> None:
    rng = np.random.default_rng(3)
    units = rng.uniform(-1, 1, (2000, 40)).astype(np.float16)
    trait = (rng.uniform(size=2000) < 0.3).astype(np.float32)
    units[:, 27] = 0.5 - trait + units[:, 27] / 5
    (found,) = find(units, {"a trait": trait, "never": np.zeros(2000, np.float32)}, hidden=20)
    assert (found.trait, found.layer, found.unit) == ("a trait", 1, 7)
    assert found.r < -0.9


def test_chance_is_no_finding() -> None:
    """Of 4,000 units one fits 30 places by chance, but not those where it was not chosen."""
    rng = np.random.default_rng(4)
    units = rng.uniform(-1, 1, (60, 4000)).astype(np.float16)
    trait = (rng.uniform(size=60) < 0.5).astype(np.float32)
    assert np.abs(correlations(units[:30], trait[:30])).max() > 0.6
    assert not find(units, {"a trait": trait}, hidden=4000)


# --- copies


@pytest.mark.parametrize("block", [7, 64, 10**6])
def test_runs_are_those_that_a_search_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is hashed at once, and in each range by itself."""
    monkeypatch.setattr(novelty, "BLOCK", block)
    rng = np.random.default_rng(6)
    whole = rng.integers(0, 3, 500).astype(np.uint16)
    ids = np.concatenate([rng.integers(0, 3, 60), whole[190:215], [5], whole[60:90], [5, 2]])
    ranges = ((0, 80), (80, 85), (120, 121), (190, 500))
    parts = ["".join(map(str, whole[start:stop])) for start, stop in ranges]
    text = "".join(map(str, ids))
    for length in (1, 2, 3, 5, 8, 13, 21, 25, 26, 30, 118, 119):
        wanted = [
            any(text[place : place + length] in part for part in parts)
            for place in range(len(text) - length + 1)
        ]
        assert runs(ids, Original(whole, ranges), length).tolist() == wanted
    found = copies(ids, Original(whole, ranges))
    assert (found.start, found.length) == (60, 25)  # 60:90 lies across the ranges
    assert found.shares == {20: 45 / 118, 40: 0, 80: 0, 160: 0}


def test_copies_are_said_beside_those_of_the_author() -> None:
    """As much of the validation part as there is of the text; without one of the text alone."""
    corpus = np.arange(100)
    corpus[50:60] = corpus[:10]
    ids = corpus[5:30]
    parts = Parts(((0, 50),), ((50, 80),), ((80, 100),))
    found = compare(ids, corpus, parts)
    assert {name: (each.start, each.length) for name, each in found.items()} == {
        "this text": (0, 25), "validation part": (0, 10),
    }  # fmt: skip
    assert found["this text"].shares[20] == 1
    short = compare(ids[:4], corpus, parts)
    assert short["validation part"].length == 4
    assert list(compare(ids, corpus, Parts(((0, 50),), (), ()))) == ["this text"]


def test_what_runs_cover() -> None:
    starts = np.array([0, 1, 0, 0, 0, 1, 1], bool)
    assert np.flatnonzero(covered(starts, 3, 9)).tolist() == [1, 2, 3, 5, 6, 7, 8]
    assert not covered(np.zeros(0, bool), 20, 9).any()


@pytest.mark.parametrize(("text", "whole", "length"), [
    ("aaaaaaaaab", "aaab", 4), ("b", "aaaaaab", 1), ("a", "bbb", 0), ("aba", "", 0),
    ("ab" * 300, "ab" * 300, 600),
])  # fmt: skip
def test_the_longest_run_of_strange_texts(text: str, whole: str, length: int) -> None:
    ids, original = (np.array([ord(symbol) for symbol in each], int) for each in (text, whole))
    found = copies(ids, Original(original, ((0, len(whole)),)))
    assert (found.length, found.shares[160]) == (length, float(length == 600))
    assert text[found.start : found.start + length] in whole


# --- drawings


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1.02, 2.9), (0, 7e7), (-3e-5, 2e-5), (5, 5.01)])
def test_round_numbers_are_round_and_within(low: float, high: float) -> None:
    found = round_numbers(low, high)
    assert 3 <= len(found) <= 7
    assert all(low - 1e-12 <= value <= high + 1e-12 for value in found)
    assert all(len(f"{value:g}") <= 6 for value in found)


def test_curves_and_maps_stay_on_the_paper() -> None:
    drawn = curves("n", {"a": [(0, 3.0), (1e8, 1.0)], "b": [], "<c>": [(5, 2.0)]}, "x", "y")
    vectors = np.random.default_rng(5).normal(size=(20, 4))
    drawn += character_map("n", vectors, "abcdefghijklmnopqrst", ["letter"] * 20)
    places = re.findall(r'\b(?:x|x1|x2|cx)="([^"]*)"', drawn)
    assert len(places) > 25
    assert all(0 <= float(place) <= 720 for place in places)
    assert "&lt;c&gt;" in drawn
    assert (
        curves("n", {"a": []}, "x", "y")
        == character_map("n", np.zeros((2, 4)), "ab", ["x"] * 2)
        == ""
    )
    assert character_map("n", np.arange(5.0)[:, None], "abcde", ["letter"] * 5)


def test_excerpts_begin_with_a_line_where_most_happens() -> None:
    text = ["x"] * 5000
    text[999::1000] = ["\n"] * 5
    values = np.zeros(5000)
    values[3100:4100:7] = 1
    assert excerpt(values, text) == 3000
    assert excerpt(values, ["x"] * 5000) % 100 == 0
    assert excerpt(values[:10], text[:10]) == 0
    values[:] = 0
    values[100:900:7] = 1
    assert excerpt(values, text) == 0
    sparse = ["x"] * 5000
    sparse[1500] = "\n"
    assert excerpt(values, sparse) < 900


# --- pages


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
    zeros = {"nats": np.zeros(len(ids)), "units": np.zeros((len(ids), 32), np.float16)}
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
    made = drawn(checkpoint, "abc" * 50 + "qqqq").split("<svg")[1]
    placed = re.findall(r'x="([\d.]+)" y="([\d.]+)" text-anchor="middle">(.)<', made)
    assert sorted(label for *_, label in placed) == ["a", "b", "c"]
    at = {label: np.array([float(x), float(y)]) for x, y, label in placed}
    apart = np.linalg.norm(at["b"] - at["c"])
    for label in "bc":  # as the directions lie in space
        assert 0.5 < np.linalg.norm(at["a"] - at[label]) / apart < 0.75
    middle = (np.max(list(at.values()), axis=0) + np.min(list(at.values()), axis=0)) / 2
    assert middle == pytest.approx([(52 + 708) / 2, (14 + 324) / 2], abs=1)


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
    traced = Trace(ids, np.zeros(len(ids)), np.zeros((len(ids), 32), np.float16))
    copied = {"this text": Copies(shares, 3, 12), "another": Copies(nothing, 0, 1)}
    made = page("a name", checkpoint, traced, History(), copied, "a text")
    assert "<pre>defghabcdefg</pre>" in made
    rows = re.findall(r"<tr>(.*?)</tr>", made)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert cells == [
        ["characters in a row", "this text", "another"],
        ["20 or more", "50.0%", "0.0%"], ["40 or more", "25.0%", "0.0%"],
        ["80 or more", "0.1%", "0.0%"], ["160 or more", "0.0%", "0.0%"],
        ["the longest", "12", "1"],
    ]  # fmt: skip


def test_losses_of_a_log_that_is_anybodys(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    nothing: dict[str, list[object]] = {"train_nats": [], "val_nats": []}
    assert losses(log) == losses(tmp_path) == nothing
    lines = ['{"chars": 5, "val_nats": 2.5}', "[]", "{", '{"chars": "5", "val_nats": 1.0}', "\x00",
             '{"chars": 6, "val_nats": null}', '{"chars": 7, "val_nats": Infinity}', "[" * 99999,
             '{"chars": 8, "val_nats": 2.25}', "5", '{"chars": true, "val_nats": 1.0}']  # fmt: skip
    lines += [
        '{"chars": 9, "val_nats": 1.0, "final": true}', '{"chars": 5, "val_nats": 1e300}',
        '{"chars": -5, "val_nats": 1.0}', '{"chars": 1%s, "val_nats": 1.0}' % ("0" * 20),
    ]  # fmt: skip
    log.write_text("\n".join(lines))
    assert losses(log) == nothing | {"val_nats": [(5, 2.5), (8, 2.25)]}
    os.mkfifo(tmp_path / "pipe")
    assert losses(tmp_path / "pipe") == nothing


@pytest.fixture
def folder(bare_environment: None) -> Path:
    tiny().save(Path("checkpoints/novel/best.safetensors"))
    return Path("checkpoints/novel")


def test_the_command_writes_a_page_and_prints_its_path(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"chars": 5, "val_nats": 2.5}\n')
    done = charrnn("insight")
    assert (done.returncode, done.stdout) == (0, b"novel.html\n")
    assert re.fullmatch(rb"charrnn: \S+best.safetensors, seed \d+\n", done.stderr)
    made = Path("novel.html").read_text()
    assert all(f"<h2>{title}" in made for title in (
        "How it learned", "What surprised it", "What it copied", "What single units follow",
        "How it sees",
    ))  # fmt: skip
    again = charrnn("insight", "novel", "--seed", "4", "--out", "-")
    assert (again.returncode, again.stderr) == (0, b"")
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert charrnn("insight", "novel", "--seed", "4", "--out", "pipe").stdout == b"pipe\n"
        assert reader.communicate()[0] == again.stdout
    assert Path("pipe").is_fifo()
    assert again.stdout == charrnn("insight", "novel", "--seed", "4", "--out", "-").stdout
    assert again.stdout.startswith(b"<!doctype html>")


def test_the_command_reads_a_text_and_needs_no_torch(folder: Path) -> None:
    Path("text.txt").write_text("abc " * 6000)
    Path("fake").mkdir()
    Path("fake/torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    path = f"{Path('fake').absolute()}:{ROOT}"
    args = ["--text", "text.txt", "--unknown", "replace", "--out", "p"]
    done = charrnn("insight", "novel", *args, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (0, b"p\n"), done.stderr
    assert b"text.txt: its first 20,000 characters are read" in done.stderr
    assert "text.txt: " in Path("p").read_text()


@pytest.mark.parametrize("cached", [True, False])
def test_the_command_finds_what_was_copied(
    folder: Path, new_cache: Callable[[Path], str], cached: bool
) -> None:
    """Of the corpus as cached in training, or as named; neither is needed for the rest."""
    chapter = "".join(np.random.default_rng(7).choice(list("abcdefgh .\n"), 3000))
    Path("chapter.txt").write_text(chapter)
    environment = {"CHARRNN_CACHE": new_cache(Path("cache").absolute())}
    args = ["--steps", "2", "--out", "of-it", "--quiet"]
    assert charrnn("train", "chapter.txt", *args, **environment).returncode == 0
    Path("text.txt").write_text(chapter[100:350])
    if not cached:
        environment = {"CHARRNN_CACHE": new_cache(Path("another").absolute())}
    args = ["insight", "of-it", "--text", "text.txt", "--out", "-"]
    without = charrnn(*args, **environment).stdout.decode()
    assert ("not at hand; --corpus" in without) != cached
    named = charrnn(*args[:-1], "p.html", "--corpus", "chapter.txt", **environment)
    assert (named.returncode, named.stderr) == (0, b"")
    made = Path("p.html").read_text()
    assert made == without or not cached
    assert "<tr><td>the longest</td><td>250</td><td>" in made
    assert "<td>20 or more</td><td>100.0%</td><td>0.0%</td>" in made
    assert f"<pre>{chapter[100:350]}</pre>" in made


@pytest.mark.parametrize(("args", "code", "said"), [
    (["--corpus", "none.txt"], 2, "cannot read none.txt"),
    (["--corpus", "odd.txt"], 2, "its sha256 differs: name the text that was trained on"),
    (["--corpus", "-", "--text", "-"], 2, "--text and --corpus cannot both be standard input"),
    (["--text", "none.txt"], 2, "cannot read none.txt"),
    (["--text", "empty.txt"], 2, "empty.txt: there are fewer than two characters"),
    (["--text", "odd.txt"], 2, "odd.txt: character"),
    (["--out", "/proc/x/page.html"], 1, "/proc/x"),
    (["--out", "."], 2, "--out is ., a folder"),
])  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(
    folder: Path, args: list[str], code: int, said: str
) -> None:
    Path("empty.txt").write_text("")
    Path("odd.txt").write_text("Ω")
    done = charrnn("insight", "novel", "--seed", "1", *args)
    assert (done.returncode, done.stdout) == (code, b"")
    assert (said in done.stderr.decode(), done.stderr.count(b"\n")) == (True, 1)
