"""The learning rate warms up, stays, and falls to zero."""

from __future__ import annotations

from charrnn.config import TrainConfig
from charrnn.training.loop.schedule import Budget, exchange, learning_rate


def test_the_schedule_warms_up_stays_and_falls_to_zero() -> None:
    config = TrainConfig(steps=1000, lr=1.0, warmup=10, flat=0.3)
    rates = [learning_rate(config, s, Budget(1000, 0).fraction(s, 0)) for s in range(1000)]
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[10:300]) == {1.0}
    assert rates[300:] == sorted(rates[300:], reverse=True)
    assert rates[-1] < 1e-4


def test_a_short_budget_warms_up_in_a_tenth_of_it() -> None:
    config = TrainConfig(steps=80, lr=1.0, warmup=100, flat=0.3)
    rates = [learning_rate(config, s, Budget(80, 0).fraction(s, 0)) for s in range(80)]
    assert rates[:8] == sorted(rates[:8])
    assert set(rates[8:24]) == {1.0}
    long = Budget(100_000, 0)
    rates = [learning_rate(config, s, long.fraction(s, 0)) for s in range(120)]
    assert rates[99] < 1.0 == rates[100]


def test_processes_exchange_gradients_until_they_are_warm_and_then_weights() -> None:
    config, budget = TrainConfig(steps=200, warmup=3, sync_every=8), Budget(200, 0)
    told = [exchange(config, budget, s, budget.fraction(s, 0)) for s in range(200)]
    assert told[:3] == ["gradient"] * 3
    assert set(told[3:]) == {"weights", "nothing"}
    met = {step + 1 for step, what in enumerate(told) if what == "weights"}
    assert met == {*range(8, 201, 8), *range(10, 201, 10)}  # a twentieth: validations
    config, budget = TrainConfig(seconds=100, warmup=3, sync_every=8), Budget(0, 100)
    told = [exchange(config, budget, s, 0.01) for s in range(20)]
    assert told == [*["gradient"] * 3, *["nothing"] * 4, "weights", *["nothing"] * 7, "weights",
                    *["nothing"] * 4]  # fmt: skip
    assert exchange(TrainConfig(steps=200), budget, 150, 0.5) == "gradient"
