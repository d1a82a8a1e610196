"""What comes with charrnn: the novel, and the checkpoint that writes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.paths import bundled_checkpoints, bundled_corpus, find_checkpoint
from tests.support.checkpoints import real_text


def test_the_bundled_novel_is_long_plain_and_never_repeats_a_paragraph() -> None:
    text = bundled_corpus().read_text(encoding="utf-8")
    assert len(text.encode()) >= 120_000
    assert "\r" not in text
    assert max(map(len, text.splitlines())) <= 72
    paragraphs = [p.strip() for p in text.split("\n\n") if p.strip()]
    assert len(set(paragraphs)) == len(paragraphs)
    assert len({word.strip(".,;:!?\"'()").lower() for word in text.split()}) > 4_000


def test_without_a_run_the_bundled_checkpoint_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (bundled,) = bundled_checkpoints()
    assert find_checkpoint(None) == bundled
    assert find_checkpoint(Path("war-and-peace")) == bundled
    assert bundled.stat().st_size <= 16 << 20


def test_the_bundled_checkpoint_says_what_it_is() -> None:
    model = charrnn.load("war-and-peace")
    about = model.checkpoint.about
    assert about("corpus")["split"] == {"kind": "contiguous", "val_frac": 0.1, "test_frac": 0.1}
    assert len(about("corpus")["sha256"]) == 64
    assert 1.0 < about("losses")["test"] < 1.2
    assert "charrnn train" in about("made")["command"]


def test_the_bundled_checkpoint_writes_words_of_its_corpus() -> None:
    text = charrnn.load("war-and-peace").sample("\n", temperature=0.5, length=400, seed=1)
    words = {word.strip('.,;!?"-').lower() for word in text.split()}
    assert len(words & {"the", "and", "of", "to", "he", "was", "in", "a", "that", "his"}) >= 5


@pytest.mark.long
def test_the_card_of_the_bundled_checkpoint_tells_the_truth(tmp_path: Path) -> None:
    original = real_text("warpeace_input.txt").read_bytes()
    text = tmp_path / "war-and-peace.txt"
    text.write_bytes(original.replace(b"\r", b""))
    model = charrnn.load("war-and-peace")
    said = model.checkpoint.about("losses")
    for part in ("val", "test"):
        scored = model.score_split(part, text).nats_per_char
        assert scored == pytest.approx(said[part], abs=2e-3)


def test_a_text_that_begins_with_an_empty_line_is_scored_line_by_line() -> None:
    model, text = charrnn.load("war-and-peace"), "\nHe said nothing.\n"
    lines = list(model.score_lines(text))
    assert [line.score.chars for line in lines] == [0, 17]  # the first character is not counted
    assert lines[0].score.nats_per_char == 0
    assert lines[1].score.nats == pytest.approx(model.score(text).nats)
