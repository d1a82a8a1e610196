"""Losses of predictors whose loss is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.generation.scoring import score
from charrnn.model.network import CharNetwork, State
from charrnn.text.corpus import encode_corpus
from charrnn.text.splits import split
from charrnn.training.evaluation import loss as evaluation
from charrnn.training.evaluation.loss import evaluate
from tests.support.checkpoints import real_text
from tests.support.networks import CELLS, random_weights


class Table:
    """A predictor that looks the logits (V, V) of the next character up by the last one."""

    cycle = output_width = 1

    def __init__(self, logits: torch.Tensor) -> None:
        self.table, self.vocab_size = logits, len(logits)

    def zero_state(self, B: int) -> State:
        return ((torch.zeros(B, 0),),)

    def outputs(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return x[..., None], state

    def logits(self, outputs: Tensor) -> Tensor:
        return self.table[outputs[:, 0]]


def test_logits_are_worked_out_where_they_count_and_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A vocabulary may have 65,535 characters."""
    monkeypatch.setattr(evaluation, "LOGITS", 5_000)
    ids, counts = np.arange(3_000) % 50, []

    class Seen(Table):
        def logits(self, outputs: Tensor) -> Tensor:
            counts.append(len(outputs))
            return super().logits(outputs)

    result = evaluate(Seen(torch.zeros(50, 50)), ids, ((0, 1_000), (1_500, 3_000)))
    assert result.chars == 999 + 1_500
    assert result.nats_per_char == pytest.approx(math.log(50), abs=1e-6)
    assert max(counts) * 50 <= 5_000
    assert sum(counts) == result.chars


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_in_pieces_scores_as_in_one_pass(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "LEAST", 768)
    config = ModelConfig.from_dict({"vocab_size": 20, "hidden": 16, "embedding": 8} | CELLS[cell])
    weights, ids = random_weights(config), np.random.default_rng(3).integers(0, 20, 5_000)
    network = CharNetwork(config)
    network.load_numpy(weights)
    ranges = (0, 4_000), (4_200, 5_000)
    whole = score(config, weights, ids, ranges=ranges, exact=True)
    parts = evaluate(network, ids, ranges)
    # pieces whose clocks agree would be longer than this text
    assert (parts.error_bound > 0) == (cell != "clockwork, uneven")
    assert parts.chars == whole.chars == 4_799
    assert parts.nats_per_char == pytest.approx(whole.nats_per_char, abs=1e-5)


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
