"""A cell is declared in one place: once registered, it trains, resumes, samples and scores."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import cells, errors
from charrnn.checkpoint.file import Checkpoint, load
from charrnn.config import ModelConfig
from charrnn.generation.factory import open_engine
from charrnn.generation.numpy_engine import Engine
from charrnn.generation.scoring import score
from charrnn.model.network import CharNetwork
from tests.support.checkpoints import ROOT, environment, header_of, note_of
from tests.support.networks import CELLS, letters, random_weights

RUN: dict[str, Any] = {"hidden": 16, "layers": 2, "seed": 1, "threads": 1}


def softsign(
    xp: cells.Namespace, z: Any, state: tuple[Any, ...], w: cells.Weights
) -> tuple[Any, tuple[Any, ...]]:
    """Elman's network with softsign: h ← a / (1 + |a|), a = W x + b + U h + c."""
    (h,) = state
    a = z + xp.linear(h, w.weight_hh) + w.bias_hh
    h = a / (1 + abs(a))
    return h, (h,)


@pytest.fixture
def toy() -> Iterator[cells.Cell]:
    cell = cells.register(cells.Cell("softsign", softsign))
    yield cell
    cells.unregister("softsign")


@pytest.fixture
def novel() -> Path:
    path = Path("novel.txt")
    path.write_text("The old prince went out, and nobody saw him again that day.\n" * 100)
    return path


@pytest.mark.parametrize("which", sorted(CELLS.keys() - {"rnn-tanh", "scrn", "clockwork"}))
def test_every_cell_scores_in_numpy_as_it_was_validated_in_torch(novel: Path, which: str) -> None:
    settings: dict[str, Any] = {"batch": 4, "window": 10, "steps": 8, "precision": "float32"}
    made = charrnn.train(
        novel, out="run", val_frac=0.3, fit_temperature=False, **CELLS[which], **RUN, **settings
    )
    model = charrnn.load(made.best)
    ids, ranges = model.part("val")
    config, weights = model.checkpoint.config, model.checkpoint.weights
    found = score(config, weights, ids, ranges=ranges)
    assert found.nats_per_char == pytest.approx(made.best_val, rel=5e-5)
    assert model.sample(seed=3, length=80) == charrnn.load(made.best).sample(seed=3, length=80)


