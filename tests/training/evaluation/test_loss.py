"""Losses of predictors whose loss is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.model.network import State
from charrnn.text.corpus import encode_corpus
from charrnn.text.splits import split
from charrnn.training.evaluation import loss as evaluation
from charrnn.training.evaluation.loss import evaluate
from tests.support.checkpoints import real_text


class Table:
    """A predictor that looks the logits (V, V) of the next character up by the last one."""

    cycle = 1

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits, self.vocab_size = logits, len(logits)

    def zero_state(self, B: int) -> State:
        return ((torch.zeros(B, 0),),)

    def __call__(
        self, x: Tensor, state: State, *, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, State]:
        return self.logits[x], state


def test_a_large_vocabulary_is_evaluated_in_short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "LOGITS", 5_000)
    ids, shapes = np.arange(3_000) % 50, []

    class Seen(Table):
        def __call__(
            self, x: Tensor, state: State, *, dtype: torch.dtype | None = None
        ) -> tuple[Tensor, State]:
            shapes.append(x.shape)
            return super().__call__(x, state)

    result = evaluate(Seen(torch.zeros(50, 50)), ids, ((0, 3_000),), lanes=4)
    assert result.chars == 2_999
    assert result.nats_per_char == pytest.approx(math.log(50), abs=1e-6)
    assert max(lanes * window * 50 for lanes, window in shapes) <= 5_000


def test_a_bigram_model_and_a_uniform_one_score_what_they_should_on_split_p() -> None:
    corpus = encode_corpus([real_text("warpeace_input.txt")], is_bytes=True)
    parts = split(len(corpus), "interleaved", 0.1, 0.1)
    V = len(corpus.vocab)
    pairs = np.zeros((V, V))
    for start, stop in parts.train:
        row = corpus.ids[start:stop]
        np.add.at(pairs, (row[:-1], row[1:]), 1)
    # add-0.1; anything from 0.001 to 0.4 scores 2.398, add-one 2.399
    smooth = (pairs + 0.1) / (pairs + 0.1).sum(1, keepdims=True)
    bigram = Table(torch.from_numpy(np.log(smooth)).float())
    uniform = Table(torch.zeros(V, V))
    result = evaluate(bigram, corpus.ids, parts.test)
    assert result.chars == 330_000
    assert result.nats_per_char == pytest.approx(2.398, abs=5e-4)
    assert evaluate(uniform, corpus.ids, parts.test).nats_per_char == pytest.approx(
        math.log(87), abs=1e-6
    )
