"""Other processes that train meanwhile: they leave less of the memory's bandwidth and of the cache.

    python -m charrnn.bench.busy MODEL TRAINING

is one of them: it prints a line when it is under way, and ends when its standard input does.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict

from charrnn.bench.machine import child_environment
from charrnn.config import ModelConfig, TrainConfig

WARM_UP = 3  # steps


@contextmanager
def beside(config: ModelConfig, settings: TrainConfig, count: int) -> Iterator[None]:
    """Within the block, ``count`` processes train like this one."""
    asked = json.dumps(config.to_dict()), json.dumps(asdict(settings))
    command = [sys.executable, "-m", "charrnn.bench.busy", *asked]
    with ExitStack() as stack:
        children = []
        for _ in range(count):
            child = subprocess.Popen(
                command,
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(child)  # closes its standard input, and waits
            stack.callback(child.kill)
            children.append(child)
        for child in children:
            assert child.stdout is not None
            child.stdout.readline()
        yield


def main() -> None:
    """Train until standard input ends."""
    from charrnn.bench.training import own_step, random_text
    from charrnn.training.hardware.device import choose_hardware

    config, settings = ModelConfig.from_dict(json.loads(sys.argv[1])), json.loads(sys.argv[2])
    training = TrainConfig.from_dict(settings)
    hardware = choose_hardware(training)
    step, text = (
        own_step(config, training, hardware),
        random_text(config, training, hardware.device),
    )
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    done = 0
    while not ended.is_set():
        step(text)
        done += 1
        if done == WARM_UP:
            print("under way", flush=True)


if __name__ == "__main__":
    main()
