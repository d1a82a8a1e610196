"""Complaints name what was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import charrnn as charrnn_package
from charrnn.cli.command import OptionStyle, options_of
from charrnn.cli.train import train
from charrnn.errors import CharRNNError, ConfigError
from tests.support.command_line import Call

pytestmark = pytest.mark.usefixtures("a_run")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("sample novel --temp -1", "--temp is '-1': it must be a number of at least 0"),
        ("sample novel --top-k 70000", "--top-k is '70000': "),
        ("sample novel --stop=", "--stop is '': it must be a text of at least one character"),
        (
            "sample novel --length 0 --count 2",
            "--count is above 1, but the first sample never ends; set --length",
        ),
        ("train t.txt --time 0", "--time is '0': it must be a duration above 0"),
        ("train t.txt --time 0h0m", "--time is '0h0m': it must be a duration above 0"),
        ("train t.txt --steps 0", "--steps is '0': it must be a whole number of at least 1"),
        ("train t.txt --epochs 0", "--epochs is '0': it must be a whole number of at least 1"),
        (
            "train t.txt --steps 1 --epochs 1",
            "more than one budget; set only one of --epochs, --steps and --time",
        ),
        ("train t.txt --steps 1 --size 0", "--size is '0': "),
        ("train t.txt --steps 1 --val-frac 2", "--val-frac is '2': "),
        ("train t.txt --from novel --size 9", "--from keeps the checkpoint's shape; omit --size"),
        (
            "train t.txt --from novel --sum-layers",
            "checkpoint's shape; omit --sum-layers/--last-layer",
        ),
        ("train t.txt --preset nonsense", "--preset is 'nonsense': it must be one of "),
        (
            "sample novel --length 1.5",
            "--length is '1.5': it must be a whole number of at least 0\n",
        ),
        (
            "sample novel --length 1e19",
            "--length is '1e19': it must be a whole number below 2^63\n",
        ),
        ("score novel", "novel is a checkpoint, not a text; name a text, and set --model novel\n"),
        ("score checkpoints/novel t.txt", "checkpoints/novel is a checkpoint, not a text; name a "),
        ("score checkpoints/novel/best.safetensors", "best.safetensors is a checkpoint, not a te"),
        ("sample novel --count 0", "--count is '0': it must be a whole number of at least 1\n"),
        ("sample novel --min-p 2", "--min-p is '2': it must be a number from 0 to 1\n"),
        ("train t.txt --lr 11", "--lr is '11': it must be a number above 0 and at most 10\n"),
        ("trian", "No such command 'trian' (did you mean 'train'?); charrnn -h shows the usage"),
        ("ls --jso", "No such option: --jso (did you mean --json?); charrnn ls -h shows the usage"),
        ("sample --model x", "No such option: --model (write charrnn sample CHECKPOINT); charrnn"),
        ("train --corpus x", "No such option: --corpus (write charrnn train CORPUS...); charrnn"),
        ("next --prefix x", "No such option: --prefix (write charrnn next PREFIX); charrnn next"),
        ("ls --model x", "No such option: --model; charrnn ls -h shows the usage"),
        ("sample --colour", "No such option: --colour; "),
        ("score --colour", "No such option: --colour (did you mean --color?); "),
        ("sample --temperature 1", "No such option: --temperature (did you mean --temp?); "),
        ("sample --top 1", "No such option: --top (did you mean --top-k or --top-p?); "),
        ("train --hidden 9", "No such option: --hidden (did you mean --size?); "),
        ("train --hidden_size=9", "No such option: --hidden_size (did you mean --size?); "),
        ("train --batch-size 9", "No such option: --batch-size (did you mean --batch?); "),
        ("train --step 9", "No such option: --step (did you mean --steps?); "),
        ("train --no-fit", "No such option: --no-fit (did you mean --no-fit-temperature?); "),
        ("--versoin", "No such option: --versoin (did you mean --version?); charrnn -h shows"),
        ("--q", "No such option: --q; charrnn -h shows"),
        (
            "--temp 0.8 sample",
            "No such option: --temp (write it after the command: charrnn sample --temp); charrnn",
        ),
        (
            "bench --form int8 sample",
            "No such option: --form (write it after the command: charrnn bench sample --form); ",
        ),
        ("train https://a.org/b.txt", "No such file or directory; download it first, and name"),
        ("score --lines http://a.org/b.txt", "b.txt: No such file or directory; download it"),
        ("score ftp://a.org/b.txt", "b.txt: No such file or directory; download it first"),
        ("score nowhere.txt", "cannot read nowhere.txt: No such file or directory\n"),
        ("next €", "characters (checkpoints/novel/best.safetensors); set --unknown"),
        ("fill a_€", "characters (checkpoints/novel/best.safetensors); set --unknown"),
        ("sample --prime €", "characters (checkpoints/novel/best.safetensors); set --unknown"),
        ("likely --lines --prefix €", "characters (checkpoints/novel/best.safetensors)"),
        ("score euro.txt", "euro.txt: character '€' (U+20AC) at position 0"),
        ("score euro.txt", "characters (checkpoints/novel/best.safetensors); set --unknown"),
        ("score euro.txt --model novel", "characters; set --unknown"),
        ("train -x", "No such option: -x; charrnn train -h shows the usage"),
        ("train --out", "--out needs a value (PATH); charrnn train -h shows the usage"),
        ("sample -n", "-n needs a value (N); charrnn sample -h shows the usage"),
        (
            "bench sample --form",
            "--form needs a value (float32|float16|int8); charrnn bench sample",
        ),
        ("train --json=1", "--json takes no value; charrnn train -h shows the usage"),
        ("info a b c", "too many arguments: b c; charrnn info -h shows the usage"),
        ("data get x", "NAME is 'x': it must be one of war-and-peace, tinyshakespeare\n"),
        (
            "sample novel --prime a --prime-file t.txt",
            "--prime-file cannot be combined with --prime: omit one",
        ),
        ("data get", "Missing argument 'NAME'. Choose from: war-and-peace, tinyshakespeare; "),
    ],
)
def test_complaints_name_what_was_typed(args: str, said: str, call: Call) -> None:
    Path("t.txt").write_text("the old prince\n" * 200)
    Path("euro.txt").write_text("€ and pound\n")
    code, out, err = call(*args.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("charrnn: ")
    assert said in err


def test_a_resumed_run_names_options_in_its_complaints(call: Call) -> None:
    Path("t.txt").write_text("the old prince\n" * 200)
    small = ["--size", "8", "--layers", "1", "--steps", "1", "--seed", "1", "--val-frac", "0.2"]
    assert call("train", "t.txt", *small, "--out", "run")[0] == 0
    for changed in ("--size 64", "--bytes", "--val-frac 0.1"):
        code, _, err = call("train", "--resume", "--out", "run", *changed.split())
        assert code == 2
        assert f"a resumed run keeps its settings; omit {changed.split()[0]}, or start" in err
    Path("u.txt").write_text("the young prince\n" * 200)
    code, _, err = call("train", "u.txt", "--resume", "--out", "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "u.txt is not the text of that run: its sha256 differs (the run in run)" in err
    code, _, err = call("train", "u.txt", "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "no run named u under checkpoints/; set --out to its folder" in err
    code, _, err = call("train", "--resume", "--out", "run", "--steps", "3")
    assert code == 0
    assert "resuming at step 1, up to 3 steps in total on cpu" in err


def test_only_settings_are_spelled_as_options() -> None:
    style = OptionStyle(options_of(train))

    def said(error: CharRNNError) -> str:
        return error.spelled(style)

    assert said(ConfigError("runs/hidden holds a run")) == "runs/hidden holds a run"
    assert said(ConfigError("is 'hidden'", setting="hidden")) == "--size is 'hidden'"
    assert said(ConfigError("{hidden}", "omit {seconds}")) == "{hidden}; omit --time"
    assert said(ConfigError("is 0", setting="vocab_size")) == "vocab_size is 0"
    switch = "try --sum-layers/--last-layer"
    assert said(ConfigError("no", "try {sum_layers}")) == f"no; {switch}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden": 0, "steps": 1}, "hidden is 0: "),
        ({"seconds": -1.0}, "seconds is -1.0: "),
        ({"steps": 0}, "no budget; set one of epochs, steps and seconds above 0"),
        (
            {"steps": 1, "epochs": 1},
            "more than one budget; set only one of epochs, steps and seconds",
        ),
    ],
)
def test_errors_in_python_use_python_s_names(settings: dict[str, Any], said: str) -> None:
    Path("t.txt").write_text("the old prince\n" * 200)
    with pytest.raises(ConfigError) as caught:
        charrnn_package.train("t.txt", **settings)
    assert str(caught.value).startswith(said)


def test_only_a_variable_is_blamed_on_the_environment(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "CHARRNN_TEMP" not in call("sample", "--temp", "abc")[2]
    monkeypatch.setenv("CHARRNN_TEMP", "abc")
    assert "CHARRNN_TEMP" in call("sample")[2]


@pytest.mark.parametrize("switch", ["--json", "--sum-layers", "--fit-temperature"])
def test_a_switch_in_the_environment_says_what_it_can_be(
    switch: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("t.txt").write_text("the old prince\n" * 200)
    variable = "CHARRNN_" + switch[2:].upper().replace("-", "_")
    monkeypatch.setenv(variable, "maybe")
    code, out, err = call("train", "t.txt", "--steps", "1")
    assert (code, out) == (2, "")
    assert err == (
        f"charrnn: {switch} is 'maybe': it must be true or false, yes or no, on or off, 1 or 0 "
        f"(set in the environment: {variable})\n"
    )
    for value in ("true", "False", "yes", "no", "ON", "off", "1", "0"):
        monkeypatch.setenv(variable, value)
        assert call("train", "t.txt", "--steps", "0")[2].startswith("charrnn: --steps is '0'")
