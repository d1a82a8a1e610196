"""``charrnn info`` and ``charrnn ls``: what checkpoints say of themselves."""

from __future__ import annotations

import dataclasses
import json

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
