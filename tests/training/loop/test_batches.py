"""Windows cut on the device are those that are cut on the processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.text.streams import Position, Streams
from charrnn.text.vocab import Ids
from charrnn.training.loop.batches import Windows


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.text.streams.BLOCK", 50)


@pytest.mark.usefixtures("small_blocks")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_windows_cut_on_a_device_are_those_cut_here(
    epoch: int, window: int, lines: bool, turned: bool, wide: bool
) -> None:
    ids: Ids = (np.arange(140) % 11).astype(np.uint16 if wide else np.uint8)
    ranges = ((3, 60), (70, 131))
    s = Streams(ids, ranges, 4, 5, seed=5, shuffle_offset=turned, line_end=7 if lines else None)
    windows, position = Windows(s, torch.device("cpu")), Position(epoch, window)
    assert max(map(len, s.blocks(epoch))) <= 50
    for _ in range(2):
        start = windows.start(position)
        for place in (start, torch.tensor(start)):  # a captured step reads it on the device
            for found, wanted in zip(windows.gather(place), windows.at(position), strict=True):
                assert found.dtype == wanted.dtype == torch.int64
                assert torch.equal(found, wanted)
        position = s.after(Position(epoch + 1, s.windows - 1))
