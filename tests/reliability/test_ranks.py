"""Processes that train together: what each says and leaves, and what happens when one is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.checkpoints import environment
from tests.support.processes import ENDLESS, TINY, Process, corpus_in, has_trained, left_over
from tests.support.ranks import codes, together
from tests.support.runs import metrics, same, tensors

STEPS = ("--steps", "12", "--test-frac", "0.1")  # every step is validated and saved
HERE = ("--device", "cpu", "--precision", "float32", "--batch", "5")  # 2 and 3 streams
STEP = "charrnn.training.loop.optimizer.Stepper.step"
FILES = "last.safetensors", "best.safetensors"
RUN = "checkpoints/novel"

EVERYWHERE: dict[str, list[object]] = {
    "building": ["stay", "charrnn.training.api.CharNetwork"],
    "first step": ["stay", STEP],
    "a step": ["stay", STEP, 7],
    "validation": ["stay", "charrnn.training.loop.validation.evaluate", 3],
    "fitting": ["stay", "charrnn.training.loop.finalize.fit_temperature"],
    "test": ["stay", "charrnn.training.loop.finalize._score_test"],
}
ON_MAIN: dict[str, list[object]] = {
    "hashing": ["stay", "charrnn.text.corpus.blocks"],
    "a best": ["stay_halfway", 7],
    "a last": ["stay_halfway", 8],
    "rotation": ["stay", "charrnn.training.rundir.rotation.os.link", 2],
    "last line": ["stay", "charrnn.training.rundir.directory.RunFolder.check_saved", 2],
}
PLACES = [(0, name) for name in (*EVERYWHERE, *ON_MAIN)] + [(1, name) for name in EVERYWHERE]


def trained(size: int, place: Path, *args: str, **more: Any) -> list[Process]:
    """A small run of ``size`` processes in the folder ``place``, without a folder of its own."""
    place.mkdir(exist_ok=True)
    text = () if "--resume" in args else (corpus_in(place).name,)
    return together(size, "train", *text, *TINY, *HERE, *args, place=place, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> list[Process]:
    """A run of two processes that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole")
    processes = trained(2, place, *STEPS, "--json", CHARRNN_CACHE=str(session_cache))
    assert codes(processes) == [0, 0]
    return processes


def check_same(place: Path, whole: list[Process]) -> None:
    """Check that the run in ``place`` is the one that nothing disturbed, byte for byte."""
    for name in FILES:
        assert same(tensors(place / RUN, name), tensors(whole[0].place / RUN, name)), name
    assert metrics(place / RUN) == metrics(whole[0].place / RUN)
    assert left_over(place / RUN) == []


def test_two_processes_train_what_one_does_and_are_one_to_whoever_looks(
    whole: list[Process], tmp_path: Path
) -> None:
    assert [process.stderr != "" for process in whole] == [True, False]
    told = [(process.streams / "stdout").read_text() for process in whole]
    assert [json.loads(line) for line in told[0].splitlines()][-1]["final"]
    assert told[1] == ""
    assert left_over(whole[0].place / RUN) == []
    assert codes(trained(1, tmp_path, *STEPS)) == [0]
    one, two = tensors(tmp_path / RUN), tensors(whole[0].place / RUN)
    for name, value in one.items():
        np.testing.assert_allclose(value.astype(float), two[name].astype(float), atol=1e-4)


def test_a_signal_to_one_process_saves_and_ends_all_and_resuming_is_exact(
    whole: list[Process], tmp_path: Path
) -> None:
    stopped = trained(2, tmp_path, *STEPS, patches={1: [["hold", STEP, 7]]})
    stopped[1].until_phase()
    stopped[1].signal(signal.SIGTERM)
    assert codes(stopped) == [143, 143]
    assert f"stopped and saved at step 7 in {RUN}" in stopped[0].lines[-1]
    assert stopped[1].stderr == ""
    assert codes(trained(2, tmp_path, "--resume")) == [0, 0]
    check_same(tmp_path, whole)


def test_processes_that_meet_every_few_steps_stop_together_and_resume_exactly(
    tmp_path: Path,
) -> None:
    apart = "--steps", "60", "--sync-every", "8", "--grad-compression", "bf16"
    undisturbed = trained(2, tmp_path / "whole", *apart)
    stopped = trained(2, tmp_path / "parts", *apart, patches={1: [["hold", STEP, 20]]})
    assert codes(undisturbed) == [0, 0]
    stopped[1].until_phase()
    stopped[1].signal(signal.SIGTERM)
    assert codes(stopped) == [143, 143]
    assert f"stopped and saved at step 21 in {RUN}" in stopped[0].lines[-1]  # validated there
    assert codes(trained(2, tmp_path / "parts", "--resume")) == [0, 0]
    check_same(tmp_path / "parts", undisturbed)


def test_processes_of_two_machines_sum_in_buckets_what_those_of_one_sum_at_once(
    tmp_path: Path,
) -> None:
    large = "--size", "256", "--layers", "2", "--steps", "6"  # three mebibytes of gradients
    runs = [
        trained(2, tmp_path / name, *large, LOCAL_WORLD_SIZE=size)
        for name, size in (("one", "2"), ("two", "1"), ("again", "1"))
    ]
    assert [codes(processes) for processes in runs] == [[0, 0]] * 3
    one, two, again = (tensors(tmp_path / name / RUN) for name in ("one", "two", "again"))
    assert same(one, two)  # there is one order in which to add two numbers
    assert same(two, again)


