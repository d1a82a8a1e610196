"""Molecules: the benchmark MOSES as one command, which trains, samples and measures.

    python -m tests.records.moses moses --time 60m                  # into the folder moses
    python -m tests.records.moses moses --samples molecules.txt     # measures a ready file alone

The data files are taken from the package molsets, which pip downloads and which is not installed.
``pip install rdkit`` first, and ``pip install fcd scipy`` for the Fréchet ChemNet distance.
Options that are not known here are those of ``charrnn train``.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from zipfile import ZipFile

from tests.records.molecules import MCF, PAINS, Measures, measure

PACKAGE = "molsets==0.3.1"
CHARRNN = (sys.executable, "-m", "charrnn")
TRAIN, TEST = "train.txt", "test.txt"
NAMES = "valid", "unique@1k", "unique@10k", "novelty", "IntDiv", "filters", "FCD/test"
# The benchmark's own table (README of github.com/molecularsets/moses): its CharRNN, the mean of
# three runs, and its first row, the training set. 30,000 molecules of the test set itself have
# an FCD of 0.034 here: a smaller one cannot be expected of so many.
PUBLISHED = "0.9748", "1.0000", "0.9994", "0.8419", "0.8562", "0.9943", "0.0732"
REAL = "1.0000", "1.0000", "1.0000", "1.0000", "0.8567", "1.0000", "0.0080"


def prepare(folder: Path) -> None:
    """Lay the training set, the test set and the filters' patterns into the folder."""
    if all((folder / name).exists() for name in (TRAIN, TEST, MCF, PAINS)):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob("molsets-*.whl")):
        pip = sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE
        subprocess.run([*pip, "--dest", folder], check=True)
    unpack(next(folder.glob("molsets-*.whl")), folder)


def unpack(wheel: Path, folder: Path) -> None:
    """Take the data files out of the package, the molecules one a line."""
    with ZipFile(wheel) as packed:
        for name, kept in ("train", TRAIN), ("test", TEST):
            table = gzip.decompress(packed.read(f"moses/dataset/data/{name}.csv.gz")).decode()
            title, *molecules = table.splitlines()
            assert title == "SMILES", title
            (folder / kept).write_text("".join(f"{one}\n" for one in molecules))
        for name in MCF, PAINS:
            (folder / name).write_bytes(packed.read(f"moses/metrics/{name}"))


def train(folder: Path, time: str, seed: int, others: list[str]) -> None:
    """Train on the whole training set, with symbols where this version has them."""
    known = subprocess.run([*CHARRNN, "train", "--help"], check=True, capture_output=True).stdout
    symbols = ["--symbols", "smiles"] if b"--symbols" in known and "--symbols" not in others else []
    options = ["--lines", "--time", time, "--seed", str(seed), "--out", str(folder / "run")]
    text = str(folder / TRAIN)
    subprocess.run([*CHARRNN, "train", text, *options, *symbols, *others], check=True)


def sample(folder: Path, count: int, seed: int) -> Path:
    """Draw the molecules at temperature 1; the file that they are in."""
    drawn = folder / "samples.txt"
    options = ["--lines", "--count", str(count), "--temp", "1", "--seed", str(seed)]
    with drawn.open("wb") as file:
        subprocess.run([*CHARRNN, "sample", str(folder / "run"), *options], check=True, stdout=file)
    return drawn


def table(found: Measures) -> str:
    """The measures beside those of the published network and of real molecules."""
    ours = ["not measured" if value is None else f"{value:.4f}" for value in astuple(found)]
    rows = zip(("", *NAMES), ("here", *ours), ("CharRNN", *PUBLISHED), ("real", *REAL), strict=True)
    return "\n".join(f"{a:12}{b:>14}{c:>10}{d:>10}" for a, b, c, d in rows)


def main(args: list[str] | None = None) -> Measures:
    """What the command does, and the measures that it prints."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--time", default="60m", help="of training")
    parser.add_argument("--count", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="measure this file; train nothing")
    given, others = parser.parse_known_args(args)
    prepare(given.folder)
    if given.samples is None:
        train(given.folder, given.time, given.seed, others)
    elif others:
        parser.error(f"{' '.join(others)}: nothing is trained with --samples")
    drawn = given.samples or sample(given.folder, given.count, given.seed)
    smiles = drawn.read_text().splitlines()
    with_fcd = importlib.util.find_spec("fcd") is not None
    reference = given.folder / "chemnet.npz" if with_fcd else None
    known = (given.folder / TRAIN).read_text().splitlines()
    found = measure(smiles, known, given.folder, reference, given.folder / TEST)
    print(f"{len(smiles):,} molecules of {drawn}\n{table(found)}")
    return found


if __name__ == "__main__":
    main()
