"""The layer around the GPU's time loops, with loops in plain torch in their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn import cells
from charrnn.model.kernels.cuda import cluster_lstm
from charrnn.model.kernels.cuda.cluster_lstm import (
    STREAMS,
    Loop,
    Loops,
    gate_after_gate,
    lstm_layer,
    side_by_side,
)
from charrnn.model.layers import kernels, readable_layer

H, E, T = 128, 24, 7
LSTM = cells.get("lstm")


def forward(
    z: Tensor, w: Tensor, y: Tensor, cell: Tensor, gates: Tensor | None, T: int, B: int
) -> None:
    """What ``lstm_forward`` in ``lstm.cu`` does."""
    weights, inputs = w.view(H, 4, H).float(), z.view(T, B, H, 4).float()
    for t in range(T):
        sums = inputs[t] + torch.einsum("bk,upk->bup", y[t].float(), weights)
        i, f, o = (sums[..., gate].sigmoid() for gate in (0, 1, 3))
        g = sums[..., 2].tanh()
        cell[t + 1] = f * cell[t] + i * g
        y[t + 1] = o * cell[t + 1].tanh()
        if gates is not None:
            gates.view(T, B, H, 4)[t] = torch.stack((i, f, g, o), 2)


def backward(
    wt: Tensor, gates: Tensor, cell: Tensor, dy: Tensor, dz: Tensor, dh: Tensor, dc: Tensor,
    dh0: Tensor, dc0: Tensor, T: int, B: int,
) -> None:  # fmt: skip
    """What ``lstm_backward`` in ``lstm.cu`` does."""
    for t in reversed(range(T)):
        i, f, g, o = gates.view(T, B, H, 4)[t].float().unbind(2)
        tanh = cell[t + 1].tanh()
        d = dy[t].float() + dh
        dc = dc + d * o * (1 - tanh**2)
        sums = (
            dc * g * i * (1 - i),
            dc * cell[t] * f * (1 - f),
            dc * i * (1 - g**2),
            d * tanh * o * (1 - o),
        )
        dz.view(T, B, H, 4)[t] = torch.stack(sums, 2)
        dh = torch.stack(sums, 2).flatten(1) @ wt.float().T
        dc = dc * f
    dh0.copy_(dh)
    dc0.copy_(dc)


PLAIN: Any = Loops(forward, backward)  # type: ignore[arg-type]


def outcome(layer: Any, B: int, dtype: torch.dtype) -> list[Tensor]:
    """Outputs, states and all gradients for one window."""
    rng = torch.Generator().manual_seed(1)

    def drawn(*shape: int, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(*shape, generator=rng, dtype=torch.float64) * scale
        return numbers.to(dtype).requires_grad_()

    x, h, c = drawn(B, T, E), drawn(B, H, scale=0.5), drawn(B, H)
    w = {"weight_ih": drawn(4 * H, E, scale=0.2), "weight_hh": drawn(4 * H, H, scale=0.08)}
    w |= {"bias_ih": drawn(4 * H), "bias_hh": drawn(4 * H)}
    y, (hn, cn) = layer(x, (h, c), w)
    goals = [drawn(*part.shape).detach() for part in (y, hn, cn)]
    torch.autograd.backward([y, hn, cn], goals)
    grads = [part.grad for part in (x, h, c, *w.values()) if part.grad is not None]
    assert len(grads) == 7
    return [part.detach().double() for part in (y, hn, cn, *grads)]


def clustered(x: Tensor, state: tuple[Tensor, Tensor], w: dict[str, Tensor]) -> Any:
    bias = w["bias_ih"] + w["bias_hh"]
    weights = w["weight_ih"], w["weight_hh"], bias
    y, h, c = lstm_layer(x.transpose(0, 1), *weights, *state, torch.float32, PLAIN)
    return y.transpose(0, 1), (h, c)


@pytest.mark.parametrize("B", [5, 20])
def test_the_layer_is_its_readable_step(B: int) -> None:
    """With fewer streams than a cluster has, too."""

    def readable(x: Tensor, state: tuple[Tensor, Tensor], w: dict[str, Tensor]) -> Any:
        return readable_layer(LSTM, x, state, w, torch.float64)

    found, wanted = outcome(clustered, B, torch.float32), outcome(readable, B, torch.float64)
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).norm() <= 2e-6 * other.norm()


@pytest.mark.parametrize("shape", [(24,), (24, 5)])
def test_gates_lie_side_by_side_and_come_back(shape: tuple[int, ...]) -> None:
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    beside = side_by_side(w, torch.float64)
    assert torch.equal(beside[4 * 2 + 3], w[3 * 6 + 2].double())  # gate 3 of unit 2
    assert torch.equal(gate_after_gate(beside), w.double())


def test_loops_are_chosen_by_how_many_rounds_their_clusters_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def loops(streams: int) -> Loops:
        return Loops(*(Loop(Any, streams, 7, step) for step in STREAMS[streams]))  # type: ignore[arg-type]

    monkeypatch.setattr(cluster_lstm, "every_loop", lambda *args: tuple(map(loops, STREAMS)))
    cpu = torch.device("cpu")
    for B, streams in ((16, 16), (112, 16), (128, 24), (168, 24), (224, 32)):
        chosen = cluster_lstm.fastest(512, B, torch.float16, cpu)
        assert chosen.forward.streams == streams, B
    assert chosen.forward.clusters(224) == 7


def test_they_run_on_known_gpus_alone() -> None:
    cpu = torch.device("cpu")
    assert not cluster_lstm.runs(512, torch.float16, cpu)
    assert kernels(LSTM, 512, cpu, torch.float32) == "torch"
