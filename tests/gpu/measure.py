"""Measures training on a GPU: one command, under four minutes, a table last.

    PYTHONPATH=. python3 -m tests.gpu.measure --data FOLDER        # with warpeace_input.txt in it
    PYTHONPATH=. python3 -m tests.gpu.measure --device cpu --quick # tries the program itself

Each part is a process with seconds of its own, so that one that hangs or breaks the device loses
nothing of the others. ``CHARRNN_OUT`` names the folder of the full logs (default: gpu-measured).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.gpu.results import Results
from tests.gpu.table import table

ROOT = Path(__file__).resolve().parents[2]
NOVEL = "warpeace_input.txt"
RESULTS, LOG = "results.jsonl", "log.txt"
TESTS, FIXED = "tests.xml", "tests-fixed-workspace.xml"
EXACT, RUNS = "tests-exact.xml", "tests-runs.xml"
TRAIN = (sys.executable, "-m", "charrnn", "train")


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    device: str
    data: Path
    out: Path
    quick: bool

    @property
    def novel(self) -> Path:
        return self.data / NOVEL


@dataclass(frozen=True)
class Part:
    """Commands that run at the same time, for at most so many seconds."""

    name: str
    commands: Sequence[Sequence[str]]
    seconds: float


def parts(settings: Settings) -> list[Part]:
    """All parts in their order: what must be right, then what must be fast, then experiments."""
    me = [sys.executable, "-m", "tests.gpu.measure", "--device", settings.device]
    me += ["--data", str(settings.data), "--out", str(settings.out)]
    me += ["--quick"] if settings.quick else []
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA"]
    # of the warnings of an unknown machine only the one about cuDNN's weights is an error
    pytest += ["-W", "default", "-W", "error:RNN module weights"]
    xml = f"--junitxml={settings.out / TESTS}"
    few = ["-k", "captured or overflow"] if settings.quick else []
    together = [[*pytest, "tests/gpu", xml, *few]]
    if not settings.quick:  # several at a time: nothing is timed here
        together.append([*pytest, "tests/gpu", "-m", "long", "-k", "float16"])
        # NVIDIA's advice for recurrent networks that do not repeat themselves
        fixed = ["env", "CUBLAS_WORKSPACE_CONFIG=:4096:8", *pytest, "tests/gpu/test_runs.py"]
        together.append([*fixed, "-k", "resumed", f"--junitxml={settings.out / FIXED}"])
    # what evaluations and captured windows may break
    waits = ["tests/gpu/test_exact.py", "tests/gpu/test_waits.py", "tests/gpu/test_experiments.py"]
    evaluations = [[*pytest, *waits, f"--junitxml={settings.out / EXACT}", *few]]
    if not settings.quick:
        resumed = ["tests/gpu/test_runs.py", "-k", "resumed or save"]
        evaluations.append([*pytest, *resumed, f"--junitxml={settings.out / RUNS}"])
    return [
        Part("program", [[sys.executable, "-m", "charrnn", "--version"]], 20),
        Part("tests", together, 70),
        Part("speed", [[*me, "--part", "speed"]], 65),
        Part("best", [[*me, "--part", "best"]], 45),
        Part("run", [[*me, "--part", "run"]], 35),
        Part("novel", [[*me, "--part", "novel"]], 65),
        Part("experiments", [[*me, "--part", "experiments"]], 60),
        Part("eval tests", evaluations, 110),
        Part("eval", [[*me, "--part", "eval"]], 150),
    ]


def run_part(part: Part, settings: Settings, seconds: float) -> None:
    """Run a part's commands, and end those that take longer than ``seconds``."""
    results, began = Results(settings.out / RESULTS), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    if settings.device == "cpu":
        environment["CHARRNN_TEST_DEVICE"] = "cpu"
    with open(settings.out / LOG, "ab") as log:
        processes = [
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            for command in part.commands
        ]
        codes = []
        for process in processes:
            try:
                codes.append(process.wait(max(0.1, seconds - (time.monotonic() - began))))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                codes.append(process.wait())
    spent = round(time.monotonic() - began, 1)
    results.add(f"part {part.name}", seconds=spent, codes=codes)


def trained(settings: Settings, *args: str) -> tuple[float, list[dict[str, Any]]]:
    """Train as a user does: the seconds from the start of the process to its end, and metrics."""
    with tempfile.TemporaryDirectory() as place:
        command = [*TRAIN, *args, "--out", f"{place}/run", "--device", settings.device]
        began = time.monotonic()
        subprocess.run([*command, "--seed", "1"], check=True, stdin=subprocess.DEVNULL)
        spent = time.monotonic() - began
        text = Path(place, "run", "metrics.jsonl").read_text()
    return spent, [json.loads(line) for line in text.splitlines()]


