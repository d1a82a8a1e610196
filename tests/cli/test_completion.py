"""The shell completes checkpoints and choices."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.training.recipes import PRESETS
from tests.support.checkpoints import tiny
from tests.support.command_line import Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_completion_offers_checkpoints_and_choices(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny().save(Path("checkpoints/$(date)/best.safetensors"))  # a shell would run it
    monkeypatch.setenv("_CHARRNN_COMPLETE", "complete_bash")

    def offered(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", f"charrnn {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
        code, out, err = call()
        assert (code, err) == (0, "")
        return out.split()

    runs = ["novel", "war-and-peace"]
    for words in ("sample ", "info ", "score --model ", "train --from "):
        assert offered(words) == runs
    assert offered("sample wa") == runs[1:]
    assert offered("sample ./che") == []  # the shell then offers files
    assert offered("train --preset ") == list(PRESETS)
    assert offered("train --cell g") == ["gru"]
    assert offered("data get t") == ["tinyshakespeare"]
