"""A setting is declared once, and everything else follows."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import typer

from charrnn import cells
from charrnn.cli.app import main
from charrnn.cli.command import Command
from charrnn.cli.options import takes
from charrnn.cli.reference import reference
from charrnn.config import (
    ModelConfig,
    TextConfig,
    TrainConfig,
    model_options,
    read_duration,
    write_duration,
)
from charrnn.errors import ConfigError, Interrupted
from charrnn.generation.sample_config import SampleConfig
from charrnn.option import read_whole
from charrnn.settings import Option, Settings, declared, setting
from charrnn.text.splits import Parts
from charrnn.text.symbols import NAMED
from charrnn.training.rundir.model_card import command as card_command
from charrnn.training.state import RunSpec, SplitSpec
from tests.support.checkpoints import charrnn


@dataclass(frozen=True)
class Toy(Settings):
    """One setting of each kind."""

    count: int = setting(1, low=1, high=9, aliases=("-c",), help="How many.")
    rate: float = setting(0.5, above=0, below=1, flag="--speed", unset="chosen", help="How fast.")
    kind: Literal["round", "square"] = setting("round", help="Which shape.")
    cell: str = setting("a", choices=lambda: CELLS, help="Which cell.")
    both: bool = setting(False, flag="--both/--one", help="Both, or one.")
    loud: bool = setting(False, absent=False, excludes=("name",), help="Loud.")
    name: str | None = setting(None, help="A name.")
    tags: tuple[str, ...] = setting((), low=1, help="Tags.")
    limit: int = setting(0, low=1, absent=0, help="A limit.")
    decay: float = setting(0.9, low=0, python_only=True, help="Not on the command line.")


CELLS: list[str] = ["a", "b"]
OUT = Option(name="out", kind=Path, help="Where to.")


@pytest.fixture
def app() -> Any:
    app = typer.Typer(rich_markup_mode=None)

    @app.command("toy", cls=Command)
    @takes(OUT, *declared(Toy))
    def toy(*, out: Path = Path("here"), **settings: Any) -> None:
        values = Toy(**settings).to_dict()
        print(json.dumps({"out": str(out), "given": sorted(settings), **values}))

    @app.callback()
    def root() -> None:
        """Toys."""

    return typer.main.get_command(app)


@pytest.fixture
def toy(app: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """``toy args``: what the command was given, or its help page."""

    def run(*args: str) -> Any:
        app(["toy", *args], standalone_mode=False)
        out = capsys.readouterr().out
        return json.loads(out) if out.startswith("{") else out

    return run


def option(name: str) -> Option:
    return declared(Toy, name)[0]


# --- in Python


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"count": 0}, "count is 0: it must be a whole number from 1 to 9"),
        ({"count": True}, "count is True: it must be a whole number"),
        ({"count": 1.0}, "count is 1.0: it must be a whole number"),
        ({"rate": 1}, "rate is 1: it must be a number above 0 and below 1"),
        ({"rate": float("nan")}, "rate is nan: it must be a number"),
        ({"rate": 10**400}, "rate is 1000"),
        ({"kind": "oval"}, "kind is 'oval': it must be one of round, square"),
        ({"cell": "c"}, "cell is 'c': it must be one of a, b"),
        ({"both": 1}, "both is 1: it must be true or false"),
        ({"name": 3}, "name is 3: it must be a text"),
        ({"tags": "abc"}, "tags is 'abc': it must be a tuple of texts"),
        ({"tags": ("a", "")}, "tags is '': it must be a text of at least one character"),
        ({"limit": -1}, "limit is -1: it must be a whole number of at least 1"),
        ({"limit": False}, "limit is False: it must be a whole number of at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Toy(**settings)
    assert str(refused.value).startswith(said)


def test_what_means_not_given_is_accepted_besides_the_range() -> None:
    assert Toy(limit=0).limit == 0
    assert Toy(name=None).name is None
    with pytest.raises(ConfigError, match="count is None"):
        Toy(count=None)  # type: ignore[arg-type]


def test_choices_may_come_from_a_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.CELLS", ["a", "b", "new"])
    assert Toy(cell="new").cell == "new"
    assert option("cell").parse("new") == "new"


# --- on the command line and in the environment


def test_only_what_is_given_is_passed(toy: Any) -> None:
    assert toy()["given"] == []
    found = toy("-c", "3", "--speed", "0.25", "--one", "--tags", "a", "--tags", "b c")
    assert found["given"] == ["both", "count", "rate", "tags"]
    assert (found["count"], found["rate"], found["both"]) == (3, 0.25, False)
    assert found["tags"] == ["a", "b c"]


def test_variables_set_what_flags_do_not(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_COUNT", "4")
    monkeypatch.setenv("CHARRNN_SPEED", "0.125")
    monkeypatch.setenv("CHARRNN_TAGS", "one text")
    monkeypatch.setenv("CHARRNN_LOUD", "0")
    found = toy("--count", "5")
    assert (found["count"], found["rate"], found["tags"]) == (5, 0.125, ["one text"])
    assert "loud" not in found["given"]  # a switch that can only be turned on


def test_a_flag_wins_over_the_variable_of_what_it_excludes(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_NAME", "x")
    assert toy("--loud")["given"] == ["loud"]
    monkeypatch.setenv("CHARRNN_LOUD", "1")
    assert toy("--name", "y")["given"] == ["name"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--count", "x"], "--count is 'x': it must be a whole number from 1 to 9"),
        (["--speed", "2"], "--speed is '2': it must be a number above 0 and below 1"),
        (["--limit", "0"], "--limit is '0': it must be a whole number of at least 1"),
        (["--out", ""], "--out is '': it must be a path"),
        (["--cell", "c"], "--cell is 'c': it must be one of a, b"),
    ],
)
def test_nonsense_is_told_in_words(args: list[str], said: str, toy: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        toy(*args)
    assert refused.value.spelled(refused.value.style).startswith(said)


def test_help_shows_meaning_default_range_and_variable(toy: Any) -> None:
    page = " ".join(toy("--help").split())
    assert "-c, --count N How many. Default: 1. [env var: CHARRNN_COUNT; 1 to 9]" in page
    assert "--speed X How fast. Default: chosen. [env var: CHARRNN_SPEED;" in page
    assert "--kind round|square Which shape. Default: round." in page
    assert "--both / --one Both, or one." in page
    assert "--out PATH Where to. Default: here." in page
    assert "--limit N A limit. [env var: CHARRNN_LIMIT; at least 1]" in page
    assert "decay" not in page


# --- as words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("count", 3, ["--count", "3"]),
        ("rate", 1e-05, ["--speed", "1e-05"]),
        ("both", True, ["--both"]),
        ("both", False, ["--one"]),
        ("loud", True, ["--loud"]),
        ("loud", False, []),
        ("name", None, []),
        ("limit", 0, []),
        ("tags", ("a", "b"), ["--tags", "a", "--tags", "b"]),
    ],
)
def test_spelling_a_value_is_the_way_back(name: str, value: Any, words: list[str]) -> None:
    assert option(name).spell(value) == words


@pytest.mark.parametrize("seconds", [90.0, 1e12, 0.00001, 1.5])
def test_a_duration_reads_as_it_is_written(seconds: float) -> None:
    assert read_duration(write_duration(seconds)) == seconds


# --- the real ones


def every(config: type) -> tuple[Option, ...]:
    """The declarations of a class of settings; for a network, those of all cells among them."""
    return model_options() if config is ModelConfig else declared(config)


EVERY = [
    pytest.param(config, found, id=f"{config.__name__}.{found.name}")
    for config in (ModelConfig, TrainConfig, TextConfig, SampleConfig)
    for found in every(config)
]


@pytest.mark.parametrize(("config", "found"), EVERY)
def test_a_default_is_allowed_and_reads_as_it_is_spelled(config: Any, found: Option) -> None:
    if config is ModelConfig and found.name == "vocab_size":
        return
    found.check(found.default)
    words = found.spell(found.default)
    if found.kind is not bool and words:
        assert found.parse(words[1]) == found.default


@pytest.mark.parametrize(("config", "found"), EVERY)
def test_help_is_a_sentence(config: Any, found: Option) -> None:
    assert found.help.endswith(".")
    assert found.help[0].isupper()
    assert "Default" not in found.help


# --- what is declared once appears everywhere


@pytest.fixture(scope="module")
def page() -> str:
    """``charrnn train --help``, its line breaks removed."""
    return " ".join(charrnn("train", "--help").stdout.decode().split())


def example(found: Option) -> Any:
    """A value that is neither the default nor the one that means "not given"."""
    if found.kind is bool:
        return not found.default
    if found.kind is str:
        return next((c for c in found.allowed[::-1] if c != found.default), "latin-1")
    if found.kind is int:
        return int(found.low or 0) + 3
    if found.kind is tuple:
        return (1, 3)
    return 0.25 if found.absent != 0.25 else 0.5


FOR_TRAINING = [
    pytest.param(config, found, id=found.name)
    for config in (ModelConfig, TrainConfig, TextConfig)
    for found in every(config)
    if not found.python_only
]


@pytest.mark.parametrize(("config", "found"), FOR_TRAINING)
def test_a_setting_is_an_option_with_help_and_a_row_in_the_reference(
    config: Any, found: Option, page: str
) -> None:
    [row] = [line for line in section("train").splitlines() if f"`{found.variable}`" in line]
    first = found.flag.split("/")[0]
    assert f"`{first} {found.placeholder}".rstrip().replace("|", "\\|") in row
    assert found.help in row
    assert f"{found.flag.replace('/', ' / ')} {found.placeholder}".strip() in page
    assert found.help in page
    assert f"[env var: {found.variable}" in page


def section(command: str) -> str:
    """The part of the reference about one command."""
    return next(s for s in reference().split("\n## charrnn ") if s.startswith(f"{command} "))


@pytest.mark.parametrize(("config", "found"), FOR_TRAINING)
def test_flag_and_variable_set_what_python_calls_so(
    config: Any, found: Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[dict[str, Any]] = []

    def stop(*corpus: str, listener: object, **settings: Any) -> None:
        passed.append(settings)
        raise Interrupted.by(15)

    monkeypatch.setattr("charrnn.cli.train._train", stop)
    value = example(found)
    words = found.spell(value)
    with pytest.raises(SystemExit):
        main(["train", *words])
    monkeypatch.setenv(found.variable, str(value) if found.kind is bool else words[1])
    with pytest.raises(SystemExit):
        main(["train"])
    assert passed == [{found.name: value}] * 2


@pytest.mark.parametrize(("config", "found"), FOR_TRAINING)
def test_the_command_on_a_card_spells_a_setting_out(config: Any, found: Option) -> None:
    value = example(found)
    budget = {} if found.name in ("epochs", "seconds") else {"steps": 1}
    own: dict[Any, dict[str, Any]] = {
        ModelConfig: {"vocab_size": 9},
        TrainConfig: budget,
        TextConfig: {"split": "contiguous", "val_frac": 0.1, "test_frac": 0.0},
    }
    own[config] = {**own[config], found.name: value}
    if owners := cells.owners(found.name):
        own[config]["cell"] = owners[0]
    text = TextConfig(**own[TextConfig])
    encoding = "bytes" if text.is_bytes else text.encoding or "utf-8"
    vocab = SimpleNamespace(expression=NAMED.get(text.symbols or "", text.symbols or ""))
    corpus: Any = SimpleNamespace(name="text.txt", encoding=encoding, vocab=vocab)
    parts = Parts((), (), ())
    cut: Any = SplitSpec(text.split, text.val_frac, text.test_frac)  # type: ignore[arg-type]
    model, training = ModelConfig.from_dict(own[ModelConfig]), TrainConfig(**own[TrainConfig])
    spec = RunSpec(model, training, corpus, cut, parts, text.max_bytes, "runs/a b", text.skip_bad)
    command = card_command(spec)
    assert command.startswith("charrnn train text.txt --from 'runs/a b' --cell ")
    assert (shlex.join(found.spell(value)) in command) == found.recorded


@pytest.mark.parametrize("name", ["device", "threads"])
def test_a_card_s_command_says_nothing_of_the_machine(name: str) -> None:
    assert not declared(TrainConfig, name)[0].recorded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000), ("1_000", 1000), ("1,000", 1000), ("12,345,678", 12_345_678), ("1e3", 1000),
        ("1E3", 1000), ("1.5e3", 1500), ("64k", 64_000), ("64K", 64_000), ("1.5k", 1500),
        ("2M", 2_000_000), ("2m", 2_000_000), ("1G", 10**9), ("0", 0), ("007", 7), ("1e0", 1),
        ("1.20e1", 12), ("0k", 0), ("1e99", 10**99), (" 5 ", 5), ("+5", 5), ("-5", -5),
    ],
)  # fmt: skip
def test_whole_numbers_as_people_write_them(text: str, value: int) -> None:
    assert read_whole(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "k", "e3", "1.5", "1.", "1e-3", "1.2345k", "1,00", "1,0000", ",100", "1,000.5", "1k5",
     "-1k", "1e100", "0x10", "1 000", "ten", "1kk", "1e3k", "9" * 5000, "1." + "0" * 200 + "k"],
    ids=lambda text: text[:9],
)  # fmt: skip
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|not a whole number|digits"):
        read_whole(text)