def killed_and_restarted(place: Path, rank: int, where: list[object]) -> list[Process]:
    """What was left of a run of which a process was killed, after it has been restarted."""
    first = trained(2, place, *STEPS, patches={rank: [where]})
    first[rank].until_phase()
    first[rank].kill()
    left = first[1 - rank]
    assert left.wait() == 1
    if rank == 1:
        assert "another process of the run has ended" in left.lines[-1]
    again = trained(2, place, *STEPS, restarts=1)
    assert codes(again) == [0, 0], [process.stderr for process in again]
    return again


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_that_lost_a_process_goes_on_where_it_was_saved_when_all_are_restarted(
    rank: int, whole: list[Process], tmp_path: Path
) -> None:
    main, _ = killed_and_restarted(tmp_path, rank, EVERYWHERE["a step"])
    assert main.lines[0] == (
        f"charrnn: the processes were started again: the run in {RUN} continues from its last "
        "checkpoint"
    )
    check_same(tmp_path, whole)


@pytest.mark.long
@pytest.mark.parametrize(("rank", "name"), PLACES)
def test_a_process_that_is_killed_anywhere_costs_what_followed_the_last_save(
    rank: int, name: str, whole: list[Process], tmp_path: Path
) -> None:
    killed_and_restarted(tmp_path, rank, (EVERYWHERE | ON_MAIN)[name])
    check_same(tmp_path, whole)


@pytest.mark.parametrize(
    ("machines", "size"),
    [
        (1, ()),
        pytest.param(2, ("--size", "256", "--layers", "2"), marks=pytest.mark.long),  # in buckets
    ],
)
def test_a_process_that_hangs_is_noticed_in_the_time_that_was_set(
    machines: int, size: tuple[str, ...], tmp_path: Path
) -> None:
    local = {"CHARRNN_RANK_TIMEOUT": "1s", "LOCAL_WORLD_SIZE": str(2 // machines)}
    hangs = [["stay", STEP, 7]]
    processes = trained(2, tmp_path, *size, *STEPS, patches={1: hangs}, **local)
    assert processes[0].wait() == 1
    told = processes[0].lines[-1]
    assert "another process of the run has not answered for 1 s; what followed the last" in told
    assert f"to continue: charrnn train --resume --out {RUN}" in told
    assert processes[1].ended(0.0) is None


def test_a_second_launch_into_the_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    first = trained(2, tmp_path, "--out", "run", *ENDLESS, "-q")
    first[0].until(has_trained(tmp_path / "run"))
    second = trained(2, tmp_path, "--out", "run", *STEPS, "-q")
    assert codes(second) == [1, 1]
    assert f"process {first[0].pid} on " in second[0].stderr
    assert len(second[0].lines) == 1
    assert second[1].stderr == ""
    assert first[0].ended(0.0) is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--batch", "1"), "--batch is 1, fewer streams than the 2 processes; try --batch 2"),
        (("--batch", "0"), "--batch is '0': it must be a whole number"),
        (("--encoding", "no"), "unknown encoding 'no'; set --encoding"),
    ],
)
def test_an_error_of_all_processes_is_said_once(
    args: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    processes = trained(2, tmp_path, *args, *STEPS)
    assert codes(processes) == [2, 2]
    assert [line[: len(said) + 9] for line in processes[0].lines] == [f"charrnn: {said}"]
    assert processes[1].stderr == ""


def test_a_full_disk_is_said_once_and_ends_all(tmp_path: Path) -> None:
    full = [["small_files", 2000]]
    processes = trained(2, tmp_path, *STEPS, "-q", patches={0: full})
    assert codes(processes) == [1, 1]
    assert "3 in a row, so training stops" in processes[0].lines[-1]
    assert processes[1].stderr == ""


KILLS = int(os.environ.get("TEST_KILLS", "50"))
LENGTH, RESTARTS = 10_000, 20  # steps of a run, and its restarts at most


@pytest.mark.long
def test_torchrun_restarts_a_run_that_loses_a_process_again_and_again(tmp_path: Path) -> None:
    """A random process is killed at a random moment; every launch goes on where it was saved."""
    corpus_in(tmp_path)
    rng, killed = random.Random(5), 0
    while killed < KILLS:
        out = f"run-{killed}"
        run = tmp_path / out
        killed += kill_at_random(tmp_path, out, rng, min(RESTARTS, KILLS - killed))
        assert metrics(run)[-1]["final"]
        assert metrics(run)[-1]["step"] == LENGTH
        assert left_over(run) == []
    print(f"{killed} kills")


def kill_at_random(folder: Path, out: str, rng: random.Random, most: int) -> int:
    """Train in two processes, of which at most ``most`` are killed; returns how many were."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts"]
    torchrun += [str(most), "--nproc-per-node", "2", "-m"]
    budget = "--steps", str(LENGTH), "--out", out, "-q"
    training = ["charrnn", "train", "novel.txt", *TINY, *HERE, *budget]
    with open(folder / "stderr", "wb") as stderr:
        launcher = subprocess.Popen(
            [*torchrun, *training], cwd=folder, env=environment(), stderr=stderr
        )
    killed, reached, log = 0, 0, folder / out / "metrics.jsonl"
    try:
        while killed < most and launcher.poll() is None:
            time.sleep(rng.uniform(0.5, 15.0))  # it takes seconds to begin
            if len(workers := children_of(launcher.pid)) < 2:
                continue
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed += 1
            lines = metrics(log.parent) if log.exists() else []
            step = lines[-1]["step"] if lines else 0
            assert step >= reached - LENGTH // 20  # what followed the last save is lost
            reached = max(reached, step)
        assert launcher.wait(600) == 0, (folder / "stderr").read_text()[-3000:]
    finally:
        launcher.kill()
        launcher.wait()
    return killed


def children_of(pid: int) -> list[int]:
    """The processes that ``pid`` has started."""
    if not Path(f"/proc/{pid}").exists():
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
