"""What several processes would reach: a step here, the bytes of its gradient, and a link.

Every process trains on as many streams as one does alone, and after each step all of them sum
their gradients in a ring, or every so many steps average their weights and moments. So N processes
read N times as many characters in the time of a step and of an exchange. Nothing overlaps. A
prediction, and no measurement of N processes.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from charrnn.bench.busy import beside
from charrnn.bench.link import Link, measure_link
from charrnn.bench.training import interleaved, own_step, random_text
from charrnn.config import ModelConfig, TrainConfig
from charrnn.generation.factory import cpus
from charrnn.training.hardware.device import choose_hardware
from charrnn.training.loop.clock import PULSE_S

PROCESSES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PAYS = 0.5  # the efficiency at which an exchange takes as long as a step
_USED = 0.9  # of the nominal rate, which headers and pauses do not leave
GBIT = 1e9 / 8
# Latencies are those of one message: TCP between two hosts; RDMA; kernels of NCCL in one server.
# NVLink is that of an H100, 450 GB/s in each direction.
NETWORKS = (
    Link("1 Gbit/s", _USED * GBIT, 50e-6),
    Link("10 Gbit/s", _USED * 10 * GBIT, 30e-6),
    Link("100 Gbit/s", _USED * 100 * GBIT, 8e-6),
    Link("400 Gbit/s", _USED * 400 * GBIT, 5e-6),
)
LINKS = (*NETWORKS, Link("NVLink", _USED * 450e9, 3e-6))
NUMBER_BYTES = {"none": 4, "bf16": 2}  # of a weight's gradient
KEPT_BYTES = 3 * 4  # of a weight and its two moments, which are float32
PULSE_BYTES, TCP_S = 16, 50e-6  # gloo uses TCP between GPUs, too


@dataclass(frozen=True)
class Point:
    """What so many processes reach: times in milliseconds, all characters together.

    The times of exchanges and of agreements on when to stop are those for each step, on average.
    ``efficiency`` is their speed as a part of that of as many single ones.
    """

    processes: int
    exchange_ms: float
    agreement_ms: float
    chars_per_second: float
    efficiency: float


@dataclass(frozen=True)
class Curve:
    """The points of a link; ``pays_until`` is the largest N with an efficiency of ``PAYS``."""

    link: str
    gigabytes_per_second: float
    latency_us: float
    points: tuple[Point, ...]
    pays_until: int


@dataclass(frozen=True)
class Scale:
    """A prediction; ``device`` is what was measured, or empty if ``step_ms`` was given.

    Every ``sync_every`` steps each process sends ``exchanged_bytes``: of a gradient, or if it is
    above 1, of weights and their moments.
    """

    cell: str
    layers: int
    hidden: int
    batch: int
    window: int
    device: str
    step_ms: float
    exchanged_bytes: int
    sync_every: int
    curves: tuple[Curve, ...]

    @property
    def sentence(self) -> str:
        """From how many processes on the efficiency is below ``PAYS``."""
        return in_a_sentence(self.curves)

    def to_dict(self) -> dict[str, object]:
        """The result as JSON values."""
        return {**dataclasses.asdict(self), "sentence": self.sentence}


def predict(
    config: ModelConfig,
    settings: TrainConfig,
    *,
    step_ms: float = 0.0,
    turns: int = 5,
    turn_s: float = 0.5,
) -> Scale:
    """Predict the throughput of N processes with ``settings.batch`` streams each.

    With ``step_ms``, a step takes so long, on a device that is elsewhere; otherwise the step is
    measured here, and on a CPU also the link between two processes, which no network exceeds.

    Raises:
        ConfigError: the device is missing.
        TrainingError: two processes of this machine cannot talk to each other.

    """
    size, every, device = exchanged(config, settings), settings.sync_every, ""
    links: tuple[Link, ...] = LINKS
    ahead = True
    here: tuple[Curve, ...] = ()
    chars = settings.batch * settings.window
    if not step_ms:
        hardware = choose_hardware(settings)
        device = hardware.describe()
        text = random_text(config, settings, hardware.device)
        step = {"own": own_step(config, settings, hardware)}

        def measure() -> float:
            return 1e3 * interleaved(step, text, hardware.device, turns, turn_s)["own"]

        step_ms = measure()
        ahead = hardware.device.type != "cpu"
        if not ahead:
            own, most = measure_link(size), cpus() // hardware.threads
            links = tuple(limited(link, own) for link in NETWORKS)
            busy_ms = step_ms
            if most > 1:
                with beside(config, settings, min(most, PROCESSES[-1]) - 1):
                    busy_ms = measure()
            here = (curve_of(own, step_ms, size, chars, most, busy_ms, every=every),)
    return Scale(
        config.cell,
        config.layers,
        config.hidden,
        settings.batch,
        settings.window,
        device,
        round(step_ms, 4),
        size,
        every,
        here
        + tuple(curve_of(link, step_ms, size, chars, ahead=ahead, every=every) for link in links),
    )


def exchanged(config: ModelConfig, settings: TrainConfig) -> int:
    """The bytes that each process contributes to an exchange; averaged weights are left aside."""
    each = NUMBER_BYTES[settings.grad_compression] if settings.sync_every == 1 else KEPT_BYTES
    return each * config.parameters


def limited(link: Link, here: Link) -> Link:
    """``link`` between processes that exchange no faster than through their own machine."""
    rate = min(link.bytes_per_second, here.bytes_per_second)
    latency = link.latency_s + here.latency_s
    return dataclasses.replace(link, bytes_per_second=rate, latency_s=latency)


def curve_of(
    link: Link,
    step_ms: float,
    size: int,
    chars: int,
    most: int = PROCESSES[-1],
    busy_ms: float = 0.0,
    *,
    ahead: bool = False,
    every: int = 1,
) -> Curve:
    """What up to ``most`` processes reach over ``link``.

    Each takes ``step_ms`` for ``chars`` characters and exchanges ``size`` bytes ``every`` so many
    steps; if they share a machine, it takes ``busy_ms`` beside others. They agree on when to stop
    every ``PULSE_S``, but only after an exchange; if they are GPUs (``ahead``), their hosts do so
    meanwhile.
    """
    points: list[Point] = []
    for processes in PROCESSES[: 1 + sum(2 <= n <= most for n in PROCESSES)]:
        exchange_ms = 1e3 * link.exchange_s(size, processes) / every
        whole_ms = (busy_ms if busy_ms and processes > 1 else step_ms) + exchange_ms
        pulse = dataclasses.replace(link, latency_s=TCP_S) if ahead else link
        exchanges = max(1, int(1e3 * PULSE_S / (whole_ms * every)))  # between two agreements
        pulse_ms = 1e3 * pulse.exchange_s(PULSE_BYTES, processes) / (exchanges * every)
        whole_ms = max(whole_ms, pulse_ms) if ahead else whole_ms + pulse_ms
        speed, efficiency = 1e3 * processes * chars / whole_ms, round(step_ms / whole_ms, 4)
        times = round(exchange_ms, 4), round(pulse_ms, 4)
        points.append(Point(processes, *times, round(speed, 1), efficiency))
    pays = max(point.processes for point in points if point.efficiency >= PAYS)
    rate, latency = link.bytes_per_second / 1e9, 1e6 * link.latency_s
    return Curve(link.name, round(rate, 4), round(latency, 2), tuple(points), pays)


def in_a_sentence(curves: Sequence[Curve]) -> str:
    """From how many processes on the efficiency is below ``PAYS``: all links in one sentence."""
    links: dict[int, list[str]] = {}
    for curve in curves:
        if len(curve.points) == len(PROCESSES):  # not the processes that fit into this machine
            links.setdefault(curve.pays_until, []).append(curve.link)
    still = links.pop(PROCESSES[-1], [])
    ends = [
        f"over {_joined(names)} from {next(n for n in PROCESSES if n > most)} processes on"
        for most, names in sorted(links.items())
    ]
    half, most_asked = f"{100 * PAYS:.0f} %", PROCESSES[-1]
    if not ends:
        return f"{most_asked} processes still reach an efficiency of {half} over {_joined(still)}."
    last = [f"over {_joined(still)}, {most_asked} processes still reach it"] if still else []
    return f"Efficiency falls below {half} {'; '.join(ends + last)}."


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def scale_picture(scale: Scale, kind: str = "svg") -> bytes:
    """Characters per second against processes, and the efficiency, a line for each link."""
    import matplotlib

    from charrnn.insight.figures import COLORS, INK, STYLE, drawn, panels

    with matplotlib.rc_context(STYLE):
        figure, axes = panels(2, 4.2)
        for curve, color in zip(scale.curves, COLORS, strict=False):
            processes = [p.processes for p in curve.points]
            speeds = [p.chars_per_second for p in curve.points]
            axes[0].plot(processes, speeds, color=color, label=curve.link)
            axes[1].plot(processes, [p.efficiency for p in curve.points], color=color)
        alone = scale.curves[0].points[0].chars_per_second
        axes[0].plot(PROCESSES, [alone * n for n in PROCESSES], ":", color=INK, linewidth=1)
        axes[1].axhline(PAYS, color=INK, linewidth=1, linestyle=":")
        axes[0].set_yscale("log")
        axes[0].set_ylabel("characters per second")
        axes[1].set_ylabel("part of N times one process")
        axes[1].set_ylim(0, 1.03)
        axes[0].legend(fontsize="small")
        for ax in axes:
            ax.set_xscale("log", base=2)
            ax.set_xticks(PROCESSES, [str(n) for n in PROCESSES])
            ax.set_xlabel("processes")
        return drawn(figure, kind)
