"""The command line: what goes to which stream, and how it leaves."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import charrnn as charrnn_package
from charrnn import __version__
from charrnn.cli.app import main
from charrnn.cli.command import in_options
from charrnn.config import Preset
from charrnn.errors import ConfigError, counted
from tests.support.checkpoints import META, ROOT, charrnn, environment, real_text, tiny
from tests.support.networks import letters

README = (ROOT / "README.md").read_text()
RUN = Path("checkpoints/novel")
BEST = RUN / "best.safetensors"


@pytest.fixture(autouse=True)
def a_run(bare_environment: None) -> None:
    tiny().save(BEST)


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """``charrnn args`` in this process: exit code, stdout, stderr."""

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(list(args))
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return run


def modules_after(*args: str) -> set[str]:
    """What ``charrnn args`` has imported when it leaves."""
    code = (
        "import sys\nfrom charrnn.cli.app import main\ntry:\n    main(sys.argv[1:])\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *args]
    result = subprocess.run(
        command, env=environment(), capture_output=True, text=True, input="the end"
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


# --- imports


@pytest.mark.parametrize("args", [["--help"], ["train", "--help"], ["sample", "-h"], ["--version"]])
def test_help_imports_neither_torch_nor_numpy(args: list[str]) -> None:
    assert not {"torch", "numpy", "rich.console", "tqdm"} & modules_after(*args)


@pytest.mark.parametrize(
    "args",
    [
        ["sample", str(RUN), "--length", "5", "--seed", "1"],
        ["score", "-", "--model", str(RUN)],
        ["info", str(RUN)],
        ["ls"],
    ],
)
def test_only_training_imports_torch(args: list[str]) -> None:
    assert not {"torch", "pydantic"} & modules_after(*args)


# --- streams


def test_sample_writes_text_alone_and_says_the_rest_on_stderr() -> None:
    done = charrnn("sample", "--length", "50", "--prime", "the ")
    assert done.returncode == 0
    assert done.stdout.startswith(b"the ")
    assert len(done.stdout) == 54
    assert done.stderr.startswith(b"charrnn: checkpoints/novel/best.safetensors, seed ")
    seed = done.stderr.split()[-1].decode()
    again = charrnn("sample", "novel", "--length", "50", "--prime", "the ", "--seed", seed)
    assert (again.stdout, again.stderr) == (done.stdout, b"")


def test_a_prime_comes_from_stdin_or_a_file(call) -> None:  # type: ignore[no-untyped-def]
    args = ["sample", "novel", "--seed", "1", "--length", "20"]
    wanted = call(*args, "--prime", "the end")[1]
    Path("prime.txt").write_text("the end")
    assert call(*args, "--prime-file", "prime.txt")[1] == wanted
    assert charrnn(*args, "--prime", "-", input=b"the end").stdout.decode() == wanted
    assert call(*args, "--prime-file", "none.txt")[0] == 2
    assert call(*args, "--prime-file", "prime.txt", "--prime", "x")[0] == 2


def test_several_samples_and_lines(call) -> None:  # type: ignore[no-untyped-def]
    args = ["sample", "novel", "--seed", "1", "--length", "30"]
    code, out, err = call(*args, "--count", "3", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(rows)) == (0, "", 3)
    assert [sorted(row) for row in rows] == [["index", "seed", "text"]] * 3
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert call(*args, "--count", "3")[1] == "\n\n".join(row["text"] for row in rows)
    lines = call(*args, "--count", "4", "--lines")[1]
    assert lines.count("\n") == 4


def test_an_unknown_character_in_a_prime(call) -> None:  # type: ignore[no-untyped-def]
    args = ["sample", "novel", "--seed", "1", "--length", "5", "--prime", "the €nd"]
    code, out, err = call(*args)
    assert (code, out) == (2, "")
    assert err.startswith("charrnn: character '€' (U+20AC) at 4 is not in the vocabulary of ")
    assert call(*args, "--unknown", "skip")[0] == 0
    assert call(*args, "--unknown", "replace")[0] == 0


def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
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


# --- score, info, ls


def test_score_as_table_json_and_lines(call) -> None:  # type: ignore[no-untyped-def]
    Path("text.txt").write_text("the old prince\nand the new\n")
    code, out, _ = call("score", "text.txt", "--model", "novel", "--json")
    values = json.loads(out)
    assert code == 0
    assert sorted(values) == ["bits_per_char", "chars", "nats_per_char", "perplexity"]
    assert values["chars"] == 26
    table = dict(line.split("\t") for line in call("score", "text.txt")[1].splitlines())
    assert table["nats_per_char"] == f"{values['nats_per_char']:.4f}"
    per_line = call("score", "text.txt", "--per-line")[1].splitlines()
    assert [line.split("\t")[1] for line in per_line] == ["the old prince", "and the new"]
    rows = [
        json.loads(line)
        for line in call("score", "text.txt", "--per-line", "--json")[1].splitlines()
    ]
    nats = sum(row["nats_per_char"] * row["chars"] for row in rows)
    assert nats / 26 == pytest.approx(values["nats_per_char"], rel=1e-6)
    assert "\x1b[" in call("score", "text.txt", "--color")[1]
    both = call("score", "text.txt", "--color", "--per-line")[1].splitlines()
    shown = call("score", "text.txt", "--color")[1].splitlines()
    figures = [line.split("\t")[0] for line in per_line]
    assert both == [f"{figure}\t{text}" for figure, text in zip(figures, shown, strict=True)]


def test_a_line_of_which_nothing_is_counted_has_no_figure(call) -> None:  # type: ignore[no-untyped-def]
    Path("text.txt").write_text("\nthe old\n")
    args = ["score", "text.txt", "--model", "novel", "--per-line"]
    first, second = call(*args)[1].splitlines()
    assert first == "-\t"
    assert float(second.split("\t")[0]) > 0
    assert call(*args, "--color")[1].startswith("-\t")
    row = json.loads(call(*args, "--json")[1].splitlines()[0])
    nothing = dict.fromkeys(["nats_per_char", "bits_per_char", "perplexity"])
    assert row == {"chars": 0, "text": "", **nothing}


def test_score_wants_a_file_or_a_split(call) -> None:  # type: ignore[no-untyped-def]
    for args in (
        ["score"],
        ["score", "x", "--split", "val"],
        ["score", "missing.txt"],
        ["score", "."],
    ):
        code, out, err = call(*args)
        assert (code, out, err.count("\n")) == (2, "", 1), args
    code, _, err = call("score", "--split", "val", "--color")
    assert (code, err.count("\n")) == (2, 1)


def test_score_reads_real_text() -> None:
    text = real_text("tinyshakespeare.txt").read_bytes()[:3000].lower()
    done = charrnn("score", "-", "--model", "novel", "--unknown", "skip", "--json", input=text)
    assert done.returncode == 0
    assert json.loads(done.stdout)["chars"] > 2000


def test_info_and_ls_as_json(call) -> None:  # type: ignore[no-untyped-def]
    facts = json.loads(call("info", "novel", "--json")[1])
    assert facts["model"]["hidden"] == 16
    assert facts["corpus"] == META["corpus"]
    own = json.loads(call("ls", "--json")[1])[0]
    assert own["path"] == str(BEST)
    assert (own["corpus"], own["val_nats"]) == ("novel.txt", 1.5)


def test_a_damaged_checkpoint_is_refused_by_info_and_named_by_ls(call) -> None:  # type: ignore[no-untyped-def]
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


# --- how it leaves


def test_no_traceback_unless_asked_for() -> None:
    assert b"Traceback" not in charrnn("info", "nowhere").stderr
    assert b"Traceback" in charrnn("info", "nowhere", CHARRNN_DEBUG="1").stderr


def test_utf8_whatever_the_locale() -> None:
    tiny(letters("Grüße ")).save(BEST)
    args = ["sample", "novel", "--seed", "1", "--length", "9", "--prime", "Grüße"]
    wanted = charrnn(*args, LC_ALL="C.UTF-8").stdout
    done = charrnn(*args, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout) == (0, wanted), done.stderr
    assert done.stdout.startswith("Grüße".encode())
    stopped = charrnn(*args, "--stop", "ü", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert stopped.returncode == 0, stopped.stderr
    assert "ü" not in stopped.stdout.decode().removeprefix("Grüße")
    assert wanted.startswith(stopped.stdout.rstrip(b"\n"))


# --- documentation


def options() -> Iterator[tuple[str, str, str]]:
    from tests.cli.test_arguments import commands

    for name, command in commands():
        for param in command.params:
            for option in param.opts:
                if option.startswith("--"):
                    yield name, option, getattr(param, "help", None) or ""


def test_every_option_has_help() -> None:
    assert [f"{name} {option}" for name, option, text in options() if not text] == []


def test_adapting_scores_stand_apart(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the same words again and again, " * 12)
    plain = json.loads(charrnn("score", str(text), "--json").stdout)
    done = charrnn("score", str(text), "--adapt", "--json")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert {name: found[name] for name in plain} == plain
    assert found["adapted_nats_per_char"] < found["nats_per_char"]
    assert charrnn("score", str(text), "--adapt", "--per-line").returncode == 2


def test_every_option_and_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = {f"{name} {option}" for name, option, _ in options() if name and option not in readme}
    missing |= {name for name, _, _ in options() if name and name.split()[0] not in readme}
    assert not missing


def test_every_option_has_an_environment_variable() -> None:
    from tests.cli.test_arguments import commands

    for name, command in commands():
        for param in command.params:
            long = [option for option in param.opts if option.startswith("--")]
            if long and long[0] not in ("--help", "--version") and name:
                own = {
                    "score --split": "SCORE_SPLIT",
                    "data get --out": "DATA_OUT",
                    "insight --out": "INSIGHT_OUT",
                }
                usual = long[0][2:].upper().replace("-", "_")
                wanted = "CHARRNN_" + own.get(f"{name} {long[0]}", usual)
                assert param.envvar == wanted, f"{name} {long[0]}"


def test_a_variable_that_two_commands_read_means_the_same_in_both() -> None:
    from tests.cli.test_arguments import commands

    kinds: dict[str, set[object]] = {}
    for _, command in commands():
        hints = get_type_hints(inspect.unwrap(command.callback))
        for param in command.params:
            if param.envvar:
                kinds.setdefault(param.envvar, set()).add(hints[param.name])
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}


def test_the_readme_says_where_help_and_version_are(call) -> None:  # type: ignore[no-untyped-def]
    from tests.cli.test_arguments import commands

    levels = {name for name, _ in commands()}
    assert all(call(*name.split(), "--help")[0] == 0 for name in levels)
    assert {name for name, option, _ in options() if option == "--version"} == {""}
    assert "`--help` is there on every level, the version at `charrnn --version`" in README


def test_choices_are_what_there_is() -> None:
    from charrnn.cli.data import Known
    from charrnn.text.downloads import KNOWN
    from charrnn.training.recipes import PRESETS

    assert list(get_args(Preset)) == list(PRESETS)
    assert list(get_args(Known)) == list(KNOWN)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("train --patience", "Default: 8."),
        ("train --size", "from the corpus and the time"),
        ("train --batch", "from the corpus and the time"),
        ("train --window", "from the corpus and the time"),
        ("train --lr", "Default: from the time"),
        ("train --embedding", "Default: from --size"),
        ("train --dropout", "from how often the text will be read"),
        ("train --input-dropout", "from how often the text will be read"),
        ("train --weight-dropout", "from how often the text will be read"),
        ("train --sum-layers", "Default: all"),
        ("train --fit-temperature", "Default: on"),
        ("train --ema", "the default: off"),
        ("sample --unknown", "error refuses the text, skip leaves them out, replace puts a space"),
        ("score --unknown", "error refuses the text, skip leaves them out, replace puts a space"),
        ("bench sample --threads", "up to 2"),
    ],
)
def test_help_says_what_holds_when_nothing_is_said(args: str, said: str) -> None:
    assert said in next(text for name, option, text in options() if f"{name} {option}" == args)


def test_the_defaults_that_help_states_are_true() -> None:
    from charrnn.generation.factory import MAX_THREADS
    from charrnn.training.recipes import choose

    chosen = choose({}, preset=None, vocab_size=9, train_chars=10**6, fast=False, flops=1e12)
    model, config = chosen
    assert (model.cell, model.layers, model.sum_layers, MAX_THREADS) == ("lstm", 2, True, 2)
    assert (config.patience, config.ema, config.fit_temperature) == (8, 0.0, True)
    assert config.seconds == 600


@pytest.mark.parametrize("columns", [60, 80])
def test_help_breaks_between_facts_only(
    columns: int, call, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    from tests.cli.test_arguments import commands

    monkeypatch.setenv("COLUMNS", str(columns))
    for name, _ in commands():
        page = call(*name.split(), "--help")[1]
        assert max(map(len, page.splitlines())) <= columns
        assert not re.search(r"\[env$|env var:$|default:$|[a-z]\.\.\.$", page, re.MULTILINE), page
        assert page.isascii()


def test_completion_offers_checkpoints_and_choices(call, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
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
    assert offered("train --preset ") == list(get_args(Preset))
    assert offered("data get t") == ["tinyshakespeare"]


# --- complaints


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("sample novel --temp -1", "--temp is -1.0: it must be at least 0"),
        ("sample novel --top-k 70000", "--top-k is 70000: "),
        ("sample novel --stop=", "--stop is '': it must be a text of at least one character"),
        ("sample novel --length 0 --count 2", "--count is above 1 and --length 0: "),
        ("train t.txt --time 0", "--time is 0: it must be above 0"),
        ("train t.txt --time 0h0m", "--time is 0h0m: it must be above 0"),
        ("train t.txt --steps 0", "Invalid value for '--steps'"),
        ("train t.txt --epochs 0", "Invalid value for '--epochs'"),
        ("train t.txt --steps 1 --epochs 1", "--epochs and --steps are given: leave all but one"),
        ("train t.txt --steps 1 --size 0", "--size is 0: "),
        ("train t.txt --steps 1 --val-frac 2", "--val-frac is 2.0: "),
        ("train t.txt --from novel --size 9", "--from keeps the checkpoint's --size: leave"),
        ("train t.txt --from novel --sum-layers", "checkpoint's --sum-layers/--last-layer: leave"),
        ("train t.txt --preset nonsense", "Invalid value for '--preset'"),
        ("data get", "Missing argument 'NAME'. Choose from: war-and-peace, tinyshakespeare; "),
    ],
)
def test_complaints_name_what_was_typed(args: str, said: str, call) -> None:  # type: ignore[no-untyped-def]
    Path("t.txt").write_text("the old prince\n" * 200)
    code, out, err = call(*args.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("charrnn: ")
    assert said in err


def test_a_resumed_run_complains_in_options_too(call) -> None:  # type: ignore[no-untyped-def]
    Path("t.txt").write_text("the old prince\n" * 200)
    small = ["--size", "8", "--layers", "1", "--steps", "1", "--seed", "1", "--val-frac", "0.2"]
    assert call("train", "t.txt", *small, "--out", "run")[0] == 0
    for changed in ("--size 64", "--bytes", "--val-frac 0.1"):
        code, _, err = call("train", "--resume", "--out", "run", *changed.split())
        assert code == 2
        assert f"a resumed run keeps its {changed.split()[0]}: leave that away" in err
    Path("u.txt").write_text("the young prince\n" * 200)
    code, _, err = call("train", "u.txt", "--resume", "--out", "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "u.txt is not the text of that run: its sha256 differs (the run in run)" in err
    code, _, err = call("train", "u.txt", "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "no run called u under checkpoints/: --out names its folder" in err
    code, _, err = call("train", "--resume", "--out", "run", "--steps", "3")
    assert code == 0
    assert "resuming at step 1, up to 3 steps in all on cpu" in err


def test_only_settings_are_put_in_other_words() -> None:
    options = {"--size": "--size", "--time": "--time"}

    def said(text: str, *settings: str) -> str:
        return in_options(ConfigError(text, *settings), options)

    assert said("runs/hidden holds a run") == "runs/hidden holds a run"
    assert said("hidden is 'hidden': hidden", "hidden") == "--size is 'hidden': hidden"
    two = said("unhidden, hidden, seconds: no", "hidden", "seconds")
    assert two == "unhidden, --size, --time: no"
    assert said("vocab_size is 0: too few", "vocab_size") == "vocab_size is 0: too few"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden": 0, "steps": 1}, "hidden is 0: "),
        ({"seconds": -1.0}, "seconds is -1.0: "),
        ({"steps": 0}, "no budget: one of epochs, steps and seconds must be above 0"),
        ({"steps": 1, "epochs": 1}, "epochs and steps are given: "),
    ],
)
def test_python_hears_its_own_names(settings: dict[str, float], said: str) -> None:
    Path("t.txt").write_text("the old prince\n" * 200)
    with pytest.raises(ConfigError) as caught:
        charrnn_package.train("t.txt", **settings)
    assert str(caught.value).startswith(said)


def test_version_prints_one_line(call) -> None:  # type: ignore[no-untyped-def]
    assert call("--version") == (0, f"charrnn {__version__}\n", "")


def test_ctrl_c_while_the_commands_are_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    command = [sys.executable, "-m", "charrnn", "--help"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(command, env=environment(PYTHONPATH=path), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


# --- what a first-time user meets


def test_a_run_that_was_stopped_before_its_first_validation_can_be_used(call) -> None:  # type: ignore[no-untyped-def]
    BEST.rename(RUN / "last.safetensors")
    for which in ("novel", str(RUN)):
        code, out, _ = call("sample", which, "--length", "5", "--seed", "1")
        assert (code, len(out)) == (0, 5), which
    assert "novel/last.safetensors" in call("ls", "--json")[1]
    tiny().save(BEST)
    assert "novel/best.safetensors" in call("sample", "--length", "5", "--seed", "1")[2]
    assert "last.safetensors" not in call("ls", "--json")[1]


def test_score_says_which_checkpoint_it_took_unless_it_was_named(call) -> None:  # type: ignore[no-untyped-def]
    Path("text.txt").write_text("abcabc")
    assert call("score", "text.txt")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--per-line")[2] == f"charrnn: {BEST}\n"
    assert call("score", "text.txt", "--model", "novel")[2] == ""


@pytest.mark.parametrize("args", [["train", "text.txt"], ["score", "text.txt", "--adapt"]])
def test_without_torch_it_says_what_to_install(args: list[str]) -> None:
    Path("text.txt").write_text("abcabc" * 100)
    Path("fake").mkdir()
    Path("fake/torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    done = charrnn(*args, PYTHONPATH=f"{Path('fake').absolute()}:{ROOT}")
    assert done.returncode == 1
    assert done.stderr.endswith(b"needs torch, which is not installed: pip install torch\n")


def test_what_is_left_of_a_run_can_be_begun_with(call) -> None:  # type: ignore[no-untyped-def]
    Path("text.txt").write_text("abcabc" * 100)
    begun = "--from checkpoints/novel begins"
    assert begun in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]
    assert begun in call("train", "--resume", "--out", str(RUN))[2]
    (RUN / "last.safetensors").write_bytes(BEST.read_bytes())
    assert "--resume continues" in call("train", "text.txt", "--steps", "1", "--out", str(RUN))[2]


def test_metrics_that_nobody_has_room_for_are_not_the_folder_s_fault() -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    args = ["train", "text.txt", "--steps", "2", "--size", "8", "--json", "--out", "run"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *args], stdout=full, stderr=subprocess.PIPE,
            env=environment(), text=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "charrnn: standard output: No space left on device; stopped and saved" in done.stderr


def test_a_log_without_validations_says_how_far_the_samples_have_come() -> None:
    Path("text.txt").write_text("abcabc" * 1000)
    args = ["--steps", "60", "--size", "8", "--layers", "1", "--val-frac", "0", "--out", "run"]
    said = charrnn("train", "text.txt", *args).stderr.decode().splitlines()
    samples = [index for index, line in enumerate(said) if line.startswith("    ")]
    assert samples
    assert all(said[i - 1].startswith(("step ", "    ")) for i in samples)


def test_only_a_variable_is_blamed_on_the_environment(
    call,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "CHARRNN_TEMP" not in call("sample", "--temp", "abc")[2]
    monkeypatch.setenv("CHARRNN_TEMP", "abc")
    assert "CHARRNN_TEMP" in call("sample")[2]


def test_lines_need_a_line_end(call) -> None:  # type: ignore[no-untyped-def]
    Path("text.txt").write_text("abcabc" * 1000)
    small = ["--steps", "1", "--size", "8", "--layers", "1"]
    _, _, said = call("train", "text.txt", "--lines", *small, "--out", "flat")
    assert "text.txt has no line ends" in said
    assert call("sample", "flat", "--length", "5", "--seed", "1")[0] == 0
    code, _, said = call("sample", "flat", "--length", "5", "--lines")
    assert (code, said.startswith("charrnn: --lines: no line end")) == (2, True)
    Path("lines.txt").write_text("abc\ncba\ncab")
    skip = ["--unknown", "skip", "--per-line", "--json"]
    _, out, _ = call("score", "lines.txt", "--model", "flat", *skip)
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["abc", "cba", "cab"]


def test_one_is_no_plural() -> None:
    assert [counted(number, "step") for number in (0, 1, 2, 2000)] == [
        "0 steps", "1 step", "2 steps", "2,000 steps",
    ]  # fmt: skip
