"""The benchmark of molecules: what it takes from the package, and what its measures mean."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from tests.records import moses
from tests.records.molecules import (
    MCF,
    PAINS,
    Measures,
    internal_diversity,
    measure,
    novelty,
    unique,
)

without_rdkit = pytest.mark.skipif(
    importlib.util.find_spec("rdkit") is None, reason="rdkit is not installed"
)
PATTERNS = "names,smarts\nMCF1,[#6]=&!@[#6]-[#6]#[#7]\n"


def a_package(folder: Path) -> None:
    with ZipFile(folder / "molsets-0.3.1-py3-none-any.whl", "w") as packed:
        for name, molecules in ("train", "CCO\nc1ccccc1"), ("test", "CCN"):
            table = gzip.compress(f"SMILES\n{molecules}\n".encode())
            packed.writestr(f"moses/dataset/data/{name}.csv.gz", table)
        packed.writestr(f"moses/metrics/{MCF}", PATTERNS)
        packed.writestr(f"moses/metrics/{PAINS}", '"C=[N+]=[N-]" ,"<a name>"\n')


def test_the_data_come_out_of_the_package_once(tmp_path: Path) -> None:
    a_package(tmp_path)
    moses.prepare(tmp_path)
    assert (tmp_path / "train.txt").read_text() == "CCO\nc1ccccc1\n"
    assert (tmp_path / "test.txt").read_text() == "CCN\n"
    assert (tmp_path / MCF).read_text() == PATTERNS
    next(tmp_path.glob("*.whl")).unlink()
    moses.prepare(tmp_path)  # needs it no more


def test_shares_of_different_and_of_new_molecules() -> None:
    drawn = ["C", "C", "CC", "CO"]
    assert (unique(drawn, 2), unique(drawn, 1000)) == (0.5, 0.75)
    assert novelty(drawn, ["C", "N"]) == 2 / 3


def test_diversity_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(1)
    bits = rng.random((9, 64)) < 0.3
    bits[4] = False  # two that have nothing are the same
    similar = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1.0 for a in bits for b in bits]
    packed = [np.packbits(row).tobytes() for row in bits]
    assert internal_diversity(packed) == pytest.approx(1 - np.mean(similar))


def test_the_table_has_the_published_figures_beside_those_measured() -> None:
    lines = moses.table(Measures(0.97, 1.0, 0.999, 0.9, 0.856, 0.99, None)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["valid", "0.9700", "0.9748", "1.0000"]
    assert lines[-1].split() == ["FCD/test", "not", "measured", "0.0732", "0.0080"]


def test_a_ready_file_is_measured_without_options_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_package(tmp_path)
    with pytest.raises(SystemExit):
        moses.main([str(tmp_path), "--samples", "x", "--hidden", "9"])
    assert "--hidden 9: nothing is trained with --samples" in capsys.readouterr().err


@without_rdkit
@pytest.mark.long
def test_one_hour_of_training_makes_valid_molecules(tmp_path: Path) -> None:
    """On two processors that have nothing else to do."""
    found = moses.main([str(tmp_path), "--time", "60m"])
    assert found.valid >= 0.96
    assert found.unique_10k >= 0.999


@without_rdkit
def test_molecules_are_measured(tmp_path: Path) -> None:
    a_package(tmp_path)
    moses.prepare(tmp_path)
    charged, large, forbidden = "C[N+](C)(C)C", "C1CCCCCCC1", "C=CC#N"
    smiles = ["OCC", "CCO", "CCN", "C1CC", "", charged, large, forbidden]
    found = measure(smiles, ["CCO"], tmp_path, None, tmp_path / "test.txt")
    assert (found.valid, found.filters) == (6 / 8, 3 / 6)
    assert (found.unique_1k, found.novelty) == (5 / 6, 4 / 5)
    assert found.fcd is None
