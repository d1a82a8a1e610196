"""Sampling settings go into plain values and come back."""

from __future__ import annotations

import json

import pytest

from charrnn.errors import ConfigError
from charrnn.generation.sample_config import SampleConfig


def test_settings_and_filters_survive_json() -> None:
    config = SampleConfig(temperature=0.5, top_k=7, min_p=0.25, count=3, seed=11)
    values = config.to_dict()
    assert (values["top_k"], values["top_p"], values["min_p"]) == (7, 1.0, 0.25)
    read = json.loads(json.dumps(values))
    assert SampleConfig.from_dict(read | {"stop": tuple(read["stop"])}) == config


@pytest.mark.parametrize("name", ["top_q", "filters_", "hidden"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown sampling setting '{name}'"):
        SampleConfig.from_dict({name: 1})
