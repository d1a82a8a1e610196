"""Every bad argument is refused in one line, with exit code 2.

The table is made of the commands themselves: every option and argument of each gets what is
nonsense for its kind, on the command line and, where it has a variable, in the environment. What
is legal in spite of its look stands in ``LEGAL``, with the reason; a new option is in the table
the day it is added.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
import typer.main

from charrnn.cli.app import app
from charrnn.cli.command import options_of
from charrnn.option import Option
from tests.support.checkpoints import charrnn, tiny
from tests.support.command_line import commands, leave, variables, without_home
from tests.support.terminal import UNWANTED

CONTROL = "\x1b]0;x\x07\x9b31m\u202e\r\n"
LONG = "x" * 100_000
UNDECODABLE = "\udcff"  # how the byte FF comes in
ANY = [CONTROL, LONG, UNDECODABLE]
# nonsense for each kind of value
BY_KIND: dict[Any, list[str]] = {
    int: [
        "",
        "x",
        "1.5",
        "1e-3",
        "1.5e0",
        "1.2345k",
        "k",
        "e3",
        "1,00",
        "1k5",
        "-1k",
        "-1",
        "nan",
        "inf",
        "1e999",
        "0x10",
        "9" * 400,
        "9" * 5000,
        *ANY,
    ],
    float: ["", "x", "nan", "inf", "-inf", "1e999", "-1", "0x1p3", *ANY],
    Literal: ["", "nonsense", "auto ", *ANY],
    bool: [],
    tuple: [
        "",
        "x",
        "1,,2",
        "0,1",
        "-1,1",
        "2,1",
        "1,1",
        "1.5",
        "1 2",
        "1,65537",
        "255,256,257",
        "9" * 400,
        "9" * 5000,
        ",".join(map(str, range(1, 18))),
        *ANY,
    ],
    Path: ["", "nowhere", "text.txt/below", "empty", "/dev/null", "d/" * 3000, *ANY],
}
# nonsense for what charrnn itself reads; an argument's name is in capitals
TEXTS: dict[str, list[str]] = {
    "train CORPUS": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "train --time": ["x", "-1s", "10 parsecs", "", "0", "nan", "1e999", "9" * 400, *ANY],
    "train --encoding": ["nonsense", "hex", "", "utf-8\0", *ANY],
    "train --from": ["nowhere", "/dev/null", "", ".", *ANY],
    "train --preset": ["nonsense", "", *ANY],
    "sample --prime": [CONTROL, UNDECODABLE, "É"],
    "sample --stop": ["", "§"],
    "sample --temp": ["", "x", "nan", "inf", "-1", "1e999", "1:2:3", "1:", ":1", "0.6:-1", *ANY],
    "sample --allow": ["É§", "§"],
    "sample --ban": ["abcdefghijklmnopqrstuvwxyz .,\n"],
    "sample --ban-words": ["nowhere", ".", "empty", "/dev/null", LONG],
    "sample --prefix": [CONTROL, UNDECODABLE, "É", "a\nb"],
    "train --symbols": ["", "(", "a{3,1}", "a*", "(a*)*b", r"(a)\1", "^a", LONG, UNDECODABLE],
    "sample --match": ["", "(", "[", "a{3,1}"],
    "sample --encoding": ["nonsense", "hex", "", "utf-8\0", "bytes", *ANY],
    "fill TEXT": ["", "no gap", CONTROL + "_", UNDECODABLE + "_"],
    "fill --gap": ["", "?", *ANY],
    "fill --encoding": ["nonsense", "hex", "", "utf-8\0", "bytes", *ANY],
    "score FILES": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "score --encoding": ["nonsense", "hex", "", "utf-8\0", "bytes", *ANY],
    "next PREFIX": [CONTROL, UNDECODABLE, "É"],
    "likely --prefix": [CONTROL, UNDECODABLE, "É", "a\nb"],
    "next --encoding": ["nonsense", "hex", "", "utf-8\0", "bytes", *ANY],
    "insight --text": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "insight --corpus": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "insight --encoding": ["nonsense", "hex", "", "utf-8\0", "bytes", *ANY],
    "lab compare CORPUS": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "lab compare --time": ["x", "-1s", "10 parsecs", "", "0", "nan", "1e999", "9" * 400, *ANY],
    "lab flow --text": ["", "nowhere", ".", "empty", "/dev/zero", "/dev/null", *ANY],
    "lab flow --encoding": ["nonsense", "hex", "", "utf-8\0", *ANY],
    "data get NAME": ["", "nonsense", *ANY],
}
# option, value → why it is no nonsense
LEGAL = {
    ("train --out", "nowhere"): "the folder is made",
    ("train --out", "text.txt/below"): "the file is in the way: 1",
    ("train --out", "d/" * 3000): "too long for the system: 1",
    ("train --out", LONG): "too long for the system: 1",
    ("train --out", CONTROL): "a name like another",
    ("train --out", UNDECODABLE): "a name like another",
    ("train --max-bytes", "9" * 400): "all of the text, then",
    ("sample --prime-file", "empty"): "as no prime",
    ("sample --prime-file", "/dev/null"): "as no prime",
    ("insight --out", "nowhere"): "a new page",
    ("insight --out", "empty"): "a page in its place",
    ("insight --out", "/dev/null"): "it goes there",
    ("insight --out", "text.txt/below"): "the file is in the way: 1",
    ("insight --out", "d/" * 3000): "too long for the system: 1",
    ("insight --out", LONG): "too long for the system: 1",
    ("insight --out", CONTROL): "a name like another",
    ("insight --out", UNDECODABLE): "a name like another",
    ("plot --out", "nowhere"): "a new picture",
    ("plot --out", "empty"): "a picture in its place",
    ("plot --out", "/dev/null"): "it goes there",
    ("plot --out", "text.txt/below"): "the file is in the way: 1",
    ("plot --out", "d/" * 3000): "too long for the system: 1",
    ("plot --out", LONG): "too long for the system: 1",
    ("plot --out", CONTROL): "a name like another",
    ("plot --out", UNDECODABLE): "a name like another",
    ("lab compare --out", "nowhere"): "the folder is made",
    ("lab compare --out", "text.txt/below"): "the file is in the way: 1",
    ("lab compare --out", "d/" * 3000): "too long for the system: 1",
    ("lab compare --out", LONG): "too long for the system: 1",
    ("lab compare --out", CONTROL): "a name like another",
    ("lab compare --out", UNDECODABLE): "a name like another",
    ("lab compare --plot", "nowhere"): "a new picture",
    ("lab compare --plot", "empty"): "a picture in its place",
    ("lab compare --plot", "/dev/null"): "it goes there",
    ("lab compare --plot", "text.txt/below"): "the file is in the way: 1",
    ("lab compare --plot", "d/" * 3000): "too long for the system: 1",
    ("lab compare --plot", LONG): "too long for the system: 1",
    ("lab compare --plot", CONTROL): "a name like another",
    ("lab compare --plot", UNDECODABLE): "a name like another",
    ("lab flow --out", "nowhere"): "a new picture",
    ("lab flow --out", "empty"): "a picture in its place",
    ("lab flow --out", "/dev/null"): "it goes there",
    ("lab flow --out", "text.txt/below"): "the file is in the way: 1",
    ("lab flow --out", "d/" * 3000): "too long for the system: 1",
    ("lab flow --out", LONG): "too long for the system: 1",
    ("lab flow --out", CONTROL): "a name like another",
    ("lab flow --out", UNDECODABLE): "a name like another",
    ("bench scale --plot", "nowhere"): "a new picture",
    ("bench scale --plot", "empty"): "a picture in its place",
    ("bench scale --plot", "/dev/null"): "it goes there",
    ("bench scale --plot", "text.txt/below"): "the file is in the way: 1",
    ("bench scale --plot", "d/" * 3000): "too long for the system: 1",
    ("bench scale --plot", LONG): "too long for the system: 1",
    ("bench scale --plot", CONTROL): "a name like another",
    ("bench scale --plot", UNDECODABLE): "a name like another",
    ("data get --out", "nowhere"): "the folder is made",
    ("data get --out", "text.txt/below"): "the file is in the way: 1",
    ("data get --out", "d/" * 3000): "too long for the system: 1",
    ("data get --out", LONG): "too long for the system: 1",
    ("data get --out", CONTROL): "a name like another",
    ("data get --out", UNDECODABLE): "a name like another",
}
# beyond what a kind can say
RANGES = [
    ("train", "--dropout", "1"), ("train", "--lr", "0"), ("train", "--lr", "11"),
    ("train", "--clip-at", "0"), ("lab flow", "--gain", "0"), ("lab flow", "--steps", "0"),
    ("lab compare", "--parameters", "0"),
    ("train", "--ema", "1"), ("train", "--val-frac", "1"), ("train", "--test-frac", "1"),
    ("train", "--size", "0"), ("train", "--size", "1000000"), ("train", "--layers", "9"),
    ("train", "--layers", "0"), ("train", "--embedding", "0"), ("train", "--embedding", "99999"),
    ("train", "--batch", "0"), ("train", "--window", "0"), ("train", "--batch", "1000000000"),
    ("train", "--steps", "0"), ("train", "--epochs", "0"), ("train", "--device", "cuda:0"),
    ("train", "--seed", str(2**63)), ("train", "--max-bytes", "0"), ("train", "--threads", "0"),
    ("train", "--threads", "1025"), ("sample", "--temp", "-0.1"), ("sample", "--top-p", "0"),
    ("sample", "--top-p", "1.1"), ("sample", "--min-p", "1.1"), ("sample", "--count", "0"),
    ("sample", "--count", str(2**63)), ("sample", "--top-k", "65536"),
    ("sample", "--length", str(2**63)), ("sample", "--seed", str(2**64)),
    ("score", "--split", "train"), ("insight", "--seed", str(2**63)),
    ("bench sample", "--streams", "0"),
    ("bench train", "--batch", "0"), ("bench train", "--layers", "9"),
]  # fmt: skip
BUDGETS = ("--time", "--epochs", "--steps")


class Parameter(NamedTuple):
    """An option (``--name``) or argument (``NAME``) of a command, and the nonsense for it."""

    command: str
    name: str
    variable: str | None
    kind: Any

    @property
    def nonsense(self) -> list[str]:
        full = f"{self.command} {self.name}"
        values = TEXTS.get(full, BY_KIND.get(self.kind))
        assert values is not None, f"say in this table what is nonsense for {full}"
        ranges = [v for command, name, v in RANGES if (command, name) == (self.command, self.name)]
        return [v for v in [*values, *ranges] if (full, v) not in LEGAL]

    def call(self, value: str) -> list[str]:
        """The command with ``value`` here and sense everywhere else."""
        args = sensible(self.command, without=self.name)
        if self.name.startswith("--"):
            return [*args, f"{self.name}={value}"]
        after = ["page.html"] if str(self) == "export CHECKPOINT" else []
        return [*args[: len(args) - len(after)], "--", value, *after]

    def __str__(self) -> str:
        return f"{self.command} {self.name}"


def parameters() -> Iterator[Parameter]:
    for command, described in commands():
        if not command or getattr(described, "commands", None):  # those have only flags
            continue
        hints = get_type_hints(inspect.unwrap(described.callback))
        for param in described.params:
            name = next((o for o in param.opts if o.startswith("--")), param.name.upper())
            if option := described.options.get(param.name):
                kind: Any = Literal if option.choices else option.kind
            else:  # an argument
                hint = hints[param.name]
                kind = get_args(hint)[0] if get_origin(hint) is list else get_origin(hint) or hint
            for variable in variables(param) or [None]:
                yield Parameter(command, name, variable, kind)


def sensible(command: str, without: str = "") -> list[str]:
    """Arguments with which ``command`` would do its work, the one in question left out."""
    options = {
        "train": {"CORPUS": "text.txt", "--out": "run", "--steps": "1", "--threads": "1"},
        "sample": {"CHECKPOINT": "model", "--seed": "1", "--length": "5"},
        "fill": {"TEXT": "a _ b", "--model": "model"},
        "score": {"FILES": "text.txt", "--model": "model"},
        "likely": {"CHECKPOINT": "model", "--top": "1", "--length": "2", "--max-tries": "99999"},
        "next": {"PREFIX": "the", "--model": "model"},
        "info": {"CHECKPOINT": "model"},
        "insight": {"CHECKPOINT": "model", "--seed": "1", "--out": "page.html"},
        "plot": {"RUN": "metrics.jsonl", "--out": "curves.csv"},
        "export": {"CHECKPOINT": "model", "FILE": "page.html"},
        "lab check": {"--cell": "elman"},
        "lab compare": {"CORPUS": "text.txt", "--steps": "1", "--cell": "elman", "--out": "runs"},
        "lab flow": {"--text": "text.txt", "--size": "8", "--steps": "1", "--cell": "elman"},
        "data get": {"NAME": "tinyshakespeare", "--out": "data"},
    }.get(command, {})
    left = {name: value for name, value in options.items() if name != without}
    if without in BUDGETS:
        left.pop("--steps", None)
    if without == "--split" and command == "score":
        left.pop("FILES")
    words = [word for name, value in left.items() for word in (name, value)]
    words += ["--lines"] if command == "likely" and without != "--lines" else []
    words += ["--lines", "--novel"] if (command, without) == ("sample", "--corpus") else []
    return [*command.split(), *(word for word in words if not word.isupper())]


PROGRAM = typer.main.get_command(app)
ALL = list(parameters())


@pytest.fixture(autouse=True)
def some_files(bare_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import charrnn.bench.sampling
    import charrnn.bench.scaling
    import charrnn.bench.training
    import charrnn.insight.traces
    import charrnn.text.downloads

    def works(*_: object, **__: object) -> None:
        raise OSError("the arguments were taken")

    # the commands are always the same: not to be made anew a thousand times
    monkeypatch.setattr(typer.main, "get_command", lambda _: PROGRAM)
    # what takes minutes, or the net
    monkeypatch.setattr(charrnn.bench.sampling, "measure", works)
    monkeypatch.setattr(charrnn.bench.training, "bench_training", works)
    monkeypatch.setattr(charrnn.bench.scaling, "predict", works)
    monkeypatch.setattr(charrnn.text.downloads, "_download", works)
    monkeypatch.setattr(charrnn.insight.traces, "LENGTH", 500)
    tiny().save(Path("model"))
    Path("text.txt").write_text("the quick brown fox\n" * 200)
    Path("empty").touch()
    Path("metrics.jsonl").write_text('{"step": 1, "train_nats": 2.5}\n')


def faults(args: list[str], capfd: pytest.CaptureFixture[str], named: str = "") -> str:
    """What is wrong with how ``charrnn args`` refuses; empty if nothing is."""
    code, out, err = leave(args, capfd)
    wrong: list[str | bool] = [
        code != 2 and f"exit {code}",
        out and "stdout",
        "Traceback" in err and "traceback",
        "a bug" in err and "bug",
        not err.startswith("charrnn: ") and "no charrnn:",
        err.count("\n") != 1 and "not one line",
        len(err) > 2500 and "too long",
        bool(UNWANTED & set(map(ord, err))) and "control characters",
        named not in err and f"no {named}",
    ]
    found = ", ".join(str(fault) for fault in wrong if fault)
    return found and f"{' '.join(args)[:100]!r}: {found}: {err[:300]!r}"


def refused(args: list[str], capfd: pytest.CaptureFixture[str], named: str = "") -> None:
    assert not faults(args, capfd, named)


@pytest.mark.parametrize("parameter", ALL, ids=str)
def test_nonsense_exits_two_in_one_line(
    parameter: Parameter, capfd: pytest.CaptureFixture[str]
) -> None:
    found = [faults(parameter.call(value), capfd) for value in parameter.nonsense]
    if parameter.name.startswith("--"):
        args = sensible(parameter.command, without=parameter.name)
        flag = parameter.kind is bool
        # no value; a value for a switch; twice, nonsense at the end
        last = [f"{parameter.name}=yes"] if flag else [parameter.name]
        found.append(faults([*args, *last], capfd))
        if not flag and parameter.nonsense and str(parameter) != "sample --stop":
            first = [f"{parameter.name}=1", f"{parameter.name}={parameter.nonsense[-1]}"]
            found.append(faults([*args, *first], capfd))
    assert not [fault for fault in found if fault]
    assert not Path("run/best.safetensors").exists()


@pytest.mark.parametrize("parameter", [p for p in ALL if p.variable], ids=str)
def test_nonsense_in_the_environment_exits_two_and_names_the_variable(
    parameter: Parameter, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parameter.variable
    values = ["nonsense", CONTROL] if parameter.kind is bool else parameter.nonsense
    found = []
    for value in values:
        if not value or "\0" in value:  # empty is not set, and the other cannot be
            continue
        monkeypatch.setenv(parameter.variable, value)
        args = sensible(parameter.command, without=parameter.name)
        found.append(faults(args, capfd, named=parameter.variable))
    assert not [fault for fault in found if fault]


@pytest.mark.parametrize("command", [name for name, _ in commands()])
def test_unknown_options_and_arguments_too_many(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused([*command.split(), "--nonsense"], capfd)
    refused([*command.split(), "--nonsense=1"], capfd)
    refused([*command.split(), "-?"], capfd)
    if command not in ("train", "lab compare", ""):  # which takes any number of texts
        refused([*sensible(command), "one", "more", "and more"], capfd)


@pytest.mark.parametrize("command", sorted({p.command for p in ALL}))
def test_sensible_arguments_are_accepted(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Or the tables above would prove nothing."""
    code, _, err = leave(sensible(command), capfd)
    stopped = command.startswith(("bench", "data"))
    assert code == stopped, err
    assert not stopped or "the arguments were taken" in err


