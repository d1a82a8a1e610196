"""How well a network predicts a part of a corpus: nats are summed in float64, and divided once.

All products are in float32, whatever the number format that the network is trained in: the result
is that of the weights as they are kept, as ``TextModel.score`` gives it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from charrnn.generation.scoring import Score
from charrnn.model.network import State
from charrnn.text import lanes as joining
from charrnn.text.splits import Range, length
from charrnn.text.vocab import Ids
from charrnn.training.distributed import ALONE, World
from charrnn.training.hardware.device import exact_products

WINDOW, GPU_WINDOW = 128, 256  # characters of a lane that the network gets at a time
LANES, GPU_LANES = 64, 168
LEAST, GPU_LEAST = 2048, 2048  # characters of a piece
# numbers at a time, 32 MiB (128 MiB): a vocabulary may have 65,535 characters
LOGITS, GPU_LOGITS = 2**23, 2**25


class Predictor(Protocol):
    """Whatever predicts the next character, with a state that is passed in and handed back."""

    @property
    def vocab_size(self) -> int:
        """V."""
        ...

    @property
    def output_width(self) -> int:
        """The width of ``outputs``."""
        ...

    @property
    def cycle(self) -> int:
        """The number of characters after which its clocks repeat; 1 without clocks."""
        ...

    def zero_state(self, B: int) -> State:
        """The state before a text."""
        ...

    def outputs(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What ``logits`` reads, ``(B, T, output_width)``, for ids ``x``; and the state after."""
        ...

    def logits(self, outputs: Tensor) -> Tensor:
        """The logits ``(n, V)`` of the next characters for ``outputs (n, output_width)``."""
        ...


@torch.no_grad()
def evaluate(
    predictor: Predictor,
    ids: Ids,
    ranges: tuple[Range, ...],
    *,
    device: torch.device | None = None,
    lanes: int | None = None,
    world: World = ALONE,
) -> Score:
    """Score ``ranges`` of ``ids (N,)``, each with a state that starts from zero.

    Long ranges are read in pieces that are joined (``charrnn.text.lanes``), ``lanes`` at once
    (None: as many as suit the device); each process of ``world`` reads some. A training run is not
    affected: there are no gradients and no random numbers.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    reader = TorchReader(predictor, ids, device)
    least = GPU_LEAST if reader.ahead else LEAST
    reading = read(reader, ranges, least, world, lanes)
    expected = sum(stop - max(start, 1) for start, stop in ranges)
    assert reading.chars == expected, f"counted {reading.chars} of {expected} characters"
    return Score(reading.nats, reading.chars, reading.error)


def read(
    reader: TorchReader,
    ranges: tuple[Range, ...],
    least: int,
    world: World,
    lanes: int | None = None,
) -> joining.Reading:
    """``charrnn.text.lanes.read``, with float32 products.

    Raises:
        Interrupted: a signal arrived.
        ValueError: the ranges are empty.

    """
    if not length(ranges):
        raise ValueError("nothing to evaluate: the ranges are empty")
    most = lanes or (GPU_LANES if reader.ahead else LANES)
    with exact_products():
        return joining.read(reader, ranges, most, least, Ranks(world), cycle=reader.predictor.cycle)


class Ranks(joining.Group):
    """The processes of a ``World`` as a group that reads together."""

    def __init__(self, world: World) -> None:
        super().__init__(world.rank, world.size)
        self.world = world

    def check(self) -> None:
        """``World.check_signals``."""
        self.world.check_signals()

    def sum(self, mine: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over all processes."""
        total: NDArray[np.float64] = self.world.all_reduce(torch.from_numpy(mine)).numpy()
        return total


class TorchReader(joining.Reader):
    """A predictor that reads a text."""

    def __init__(self, predictor: Predictor, ids: Ids, device: torch.device | None) -> None:
        self.predictor, self.ids, self.device = predictor, ids, device
        self.state = predictor.zero_state(1)
        self.widths = [[part.shape[1] for part in layer] for layer in self.state]
        self.zero = self.states()[0]
        self.ahead = device is not None and device.type == "cuda"

    def begin(self, states: NDArray[Any]) -> None:
        """Continue from ``states (K, S)``."""
        widths = [width for layer in self.widths for width in layer]
        parts = iter(torch.split_with_sizes(self._sent(states), widths, dim=1))
        self.state = tuple(tuple(next(parts).contiguous() for _ in layer) for layer in self.widths)

    def states(self) -> NDArray[Any]:
        """The states ``(K, S)``."""
        states: NDArray[Any] = self._states().cpu().numpy()
        return states

    def read(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[Any]:
        """The losses ``(K, T)`` of ``targets``; 0 for those that are not ``counted``."""
        nats: NDArray[Any] = self._losses(targets, counted).cpu().numpy()  # waits for a GPU
        return nats

    def start(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> joining.Result:
        """``read``, and then ``states``; a GPU is not waited for before the result is called."""
        if not self.ahead:
            return super().start(targets, counted)
        nats, states = (_fetched(t) for t in (self._losses(targets, counted), self._states()))
        done: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()

        def result() -> tuple[NDArray[Any], NDArray[Any]]:
            done.synchronize()
            return nats.numpy(), states.numpy()

        return result

    def _states(self) -> Tensor:
        return torch.cat([part for layer in self.state for part in layer], dim=1)

    def _losses(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Tensor:
        windows, (K, T) = [], targets.shape
        longest, most = (GPU_WINDOW, GPU_LOGITS) if self.ahead else (WINDOW, LOGITS)
        window = max(1, min(longest, most // (K * self.predictor.output_width)))
        for begin in range(0, T, window):
            here = np.s_[:, begin : begin + window]
            windows.append(self._window(targets[here], counted[here]))
        return torch.cat(windows, dim=1)

    def _window(self, targets: NDArray[np.int64], counted: NDArray[np.bool_]) -> Tensor:
        x = self._sent(self.ids[targets - 1].astype(np.int64))
        outputs, self.state = self.predictor.outputs(x, self.state)
        outputs = outputs.flatten(0, 1)
        # logits are worked out only where they count, and of a large vocabulary a few at a time
        rows, some = np.flatnonzero(counted), max(1, LOGITS // self.predictor.vocab_size)
        losses = []
        for begin in range(0, len(rows), some):
            here = rows[begin : begin + some]
            index = self._sent(here)
            y = self._sent(self.ids[targets.flat[here]].astype(np.int64))
            losses.append(self.losses(self.predictor.logits(outputs[index]), y))
        found = torch.cat(losses) if losses else torch.zeros(0)
        nats = torch.zeros(counted.size, dtype=found.dtype, device=self.device)
        nats[self._sent(rows)] = found.to(nats.device)
        return nats.view(counted.shape)

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """The losses ``(n,)`` of the characters ``y (n,)`` for ``logits (n, V)``."""
        return F.cross_entropy(logits, y, reduction="none")

    def _sent(self, values: NDArray[Any]) -> Tensor:
        """``values`` as a tensor on the device; a GPU is not waited for."""
        tensor = torch.from_numpy(values)
        if self.device is not None and self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


def _fetched(tensor: Tensor) -> Tensor:
    """``tensor`` in the computer's memory, once the GPU has come so far."""
    place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return place.copy_(tensor, non_blocking=True)
