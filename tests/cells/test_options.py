"""A cell's own settings: declared with it, known everywhere, and refused for other cells."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import cells
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig, model_options
from charrnn.errors import CheckpointError, ConfigError
from charrnn.generation.numpy_engine import Engine
from charrnn.model.network import CharNetwork
from charrnn.settings import Option
from tests.support.checkpoints import charrnn as program
from tests.support.checkpoints import forge, header_of, note_of, with_note
from tests.support.networks import letters, random_weights
from tests.support.runs import run


def clockwork(*periods: int, **sizes: Any) -> ModelConfig:
    return ModelConfig(9, cell="clockwork", cell_options={"periods": periods}, **sizes)


def test_options_have_defaults_and_stand_beside_the_other_settings() -> None:
    config = ModelConfig(9, cell="scrn", cell_options={"context": 7})
    assert dict(config.cell_options) == {"context": 7, "learn_decay": False}
    assert config == ModelConfig(9, cell="scrn", cell_options=(("context", 7),))
    values = json.loads(json.dumps(config.to_dict()))
    assert (values["context"], values["learn_decay"]) == (7, False)
    assert ModelConfig.from_dict(values) == config
    assert dataclasses.replace(config, hidden=8).value("context") == 7
    assert ModelConfig.from_dict(clockwork(1, 3).to_dict()) == clockwork(1, 3)


def test_the_settings_of_a_cell_without_options_are_what_they_were() -> None:
    """So that every version of the program reads the file."""
    names = {"vocab_size", "cell", "embedding", "hidden", "layers", "sum_layers"}
    for cell in ("lstm", "gru", "rnn-tanh", "rnn-relu", "elman", "irnn", "jordan"):
        assert ModelConfig(9, cell=cell).to_file().keys() == names


@pytest.mark.parametrize(
    ("cell", "options", "said"),
    [
        ("lstm", {"context": 8}, "context is not a setting of the cell lstm; omit it, or choose "
                                 "cell='scrn'"),
        ("scrn", {"periods": (1, 2)}, "periods is not a setting of the cell scrn; omit it, or "
                                      "choose cell='clockwork'"),
        ("scrn", {"speed": 8}, "speed is not a setting of the cell scrn; omit it"),
        ("scrn", {"context": 0}, "context is 0: it must be a whole number from 1 to 16,384"),
        ("scrn", {"context": 16_385}, "context is 16385: it must be a whole number"),
        ("scrn", {"learn_decay": 1}, "learn_decay is 1: it must be true or false"),
        *(("clockwork", {"periods": wrong}, f"periods is {wrong!r}: it must be whole numbers that "
                                            "grow, such as 1,2,4") for wrong in [
            (), (0, 1), (2, 1), (1, 1), (-1,), (1, 2.0), (True, 2), ("1", "2"), ((1,),), 3, None,
            "1,2", (1, 2**62), (1, 10**400), (255, 256, 257), tuple(range(1, 18)), {1: 2},
        ]),
    ],
)  # fmt: skip
def test_what_a_cell_does_not_have_or_allow_is_refused(
    cell: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        ModelConfig(9, cell=cell, cell_options=options)
    assert str(refused.value).startswith(said)


def test_a_network_has_a_unit_for_each_period() -> None:
    assert clockwork(1, 2, 4, hidden=3).hidden == 3
    with pytest.raises(ConfigError, match="hidden is 2: it must be a whole number of at least 3"):
        clockwork(1, 2, 4, hidden=2)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--cell", "lstm", "--context", "8"],
         "--context is not a setting of the cell lstm; omit it, or choose --cell scrn"),
        (["--periods", "1,2"],
         "--periods is not a setting of the cell lstm; omit it, or choose --cell clockwork"),
        (["--cell", "clockwork", "--periods", "4,2"],
         "--periods is '4,2': it must be whole numbers that grow, such as 1,2,4: at most 16, with "
         "a least common multiple of at most 65,536"),
        (["--cell", "clockwork", "--periods", "1,2,3", "--size", "2"],
         "--size is 2: it must be a whole number of at least 3 for this clockwork network"),
    ],
)  # fmt: skip
def test_the_command_line_says_so_in_one_line(args: list[str], said: str) -> None:
    done = program("train", "--steps", "1", *args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"charrnn: {said}\n"


def test_a_run_keeps_its_options(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    scrn: dict[str, Any] = {"cell": "scrn", "context": 5, "steps": 3}
    made = run(corpus, out, **scrn)
    charrnn.train(out=out, resume=True, context=5, steps=4)
    for wrong in ({"context": 6}, {"learn_decay": True}, {"periods": (1, 2)}):
        with pytest.raises(ConfigError, match=f"keeps its settings; omit {next(iter(wrong))}"):
            charrnn.train(out=out, resume=True, steps=5, **wrong)
    finer = charrnn.train(corpus, out=tmp_path / "finer", start_from=out, steps=1, seed=1)
    assert load(finer.best).config == load(made.best).config
    with pytest.raises(ConfigError, match="keeps the checkpoint's shape; omit context"):
        charrnn.train(corpus, start_from=out, steps=1, context=6)
    shown = json.loads(program("info", "--json", str(made.best)).stdout)
    assert shown["model"] | {"cell": "scrn", "context": 5, "learn_decay": False} == shown["model"]
    assert "--cell scrn" in shown["made"]["command"]
    assert "--context 5 --fixed-decay" in shown["made"]["command"]


def test_periods_are_shown_and_repeated_as_they_are_typed(corpus: Path, tmp_path: Path) -> None:
    text, out = str(corpus), tmp_path / "run"
    done = program("train", text, "--out", str(out), "--cell", "clockwork", "--periods", "1,3",
                   "--size", "8", "--steps", "2", "-q")  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = load(out)
    assert made.config.value("periods") == (1, 3)
    assert "--periods 1,3" in made.meta["made"]["command"]
    charrnn.train(out=out, resume=True, periods=[1, 3], steps=3)


@pytest.mark.parametrize("part", ["state.clock", "state.h"])
def test_a_missing_part_of_the_state_is_named(corpus: Path, tmp_path: Path, part: str) -> None:
    run(corpus, tmp_path / "run", cell="clockwork", steps=2)
    last = load(tmp_path / "run" / "last.safetensors", extra=True)
    extra = {name: value for name, value in last.extra.items() if name != part}
    dataclasses.replace(last, extra=extra).save(tmp_path / "run" / "last.safetensors")
    with pytest.raises(CheckpointError, match=f"cannot be resumed: it lacks '{part}'"):
        charrnn.train(out=tmp_path / "run", resume=True, steps=4)


@pytest.mark.parametrize("wrong", [0.5, -1.0, 8.0, np.nan, np.inf])
def test_a_clock_that_never_strikes_is_refused(corpus: Path, tmp_path: Path, wrong: float) -> None:
    run(corpus, tmp_path / "run", cell="clockwork", steps=2)
    last = load(tmp_path / "run" / "last.safetensors", extra=True)
    assert (last.extra["state.clock"] == 20 % 8).all()  # after two windows of ten
    last.extra["state.clock"][1, 2] = wrong
    last.save(tmp_path / "run" / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"state\.clock must hold whole numbers from 0 to 7"):
        charrnn.train(out=tmp_path / "run", resume=True, steps=4)


@pytest.mark.parametrize(
    "config",
    [
        {"cell": "scrn", "context": 2**40},
        {"cell": "scrn", "context": 41},
        {"cell": "scrn", "context": None},
        {"cell": "scrn", "learn_decay": True},
        {"cell": "clockwork", "periods": [1, 2, 3]},
        {"cell": "clockwork", "periods": [2] * 100_000},
        {"cell": "lstm", "context": 40},
        {"cell_options": {"context": 40}},
        {"cell_options": []},
    ],
    ids=str,
)
def test_a_header_that_lies_about_its_cell_is_refused(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path, vocab = tmp_path / "best.safetensors", letters()
    honest = ModelConfig(len(vocab), cell="scrn", embedding=8, hidden=16)
    Checkpoint(honest, vocab, random_weights(honest)).save(path)
    blob = path.read_bytes()
    header = header_of(blob)
    note = note_of(header)
    note["config"] |= config
    if config["cell"] != "scrn" if "cell" in config else False:
        note["config"] = {k: v for k, v in note["config"].items() if k != "learn_decay"}
    path.write_bytes(forge(with_note(header, note), blob[8 + int.from_bytes(blob[:8], "little") :]))
    with pytest.raises(CheckpointError):
        load(path)


def test_the_zeros_of_a_clockwork_network_stay_zeros(corpus: Path, tmp_path: Path) -> None:
    made = run(corpus, tmp_path / "run", cell="clockwork", steps=5, weight_dropout=0.2)
    config, weights = load(made.best).config, load(made.best).weights
    zeros = 0
    for layer in range(config.layers):
        weight = weights[f"layers.{layer}.weight_hh"]
        for first in (2, 4, 6):  # the four modules have two units each
            assert not weight[first : first + 2, :first].any()
            assert weight[first : first + 2, first:].all()
        zeros += int((weight == 0).sum())
    everything = sum(value.size for value in weights.values())
    assert config.parameters == everything - zeros


def test_a_learned_decay_starts_at_the_fixed_one_and_moves(corpus: Path, tmp_path: Path) -> None:
    config = ModelConfig(9, cell="scrn", cell_options={"learn_decay": True})
    before = CharNetwork(config).to_numpy()["layers.0.decay"]
    assert 1 / (1 + np.exp(-before)) == pytest.approx(0.95, abs=1e-6)
    made = run(corpus, tmp_path / "run", cell="scrn", learn_decay=True, steps=5)
    after = load(made.best).weights["layers.0.decay"]
    assert (after != before[0]).all()


def test_a_jordan_network_keeps_the_temperature_that_it_learned_with(
    corpus: Path, tmp_path: Path
) -> None:
    """It reads its own distribution: with another temperature it would be another network."""
    made = run(corpus, tmp_path / "run", cell="jordan", fit_temperature=True)
    assert made.temperature is None
    same = run(corpus, tmp_path / "other", cell="jordan", fit_temperature=False)
    for name, value in load(made.best).weights.items():
        assert (value == load(same.best).weights[name]).all()


def test_a_clock_starts_again_where_a_stream_does() -> None:
    config = clockwork(1, 2, 5, hidden=6)
    engine = Engine(config, random_weights(config), 2)
    first = engine.step(np.array([3, 3])).copy()
    engine.feed(np.arange(6))
    engine.reset(np.array([True, False]))
    again = engine.step(np.array([3, 3]))
    assert (again[0] == first[0]).all()
    assert (again[1] != first[1]).any()
    clocks = [float(clock[stream, 0]) for _, clock in engine.state for stream in (0, 1)]
    assert clocks == [1, 8, 1, 8]


# --- options of a program's own cells


def leaky(V: int = 1, *, leak: float = 0.5) -> cells.Cell:
    def step(
        xp: cells.Namespace, z: Any, state: cells.State, w: cells.Weights, *, leak: float
    ) -> tuple[Any, cells.State]:
        h = leak * state[0] + (1 - leak) * xp.tanh(z + xp.linear(state[0], w.weight_hh))
        return h, (h,)

    return cells.Cell("leaky", partial(step, leak=leak), options=(LEAK,), configure=leaky)


LEAK = Option(name="leak", kind=float, default=0.5, low=0, below=1, help="With --cell leaky: leak.")


def test_a_program_s_own_cell_may_have_options() -> None:
    cells.register(leaky())
    try:
        assert LEAK in model_options()
        slow, fast = (
            ModelConfig.from_dict({"vocab_size": 9, "cell": "leaky", "leak": leak, "hidden": 8})
            for leak in (0.9, 0.1)
        )
        weights = random_weights(slow)
        one, other = (Engine(config, weights).step(np.array([1])) for config in (slow, fast))
        assert not np.allclose(one, other)
        with pytest.raises(ConfigError, match="leak is 1: it must be a number"):
            ModelConfig(9, cell="leaky", cell_options={"leak": 1})
    finally:
        cells.unregister("leaky")


@pytest.mark.parametrize("name", ["hidden", "lr", "encoding", "to_dict", "context"])
def test_an_option_cannot_take_the_name_of_another_setting(name: str) -> None:
    cell = dataclasses.replace(leaky(), options=(LEAK.replace(name=name),))
    with pytest.raises(ValueError, match=f"an option of the cell leaky cannot be called '{name}'"):
        cells.register(cell)
    assert "leaky" not in cells.names()
