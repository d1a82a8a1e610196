"""Dynamic evaluation: a network goes on learning from the text that it has just been scored on.

After Krause et al. 2018: every window is scored first and then learned from, so that each
character is predicted by what came before it alone. Steps are divided by the gradients' running
size (as in RMSprop), and the weights are drawn back to where they began.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn import interrupts
from charrnn.generation.scoring import Score
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.network import CharNetwork, detached
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids


@dataclass(frozen=True)
class Adaptation:
    """``window`` characters between two steps of size ``lr``; ``pull`` back towards the start.

    ``memory`` is the decay of the running mean of squared gradients. Chosen on validation parts.
    """

    window: int = 20
    lr: float = 3e-4
    pull: float = 1e-3
    memory: float = 0.99


def score_adapting(
    network: CharNetwork,
    ids: Ids,
    ranges: tuple[Range, ...] | None = None,
    how: Adaptation | None = None,
) -> Score:
    """Score ``ranges`` of ``ids (N,)`` (None: all), one after the other; ``network`` is changed.

    Each range starts from the zero state and reads the character before it; a text's first
    character is not counted, as nothing was read before it.

    Raises:
        ValueError: there is nothing to score.

    """
    ranges = ((0, len(ids)),) if ranges is None else ranges
    learner, nats, chars = _Learner(network, how or Adaptation()), 0.0, 0
    for start, stop in ranges:
        state = network.zero_state(1)
        for begin in range(max(start, 1), stop, learner.how.window):
            interrupts.check()
            end = min(begin + learner.how.window, stop)
            text = torch.from_numpy(ids[begin - 1 : end].astype("int64"))[None]
            text = text.to(network.head.weight.device)
            logits, state = network(text[:, :-1], state)
            losses = F.cross_entropy(logits[0], text[0, 1:], reduction="none")
            nats += float(losses.detach().sum(dtype=torch.float64))
            chars += end - begin
            learner.learn(losses.mean())
            state = detached(state)
    if not chars:
        raise ValueError("nothing to score: the ranges are empty")
    return Score(nats, chars)


class _Learner:
    def __init__(self, network: CharNetwork, how: Adaptation) -> None:
        self.how, self.flat = how, FlatParameters(network)
        self.start = self.flat.values.clone()
        self.squares = torch.zeros_like(self.start)
        self.steps = 0

    def learn(self, loss: Tensor) -> None:
        """One step down ``loss``, one back towards the start."""
        self.steps += 1
        self.flat.grads.zero_()
        torch.autograd.backward(loss)
        with torch.no_grad():
            grads, memory = self.flat.grads, self.how.memory
            self.squares.mul_(memory).addcmul_(grads, grads, value=1 - memory)
            # the mean begins at zero: divided by what it has seen of its weight
            size = (self.squares / (1 - memory**self.steps)).sqrt_().add_(1e-8)
            self.flat.values.addcdiv_(grads, size, value=-self.how.lr)
            self.flat.values.lerp_(self.start, self.how.pull)