class Leaving:
    """A listener that interrupts a run after ``steps`` steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: None

    def on_step(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise errors.Interrupted.by(15)


def test_a_registered_cell_trains_resumes_samples_and_scores(toy: cells.Cell, novel: Path) -> None:
    whole = charrnn.train(novel, out="whole", cell="softsign", steps=30, **RUN)
    with pytest.raises(errors.Interrupted):
        charrnn.train(novel, out="parted", cell="softsign", steps=30, listener=Leaving(11), **RUN)
    parted = charrnn.train(out="parted", resume=True)
    for file in ("best.safetensors", "last.safetensors"):
        one, other = (load(run.folder / file, extra=True) for run in (whole, parted))
        assert one.config.cell == "softsign"
        for name, value in (dict(one.weights) | one.extra).items():
            assert value.tobytes() == (dict(other.weights) | other.extra)[name].tobytes(), name
    model = charrnn.load(whole.best)
    assert model.sample(seed=3, length=80) == charrnn.load(parted.best).sample(seed=3, length=80)
    assert model.score(novel.read_text()).nats_per_char < np.log(len(model.vocab))


def test_the_compiled_engine_refuses_a_cell_that_it_does_not_know(toy: cells.Cell) -> None:
    """A cell with one gate and no fast path once passed for a rectifier there."""
    pytest.importorskip("llvmlite", reason="the compiled engine needs llvmlite")
    from charrnn.generation.compiled.cells import UnsupportedCell
    from charrnn.generation.compiled.engine import CompiledEngine

    config = ModelConfig(9, cell="softsign", hidden=16)
    weights = random_weights(config)
    with pytest.raises(UnsupportedCell, match="softsign"):
        CompiledEngine(config, weights)
    engine, plain = open_engine(config, weights), Engine(config, weights)
    assert isinstance(engine, Engine)
    for index in range(9):
        assert (engine.step(np.array([index])) == plain.step(np.array([index]))).all()


def test_a_cell_that_nobody_registered_is_refused_and_the_others_are_named() -> None:
    with pytest.raises(
        errors.ConfigError, match="cell is 'softsign': it must be one of clockwork, elman, gru"
    ):
        ModelConfig(9, cell="softsign")


def test_two_cells_cannot_have_one_name(toy: cells.Cell) -> None:
    assert cells.register(toy) is toy
    with pytest.raises(ValueError, match="'softsign' is registered already"):
        cells.register(cells.Cell("softsign", softsign, bounded=True))
    assert "softsign" in cells.names()


def test_a_cell_has_the_same_meaning_under_each_of_its_names(toy: cells.Cell) -> None:
    assert cells.get("rnn-tanh") is cells.get("elman")
    taken = cells.Cell("sigmoidal", softsign, aliases=("elman",))
    with pytest.raises(ValueError, match="'elman' is registered already"):
        cells.register(taken)
    assert "sigmoidal" not in cells.names()
    cells.register(dataclasses.replace(taken, aliases=("sigmoid",)))
    cells.unregister("sigmoid")
    assert not {"sigmoidal", "sigmoid"} & {*cells.names()}


def test_a_checkpoint_keeps_the_name_that_was_given(tmp_path: Path) -> None:
    """Files with ``rnn-tanh`` are older than the name ``elman``."""
    vocab, other = letters(), tmp_path / "again.safetensors"
    for name in ("rnn-tanh", "rnn-relu", "elman"):
        config = ModelConfig(len(vocab), cell=name, embedding=8, hidden=16)
        Checkpoint(config, vocab, random_weights(config)).save(tmp_path / "one.safetensors")
        load(tmp_path / "one.safetensors").save(other)
        assert header_of(other.read_bytes()) == header_of(
            (tmp_path / "one.safetensors").read_bytes()
        )
        assert note_of(header_of(other.read_bytes()))["config"]["cell"] == name


def test_a_run_goes_on_under_another_name_of_its_cell(novel: Path) -> None:
    charrnn.train(novel, out="run", cell="rnn-tanh", steps=3, **RUN)
    again = charrnn.train(out="run", resume=True, cell="elman", steps=5)
    assert load(again.best).config.cell == "rnn-tanh"
    with pytest.raises(errors.ConfigError, match="keeps its settings; omit cell"):
        charrnn.train(out="run", resume=True, cell="gru", steps=7)
    finer = charrnn.train(novel, out="finer", start_from="run", cell="elman", steps=1, seed=1)
    assert load(finer.best).config.cell == "rnn-tanh"
    with pytest.raises(errors.ConfigError, match="keeps the checkpoint's shape; omit cell"):
        charrnn.train(novel, out="other", start_from="run", cell="irnn", steps=1)


def test_an_irnn_begins_by_repeating_its_state() -> None:
    weights = CharNetwork(ModelConfig(9, cell="irnn", hidden=8), seed=3).to_numpy()
    plain = CharNetwork(ModelConfig(9, cell="rnn-relu", hidden=8), seed=3).to_numpy()
    for layer in ("layers.0", "layers.1"):
        assert (weights[f"{layer}.weight_hh"] == np.eye(8)).all()
        assert not weights[f"{layer}.bias_ih"].any()
        assert not weights[f"{layer}.bias_hh"].any()
        inputs = weights[f"{layer}.weight_ih"]
        assert inputs.std() == pytest.approx(0.001, rel=0.2)
        assert np.corrcoef(inputs.flat, plain[f"{layer}.weight_ih"].flat)[0, 1] > 0.999


def test_a_program_cannot_take_the_name_of_a_cell_that_is_not_used_yet() -> None:
    """It once could, and then no checkpoint could be loaded."""
    program = (
        "import charrnn.cells as c\n"
        "try: c.register(c.Cell('gru', print))\n"
        "except ValueError as error: print(error)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "a cell called 'gru' is registered already\n"


@pytest.mark.parametrize("name", cells.names())
def test_every_cell_says_what_it_is(name: str) -> None:
    cell = cells.get(name)
    module = sys.modules[(cell.configure or cell.step).__module__]
    assert "←" in (module.__doc__ or ""), "the equations stand above the code"
    assert set(cell.recurrent) <= set(cell.parameters(5, 7))
    assert all(width > 0 for width in cell.state_widths(7).values())
    assert set(cell.cycles) <= set(cell.state_widths(7))


def test_the_readme_has_every_cell_and_its_options() -> None:
    text = (ROOT / "charrnn/cells/README.md").read_text()
    flags = [option.flag.partition("/")[0] for option in cells.options()]
    assert [name for name in cells.names() if f"`{name}`" not in text] == []
    assert [flag for flag in flags if flag not in text] == []


def test_the_names_of_cells_wait_for_neither_numpy_nor_torch() -> None:
    program = (
        "import sys, charrnn.cells as c; c.names(); print({'numpy', 'torch'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
