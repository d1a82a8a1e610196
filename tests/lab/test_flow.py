"""``charrnn lab flow``: how far gradients flow back, before and after training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import charrnn
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import CorpusError
from charrnn.lab import gradients
from charrnn.lab.flow import flow_of_run
from charrnn.lab.gradients import Curve, gradient_flow, passages, with_gain
from charrnn.lab.networks import networks
from charrnn.lab.pictures import flow_picture
from charrnn.lab.short_runs import short_run
from charrnn.model.network import CharNetwork
from tests.support.checkpoints import charrnn as program
from tests.support.checkpoints import tiny
from tests.support.command_line import leave
from tests.support.networks import CELLS, model
from tests.support.runs import run
from tests.support.texts import in_words

V, H, LAGS = 7, 6, 12


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "WARM", 5)
    monkeypatch.setattr(gradients, "STREAMS", 3)


def text(lags: int = LAGS) -> Any:
    ids = np.random.default_rng(0).integers(0, V, 400).astype(np.uint8)
    return passages(ids, ((10, 390),), lags=lags)


def by_part(curves: list[Curve]) -> dict[str, Any]:
    return {curve.part: curve.norms for curve in curves}


def test_passages_lie_within_the_range() -> None:
    ids = np.arange(200)
    found = passages(ids, ((0, 9),), ((130, 190), (20, 120)), ((0, 200),), lags=10)
    assert found.shape == (3, 16)
    assert (found[:, 0] == [20, 62, 104]).all()
    assert found[-1, -1] == 119
    assert (np.diff(found) == 1).all()


@pytest.mark.parametrize("which", CELLS)
def test_a_gradient_is_what_a_change_of_the_state_does_to_the_loss(which: str) -> None:
    """Of the part that the next step alone reads, against finite differences in float64."""
    config = model(which, V, embedding=4, hidden=H, layers=1)
    network, x = CharNetwork(config, 3).double(), torch.from_numpy(text())
    found = by_part(gradient_flow(network, x.numpy(), which, "before"))
    parts = list(config.state_widths)
    assert [*found] == [part for part in parts if part != "clock"]
    lag, width, now = 4, 1e-6, gradients.WARM + LAGS - 4
    with torch.no_grad():
        _, [state] = network(x[:, :now], network.zero_state(3))

    def losses(change: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits, _ = network(x[:, now:-1], ((state[0] + change, *state[1:]),))
        return F.cross_entropy(logits[:, -1], x[:, -1], reduction="none")

    steps = torch.eye(state[0].shape[1], dtype=torch.float64) * width
    slopes = [(losses(step) - losses(-step)) / (2 * width) for step in steps]
    wanted = torch.stack(slopes).norm(dim=0).mean()
    assert found[parts[0]][lag] == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("which", CELLS)
@pytest.mark.parametrize("sums", [True, False])
def test_several_layers_count_as_one(which: str, sums: bool) -> None:
    config = model(which, V, embedding=4, hidden=H, layers=2, sum_layers=sums)
    for curve in gradient_flow(CharNetwork(config, 3), text(), which, "before"):
        assert curve.norms.shape == (LAGS,)
        # what Jordan's network predicted last has no influence on that prediction's own loss
        assert (curve.norms[curve.part == "p" :] > 0).all()
    assert json.dumps(curve.to_dict())


def test_gradients_vanish_explode_and_are_carried() -> None:
    sizes = {"embedding": 8, "hidden": 32, "layers": 1}
    found = networks(("elman", "irnn", "scrn", "lstm"), V, sizes)
    flows = {}
    for name, config in found.items():
        network = CharNetwork(config, 1)
        flows[name] = by_part(gradient_flow(network, text(60), name, "before"))
        if name == "elman":
            large = with_gain(network, 4.0)
            exploding = by_part(gradient_flow(large, text(60), name, "large"))["h"]
            weights = [dict(each.named_parameters()) for each in (network, large)]
            assert all(
                torch.equal(weight * (4 if name.endswith("weight_hh") else 1), weights[1][name])
                for name, weight in weights[0].items()
            )
    assert flows["elman"]["h"][50] < 1e-10
    assert exploding[50] > 100 * exploding[0]
    assert flows["irnn"]["h"][50] > 0.1 * flows["irnn"]["h"][0]
    s = flows["scrn"]["s"]
    assert s[50] == pytest.approx(s[20] * 0.95**30, rel=0.05)
    assert flows["elman"]["h"][20] < flows["lstm"]["c"][20] < flows["irnn"]["h"][20]


def test_a_short_run_trains_a_copy_and_remembers_every_gradient() -> None:
    network = CharNetwork(ModelConfig(V, cell="elman", embedding=4, hidden=H, layers=1), 1)
    before = network.head.weight.clone()
    ids = np.tile(np.arange(V), 60).astype(np.uint8)
    settings: dict[str, Any] = {"steps": 60, "batch": 4, "window": 8, "lr": 0.02}
    made = short_run(network, TrainConfig(**settings), ids, ((0, len(ids)),))
    assert torch.equal(network.head.weight, before)
    assert made.losses.shape == made.norms.shape == (60,)
    assert made.losses[-1] < 0.5 < made.losses[0]
    assert (made.norms > 0).all()
    clipped = TrainConfig(**settings, clip_by="value", clip=1e-4)
    assert short_run(network, clipped, ids, ((0, len(ids)),)).norms[0] == made.norms[0]


ARGS = ["lab", "flow", "--cell", "elman,scrn", "--size", "8", "--embedding", "4", "--steps", "4",
        "--batch", "2", "--window", "8", "--threads", "1", "--text", "novel.txt"]  # fmt: skip


def test_the_command_prints_tables_and_draws_a_picture(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    corpus.rename("novel.txt")
    code, out, err = leave([*ARGS, "--context", "3", "-o", "flow.svg"], capfd)
    assert code == 0, err
    flows, norms = out.split("\n\n")
    rows = [line.split("\t")[:3] for line in flows.splitlines()[1:]]
    assert rows == [
        ["elman", "before", "h"], ["elman", "after", "h"],
        ["scrn", "before", "h"], ["scrn", "before", "s"],
        ["scrn", "after", "h"], ["scrn", "after", "s"],
        ["elman", "U × 4", "h"],
    ]  # fmt: skip
    assert [line.split("\t")[0] for line in norms.splitlines()] == [
        "gradients of elman, U × 4", "clipped by norm", "clipped by value", "not clipped",
    ]  # fmt: skip
    assert err.splitlines()[0].startswith("charrnn: elman: 4 steps, ")
    drawn = Path("flow.svg").read_bytes()
    said = " ".join(ElementTree.fromstring(drawn).itertext())
    assert all(word in said for word in ("before training", "after training", "elman, U × 4"))
    leave([*ARGS, "--context", "3", "-o", "again.svg"], capfd)
    assert Path("again.svg").read_bytes() == drawn


def test_the_command_follows_a_run(corpus: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(corpus, Path("run"), cell="gru", steps=60, clip_by="value", clip=0.5)
    code, out, err = leave(["lab", "flow", "run", "--json"], capfd)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [(c["network"], c["stage"], c["part"]) for c in found["curves"]] == [
        ("run", "before", "h"), ("run", "after", "h"),
    ]  # fmt: skip
    assert found["curves"][0]["norms"] != found["curves"][1]["norms"]
    assert (found["clip"], found["clipped"], list(found["norms"])) == (0.5, "run", ["value"])
    Path("odd.txt").write_text(corpus.read_text() + "Ω")
    code, out, err = leave(["lab", "flow", "run", "--text", "odd.txt"], capfd)
    assert (code, out) == (2, "")
    assert "set --unknown to" in err
    args = ["--text", "odd.txt", "--unknown", "skip"]
    code, out, err = leave(["lab", "flow", "run", *args], capfd)
    assert code == 0
    assert "odd.txt: " in err
    assert out.splitlines()[1].startswith("run\tbefore\th\t")


def test_a_network_that_reads_backwards_is_given_what_it_reads(corpus: Path) -> None:
    made = run(corpus, Path("run"), cell="elman", steps=2, reverse=True)
    model_, ids = charrnn.load(made.best), np.arange(300) % 7
    found = flow_of_run(model_, ids).curves[-1].norms
    network = CharNetwork(model_.checkpoint.config)
    network.load_numpy(model_.checkpoint.weights)
    text = passages(ids[::-1], ((0, 300),))
    assert (found == gradient_flow(network, text, "run", "after")[0].norms).all()
    assert len(flow_of_run(model_).curves[0].norms) == gradients.LAGS


def test_a_lag_is_counted_in_what_the_network_reads() -> None:
    words = "the old prince and the young princess " * 40
    model_ = charrnn.TextModel(tiny(in_words(words)))
    found = flow_of_run(model_, model_.encode(words))
    assert found.unit == "symbol"
    assert ">lag k, in symbols<" in flow_picture(found).decode()
    with pytest.raises(CorpusError, match="a part of 4 symbols is too short: 106 are needed"):
        flow_of_run(model_, model_.encode("the old "))


def test_a_network_without_a_direction_is_refused(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(corpus, Path("run"), steps=1, bidirectional=True)
    code, out, err = leave(["lab", "flow", "run"], capfd)
    assert (code, out) == (2, "")
    assert err.startswith("charrnn: the network reads both sides of a character: it cannot be fol")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "--size", "9", "--cell", "gru"],
         "a run has its own network and settings: omit --cell, --size"),
        (["nowhere"], "no checkpoint"),
        (["--text", "short"], "a part of 27 characters is too short: 106 are needed"),
        (["-o", "run"], "--out is run: name a file"),
        (["-o", "-"], "--out is -: name a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(
    args: list[str], said: str, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(corpus, Path("run"), steps=1)
    Path("short").write_text("abc" * 10)
    code, out, err = leave(["lab", "flow", *args], capfd)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_without_matplotlib_it_says_what_to_install() -> None:
    Path("fake").mkdir()
    Path("fake/matplotlib.py").write_text("raise ModuleNotFoundError('no', name='matplotlib')")
    root = Path(__file__).resolve().parents[2]
    done = program("lab", "flow", "-o", "f.svg", PYTHONPATH=f"{Path('fake').absolute()}:{root}")
    assert done.returncode == 1
    assert done.stderr.endswith(b"is not installed: pip install 'charrnn-cli[plot]'\n")
