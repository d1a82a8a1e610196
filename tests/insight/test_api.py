"""``insight_page``: the page that the command writes, from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.generation.sample_config import SampleConfig
from charrnn.insight import traces
from charrnn.insight.api import TEMPERATURE, _written, shortened, traced_by
from tests.support.checkpoints import tiny
from tests.support.command_line import leave
from tests.support.networks import letters
from tests.support.texts import in_words

RUN = Path("checkpoints/novel")


@pytest.fixture
def model(bare_environment: None) -> charrnn.TextModel:
    tiny().save(RUN / "best.safetensors")
    return charrnn.load("novel")


def test_the_page_is_the_command_s(
    model: charrnn.TextModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.support.checkpoints import charrnn as command

    (RUN / "metrics.jsonl").write_text('{"chars": 5, "val_nats": 2.5}\n')
    text = "the old prince\n" * 20
    Path("text.txt").write_text(text)
    done = command("insight", "novel", "--text", "text.txt", "--out", "-")
    assert charrnn.insight_page(model, text, source="text.txt").encode() == done.stdout
    monkeypatch.setattr(traces, "LENGTH", 1000)
    made = leave(["insight", "novel", "--seed", "3", "--out", "-"], capfd).out
    assert charrnn.insight_page(model, seed=3) == made


def test_a_model_without_a_file_has_a_page_too() -> None:
    made = charrnn.insight_page(charrnn.TextModel(tiny()), "the old prince\n" * 20)
    assert "<title>model</title>" in made
    assert '<p class="about">The text: ' in made
    assert "How it learned" not in made


def test_what_is_not_read_is_noted(model: charrnn.TextModel) -> None:
    notes: list[str] = []
    text = "the old prince § " * 2000
    made = charrnn.insight_page(
        model, text, source="a/text.txt", unknown="skip", on_note=notes.append
    )
    assert notes[0] == "a/text.txt: reading the first 20,000 characters only"
    assert notes[1].startswith("a/text.txt: 1,176 of 20,000 characters are not in the ")
    assert "text.txt: " in made
    assert "a/text.txt" not in made


def test_progress_is_told_while_the_network_reads(model: charrnn.TextModel) -> None:
    told: list[tuple[int, int]] = []
    text = "the old prince\n" * 20
    made = charrnn.insight_page(model, text, on_progress=lambda *both: told.append(both))
    assert made == charrnn.insight_page(model, text)
    assert {total for _, total in told} == {300}
    assert len(told) > 100
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (300, 300)


def test_what_is_wrong_with_a_text_names_it(model: charrnn.TextModel) -> None:
    with pytest.raises(UnknownCharacterError, match=r"^text: character '§' "):
        charrnn.insight_page(model, "the §", source="text")
    with pytest.raises(CorpusError, match=r"^the text to read needs at least two characters"):
        charrnn.insight_page(model, "t")
    words = charrnn.TextModel(tiny(in_words("the old prince")))
    with pytest.raises(CorpusError, match=r"^the text to read needs at least two symbols"):
        charrnn.insight_page(words, "prince")
    with pytest.raises(CorpusError, match="cannot read none"):
        charrnn.insight_page(model, "the old", corpus="none")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("checkpoints/novel/best.safetensors", "novel"),
        ("checkpoints/novel/last.safetensors", "novel"),
        ("shared/prose.safetensors", "prose"),
        (None, "model"),
    ],
)
def test_a_model_is_called_after_its_run_or_its_file(path: str | None, name: str) -> None:
    assert charrnn.TextModel(tiny(), path and Path(path)).name == name  # type: ignore[arg-type]


def test_records_are_read_each_by_itself(
    model: charrnn.TextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = model.meta | {"corpus": model.meta["corpus"] | {"lines": True, "records": True}}
    own = charrnn.TextModel(replace(model.checkpoint, meta=meta))
    text = "the old\nprince\n\nthe old\n"
    traced = traced_by(own, own.encode(text))
    wanted = [nats for line in own.score_lines(text) for nats in line.nats]
    assert traced.nats.tolist() == pytest.approx(wanted, abs=1e-6)
    assert np.array_equal(traced.ids, own.vocab.encode(text))
    assert traced.units.shape[0] == len(text)
    assert np.allclose(traced.units[:8], traced.units[16:], atol=1e-3)
    monkeypatch.setattr(traces, "LENGTH", 1000)
    made = charrnn.insight_page(own, seed=3)
    assert made == charrnn.insight_page(own, seed=3)
    notes: list[str] = []
    charrnn.insight_page(own, "the old prince\n" * 200, on_note=notes.append)
    assert notes == ["reading the first 1,000 characters only"]


def test_so_many_characters_are_read_whatever_the_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "LENGTH", 1000)
    text = "the old prince and the young princess\n" * 60
    model = charrnn.TextModel(tiny(in_words(text)))
    read: list[str] = []

    def kept(own: charrnn.TextModel, ids: Any, on_read: Any) -> Any:
        read.append(own.vocab.decode(ids))
        return traced_by(own, ids, on_read)

    monkeypatch.setattr("charrnn.insight.api.traced_by", kept)
    charrnn.insight_page(model, text)
    charrnn.insight_page(model, text.encode())
    assert read[0] == read[1] == text[:1000].rpartition(" ")[0] + " "  # no word in part
    charrnn.insight_page(model, seed=3)
    assert 980 < len(read[2]) <= 1000


def test_no_more_is_drawn_than_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    model = charrnn.TextModel(tiny(in_words("the old prince and the young princess\n" * 60)))
    config = SampleConfig(temperature=TEMPERATURE, length=1000, seed=3)
    whole = model.encode(b"".join(piece for piece, _ in model.stream("", config)))
    ends = np.cumsum(model.vocab.widths[whole])
    drawn: list[bytes] = []
    stream = charrnn.TextModel.stream

    def counted(*args: Any, **settings: Any) -> Iterator[tuple[bytes, bool]]:
        for piece, last in stream(*args, **settings):
            drawn.append(piece)
            yield piece, last

    monkeypatch.setattr(charrnn.TextModel, "stream", counted)
    written = _written(model, 3, 1000)
    assert written.tolist() == whole[ends <= 1000].tolist()
    assert len(b"".join(drawn)) < 1500 < ends[-1]


def test_bytes_are_not_cut_within_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "LENGTH", 101)
    model = charrnn.TextModel(tiny(letters("é ")))
    notes: list[str] = []
    made = charrnn.insight_page(model, ("é" * 200).encode(), on_note=notes.append)
    assert made == charrnn.insight_page(model, "é" * 101)
    assert notes == ["reading the first 101 characters only"]


@pytest.mark.parametrize(
    ("text", "most", "wanted"),
    [
        ("ab\ncd\n", 6, "ab\ncd\n"),
        ("ab\ncd\n", 5, "ab\n"),
        (b"ab\ncd", 4, b"ab\n"),
        ("abcd", 2, "ab"),
    ],
)
def test_no_record_is_read_in_part(text: str | bytes, most: int, wanted: str | bytes) -> None:
    assert shortened(text, most) == wanted
