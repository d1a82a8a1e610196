"""The link between two processes of this machine: gloo through its loopback, measured.

    python -m charrnn.bench.link FILE RANK BYTES

is one of the two processes; they meet through FILE.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from charrnn.bench.machine import child_environment
from charrnn.errors import TrainingError

SMALL = 1024  # bytes, which take as long as the latency
SMALL_TURNS, LARGE_TURNS, WARM_UP = 101, 9, 5
LONGEST_S = 120.0


@dataclass(frozen=True)
class Link:
    """How fast neighbors in a ring of processes exchange numbers.

    Attributes:
        name: its name.
        bytes_per_second: in each direction, of what is exchanged.
        latency_s: seconds of each step of the ring, however little is sent.

    """

    name: str
    bytes_per_second: float
    latency_s: float

    def exchange_s(self, size: int, processes: int) -> float:
        """Seconds to sum ``size`` bytes over ``processes`` in a ring.

        Each process sends 2 (N − 1) pieces of 1/N of the bytes, one after the other (Patarasu and
        Yuan 2009, "Bandwidth optimal all-reduce algorithms").
        """
        steps = 2 * (processes - 1)
        return steps * (self.latency_s + size / processes / self.bytes_per_second)


def measure_link(size: int) -> Link:
    """The link between two processes of this machine, by all-reduces of ``size`` bytes.

    Raises:
        TrainingError: they cannot talk to each other.

    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "charrnn.bench.link", str(Path(folder) / "meet")]
        environment = {**child_environment(), "GLOO_SOCKET_IFNAME": loopback()}
        children = [
            subprocess.Popen(
                [*command, str(rank), str(size)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            (said, complaint), _ = [child.communicate(timeout=LONGEST_S) for child in children]
        except subprocess.TimeoutExpired:
            said, complaint = "", "no answer"
        finally:
            for child in children:
                child.kill()
                child.wait()
    if not said:
        last = complaint.strip().rpartition("\n")[2]
        raise TrainingError(f"two processes of this machine cannot exchange numbers: {last}")
    small_s, large_s = json.loads(said)
    # of two processes, each sends two pieces of half the bytes
    rate = size / max(large_s - small_s, 1e-9)
    return Link("this machine, gloo", rate, small_s / 2)


def loopback() -> str:
    """The name of the loopback interface."""
    return "lo0" if sys.platform == "darwin" else "lo"


def main() -> None:
    """Take part in a measurement; the first process prints the seconds of both sizes."""
    meet, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    medians = []
    for count, turns in ((SMALL // 4, SMALL_TURNS), (size // 4, LARGE_TURNS)):
        numbers, seconds = torch.ones(max(count, 1)), []
        for _ in range(WARM_UP + turns):
            dist.barrier()
            began = time.perf_counter()
            dist.all_reduce(numbers)
            seconds.append(time.perf_counter() - began)
            numbers.fill_(1.0)
        medians.append(statistics.median(seconds[WARM_UP:]))
    if rank == 0:
        print(json.dumps(medians), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's threads would wait for the other process


if __name__ == "__main__":
    main()
