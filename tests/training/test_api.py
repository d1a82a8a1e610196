"""``charrnn.train``: what it refuses, and what a run takes over from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.checkpoint import file as checkpoint
from charrnn.errors import ConfigError
from tests.support.processes import TEXT
from tests.support.runs import SMALL, run


def test_from_keeps_weights_by_character(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "first", steps=5)
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("z", "ž") * 2)
    charrnn.train(other, out=tmp_path / "second", start_from=tmp_path / "first", steps=1,
                  fit_temperature=False,
                  **{**{k: SMALL[k] for k in ("batch", "window", "seed")}, "lr": 1e-9})  # fmt: skip
    old = checkpoint.load(tmp_path / "first" / "best.safetensors")
    new = checkpoint.load(tmp_path / "second" / "best.safetensors")
    for code in new.vocab.codes:
        if code in old.vocab.codes:
            mine = new.weights["head.weight"][new.vocab.codes.index(code)]
            theirs = old.weights["head.weight"][old.vocab.codes.index(code)]
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(ConfigError, match="hidden"):
        charrnn.train(other, start_from=tmp_path / "first", steps=1, hidden=99)


def test_a_run_starts_from_int8_weights_and_resumes_with_them(corpus: Path, tmp_path: Path) -> None:
    first = run(corpus, tmp_path / "first", steps=5)
    small = tmp_path / "small.safetensors"
    checkpoint.load(first.best).save(small, weight_dtype="int8")
    second = run(corpus, tmp_path / "second", steps=1, start_from=small, lr=1e-9,
                 fit_temperature=False)  # fmt: skip
    for name, value in checkpoint.load(second.best).weights.items():
        np.testing.assert_allclose(value, checkpoint.load(small).weights[name], atol=1e-6)
    for file in (first.best, first.best.with_name("last.safetensors")):
        checkpoint.load(file, extra=True).save(file, weight_dtype="int8")
    assert charrnn.train(out=first.folder, resume=True, steps=7).steps == 7


@pytest.mark.parametrize(
    "wrong", [{"vocab_size": 5}, {"hidden": "512"}, {"seconds": "10m"}, {"lines": "no"},
              {"shuffle_offset": 0}, {"hidden": 0}, {"steps": 3, "epochs": 3}, {"preset": "x"},
              {"device": "mps"}, {"precision": "float16", "device": "cpu"}, {"val_frac": 1.5},
              {"split": "x"}],
    ids=str,
)  # fmt: skip
def test_an_invalid_setting_is_refused_before_the_text_is_read(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        charrnn.train(tmp_path / "there is none", out=tmp_path / "run", **wrong)


def test_from_keeps_bytes_and_characters(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "chars", steps=2)
    run(corpus, tmp_path / "bytes", steps=2, is_bytes=True)
    for raw in ({"is_bytes": True}, {"encoding": "bytes"}):
        with pytest.raises(ConfigError, match="omit is_bytes"):
            charrnn.train(corpus, start_from=tmp_path / "chars", steps=1, **raw)
    again = charrnn.train(corpus, out=tmp_path / "bytes", resume=True, encoding="bytes", steps=3)
    assert again.steps == 3
    with pytest.raises(ConfigError, match="omit encoding"):
        charrnn.train(corpus, start_from=tmp_path / "bytes", encoding="latin-1", steps=1)
    with pytest.raises(ConfigError, match="omit encoding"):
        charrnn.train(corpus, start_from=tmp_path / "bytes", encoding="utf-8", steps=1)
    for encoding in ("latin-1", "utf-8"):
        with pytest.raises(ConfigError, match="omit encoding"):
            charrnn.train(corpus, is_bytes=True, encoding=encoding, steps=1)
    assert run(corpus, tmp_path / "both", is_bytes=True, encoding="bytes", steps=1).steps == 1


def test_every_run_draws_its_own_seed(corpus: Path, tmp_path: Path) -> None:
    settings = {name: value for name, value in SMALL.items() if name != "seed"}
    seeds = {
        charrnn.train(corpus, out=tmp_path / str(i), steps=1, **settings).seed for i in range(3)
    }
    assert len(seeds) == 3


def test_torch_s_settings_are_restored_after_the_run(corpus: Path, tmp_path: Path) -> None:
    products: Any = torch.backends.cudnn.rnn
    before = torch.get_num_threads(), products.fp32_precision
    run(corpus, tmp_path / "run", steps=1, threads=before[0] + 1, precision="float32")
    assert (torch.get_num_threads(), products.fp32_precision) == before


@pytest.mark.parametrize("resume", ["run", 1, None])
def test_resume_is_a_yes_or_a_no(corpus: Path, tmp_path: Path, resume: Any) -> None:
    with pytest.raises(ConfigError, match="out names the run's folder"):
        charrnn.train(corpus, resume=resume, steps=1)
