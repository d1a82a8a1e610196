"""One training step: forward, loss, backward, clip, update, average."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn.checkpoint.file import Checkpoint
from charrnn.config import TrainConfig
from charrnn.model.dropout import Dropout
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.kernels.memory import keep_memory
from charrnn.model.large_vocabulary import is_large, mean_loss
from charrnn.model.network import CharNetwork, State, detached
from charrnn.model.torch_private import fused_adamw
from charrnn.text.streams import Position
from charrnn.training.distributed import ALONE, World
from charrnn.training.hardware.device import Hardware
from charrnn.training.loop.batches import Windows
from charrnn.training.loop.overlap import Overlap, pays
from charrnn.training.loop.schedule import Exchange

# float16 loses gradients below 6e-8, so the loss is scaled up; a step whose gradients then overflow
# is skipped
LOSS_SCALE = 4096.0


@dataclass(frozen=True)
class Numbers:
    """What changes from step to step: numbers, or 0-dim tensors on the device.

    ``number`` counts steps from 1, ``lr`` is the learning rate, ``renewed`` the part of the average
    that this step replaces, ``scale`` the factor of the loss.
    """

    number: Tensor
    lr: float | Tensor
    renewed: float | Tensor
    scale: float | Tensor


@dataclass(frozen=True)
class StepResult:
    """``loss`` in mean nats a character, ``grad_norm`` before clipping, and the detached state.

    Both numbers are 0-dim tensors on the device: reading them would wait for it. They are means of
    ``steps`` steps: those since the processes last exchanged anything. Of a step in which they
    exchange nothing they are the process's own, and ``steps`` is 0.
    """

    loss: Tensor
    grad_norm: Tensor
    state: State
    steps: int = 1


class Stepper:
    """A network with its optimizer and its averaged weights; ``step`` updates all three.

    Every process of ``world`` has the whole network and its own rows of the batch. Loss and
    gradient are those of the whole batch, summed over the processes, each of which contributes the
    mean of its rows times their share of the batch; so all processes take the same step.

    In a step without an exchange, each process takes its own step instead, with the mean gradient
    of its rows. When they then exchange weights, each contributes its share of everything: weights,
    both moments, average, loss and norm. (Averages of averaged weights are what averaging the mean
    weights in every step would give.)

    The average is ``average ← average + (1 − d)(weights − average)`` with decay ``d``:
    ``config.ema``, but lower at first so that the initial weights are forgotten. Without averaging,
    ``averaged`` is the weights themselves.
    """

    def __init__(
        self,
        network: CharNetwork,
        config: TrainConfig,
        hardware: Hardware,
        world: World = ALONE,
    ) -> None:
        self.network = network.to(hardware.device)
        self.config, self.hardware, self.world = config, hardware, world
        if hardware.device.type == "cpu":
            keep_memory()
        extra = 3 if config.ema else 2
        averages = world.size > 1 and config.sync_every > 1
        self.flat = FlatParameters(self.network, extra if averages else 0)
        self._overlap: Overlap | None = None
        if pays(self.flat, world):
            self._overlap = Overlap(self.network, self.flat, world, config.grad_compression)
        # in memory of their own, a step of a small network is some 2 % faster
        kept: list[Tensor] = list(self.flat.more) if averages else []
        kept = kept or [torch.zeros_like(self.flat.values) for _ in range(extra)]
        self.exp_avg, self.exp_avg_sq, *rest = kept
        self.averaged = rest[0].copy_(self.flat.values) if rest else self.flat.values
        rates = config.dropout, config.input_dropout, config.weight_dropout
        generator = torch.Generator(hardware.device)
        gaps = config.gap_rate if network.config.bidirectional else 0.0
        rows = world.rows(config.batch)
        self._share = (rows.stop - rows.start) / config.batch
        mine = (rows.start, config.batch) if world.size > 1 else (0, 0)
        self.dropout = Dropout(*rates, generator, gaps, *mine)
        self._loss_scale = LOSS_SCALE if hardware.dtype == torch.float16 else 1.0
        self._skipped = torch.zeros((), device=hardware.device)
        self._sums_gradient = True  # in this step
        self._alone, self._loss_alone = 0, torch.zeros((), device=hardware.device)
        self.done = 0

    def step(
        self, x: Tensor, y: Tensor, state: State, lr: float, exchange: Exchange = "gradient"
    ) -> StepResult:
        """Train on ``x, y (B, T)``, this process's rows of a window, from a detached ``state``.

        A step whose loss or gradient is not finite changes neither weights nor optimizer, but
        counts. The caller must check ``loss`` before it saves anything.
        """
        self._seed()
        self.done += 1
        self._sums_gradient = exchange == "gradient"
        # filled on the device: copying a number there would wait for it
        number = torch.full((), float(self.done), device=x.device)
        numbers = Numbers(number, lr, self._renewed(), self._loss_scale)
        return self._exchanged(self._take(x, y, state, numbers), exchange)

    def step_at(
        self,
        windows: Windows,
        position: Position,
        state: State,
        lr: float,
        exchange: Exchange = "gradient",
    ) -> StepResult:
        """``step`` on the window at ``position``; a record in it begins with zeros."""
        x, y = windows.at(position)
        return self.step(x, y, windows.begun(x, state), lr, exchange)

    def _seed(self) -> None:
        """Masks depend on the seed and the step only, so a resumed run draws the same ones."""
        assert self.dropout.generator is not None
        self.dropout.generator.manual_seed((self.config.seed * 1_000_003 + self.done) % 2**63)

    def _renewed(self) -> float:
        return 1 - min(self.config.ema, (1 + self.done) / (10 + self.done))

    def _take(self, x: Tensor, y: Tensor, state: State, numbers: Numbers) -> StepResult:
        loss, state = self.loss(x, y, state)
        if self.world.size > 1 and self._sums_gradient:
            loss = loss * self._share
        self.flat.grads.zero_()
        if self._overlap is not None and self._sums_gradient:
            self._overlap.begin()
        torch.autograd.backward(loss * numbers.scale)
        loss = self._reduce(loss.detach())
        norm = self._clip(numbers.scale)
        self._update(numbers, norm)
        return StepResult(loss, norm, detached(state))

    def _reduce(self, loss: Tensor) -> Tensor:
        """Sum the gradient over all processes, and with it ``loss``; returns the sum of that."""
        if self.world.size == 1 or not self._sums_gradient:
            return loss
        self.flat.beside.copy_(loss)
        if self._overlap is not None:
            self._overlap.finish()
        else:
            self.world.sum_gradient(self.flat.to_reduce, self.config.grad_compression)
        return self.flat.beside.clone()

    def _exchanged(self, own: StepResult, exchange: Exchange) -> StepResult:
        """Average all that processes keep if they ``exchange`` weights; ``own`` as all know it."""
        if exchange == "gradient":
            return own
        self._alone += 1
        self._loss_alone += own.loss
        if exchange == "nothing":
            return replace(own, steps=0)
        steps, self._alone = self._alone, 0
        self.flat.told[0] = self._loss_alone / steps
        self.flat.told[1] = own.grad_norm
        self._loss_alone.zero_()
        self.world.all_reduce(self.flat.whole.mul_(self._share))
        loss, norm = self.flat.told.clone()
        return StepResult(loss, norm, own.state, steps)

    def loss(self, x: Tensor, y: Tensor, state: State) -> tuple[Tensor, State]:
        """Mean nats a character over the window, with dropout, and the state after it."""
        network, dtype, head = self.network, self.hardware.dtype, self.network.head
        in_parts = y.device.type == "cpu" and is_large(y.numel(), network.vocab_size)
        how: dict[str, Any] = {"dtype": dtype, "dropout": self.dropout}
        if network.config.bidirectional:
            features, state = network.around(x, y, state, **how)
        elif in_parts and network.config.definition.after_head is None:
            features, state = network.features(x, state, **how)
        else:
            logits, state = network(x, state, **how)
            return F.cross_entropy(logits.flatten(0, 1), y.flatten()), state
        features, y = features.flatten(0, 1), y.flatten()
        if in_parts:
            return mean_loss(features, head.weight, head.bias, y, dtype), state
        return F.cross_entropy(network.logits(features, dtype), y), state

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within the block the network has the averaged weights, after it its own again."""
        if not self.config.ema:
            yield
            return
        own = self.flat.values.clone()
        self.flat.values.copy_(self.averaged)
        try:
            yield
        finally:
            self.flat.values.copy_(own)

    @contextmanager
    def weights_of(self, best: Checkpoint) -> Iterator[None]:
        """Within the block the network has the weights in ``best``, after it its own again."""
        own = self.flat.values.clone()
        self.network.load_numpy(best.weights)
        try:
            yield
        finally:
            self.flat.values.copy_(own)

    def take_skipped(self) -> int:
        """Steps that were skipped since the last call, by any process; waits for the device."""
        if self.config.sync_every > 1:  # otherwise all skip the same ones
            self.world.all_reduce(self._skipped, "max")
        skipped = int(self._skipped)
        self._skipped.zero_()
        return skipped

    def _clip(self, scale: float | Tensor) -> Tensor:
        """Undo the loss scale and clip the gradient; returns its norm before that."""
        # vector_norm reads everything on one core, and on some machines the other cores then wait
        norm = torch.dot(self.flat.grads, self.flat.grads).sqrt() / scale
        most = self.config.clip
        if self.config.clip_by == "norm":  # in one pass
            kept = (most / (norm + 1e-6)).clamp(max=1.0)
            self.flat.grads.mul_(kept / scale)
            return norm
        if isinstance(scale, Tensor) or scale != 1:  # comparing a tensor would wait for a GPU
            self.flat.grads.mul_(1 / scale)
        if self.config.clip_by == "value":
            self.flat.grads.clamp_(-most, most)
        return norm

    @torch.no_grad()
    def _update(self, numbers: Numbers, norm: Tensor) -> None:
        """Update the weights by AdamW, and then their average."""
        config, n = self.config, self.flat.decayed
        # torch's kernel skips the update if found_inf is not 0, so NaN never reaches a weight
        skip = (~torch.isfinite(norm)).to(torch.float32)
        self._skipped.add_(skip)
        if norm.device.type == "mps" and bool(skip):
            return  # its kernel ignores found_inf
        for piece, decay in ((slice(None, n), config.weight_decay), (slice(n, None), 0.0)):
            fused_adamw(
                self.flat.values[piece],
                self.flat.grads[piece],
                self.exp_avg[piece],
                self.exp_avg_sq[piece],
                step=numbers.number,
                skip=skip,
                lr=numbers.lr,
                beta1=config.beta1,
                beta2=config.beta2,
                weight_decay=decay,
            )
        if config.ema:
            self.averaged.lerp_(self.flat.values, numbers.renewed)
