"""What several processes would reach: the arithmetic of a prediction, and what is measured."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.bench import scaling
from charrnn.bench.busy import beside
from charrnn.bench.link import Link, measure_link
from charrnn.bench.scaling import (
    LINKS,
    NETWORKS,
    PROCESSES,
    curve_of,
    in_a_sentence,
    predict,
)
from charrnn.config import ModelConfig, TrainConfig
from tests.support.command_line import leave

SMALL = ModelConfig(vocab_size=50, hidden=16, layers=1, embedding=8)
RUN = TrainConfig(batch=4, window=10, steps=1, threads=1, precision="float32")


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def test_an_exchange_sends_nearly_all_bytes_twice() -> None:
    link = Link("a link", 1e9, 1e-3)
    assert link.exchange_s(10**9, 1) == 0
    assert link.exchange_s(10**9, 2) == pytest.approx(2e-3 + 1.0)
    assert link.exchange_s(10**9, 4) == pytest.approx(6e-3 + 1.5)
    assert link.exchange_s(0, 256) == pytest.approx(510e-3)


def test_more_processes_are_faster_and_less_efficient() -> None:
    scale = predict(SMALL, RUN, step_ms=2.0)
    assert (scale.exchanged_bytes, scale.sync_every) == (4 * SMALL.parameters, 1)
    assert [curve.link for curve in scale.curves] == [link.name for link in LINKS]
    for curve, link in zip(scale.curves, LINKS, strict=True):
        first, second = curve.points[:2]
        assert (first.chars_per_second, first.efficiency) == (20_000, 1.0)  # 40 in 2 ms
        step_s = 2e-3 + link.exchange_s(scale.exchanged_bytes, 2)
        assert second.chars_per_second == pytest.approx(80 / step_s, rel=1e-4)
        efficiency = [point.efficiency for point in curve.points]
        assert efficiency == sorted(efficiency, reverse=True)
        assert [point.processes for point in curve.points] == list(PROCESSES)


def test_a_sentence_says_where_efficiency_falls_below_one_half() -> None:
    slow, fast = Link("slow", 1e6, 0.0), Link("fast", 1e12, 0.0)
    # of 1 MB, each process sends 1 s of it if there are two, nearly 2 s if there are many
    never, late, always = (
        curve_of(link, step_ms, 10**6, 1)
        for link, step_ms in ((slow, 900.0), (slow, 1600.0), (fast, 900.0))
    )
    assert (never.pays_until, late.pays_until, always.pays_until) == (1, 4, 256)
    assert in_a_sentence([always]) == "256 processes still reach an efficiency of 50 % over fast."
    assert in_a_sentence([never, late, always]) == (
        "Efficiency falls below 50 % "
        "over slow from 2 processes on; over slow from 8 processes on; "
        "over fast, 256 processes still reach it."
    )


def test_compressed_gradients_and_rare_averages_take_less_time() -> None:
    plain, halved, rare = (
        predict(SMALL, replace(RUN, **more), step_ms=2.0)
        for more in list[dict[str, Any]]([{}, {"grad_compression": "bf16"}, {"sync_every": 32}])
    )
    assert halved.exchanged_bytes == plain.exchanged_bytes / 2
    assert rare.exchanged_bytes == 3 * plain.exchanged_bytes  # weights and two moments
    slow, fast = (scale.curves[0] for scale in (halved, rare))
    for points in zip(plain.curves[0].points, slow.points, fast.points, strict=True):
        if points[0].processes > 1:
            efficiency = [point.efficiency for point in points]
            assert efficiency == sorted(efficiency)
    apart = LINKS[0].exchange_s(rare.exchanged_bytes, 2) / 32
    assert fast.points[1].exchange_ms == pytest.approx(1e3 * apart, abs=1e-4)


def test_on_a_processor_no_network_is_faster_than_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = Link("this machine", 2e8, 1e-4)
    monkeypatch.setattr(scaling, "measure_link", lambda size: here)
    monkeypatch.setattr(scaling, "cpus", lambda: 5)
    neighbors = []

    @contextmanager
    def noted(config: ModelConfig, settings: TrainConfig, count: int) -> Iterator[None]:
        neighbors.append(count)
        yield

    monkeypatch.setattr(scaling, "beside", noted)
    scale = predict(SMALL, RUN, turns=1, turn_s=0.01)
    assert scale.step_ms > 0
    assert neighbors == [4]
    assert scale.device.startswith("cpu")
    assert [c.link for c in scale.curves] == ["this machine", *(link.name for link in NETWORKS)]
    assert [point.processes for point in scale.curves[0].points] == [1, 2, 4]
    assert "this machine" not in scale.sentence
    assert max(curve.gigabytes_per_second for curve in scale.curves) == 0.2
    assert min(curve.latency_us for curve in scale.curves) == 100


def test_processes_agree_every_fifth_of_a_second_but_only_where_they_exchange() -> None:
    link = Link("a link", 1e9, 1e-3)
    for step_ms, every, pulse_ms in (
        (8.0, 1, 2.0 / 20),  # 10 ms with the exchange of 2 ms
        (300.0, 1, 2.0),
        (9.5, 4, 2.0 / 20),
        (99.5, 4, 2.0 / 4),
    ):
        second = curve_of(link, step_ms, 0, 100, every=every).points[1]
        assert second.exchange_ms == pytest.approx(2.0 / every)
        assert second.agreement_ms == pytest.approx(pulse_ms, abs=1e-4)
        whole_ms = step_ms + second.exchange_ms + second.agreement_ms
        assert second.efficiency == pytest.approx(step_ms / whole_ms, abs=1e-4)


def test_gpus_do_not_wait_for_an_agreement_of_their_hosts() -> None:
    link = Link("a link", 1e9, 1e-3)
    assert curve_of(link, 6.0, 0, 100, ahead=True).points[1].efficiency == 0.75
    many = curve_of(Link("a link", 1e9, 0.0), 1.0, 0, 100, ahead=True).points[-1]
    assert many.agreement_ms == pytest.approx(510 * 0.05 / 200, abs=1e-4)
    assert many.efficiency == 1.0


def test_a_step_beside_others_takes_longer() -> None:
    link = Link("a link", 1e9, 0.0)
    alone, shared = (curve_of(link, 10.0, 0, 100, 2, busy_ms) for busy_ms in (10.0, 12.5))
    assert [point.efficiency for point in alone.points] == [1, 1]
    assert [point.efficiency for point in shared.points] == [1, 0.8]


@pytest.mark.long
def test_other_processes_train_meanwhile_and_end() -> None:
    before = set(children())
    with beside(SMALL, RUN, 2):
        assert len(set(children()) - before) == 2
    assert not set(children()) - before


@pytest.mark.long
def test_the_link_of_this_machine_is_measured() -> None:
    link = measure_link(1 << 22)
    assert 1e6 < link.bytes_per_second < 1e12
    assert 1e-7 < link.latency_s < 1


def test_a_prediction_is_a_table_json_or_a_picture(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = "bench", "scale", "--step-ms", "3.38", "--layers", "3", "--batch", "128"
    code, out, err = leave([*given, "--window", "100"], capfd)
    assert (code, err) == (0, "")
    assert out.startswith("char/s (efficiency)\tN = 1\tN = 2\t")
    assert "\n1 Gbit/s\t3,786,982 (1.00)\t" in out
    assert "takes 3.38 ms, as given; its gradient has 22.3 MB.\n" in out
    code, out, err = leave([*given[:2], "--step-ms", "1e9", "--size", "16"], capfd)
    assert "takes 1,000,000 s, as given; its gradient has " in out
    assert " kB.\n" in out
    code, out, err = leave([*given, "--sync-every", "8"], capfd)
    assert "; every 8 steps, 66.9 MB of weights and moments are exchanged.\n" in out
    code, out, err = leave([*given, "--json"], capfd)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["sentence"].endswith(".")
    assert len(found["curves"]) == len(LINKS)
    code, out, err = leave([*given, "--device", "cpu"], capfd)
    assert (code, out) == (2, "")
    assert "--step-ms" in err


def test_the_picture_has_a_line_for_each_link(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = tmp_path / "scale.svg"
    code, _, err = leave(["bench", "scale", "--step-ms", "3", "--plot", str(picture)], capfd)
    assert (code, err) == (0, "")
    drawn = picture.read_text()
    assert all(link.name in drawn for link in LINKS)


def test_a_picture_of_another_kind_is_refused_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for command in (["bench", "scale", "--step-ms", "3", "--plot"], ["lab", "flow", "--out"]):
        code, out, err = leave([*command, str(tmp_path / "new" / "scale.xyz")], capfd)
        assert (code, out) == (2, "")
        assert f"{command[-1]} ends in .xyz: a picture ends in .svg, .png, .pdf" in err
    assert list(tmp_path.iterdir()) == []


def test_an_efficiency_that_rounds_to_one_half_is_one_half() -> None:
    curve = curve_of(Link("a link", 1e9, 0.0), 1.0 - 1e-6, 10**6, 1, 2)
    assert (curve.points[1].efficiency, curve.pays_until) == (0.5, 2)
