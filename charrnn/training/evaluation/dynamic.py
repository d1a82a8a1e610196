"""Dynamic evaluation: a network keeps learning from the text that it is being scored on.

After Krause et al. 2018: each window is first scored and then learned from, so that every
character is predicted from those before it alone. Steps are divided by a running mean of the
gradients' size (as in RMSprop), and the weights are pulled back to their initial values.
"""

from __future__ import annotations

import charrnn.model.openmp  # noqa: F401  # isort: skip  (before torch)

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from charrnn import interrupts
from charrnn.arguments import checked
from charrnn.errors import CorpusError
from charrnn.generation.scoring import Score
from charrnn.model.flat_parameters import FlatParameters
from charrnn.model.network import CharNetwork, detached
from charrnn.text.ids import check_ids
from charrnn.text.splits import Range, check_ranges
from charrnn.text.vocab import Ids
from charrnn.textmodel import TextModel
from charrnn.training.hardware.device import own_torch_settings


@dataclass(frozen=True)
class Adaptation:
    """How a network adapts. The defaults were chosen on validation parts.

    Attributes:
        window: characters between two steps.
        lr: learning rate.
        pull: part of the way back to the initial weights after each step.
        memory: decay of the running mean of squared gradients.

    """

    window: int = 20
    lr: float = 3e-4
    pull: float = 1e-3
    memory: float = 0.99


@checked
def score_adapting(
    model: TextModel,
    ids: Ids,
    ranges: tuple[Range, ...] | None = None,
    how: Adaptation | None = None,
) -> Score:
    """How well a copy of ``model`` that keeps learning predicts a text; ``model`` stays as it is.

    ``score_adapting(model, model.encode(text))`` scores a text, and
    ``score_adapting(model, *model.part("test"))`` a part of the model's own corpus. Needs torch.

    Args:
        model: a trained model.
        ids: the text ``(N,)``.
        ranges: ``(start, stop)`` pairs of positions to score, in this order. Default: all. Each
            range starts from the zero state and reads the character before it. If the model
            learned records, each record in them does.
        how: how fast the copy adapts.

    Returns:
        The nats in all and the number of characters; the first character of a text is not counted.

    Raises:
        CorpusError: there is nothing to score.

    """
    ids, ranges = model.as_read(ids, ranges)
    with own_torch_settings():
        network = CharNetwork(model.checkpoint.config)
        network.load_numpy(model.checkpoint.weights)
        total = score_and_learn(network, ids, ranges, how)
    return total.of_symbols(model.vocab, ids, ranges)


def score_and_learn(
    network: CharNetwork,
    ids: Ids,
    ranges: tuple[Range, ...] | None = None,
    how: Adaptation | None = None,
) -> Score:
    """``score_adapting`` with a network, which is changed."""
    check_ids(ids, network.vocab_size)
    ranges = ((0, len(ids)),) if ranges is None else ranges
    check_ranges(ranges, len(ids))
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
            learner.read(losses)
            state = detached(state)
    if not chars:
        raise CorpusError("the text to score needs at least two characters")
    return Score(nats, chars)


class _Learner:
    def __init__(self, network: CharNetwork, how: Adaptation) -> None:
        self.how, self.flat = how, FlatParameters(network)
        self.start = self.flat.values.clone()
        self.squares = torch.zeros_like(self.start)
        self.steps = 0
        self.unlearned: list[Tensor] = []

    def read(self, losses: Tensor) -> None:
        """Learn from ``losses (n,)``; from those of short texts only once they fill a window."""
        self.unlearned.append(losses)
        if sum(map(len, self.unlearned)) >= self.how.window:
            self.learn(torch.cat(self.unlearned).mean())
            self.unlearned.clear()

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
