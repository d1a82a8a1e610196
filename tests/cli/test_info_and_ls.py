"""``charrnn info`` and ``charrnn ls``: what checkpoints say of themselves."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from charrnn.checkpoint.file import load
from tests.support.checkpoints import META
from tests.support.command_line import BEST, RUN, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_info_and_ls_as_json(call: Call) -> None:
    facts = json.loads(call("info", "novel", "--json")[1])
    assert facts["model"]["hidden"] == 16
    assert facts["corpus"] == META["corpus"]
    own = json.loads(call("ls", "--json")[1])[0]
    assert own["path"] == str(BEST)
    assert (own["corpus"], own["val_nats"]) == ("novel.txt", 1.5)


def test_ls_says_that_a_loss_is_that_of_a_sample(call: Call) -> None:
    """A run that is not complete may have validated on some of the validation part."""
    assert "\t1.5000\t" in call("ls")[1]
    best = load(BEST)
    losses = best.about("losses") | {"val_chars": 4096}
    dataclasses.replace(best, meta=best.meta | {"losses": losses}).save(BEST)
    assert "\t1.5000 (sample)\t" in call("ls")[1]
    assert json.loads(call("ls", "--json")[1])[0]["val_chars"] == 4096


def test_a_damaged_checkpoint_is_refused_by_info_and_named_by_ls(call: Call) -> None:
    whole = BEST.read_bytes()
    BEST.write_bytes(whole[:-1])
    code, out, err = call("info", str(RUN))
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, out, _ = call("ls")
    assert code == 0
    assert "\tdamaged" in out.splitlines()[1]
    assert json.loads(call("ls", "--json")[1])[0]["error"].startswith(str(BEST))
    assert call("sample", str(RUN))[0] == 2
    assert call("info", "nowhere")[0] == 2


def test_info_tells_characters_from_longer_symbols(call: Call) -> None:
    best = load(BEST)
    counts = (*best.vocab.counts, 1, 1)
    vocab = dataclasses.replace(best.vocab, counts=counts, long=("and", "the"), expression=r"\w+")
    config = dataclasses.replace(best.config, vocab_size=len(vocab))
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.shapes().items()}
    dataclasses.replace(best, config=config, vocab=vocab, weights=weights).save(BEST)
    facts = json.loads(call("info", "novel", "--json")[1])
    assert facts["symbols"] == {"expression": r"\w+", "longer": ["and", "the"]}
    assert facts["vocabulary"] == "".join(map(chr, vocab.codes))
    shown = call("info", "novel")[1]
    assert "symbols.longer\t2\n" in shown
    assert "symbols.expression\t\\w+\n" in shown