@pytest.mark.parametrize("case", LEGAL, ids=lambda case: f"{case[0]} {case[1][:9]!r}")
def test_what_is_legal_in_spite_of_its_look_works(
    case: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    parameter = next(p for p in ALL if str(p) == case[0])
    code, _, err = leave(parameter.call(case[1]), capfd)
    assert "Traceback" not in err
    assert "a bug" not in err
    assert not UNWANTED & set(map(ord, err))
    wanted = 1 if ": 1" in LEGAL[case] or case[0].startswith(("bench", "data")) else 0
    assert code == wanted, err


REPLACED = [
    p for p in ALL
    if p.variable and p.kind is not bool and p.nonsense and str(p) != "sample --stop"
    and p.name in sensible(p.command)
]  # fmt: skip


@pytest.mark.parametrize("parameter", REPLACED, ids=str)
def test_the_last_of_two_values_counts(
    parameter: Parameter, capfd: pytest.CaptureFixture[str]
) -> None:
    args = sensible(parameter.command)
    place = args.index(parameter.name)
    args[place:place] = [f"{parameter.name}={parameter.nonsense[0]}"]
    assert leave(args, capfd)[0] == parameter.command.startswith("data")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["info", "text.txt"],
        ["data", "get"],
        ["train", "."],
        ["train", "text.txt", "--steps", "1", "--epochs", "1"],
        ["train", "--resume", "--out", "nowhere"],
        ["train", "--resume", "--from", "model"],
        ["train", "--resume", "--size", "9"],
        ["train", "--resume", "--bytes"],
        ["train", "text.txt", "--steps", "1", "--out", "run-before"],
        ["train", "text.txt", "--steps", "1", "--from", "model", "--size", "9"],
        ["train", "text.txt", "--steps", "1", "--split", "interleaved"],
        ["train", "text.txt", "--steps", "1", "--val-frac", "0.5", "--test-frac", "0.5"],
        ["sample", "model", "--seed", "1", "--length", "0", "--count", "2"],
        ["sample", "model", "--seed", "1", "--length", "0", "--json"],
        ["sample", "model", "--prime", "a", "--prime-file", "text.txt"],
        ["score"],
        ["score", "text.txt", "--split", "val", "--per-line", "--model", "model"],
        ["score", "--split", "val", "--model", "model"],
        ["score", "text.txt", "--model", "model", "--color", "--json"],
    ],
    ids=" ".join,
)
def test_conflicting_arguments_exit_two(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    tiny().save(Path("run-before/best.safetensors"))
    refused(args, capfd)


# options that exclude each other, with a value that is right by itself
EXCLUDED = [
    (name, option, options_of(command.callback)[rival])
    for name, command in commands()
    for option in options_of(command.callback).values()
    for rival in option.excludes
]
RIGHT = {
    "encoding": "utf-8", "epochs": "1", "steps": "1", "seconds": "9s", "prime": "the",
    "prime_file": "text.txt", "prefix": "the", "split": "val", "start_from": "model",
    "preset": "small", "step_ms": "3", "device": "cpu", "precision": "float32", "threads": "1",
    "symbols": "words",
}  # fmt: skip
TEXT_OF = {"train": ["text.txt"], "sample": ["model"], "score": ["text.txt", "--model", "model"],
           "lab compare": ["text.txt"], "bench scale": []}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "one", "other"),
    [pytest.param(*case, id=f"{case[0]} {case[1].flag} {case[2].flag}") for case in EXCLUDED],
)
def test_options_that_exclude_each_other_exit_two(
    command: str, one: Option, other: Option, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        word
        for option in (one, other)
        for word in ([option.flag] if option.kind is bool else [option.flag, RIGHT[option.name]])
    ]
    refused([*command.split(), *TEXT_OF[command], *words], capfd)


