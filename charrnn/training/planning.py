"""``plan``: what a run would take, before anything runs."""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch

from charrnn import interrupts
from charrnn.arguments import checked
from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.model.kernels.memory import returning_memory
from charrnn.model.layers import OUR_KERNELS, kernels, must_compile
from charrnn.paths import CHECKPOINTS
from charrnn.text.splits import length
from charrnn.training.beginning import requested, specified
from charrnn.training.distributed import World
from charrnn.training.events import Listener, Plan, Silence
from charrnn.training.hardware.device import Hardware, own_torch_settings
from charrnn.training.hardware.footprint import Footprint, footprint
from charrnn.training.hardware.memory import memory_of
from charrnn.training.machinery import flops_of
from charrnn.training.processes import join_world
from charrnn.training.rundir.directory import room_needed
from charrnn.training.rundir.discovery import vacant
from charrnn.training.state import RunSpec
from charrnn.training.texts import stem_of
from charrnn.training.trial import step_seconds

PRODUCTS = 6  # operations a weight and character: a product forward, two backward
# On a CPU, what a step of the smallest network takes, and each position of each of its layers: in
# our kernels, and by torch's operations, of which some cells need three times as many. Measured on
# two cores of a Zen 5 with 16 units, 1 or 2 layers, 4 and 64 streams, 10 and 128 positions.
STEP_S, POSITION_S, TORCH_POSITION_S = 0.8e-3, 13e-6, 100e-6
# On a GPU, what each position of each layer takes in our kernels, forward and backward: of 2 x 256
# on an H200, a step of 128 x 128 characters takes 1.51 ms.
CLUSTER_POSITION_S = 5.9e-6
LONG_S = 0.2  # steps that are estimated to take longer are not timed: a plan should be quick
SHARE = 0.5  # nor those that need more than this part of the machine's memory


@dataclass(frozen=True)
class Duration:
    """How long a run takes, validations and start left aside.

    ``seconds`` is the budget, or follows from ``chars_per_second``. That is ``measured`` in steps
    of such a network on this machine, or estimated: the speed of a large matrix product here times
    what training reaches of it, but no step takes less than ``least_seconds``. On a GPU it is
    always estimated, and small networks that cuDNN runs are slower than that.
    """

    seconds: float
    chars_per_second: float
    chars: int
    epochs: float
    steps: int
    measured: bool


@dataclass(frozen=True)
class Disk:
    """The bytes of a run's ``checkpoints`` and of its ``encoded`` text, and how many are free."""

    checkpoints: int
    checkpoints_free: int
    encoded: int
    cache: str