def run(settings: Settings, results: Results) -> None:
    """3 x 512, B 128, T 100 as the user runs it: the speed that a run reports."""
    from tests.gpu.speed import steady

    small = ["--size", "32", "--batch", "8", "--window", "20", "--time", "3s"]
    usual = ["--size", "512", "--batch", "128", "--window", "100", "--time", "8s"]
    text = [str(settings.novel)] if settings.novel.exists() else []
    sizes = small if settings.quick else usual
    spent, (*reports, result) = trained(settings, *text, "--layers", "3", *sizes)
    speeds = [line["chars_per_second"] for line in reports if line["chars_per_second"]]
    results.add(
        "run",
        chars_per_second=steady(speeds),
        speeds=speeds,
        wall_s=round(spent, 2),
        elapsed_s=result["elapsed_s"],
        before_and_after_s=round(spent - result["elapsed_s"], 2),
        chars_over_elapsed=round(result["chars"] / result["elapsed_s"], 1),
    )


def novel(settings: Settings, results: Results) -> None:
    """War and Peace, split P, with the default sizes: test and seconds from process start."""
    if not settings.novel.exists():
        results.add("novel", failed=f"{settings.novel} is missing")
        return
    small = ["--size", "32", "--batch", "16", "--time", "5s", "--max-bytes", "300000"]
    usual = ["--time", "20s"]
    split = ["--bytes", "--split", "interleaved", *(small if settings.quick else usual)]
    spent, (*reports, result) = trained(settings, str(settings.novel), *split)
    results.add(
        "novel",
        wall_s=round(spent, 2),
        test_nats=result["test_nats"],
        val_nats=result["val_nats"],
        chars=result["chars"],
        validations=[[line["elapsed_s"], line["val_nats"]] for line in reports if line["val_nats"]],
    )


def speed(settings: Settings, results: Results) -> None:
    """The steps of 3 x 512."""
    from tests.gpu.speed import Speed

    Speed(results, settings.device, settings.out, settings.quick).first()


def best(settings: Settings, results: Results) -> None:
    """The steps of 3 x 1024."""
    from tests.gpu.speed import Speed

    Speed(results, settings.device, settings.out, settings.quick).second()


def experiments(settings: Settings, results: Results) -> None:
    """Everything in ``experiments.py``."""
    from functools import partial

    from charrnn.config import TrainConfig
    from charrnn.training.hardware.device import choose_hardware
    from tests.gpu.experiments import EXPERIMENTS, QUICK, Scale

    hardware = choose_hardware(TrainConfig(steps=1, device=settings.device))  # type: ignore[arg-type]
    scale = QUICK if settings.quick else Scale()
    for name, (experiment, seconds) in EXPERIMENTS.items():
        results.measure(name, seconds, partial(experiment, results, scale, hardware))


def evaluation(settings: Settings, results: Results) -> None:
    """Everything in ``evaluation.py``."""
    from tests.gpu.evaluation import every

    every(results, settings.device, settings.novel, settings.quick)


WORK = {
    "speed": speed,
    "best": best,
    "run": run,
    "novel": novel,
    "experiments": experiments,
    "eval": evaluation,
}


def main() -> None:
    """Run all parts, or the one that ``--part`` names."""
    parser = argparse.ArgumentParser(description="Measure training on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    out = os.environ.get("CHARRNN_OUT", "gpu-measured")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--seconds", type=float, default=235.0, help="for everything")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--part", choices=WORK, help="run this part here")
    args = parser.parse_args()
    settings = Settings(args.device, args.data.resolve(), args.out.resolve(), args.quick)
    settings.out.mkdir(parents=True, exist_ok=True)
    results = Results(settings.out / RESULTS)
    if args.part:
        results.measure(args.part, 600, lambda: WORK[args.part](settings, results))
        return
    end = time.monotonic() + args.seconds
    for part in parts(settings):
        left = end - time.monotonic()
        only = not args.only or part.name.split()[0] in args.only.split(",")
        if left > 1 and only:
            run_part(part, settings, min(left, part.seconds))
    reports = [settings.out / name for name in (TESTS, FIXED, EXACT, RUNS)]
    print(table(results.read(), *reports))


if __name__ == "__main__":
    main()
