"""What a set of generated molecules is worth, by the measures of MOSES (arXiv:1811.12823).

Needs rdkit, and for the Fréchet ChemNet distance the package fcd, which brings its network, and
scipy; none of them is needed for anything else. Molecules are SMILES, one a line.
"""

from __future__ import annotations

import csv
import importlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ATOMS = frozenset(("C", "N", "S", "O", "F", "Cl", "Br", "H"))
LARGEST_RING = 7
RADIUS, BITS = 2, 1024  # of a Morgan fingerprint
MCF, PAINS = "mcf.csv", "wehi_pains.csv"  # the benchmark's patterns, as its package names them
ROWS = 1000  # fingerprints compared with all others at once

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Molecule:
    """A valid one: its canonical SMILES, whether it passes all filters, its packed fingerprint."""

    canonical: str
    passes: bool
    fingerprint: bytes


@dataclass(frozen=True)
class Measures:
    """Shares from 0 to 1, except ``fcd``, a distance: the smaller the closer to the test set."""

    valid: float
    unique_1k: float
    unique_10k: float
    novelty: float
    internal_diversity: float
    filters: float
    fcd: float | None


def measure(
    smiles: Sequence[str], train: Iterable[str], lists: Path, reference: Path | None, test: Path
) -> Measures:
    """All measures of ``smiles``; ``lists`` is the folder of the patterns.

    ``reference`` keeps what the Fréchet distance needs of the ``test`` set, which takes minutes
    the first time; where it is None, there is no such distance.
    """
    with get_context("spawn").Pool(initializer=silence, initargs=(lists,)) as pool:
        found = [one for one in pool.map(molecule, smiles, chunksize=200) if one is not None]
    canonical = [one.canonical for one in found]
    return Measures(
        valid=len(found) / len(smiles),
        unique_1k=unique(canonical, 1000),
        unique_10k=unique(canonical, 10_000),
        novelty=novelty(canonical, train),
        internal_diversity=internal_diversity([one.fingerprint for one in found]),
        filters=sum(one.passes for one in found) / len(found),
        fcd=None if reference is None else chemnet_distance(canonical, test, reference),
    )


def unique(canonical: Sequence[str], first: int) -> float:
    """The share of different molecules among the first valid ones."""
    return len(set(canonical[:first])) / len(canonical[:first])


def novelty(canonical: Iterable[str], train: Iterable[str]) -> float:
    """The share of the different molecules that the training set lacks."""
    different = set(canonical)
    return len(different.difference(train)) / len(different)


def internal_diversity(fingerprints: Sequence[bytes]) -> float:
    """One minus the mean Tanimoto similarity of all pairs, each with itself among them."""
    packed = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(len(fingerprints), -1)
    bits = np.unpackbits(packed, axis=1).astype(np.float32)  # (N, BITS)
    sizes = bits.sum(1)
    similar = 0.0
    for first in range(0, len(bits), ROWS):
        both = bits[first : first + ROWS] @ bits.T  # (ROWS, N): bits that the two share
        either = sizes[first : first + ROWS, None] + sizes - both
        with np.errstate(invalid="ignore"):
            similar += float(np.where(either > 0, both / either, 1).sum(dtype=np.float64))
    return 1 - similar / len(bits) ** 2


def silence(lists: Path) -> None:
    """Prepare a process: no line for each invalid molecule, and the patterns read once."""
    importlib.import_module("rdkit.RDLogger").DisableLog("rdApp.*")
    global LISTS
    LISTS = lists


LISTS = Path()


@cache
def patterns(lists: Path) -> list[Any]:
    """The substructures that a molecule must not have."""
    chem = importlib.import_module("rdkit.Chem")
    with (lists / MCF).open(newline="") as file:
        written = [row["smarts"] for row in csv.DictReader(file)]
    with (lists / PAINS).open(newline="") as file:
        written += [row[0] for row in csv.reader(file) if row]
    return [chem.MolFromSmarts(smarts.strip()) for smarts in written]


@cache
def fingerprints() -> Any:
    """What makes Morgan fingerprints."""
    module = importlib.import_module("rdkit.Chem.rdFingerprintGenerator")
    return module.GetMorganGenerator(radius=RADIUS, fpSize=BITS)


def molecule(smiles: str) -> Molecule | None:
    """What there is to know of one, or None if it is no molecule."""
    chem = importlib.import_module("rdkit.Chem")
    mol = chem.MolFromSmiles(smiles) if smiles else None
    if mol is None:
        return None
    bits = np.packbits(fingerprints().GetFingerprintAsNumPy(mol)).tobytes()
    return Molecule(chem.MolToSmiles(mol), passes(mol), bits)


def passes(mol: Any) -> bool:
    """Allowed atoms without a charge, no large ring, none of the patterns."""
    chem = importlib.import_module("rdkit.Chem")
    atoms = mol.GetAtoms()
    if any(atom.GetSymbol() not in ATOMS or atom.GetFormalCharge() != 0 for atom in atoms):
        return False
    if any(len(ring) > LARGEST_RING for ring in mol.GetRingInfo().AtomRings()):
        return False
    whole = chem.AddHs(mol)
    return not any(whole.HasSubstructMatch(pattern) for pattern in patterns(LISTS))


def chemnet_distance(canonical: Sequence[str], test: Path, reference: Path) -> float:
    """The Fréchet ChemNet distance to the test set (Preuer et al. 2018)."""
    fcd = importlib.import_module("fcd")
    if not reference.exists():
        mean, covariance = activations(test.read_text().splitlines())
        np.savez(reference, mean=mean, covariance=covariance)
    with np.load(reference) as kept:
        theirs = kept["mean"], kept["covariance"]
    ours = activations(canonical)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's of an argument that fcd still names
        distance = fcd.calculate_frechet_distance(
            mu1=ours[0], sigma1=ours[1], mu2=theirs[0], sigma2=theirs[1]
        )
    return float(distance)


def activations(smiles: Sequence[str]) -> tuple[Floats, Floats]:
    """Mean and covariance of what ChemNet's last layer but one makes of each."""
    fcd = importlib.import_module("fcd")
    last = fcd.get_predictions(fcd.load_ref_model(), list(smiles), n_jobs=0, device="cpu")
    return last.mean(0), np.cov(last.T)
