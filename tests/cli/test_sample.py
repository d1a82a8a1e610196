"""``charrnn sample``: text alone on standard output, everything else on standard error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn import SampleConfig, load
from tests.support.checkpoints import charrnn, tiny
from tests.support.command_line import BEST, RUN, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_sample_writes_text_alone_and_says_the_rest_on_stderr() -> None:
    done = charrnn("sample", "--length", "50", "--prime", "the ")
    assert done.returncode == 0
    assert done.stdout.startswith(b"the ")
    assert len(done.stdout) == 54
    assert done.stderr.startswith(b"charrnn: checkpoints/novel/best.safetensors, seed ")
    seed = done.stderr.split()[-1].decode()
    again = charrnn("sample", "novel", "--length", "50", "--prime", "the ", "--seed", seed)
    assert (again.stdout, again.stderr) == (done.stdout, b"")


def test_a_prime_comes_from_stdin_or_a_file(call: Call) -> None:
    args = ["sample", "novel", "--seed", "1", "--length", "20"]
    wanted = call(*args, "--prime", "the end")[1]
    Path("prime.txt").write_text("the end")
    assert call(*args, "--prime-file", "prime.txt")[1] == wanted
    assert charrnn(*args, "--prime", "-", input=b"the end").stdout.decode() == wanted
    assert call(*args, "--prime-file", "none.txt")[0] == 2
    assert call(*args, "--prime-file", "prime.txt", "--prime", "x")[0] == 2


def test_several_samples_and_lines(call: Call) -> None:
    args = ["sample", "novel", "--seed", "1", "--length", "30"]
    code, out, err = call(*args, "--count", "3", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(rows)) == (0, "", 3)
    assert [sorted(row) for row in rows] == [["index", "seed", "text"]] * 3
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert call(*args, "--count", "3")[1] == "\n\n".join(row["text"] for row in rows)
    lines = call(*args, "--count", "4", "--lines")[1]
    assert lines.count("\n") == 4


def test_a_stop_text_is_dropped_or_kept(call: Call) -> None:
    args = "sample", "novel", "--seed", "1", "--length", "300", "--prime", "the"
    whole = call(*args)[1]
    stop = whole[20:23]
    place = whole.index(stop, 3)
    assert call(*args, "--stop", stop)[1] == whole[:place]
    kept = *args, "--stop", stop, "--keep-stop"
    assert call(*kept)[1] == whole[: place + 3]
    text = json.loads(call(*kept, "--json")[1])["text"]
    assert text == whole[3 : place + 3]
    assert load("novel").sample("the", seed=1, length=300, stop=(stop,), keep_stop=True) == text


def test_a_network_that_reads_from_right_to_left_writes_what_comes_before(call: Call) -> None:
    checkpoint = tiny()
    reverse = replace(checkpoint, config=replace(checkpoint.config, reverse=True))
    reverse.save(Path("checkpoints/reverse/best.safetensors"))
    args = "sample", "reverse", "--seed", "1", "--length", "20", "--prime", " end."
    text = load("reverse").sample(" end.", seed=1, length=20)
    assert call(*args) == (0, text + " end.", "")
    two = load("reverse").samples(" end.", SampleConfig(seed=1, length=20, count=2))
    assert call(*args, "--count", "2")[1] == "\n\n".join(one + " end." for one in two)
    assert json.loads(call(*args, "--json")[1])["text"] == text
    code, out, err = call("sample", "reverse", "--length", "0")
    assert (code, out) == (2, "")
    assert "--length is 0: what is written from its end needs an end; set --stop" in err
    assert json.loads(call("info", "reverse", "--json")[1])["model"]["reverse"] is True
    assert "lstm 2 x 16 reverse" in call("ls")[1]


def test_an_unknown_character_in_a_prime(call: Call) -> None:
    args = ["sample", "novel", "--seed", "1", "--length", "5", "--prime", "the €nd"]
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert err.startswith(
        "charrnn: character '€' (U+20AC) at position 4 is not in the vocabulary of "
    )
    assert call(*args, "--unknown", "skip")[0] == 0
    assert call(*args, "--unknown", "replace")[0] == 0


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["sample", "novel", "--length", "40"]
    one, two = (call(*args, "--seed", seed)[1] for seed in "12")
    monkeypatch.setenv("CHARRNN_SEED", "1")
    assert call(*args) == (0, one, "")
    assert call(*args, "--seed", "2") == (0, two, "")
    monkeypatch.setenv("CHARRNN_LENGTH", "7")
    assert call("sample", "novel", "--seed", "1")[1] == one[:7]
    monkeypatch.setenv("CHARRNN_SEED", "nonsense")
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert "CHARRNN_SEED" in err


def test_the_older_name_of_a_flag_is_that_of_a_variable_too(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["sample", "novel", "--length", "5", "--seed", "1"]
    monkeypatch.setenv("CHARRNN_FORM", "int4")
    code, _, err = call(*args)
    assert code == 2
    assert "--weight-dtype is 'int4'" in err
    assert "(set in the environment: CHARRNN_FORM)" in err
    assert call(*args, "--form", "int8")[0] == 0
    monkeypatch.setenv("CHARRNN_WEIGHT_DTYPE", "int8")
    assert call(*args)[0] == 0


def test_states_are_rounded_only_beside_int8_weights(call: Call) -> None:
    args = ["sample", "novel", "--length", "5", "--seed", "1", "--state-dtype", "int8"]
    assert call(*args)[0] == 0
    code, out, err = call(*args, "--weight-dtype", "float32")
    assert (code, out) == (2, "")
    assert "--state-dtype needs int8 weights" in err


def test_a_run_that_was_stopped_before_its_first_validation_can_be_used(call: Call) -> None:
    BEST.rename(RUN / "last.safetensors")
    for which in ("novel", str(RUN)):
        code, out, _ = call("sample", which, "--length", "5", "--seed", "1")
        assert (code, len(out)) == (0, 5), which
    assert "novel/last.safetensors" in call("ls", "--json")[1]
    tiny().save(BEST)
    assert "novel/best.safetensors" in call("sample", "--length", "5", "--seed", "1")[2]
    assert "last.safetensors" not in call("ls", "--json")[1]


@pytest.mark.parametrize("length", ["200", "2e2", "0.2k", "2_00"])
def test_a_length_as_people_write_it(length: str, call: Call) -> None:
    code, out, _ = call("sample", "novel", "--seed", "1", "--length", length)
    assert (code, len(out)) == (0, 200)