SAMPLE = ["sample", "model", "--seed", "1", "--length", "5"]
TRAIN = ["train", "text.txt", "--steps", "1", "--size", "8", "--layers", "1", "--threads", "1"]


@pytest.mark.parametrize(
    ("args", "variable"),
    [
        ([*SAMPLE, "--prime", "a"], "PRIME_FILE=nowhere"),
        ([*SAMPLE, "--prime-file", "text.txt"], "PRIME=q"),
        (["score", "text.txt", "--split", "val", "--model", "split"], "ENCODING=utf-16"),
        (["score", "text.txt", "--model", "model", "--color"], "JSON=1"),
        (["score", "text.txt", "--model", "model", "--adapt"], "PER_LINE=1"),
        (["score", "text.txt", "--split", "val", "--model", "split"], "COLOR=1"),
        (TRAIN, "EPOCHS=9"),
        ([*TRAIN, "--bytes"], "ENCODING=latin-1"),
    ],
)
def test_a_flag_wins_over_a_rival_s_variable(
    args: list[str],
    variable: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "split" in args:
        assert leave([*TRAIN, "--out", "split"], capfd)[0] == 0
    name, value = variable.split("=")
    monkeypatch.setenv(f"CHARRNN_{name}", value)
    code, _, err = leave(args, capfd)
    assert code == 0, err


@pytest.mark.parametrize(
    ("args", "option", "needed"),
    [
        (["score", "text.txt", "--model", "model"], "--top 2", "--per-char"),
        (["score", "text.txt", "--model", "model"], "--worst", "--lines"),
        (SAMPLE, "--corpus text.txt", "--novel or --max-copy"),
        (SAMPLE, "--keep-stop", "--stop"),
    ],
)
def test_an_option_that_does_nothing_without_another_is_refused(
    args: list[str],
    option: str,
    needed: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its variable is for other calls of the command, too: it does nothing then."""
    flag, *value = option.split()
    assert leave([*args, *option.split()], capfd)[2] == f"charrnn: {flag} needs {needed}\n"
    found = leave(args, capfd)
    monkeypatch.setenv("CHARRNN_" + flag[2:].upper().replace("-", "_"), "".join(value) or "1")
    assert leave(args, capfd) == found
    assert found[0] == 0


def test_a_variable_that_a_flag_overrules_is_not_blamed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_PRIME_FILE", "nowhere")
    _, _, err = leave([*SAMPLE, "--prime", "a", "--temp=-1"], capfd)
    assert "CHARRNN" not in err
    assert "--temp" in err


@pytest.mark.parametrize("args", [[], ["data"], ["bench"]], ids=" ".join)
def test_a_command_that_needs_another_shows_its_help(
    args: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = leave(args, capfd)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ")


def test_a_variable_holds_one_text(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["sample", "model", "--seed", "1", "--length", "90"]
    whole = leave(args, capfd)[1]
    place = whole.index(" ")
    stop = whole[place - 2 : place + 3]
    monkeypatch.setenv("CHARRNN_STOP", stop)
    assert leave(args, capfd)[1] == whole[: whole.index(stop)]


@pytest.mark.parametrize("folder", ["empty", "text.txt/below", "/dev/null", LONG, "d/" * 3000])
def test_an_unusable_cache_is_named_by_the_commands_that_need_it(
    folder: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", folder)
    refused(sensible("train"), capfd, named="CHARRNN_CACHE")
    for command in ("sample", "score", "info", "ls"):
        assert leave(sensible(command), capfd)[0] == 0


@pytest.mark.parametrize("home", ["missing", "unknown"])
def test_without_a_home_a_run_keeps_its_own_text(
    home: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_home(home, monkeypatch)
    assert leave(sensible("sample"), capfd)[0] == 0
    code, out, err = leave([*TRAIN, "--out", "runs/run", "-q"], capfd)
    assert (code, out) == (0, "")
    assert "the encoded text is kept in runs/run/.charrnn-cache; set CHARRNN_CACHE to" in err
    assert leave(["train", "--resume", "--out", "runs/run", "--steps", "2"], capfd)[0] == 0
    assert leave(["score", "--split", "val", "--model", "runs/run"], capfd)[0] == 0
    assert leave(["insight", "runs/run", "--seed", "1", "--corpus", "text.txt"], capfd)[0] == 0
    assert [path.name for path in Path("runs").iterdir()] == ["run"]
    assert not Path("/nonexistent").exists()


def test_a_flag_wins_over_a_variable_that_is_nonsense(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_SEED", "nonsense")
    monkeypatch.setenv("CHARRNN_TEMP", "")  # as if it were not set
    assert leave(["sample", "model", "--seed", "1", "--length", "5"], capfd)[0] == 0


def test_only_what_the_environment_set_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_TOP_K", "3")
    monkeypatch.setenv("CHARRNN_SEED", "3")
    code, _, err = leave(["sample", "nowhere", "--seed", "4"], capfd)
    assert code == 2
    assert err.endswith("(set in the environment: CHARRNN_TOP_K)\n")


@pytest.mark.parametrize("command", sorted({p.command for p in ALL}))
def test_a_process_refuses_as_the_table_says(command: str) -> None:
    """One whole process for each command."""
    kinds = (int, Literal, Path)
    parameter = next(p for kind in kinds for p in ALL if (p.command, p.kind) == (command, kind))
    done = charrnn(*parameter.call(parameter.nonsense[1]))
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    assert done.stderr.startswith(b"charrnn: ")
    assert done.stderr.count(b"\n") == 1


def test_undecodable_arguments_come_in_as_the_table_has_them() -> None:
    assert os.fsdecode(b"\xff") == UNDECODABLE or sys.getfilesystemencoding() != "utf-8"