@dataclass(frozen=True)
class RunPlan:
    """What a run would take: ``plan`` says what it would do.

    ``memory`` is that of each of the ``processes`` on this machine, and ``memory_there`` the bytes
    that each can have, 0 if unknown. If the run is not ``seeded``, it will draw its seed.
    """

    plan: Plan
    memory: Footprint
    time: Duration
    disk: Disk
    memory_there: int
    processes: int
    seeded: bool

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: bytes, seconds and characters."""
        plan, memory = self.plan, self.memory
        unknown: dict[str, None] = {} if self.seeded else {"seed": None}
        return {
            "folder": str(plan.folder),
            "corpus": plan.corpus,
            "chars": plan.chars,
            "vocab_size": plan.model.vocab_size,
            "hardware": plan.hardware,
            "parameters": plan.model.parameters,
            "model": plan.model.to_dict(),
            "training": asdict(plan.training) | unknown,
            "memory": {**asdict(memory), "total": memory.total, "there": self.memory_there},
            "time": asdict(self.time),
            "disk": asdict(self.disk),
        }


@checked
def plan(
    *corpus: Annotated[str | Path, "unpack a list with *"],
    out: str | Path | None = None,
    start_from: str | Path | None = None,
    preset: str | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> RunPlan:
    """What ``charrnn.train`` would take with the same arguments: memory, time and disk.

    The text is encoded, if it is not yet in the cache. Some steps of such a network may be timed,
    for a second at most. Nothing is kept, and no folder is made.

    Raises:
        UserError: the request is invalid or cannot be carried out.
        CacheError: the encoded text cannot be saved.
        Interrupted: a signal arrived.

    """
    if "resume" in settings:
        raise ConfigError("continues a run: only new ones are planned", setting="resume")
    text, out, settings = requested(corpus, out, False, start_from, preset, settings)
    with interrupts.graceful(), returning_memory(), own_torch_settings():
        world = join_world()
        listener = listener if listener is not None and world.is_main else Silence()
        spec, hardware, _ = specified(text, out, start_from, preset, settings, listener, world)
        flops = flops_of(hardware, {"cell": spec.model.cell}, world)
        folder = vacant(CHECKPOINTS / stem_of(spec.corpus.name)) if out is None else out
        memory, there = _memory(spec, hardware, world), _memory_there(hardware, world)
        step_s = estimated_seconds(spec.model, spec.training, hardware, flops)
        fits = not there or memory.total < SHARE * there
        measured = world.broadcast(fits and _is_quick(spec.model, hardware, step_s))
        if measured:
            step_s = step_seconds(spec, hardware, world)
        return RunPlan(
            _plan(spec, hardware, folder),
            memory,
            _time(spec, length(spec.parts.train), step_s, measured),
            _disk(spec, folder, text.cache),
            there,
            world.local_size,
            "seed" in settings,
        )


def _plan(spec: RunSpec, hardware: Hardware, folder: Path) -> Plan:
    parts = spec.parts
    chars = {name: spec.chars(length(getattr(parts, name))) for name in ("train", "val", "test")}
    about = spec.model, spec.training, spec.corpus.name
    long = len(spec.corpus.vocab.long)
    return Plan(folder, *about, chars, hardware.describe(), resumed_at=0, long_symbols=long)


def _memory(spec: RunSpec, hardware: Hardware, world: World) -> Footprint:
    rows = world.rows(spec.training.batch)
    streams = rows.stop - rows.start
    return footprint(spec.model, spec.training, hardware, streams, bool(spec.parts.val))


def _memory_there(hardware: Hardware, world: World) -> int:
    """What each process can have: its GPU's memory, or its part of the machine's."""
    there = memory_of(hardware.device)
    return there // world.local_size if hardware.device.type == "cpu" else there


def least_seconds(model: ModelConfig, config: TrainConfig, hardware: Hardware) -> float:
    """What a step takes at least, however small its products are.

    On a GPU that is known only of our kernels; of others it is 0.
    """
    positions = model.layers * len(model.stacks) * config.window
    device, dtype = hardware.device, hardware.dtype or torch.float32
    if device.type != "cpu":
        path = kernels(model.definition, model.hidden, device, dtype)
        return CLUSTER_POSITION_S * positions if path == "clusters" else 0.0
    own = dtype == torch.bfloat16 and model.definition.name in OUR_KERNELS
    return STEP_S + positions * (POSITION_S if own else TORCH_POSITION_S)


def estimated_seconds(
    model: ModelConfig, config: TrainConfig, hardware: Hardware, flops: float
) -> float:
    """What a step takes at ``flops`` operations a second, in seconds."""
    products_s = PRODUCTS * model.parameters * config.batch * config.window / flops
    return max(products_s, least_seconds(model, config, hardware))


def _is_quick(model: ModelConfig, hardware: Hardware, step_s: float) -> bool:
    """Whether steps that are estimated to take ``step_s`` can be timed here in about a second."""
    if hardware.device.type != "cpu" or step_s > LONG_S:
        return False
    return not must_compile(model.definition, hardware.device, hardware.dtype or torch.float32)


def _time(spec: RunSpec, size: int, step_s: float, measured: bool) -> Duration:
    """The time of a run over ``size`` symbols whose steps take ``step_s``."""
    config = spec.training
    a_step = config.batch * config.window
    speed = a_step / step_s
    symbols = (
        config.steps * a_step if config.steps
        else config.epochs * size if config.epochs
        else int(config.seconds * speed)
    )  # fmt: skip
    seconds, steps = config.seconds or symbols / speed, max(1, symbols // a_step)
    each = spec.corpus.chars_per_symbol
    return Duration(seconds, speed * each, spec.chars(symbols), symbols / size, steps, measured)


def _disk(spec: RunSpec, folder: Path, cache: Path) -> Disk:
    free = 0
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    with suppress(OSError):
        free = shutil.disk_usage(there).free
    encoded = len(spec.corpus) * spec.corpus.ids.dtype.itemsize
    return Disk(room_needed(spec.model.parameters), free, encoded, str(cache))
