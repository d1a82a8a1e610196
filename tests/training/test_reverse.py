"""``reverse``: a causal network over the text from its end to its beginning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.errors import CheckpointError, ConfigError
from tests.support.runs import metrics, run, same, tensors

FRACTIONS: dict[str, Any] = {"val_frac": 0.2, "test_frac": 0.1}


@pytest.fixture
def text(corpus: Path) -> str:
    return corpus.read_text()


def test_it_is_the_network_that_a_turned_file_would_have_trained(
    corpus: Path, tmp_path: Path, text: str
) -> None:
    turned = tmp_path / "turned.txt"
    turned.write_text(text[::-1])
    settings: dict[str, Any] = {"val_frac": 0.0, "shuffle_offset": False}
    run(corpus, tmp_path / "reverse", reverse=True, **settings)
    run(turned, tmp_path / "turned", **settings)
    assert same(tensors(tmp_path / "reverse"), tensors(tmp_path / "turned"))
    assert metrics(tmp_path / "reverse") == metrics(tmp_path / "turned")


def test_its_scores_are_those_of_the_turned_text(corpus: Path, tmp_path: Path, text: str) -> None:
    result = run(corpus, tmp_path / "reverse", reverse=True, **FRACTIONS)
    model = charrnn.load(result.best)
    shape = model.checkpoint.config.to_dict() | {"reverse": False}
    config, weights = charrnn.ModelConfig.from_dict(shape), model.checkpoint.weights
    forward = charrnn.TextModel(charrnn.Checkpoint(config, model.vocab, weights))
    some = text[:300]
    assert model.score(some) == forward.score(some[::-1])
    nats = [n for line in model.score_lines(some) for n in line.nats]
    turned = [n for line in forward.score_lines(some[::-1]) for n in line.nats]
    assert np.array_equal(nats, turned[::-1], equal_nan=True)
    assert np.isnan(nats[-1])
    ids = model.encode(some)
    adapted = charrnn.score_adapting(forward, ids[::-1].copy())
    assert charrnn.score_adapting(model, ids) == adapted


def test_the_losses_of_a_run_are_those_of_score(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path / "reverse", reverse=True, **FRACTIONS)
    model = charrnn.load(result.best)
    assert model.score_split("val").nats_per_char == pytest.approx(result.best_val, abs=1e-5)
    assert model.score_split("test").nats_per_char == pytest.approx(result.test, abs=1e-5)


def test_it_writes_what_comes_before_in_reading_order(corpus: Path, tmp_path: Path) -> None:
    model = charrnn.load(run(corpus, tmp_path / "reverse", reverse=True, steps=10).best)
    assert model.reverse
    short, long = (model.sample("\n", length=n, temperature=0) for n in (20, 30))
    assert len(short) == 20
    assert long.endswith(short)
    assert model.sample(short + "\n", length=10, temperature=0) + short == long
    config = charrnn.SampleConfig(length=20, temperature=0)
    assert list(model.stream("\n", config)) == [(short.encode(), True)]


def test_it_is_kept_resumed_and_learned_on_as_it_is(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "reverse"
    best = run(corpus, out, reverse=True, steps=5).best
    assert charrnn.load(best).checkpoint.config.reverse
    with pytest.raises(ConfigError, match="a resumed run keeps its settings; omit reverse"):
        charrnn.train(out=out, resume=True, steps=9, reverse=False)
    charrnn.train(out=out, resume=True, steps=9, reverse=True)
    more = charrnn.train(corpus, out=tmp_path / "more", start_from=best, steps=2)
    assert charrnn.load(more.best).reverse
    plain = run(corpus, tmp_path / "plain", steps=2).best
    with pytest.raises(ConfigError, match="keeps the checkpoint's shape; omit reverse"):
        charrnn.train(corpus, out=tmp_path / "other", start_from=plain, steps=2, reverse=True)


def test_records_are_not_read_backwards(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"reverse reads a text as a whole.*omit lines"):
        charrnn.train(corpus, steps=2, reverse=True, lines=True)


def test_a_page_of_what_it_learned_is_refused(corpus: Path, tmp_path: Path) -> None:
    model = charrnn.load(run(corpus, tmp_path / "reverse", reverse=True, steps=2).best)
    with pytest.raises(CheckpointError, match="reverse reads from right to left"):
        charrnn.insight_page(model)


def test_a_checkpoint_that_version_0_1_can_run_has_nothing_that_it_does_not_know() -> None:
    plain, reverse = (charrnn.ModelConfig(9, reverse=value) for value in (False, True))
    assert "reverse" not in plain.to_file()
    assert reverse.to_file()["reverse"] is True
    for config in (plain, reverse):
        assert charrnn.ModelConfig.from_dict(config.to_file()) == config
