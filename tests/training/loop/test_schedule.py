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


def validation_steps(steps: int, val_chars: int) -> int:
    config = TrainConfig(steps=steps, batch=32, window=64)
    return Budget.of(config, 0, val_chars).validation_steps


def test_a_short_run_spends_little_of_its_time_on_validations() -> None:
    assert [validation_steps(20, val) for val in (0, 6000, 60_000)] == [8, 12, 48]
    for steps in (1, 20, 60, 200, 1999):
        for val_chars in (0, 400, 6000, 50_000):
            reading = val_chars / (1.5 * 32 * 64)
            assert steps // validation_steps(steps, val_chars) * reading <= steps / 2
    assert validation_steps(20, 500_000) == validation_steps(1999, 500_000) == 100


def test_a_long_run_validates_twenty_times_whatever_that_takes() -> None:
    for val_chars in (0, 6000, 500_000):
        assert validation_steps(2000, val_chars) == 100
        assert validation_steps(100_000, val_chars) == 5000
    assert validation_steps(400, 6000) == 20
    assert Budget.of(TrainConfig(seconds=9), 10, 500_000).validation_steps == 0
    assert Budget.of(TrainConfig(epochs=3, batch=32, window=64), 1000, 500_000) == Budget(
        3000, 0, 500_000 / 1.5 / 2048 + 4
    )


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
