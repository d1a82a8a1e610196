"""What comes with charrnn: the novel, and the checkpoint that writes at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import paths
from charrnn.errors import CheckpointError
from charrnn.paths import BEST, BUNDLED, bundled_checkpoints, bundled_corpus, find_checkpoint
from tests.support.checkpoints import ROOT, real_text, tiny
from tests.support.command_line import leave

SMALLER = "war-and-peace"  # enough where it does not matter which


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
    first, *_ = found = bundled_checkpoints()
    assert find_checkpoint(None) == first
    assert [path.parent.name for path in found] == list(BUNDLED)
    assert [find_checkpoint(Path(name)) for name in BUNDLED] == found
    assert max(path.stat().st_size for path in found) <= 24_000_000


def test_what_is_bundled_is_what_the_package_contains() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    targets = project["tool"]["hatch"]["build"]["targets"]
    files = {f"data/{paths.CORPUS_NAME}", *(f"checkpoints/{name}/{BEST}" for name in BUNDLED)}
    assert targets["wheel"]["force-include"] == {file: f"charrnn/{file}" for file in files}
    shipped = {file for file in targets["sdist"]["include"] if (ROOT / file).is_file()}
    assert files <= shipped
    if (ROOT / ".git").exists():
        ignored = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True)
        assert ignored.stdout == b""  # or no checkout would have it


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a run of its own, newer than the bundled checkpoint."""
    root = tmp_path / "checkout"
    bundled = root / "checkpoints" / SMALLER / BEST
    bundled.parent.mkdir(parents=True)
    shutil.copy(find_checkpoint(SMALLER), bundled)
    os.utime(bundled, (1, 1))
    tiny().save(root / "checkpoints" / "toy" / BEST)
    monkeypatch.setattr(paths, "_PACKAGE", root / "charrnn")
    return root


def listed(capfd: pytest.CaptureFixture[str]) -> dict[str, bool]:
    """The names that ``ls`` prints, and whether each is said to be bundled."""
    entries = json.loads(leave(["ls", "--json"], capfd).out)
    return {Path(entry["path"]).parent.name: entry["bundled"] for entry in entries}


@pytest.mark.parametrize(
    ("typed", "meant"), [("mien", "mine"), (SMALLER.upper(), ""), (SMALLER[1:], SMALLER), ("x", "")]
)
def test_a_run_of_almost_that_name_is_asked_for(
    typed: str, meant: str, checkout: Path, tmp_path: Path
) -> None:
    tiny().save(tmp_path / "checkpoints" / "mine" / BEST)
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(typed)
    asked = f" (did you mean {meant}?)" if meant else ""
    assert caught.value.message == f"no checkpoint at {typed}{asked}"


def test_a_run_in_a_checkout_is_not_bundled(
    checkout: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bundled = checkout / "checkpoints" / SMALLER / BEST
    assert bundled_checkpoints() == [bundled]
    assert find_checkpoint(None) == bundled
    assert listed(capfd) == {SMALLER: True}
    with pytest.raises(CheckpointError, match="no checkpoint at toy"):
        find_checkpoint("toy")
    tiny().save(tmp_path / "checkpoints" / "mine" / BEST)
    assert find_checkpoint(None) == Path("checkpoints/mine") / BEST
    assert listed(capfd) == {"mine": False, SMALLER: True}


@pytest.mark.parametrize("newer", ["toy", SMALLER])
def test_in_a_checkout_its_runs_are_one_s_own_and_the_bundled_checkpoint_is_not(
    newer: str, checkout: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their dates: a checkout that is updated gives its files new ones."""
    os.utime(checkout / "checkpoints" / newer / BEST)
    monkeypatch.chdir(checkout)
    assert find_checkpoint(None) == Path("checkpoints/toy") / BEST
    assert listed(capfd) == {"toy": False, SMALLER: True}
    shutil.rmtree("checkpoints/toy")
    assert find_checkpoint(None) == checkout / "checkpoints" / SMALLER / BEST


@pytest.mark.parametrize(
    ("name", "loss", "tenths", "stored"),
    [("war-and-peace", 1.0599, (0.1, 0.1), "float16"), ("tolstoy", 0.9576, (0.039, 0.039), "int8")],
)
def test_the_bundled_checkpoint_says_what_it_is(
    name: str, loss: float, tenths: tuple[float, float], stored: str
) -> None:
    checkpoint = charrnn.load(name).checkpoint
    corpus, about = checkpoint.about("corpus"), checkpoint.about
    parts = (corpus["split"]["val_frac"], corpus["split"]["test_frac"])
    assert corpus["split"]["kind"] == "contiguous"
    assert parts == pytest.approx(tenths, abs=1e-4)
    assert len(corpus["sha256"]) == 64
    assert about("losses")["test"] == pytest.approx(loss, abs=1e-4)
    assert "charrnn train" in about("made")["command"]
    assert checkpoint.weight_dtype == stored


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_checkpoint_writes_words_of_its_corpus(name: str) -> None:
    text = charrnn.load(name).sample("\n", temperature=0.5, length=400, seed=1)
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


@pytest.mark.long
def test_the_test_figure_of_tolstoy_is_that_of_the_end_of_war_and_peace() -> None:
    model, text = charrnn.load("tolstoy"), war_and_peace()[-319_622:]
    said = model.checkpoint.about("losses")["test"]
    assert model.score(text).nats_per_char == pytest.approx(said, abs=1e-3)


def holds_its_bound(text: str) -> None:
    """Each line of a text scored in pieces, and each character, against one pass through it."""
    model = charrnn.load("war-and-peace")
    lines = zip(model.score_lines(text), model.score_lines(text, exact=True), strict=True)
    for joined, exact in lines:
        bound = joined.score.error_bound
        assert exact.score.error_bound == 0 < bound <= 4e-4
        assert joined.score.chars == exact.score.chars
        assert abs(joined.score.nats_per_char - exact.score.nats_per_char) <= bound
        between = np.abs(np.subtract(joined.nats, exact.nats))
        assert (between[~np.isnan(exact.nats)] <= bound).all(), joined.text


def war_and_peace() -> str:
    return real_text("warpeace_input.txt").read_bytes().decode().replace("\r", "")


def test_the_bound_of_a_score_holds_for_every_line_of_thirty_thousand_characters() -> None:
    holds_its_bound(war_and_peace()[:30_000])


@pytest.mark.soak
def test_the_bound_of_a_score_holds_for_every_line_of_war_and_peace() -> None:
    holds_its_bound(war_and_peace())


def test_a_text_that_begins_with_an_empty_line_is_scored_line_by_line() -> None:
    model, text = charrnn.load("war-and-peace"), "\nHe said nothing.\n"
    lines = list(model.score_lines(text))
    assert [line.score.chars for line in lines] == [0, 17]  # the first character is not counted
    assert lines[0].score.nats_per_char == 0
    assert lines[1].score.nats == pytest.approx(model.score(text).nats)
