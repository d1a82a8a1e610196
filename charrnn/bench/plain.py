"""The usual training loop: torch's recurrent layers, in float32 or under autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charrnn.config import ModelConfig

PLAIN: dict[str, Callable[..., nn.Module]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "elman": nn.RNN,
    "rnn-relu": partial(nn.RNN, nonlinearity="relu"),
    "irnn": partial(nn.RNN, nonlinearity="relu"),
}


class _Plain(nn.Module):
    """The usual network: embedding, torch's recurrent layers, head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding)
        sizes = (config.embedding, config.hidden, config.layers)
        self.rnn: nn.Module
        # for a cell that torch does not have, the simplest one
        plain = PLAIN.get(config.definition.name, PLAIN["elman"])
        self.rnn = plain(*sizes, batch_first=True)
        self.head = nn.Linear(config.hidden, config.vocab_size)

    def forward(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        y, state = self.rnn(self.embedding(x), state)
        return self.head(y), state


def plain_step(
    config: ModelConfig, device: torch.device, autocast: torch.dtype | None
) -> Callable[[Tensor], object]:
    """A training step on ``text (B, T + 1)`` as torch's documentation writes it.

    ``autocast`` is the type under ``torch.autocast``, None for float32 without it. float16 needs a
    scaled loss.
    """
    network = _Plain(config).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast == torch.float16)
    carried: list[object] = [None]

    def step(text: Tensor) -> object:
        x, y = text[:, :-1], text[:, 1:]
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            logits, state = network(x, carried[0])
        loss = F.cross_entropy(logits.float().flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(scaler.scale(loss))
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        parts = state if isinstance(state, tuple) else (state,)
        detached = tuple(part.detach() for part in parts)
        carried[0] = detached if isinstance(state, tuple) else detached[0]
        return loss

    return step
