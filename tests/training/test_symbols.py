"""``symbols``: networks over symbols of several characters, from training to records."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.text.symbols import NAMED
from tests.support.command_line import leave
from tests.support.runs import Notes, metrics, resumes_exactly, run

ATOMS = ["C", "c", "O", "Cl", "Br", "[nH]", "[C@H]", "%12", "(", ")"]
MOLECULES: dict[str, Any] = {"lines": True, "symbols": "smiles", "val_frac": 0.2}


@pytest.fixture(scope="module")
def trained(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with molecules, and a run that was trained on them."""
    place = tmp_path_factory.mktemp("molecules")
    rng = random.Random(1)
    lines = ["".join(rng.choices(ATOMS, k=rng.randint(3, 12))) for _ in range(400)]
    (place / "molecules.smi").write_text("\n".join([*lines, "C[13CH3]", ""]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(session_cache))
        run(place / "molecules.smi", place / "run", **MOLECULES)
    return place


@pytest.fixture
def molecules(trained: Path) -> Path:
    return trained / "molecules.smi"


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_checkpoint_has_its_symbols(molecules: Path, folder: Path) -> None:
    model = charrnn.load(folder)
    assert model.vocab.expression == NAMED["smiles"]
    assert model.vocab.long == ("%12", "Br", "Cl", "[C@H]", "[nH]")
    text = molecules.read_text()
    assert model.vocab.decode(model.encode(text)) == text
    about = model.meta["corpus"]
    assert about["chars"] == len(text)
    assert "--symbols smiles" in model.meta["made"]["command"]


def test_losses_are_those_of_characters(molecules: Path, folder: Path) -> None:
    model = charrnn.load(folder)
    score = model.score_split("val")
    ids, ranges = model.part("val")
    text = "".join(model.vocab.decode(ids[start:stop]) for start, stop in ranges)
    assert score.chars == len(text)
    assert score.symbols == len(model.encode(text)) < score.chars
    assert score.nats_per_char * score.chars == pytest.approx(score.nats)
    assert score.nats_per_symbol * score.symbols == pytest.approx(score.nats)
    lines = metrics(folder)
    assert lines[-1]["val_nats"] == pytest.approx(score.nats_per_char, abs=1e-5)
    whole = model.score(molecules.read_text())
    each = whole.chars / (whole.symbols or 1)
    # untrained, every symbol is about as likely; a loss of characters is that divided
    first = next(line for line in lines if line["train_nats"])
    assert first["train_nats"] < math.log(len(model.vocab)) / each * 1.2
    assert first["chars"] == pytest.approx(40 * first["step"] * each, abs=1)


def test_a_plan_counts_characters(molecules: Path, tmp_path: Path) -> None:
    found = charrnn.plan(molecules, out=tmp_path / "none", **MOLECULES, epochs=2, seed=1)
    chars = len(molecules.read_text())
    assert sum(found.plan.chars.values()) == pytest.approx(chars, abs=2)
    assert found.time.chars == pytest.approx(2 * found.plan.chars["train"], abs=2)


def test_every_view_of_a_text_has_the_same_nats(folder: Path) -> None:
    model = charrnn.load(folder)
    text = "CCl(Br)\n[nH]C[13CH3]\n"
    whole = model.score(text)
    lines = list(model.score_lines(text))
    assert sum(line.score.chars for line in lines) == whole.chars == len(text)
    assert sum(line.score.nats for line in lines) == pytest.approx(whole.nats)
    assert lines[0].pieces == ["C", "Cl", "(", "Br", ")", "\n"]
    assert lines[1].pieces == ["[nH]", "C", "[", "1", "3", "C", "H", "3", "]", "\n"]
    chars = list(model.score_chars(text))
    assert [char.symbol for char in chars] == [p for line in lines for p in line.pieces]
    assert sum(char.nats or 0 for char in chars) == pytest.approx(whole.nats)
    ids = model.encode(text)
    table = model.log_probs(text)
    assert table.shape == (len(ids), len(model.vocab))
    assert -table[range(len(ids)), ids].sum() == pytest.approx(whole.nats, rel=1e-4)
    assert {one.symbol for one in model.next("CC", top=len(model.vocab))} == {
        *model.vocab.symbols()
    }


def test_a_text_of_one_symbol_is_too_short(session_cache: Path, tmp_path: Path) -> None:
    text = "Cl[nH]\n" * 40
    (tmp_path / "t").write_text(text)
    model = charrnn.load(run(tmp_path / "t", tmp_path / "run", symbols="smiles", steps=1).best)
    saying = "^the text to score needs at least two symbols$"
    for ask in (model.score, model.log_probs, model.score_lines):
        with pytest.raises(CorpusError, match=saying):
            ask("[nH]")
    with pytest.raises(CorpusError, match=saying):
        charrnn.score_adapting(model, model.encode("[nH]"))


def test_resuming_is_exact(molecules: Path, tmp_path: Path) -> None:
    resumes_exactly(molecules, tmp_path, [23], **MOLECULES)


def test_a_resumed_run_keeps_its_symbols(molecules: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="a resumed run keeps its settings; omit symbols"):
        charrnn.train(out=folder, resume=True, steps=80, symbols="words")
    charrnn.train(molecules, out=folder, resume=True, steps=61, symbols="smiles")


def test_a_network_that_is_trained_on_keeps_its_symbols(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.smi"
    few.write_text("CCl[nH]\nCBr[2H]\n" * 6)
    again = charrnn.train(few, out=tmp_path / "again", start_from=folder, lines=True, steps=3)
    model = charrnn.load(again.best)
    assert model.vocab.long == ("Br", "Cl", "[nH]")  # all rare here; [2H] was not known
    assert model.score_split("val").chars > 0
    charrnn.train(out=tmp_path / "again", resume=True, steps=4)
    with pytest.raises(ConfigError, match="keeps the checkpoint's symbols; omit symbols"):
        charrnn.train(few, out=tmp_path / "no", start_from=folder, symbols="words", steps=3)
    plain = run(few, tmp_path / "plain", steps=3).best
    with pytest.raises(ConfigError, match="keeps the checkpoint's characters; omit symbols"):
        charrnn.train(few, out=tmp_path / "no", start_from=plain, symbols="smiles", steps=3)


def test_rows_follow_their_symbols(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.smi"
    other.write_text("Zn[nH]C\n" * 20)
    result = charrnn.train(
        other, out=tmp_path / "o", start_from=folder, steps=1, lr=1e-12, val_frac=0, threads=1
    )
    one, two = charrnn.load(folder), charrnn.load(result.best)
    own, known = (m.checkpoint.weights["embedding.weight"] for m in (two, one))
    for symbol in ("[nH]", "C", "\n"):
        mine, theirs = two.vocab.id_of(symbol), one.vocab.id_of(symbol)
        assert np.allclose(own[mine], known[theirs], atol=1e-6)


def test_records_are_known_by_their_text(folder: Path) -> None:
    model = charrnn.load(folder)
    config = charrnn.SampleConfig(count=30, seed=1, length=60)
    wanted = charrnn.RecordConfig(unique=True, novel=True)
    records = list(model.sample_records(config, wanted))
    texts = [record.text for record in records]
    known = {
        line for start, stop in model.part("train")[1]
        for line in model.vocab.decode(model.part("train")[0][start:stop]).splitlines()
    }  # fmt: skip
    assert len(set(texts)) == 30
    assert not known & set(texts)
    scored = model.score_lines("".join(f"{text}\n" for text in texts))
    for record, line in zip(records, scored, strict=True):
        assert record.score is not None
        assert record.score.nats == pytest.approx(line.score.nats, rel=1e-5)
        assert record.score.chars == line.score.chars == len(record.text) + 1


def test_a_reversed_network_reads_the_same_symbols(molecules: Path, tmp_path: Path) -> None:
    result = run(molecules, tmp_path / "reverse", reverse=True, symbols="smiles")
    model = charrnn.load(result.best)
    assert model.sample("CCl[nH]", length=5).count("\n") < 6
    assert model.score("CCl\nBr").chars == 4  # all but the last symbol, which is Br


@pytest.mark.parametrize(
    ("settings", "saying"),
    [
        ({"is_bytes": True}, "symbols makes symbols of characters, not of bytes; omit is_bytes"),
        ({"encoding": "bytes"}, "symbols makes symbols of characters, not of bytes"),
        ({"bidirectional": True}, "symbols is for networks that read in one direction"),
        ({"symbols": "(a"}, "symbols is not a regular expression"),
        ({"symbols": "(a*)*b"}, "symbols repeats a part that can match the empty text"),
        ({"symbols": ""}, "symbols is '': it must be a text of at least one character"),
    ],
)
def test_what_does_not_fit_is_refused(
    settings: dict[str, Any], saying: str, molecules: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(molecules, tmp_path / "no", **{"symbols": "smiles", **settings})
    assert str(caught.value).startswith(saying)
    assert not (tmp_path / "no").exists()


def test_what_is_too_short_is_counted_in_symbols(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("Cl" * 10)
    saying = r"^training 4 streams of 5 symbols takes at least 20 symbols, but there are 10; "
    with pytest.raises(CorpusError, match=saying):
        run(short, tmp_path / "run", symbols="smiles", val_frac=0, batch=4, window=5)
    saying = "^short has 10 symbols, 1 of them for training: at least 2 are needed$"
    with pytest.raises(CorpusError, match=saying):
        run(short, tmp_path / "run", symbols="smiles", val_frac=0.9)


def test_the_length_of_the_likeliest_records_is_one_of_symbols(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = leave(["likely", str(folder), "--length", "1", "--top", "99"], capfd)
    assert code == 0
    assert any(line.endswith("\t[nH]") for line in out.splitlines())
    assert err.endswith(f"there are only {out.count(chr(10))} records of at most 1 symbol\n")


def test_gaps_are_not_filled(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="run has symbols of several characters: gaps"):
        charrnn.fill(charrnn.load(folder), "C_C")


@pytest.mark.parametrize("symbols", ["SMILES", "zzz", "%"])
def test_an_expression_that_finds_nothing_is_said(
    molecules: Path, tmp_path: Path, symbols: str
) -> None:
    notes = Notes()
    run(molecules, tmp_path / "run", listener=notes, **MOLECULES | {"symbols": symbols})
    assert any(
        said.startswith("no match of several characters occurs 10 times in molecules.smi; ")
        for said in notes.said
    )


def test_a_run_says_how_many_symbols_have_several_characters(
    molecules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    args = ["train", str(molecules), "--lines", "--symbols", "smiles", "--steps", "1"]
    code, _, err = leave([*args, "--size", "8", "--out", str(tmp_path / "run")], capfd)
    assert code == 0, err
    long = charrnn.load(tmp_path / "run").vocab.long
    assert f" symbols, {len(long)} of several characters\n" in err
