"""torch's threads sleep soon, unless somebody chose otherwise; the environment stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.checkpoints import ROOT

PROBE = """
import os, sys
seen = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            seen.append(os.environ.get("GOMP_SPINCOUNT"))
sys.meta_path.insert(0, Finder())
{first}
import {module}
print(seen, os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules)
"""


def probe(module: str, first: str = "", **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP", "OMP"))}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(module=module, first=first)],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module",
    ["charrnn.training.api", "charrnn.training.evaluation.dynamic", "charrnn.bench.training"],
)
def test_openmp_reads_our_number_of_spins(module: str) -> None:
    assert probe(module) == "['2000'] None True"


def test_what_the_user_chose_holds() -> None:
    chosen = probe("charrnn.training.api", GOMP_SPINCOUNT="7")
    assert chosen == "['7'] 7 True"
    assert probe("charrnn.training.api", OMP_WAIT_POLICY="active") == "[None] None True"


def test_a_torch_that_is_loaded_stays_as_it_is() -> None:
    assert probe("charrnn.training.api", first="import torch") == "[None] None True"
