"""``charrnn fill``: filled texts on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from charrnn import fill
from tests.support.checkpoints import charrnn
from tests.support.command_line import Call
from tests.test_filling import BOTH, FORWARD, REVERSE


@pytest.fixture(autouse=True)
def models(bare_environment: None) -> None:
    for name, model in (("both", BOTH), ("forward", FORWARD), ("reverse", REVERSE)):
        model.checkpoint.save(Path(f"checkpoints/{name}/best.safetensors"))


def test_the_likeliest_text_is_printed_alone(call: Call) -> None:
    text = fill(BOTH, "the ___ of")[0].text
    assert call("fill", "the ___ of", "--model", "both") == (0, text + "\n", "")
    pair = fill(FORWARD, "the ___ of", reverse=REVERSE)[0].text
    args = "fill", "the ___ of", "--model", "forward"
    assert call(*args, "--reverse", "reverse")[1] == pair + "\n"


def test_several_are_printed_with_their_nats(call: Call) -> None:
    found = fill(BOTH, "the ??? of", gap="?", count=3)
    args = "fill", "the ??? of", "--model", "both", "--gap", "?", "--count", "3"
    assert call(*args)[1].splitlines() == [
        f"{filling.nats:.4f}\t" + filling.text.replace("\n", "\\n") for filling in found
    ]
    rows = [json.loads(line) for line in call(*args, "--json")[1].splitlines()]
    assert [row["text"] for row in rows] == [filling.text for filling in found]
    assert [row["gaps"] for row in rows] == [list(filling.gaps) for filling in found]
    assert [row["nats"] for row in rows] == pytest.approx([f.nats for f in found])


def test_a_text_comes_from_stdin() -> None:
    done = charrnn("fill", "-", "--model", "both", "--longest", "2", input=b"the _ of\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == fill(BOTH, "the _ of\n", longest=2)[0].text
    wrong = charrnn("fill", "-", "--model", "both", input=b"the \xc3\x84 _\n")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr.startswith(b"charrnn: standard input: character '\xc3\x84'")


def test_complaints_name_options(call: Call) -> None:
    for args, said in {
        ("the end", "--model", "both"): "--gap is '_', which is nowhere in the text; put it where",
        ("_", "--model", "reverse"): "can only rank what another proposes; set --reverse to it",
        ("_", "--model", "both", "--reverse", "reverse"): "--reverse is of no use: both reads both",
        ("_", "--model", "forward", "--reverse", "both"): "both does not read from right to left",
    }.items():
        code, out, err = call("fill", *args)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err


def test_a_bidirectional_network_that_is_asked_to_write_names_fill(call: Call) -> None:
    for command in (("sample", "both"), ("score", "text.txt", "--model", "both")):
        Path("text.txt").write_text("the end")
        code, out, err = call(*command)
        assert (code, out) == (2, "")
        assert err.endswith("; charrnn fill fills gaps with it\n")
    assert json.loads(call("info", "both", "--json")[1])["model"]["bidirectional"] is True
    assert "lstm 2 x 16 bidirectional" in call("ls")[1]


def test_filling_needs_no_torch() -> None:
    done = charrnn("fill", "a _", "--model", "both", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert b" charrnn.filling" in done.stderr
    assert b" torch" not in done.stderr
