"""Elements and charges of topologies by readers other than those of ``eqmm-datagen cut``.

AMBER and CHARMM files are read here line by line, GROMACS run inputs by MDAnalysis' own topology,
tops by OpenMM, and the XML of an OpenMM System as XML.
"""

from __future__ import annotations

import bz2
import re
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, atomic_numbers

_AMBER_CHARGE = 18.2223
_CHAMBER_CHARGE = 332.0716**0.5
_MASSLESS = 0.1  # u


@dataclass(frozen=True, eq=False)
class Reference:
    """Of all sites in the order of the file."""

    numbers: np.ndarray  # (n,) 0 for virtual sites
    charges: np.ndarray  # (n,) e


def read_reference(path: Path, system: Path | None = None) -> Reference:
    """Read a topology, whose masses must not be repartitioned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if system is not None:
            return _openmm(path, system)
        if path.suffix == ".psf":
            return _psf(_text(path))
        if path.suffix == ".tpr":
            return _tpr(path)
        text = _text(path)
        return _prmtop(text) if "%FLAG" in text else _top(path)


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (bz2.decompress(content) if path.suffix == ".bz2" else content).decode()


def _prmtop(text: str) -> Reference:
    sections = {}
    for block in re.split(r"^%FLAG ", text, flags=re.MULTILINE)[1:]:
        flag, _, rest = block.partition("\n")
        sections[flag.strip()] = re.sub(r"^%.*\n", "", rest, flags=re.MULTILINE).split()
    unit = _CHAMBER_CHARGE if "CTITLE" in sections else _AMBER_CHARGE
    charges = np.array([float(word) for word in sections["CHARGE"]]) / unit
    masses = np.array([float(word) for word in sections["MASS"]])
    numbers = by_mass(masses)
    if "ATOMIC_NUMBER" in sections:
        given = np.array([int(word) for word in sections["ATOMIC_NUMBER"]])
        numbers = np.where(given > 0, given, np.where(masses < _MASSLESS, 0, numbers))
    return Reference(numbers, charges)


def _psf(text: str) -> Reference:
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if "!NATOM" in line)
    rows = [line.split() for line in lines[start + 1 : start + 1 + int(lines[start].split()[0])]]
    return Reference(
        by_mass(np.array([float(row[7]) for row in rows])),
        np.array([float(row[6]) for row in rows]),
    )


def by_mass(masses: np.ndarray) -> np.ndarray:
    """The element nearest in mass; 0 for sites without mass."""
    nearest = np.abs(atomic_masses[1:93] - np.asarray(masses)[:, None]).argmin(axis=1) + 1
    return np.where(masses < _MASSLESS, 0, nearest)


def _tpr(path: Path) -> Reference:
    import MDAnalysis

    atoms = MDAnalysis.Universe(str(path)).atoms
    if hasattr(atoms, "elements"):
        numbers = np.array([atomic_numbers.get(symbol, 0) for symbol in atoms.elements])
    else:
        numbers = by_mass(atoms.masses)
    return Reference(numbers, np.asarray(atoms.charges, np.float64))


def _top(path: Path) -> Reference:
    from openmm import app, unit

    file = app.GromacsTopFile(str(path))
    system = file.createSystem()
    nonbonded = next(f for f in system.getForces() if "Nonbonded" in f.getName())
    charges = [nonbonded.getParticleParameters(i)[0] for i in range(system.getNumParticles())]
    masses = [system.getParticleMass(i) for i in range(system.getNumParticles())]
    return Reference(
        by_mass(np.array([mass.value_in_unit(unit.dalton) for mass in masses])),
        np.array([charge.value_in_unit(unit.elementary_charge) for charge in charges]),
    )


def _openmm(path: Path, system: Path) -> Reference:
    root = ElementTree.parse(system).getroot()
    force = next(f for f in root.iter("Force") if f.get("type") == "NonbondedForce")
    particles = force.find("Particles")
    assert particles is not None
    charges = [float(str(particle.get("q"))) for particle in particles]
    symbols = [
        line[76:78].strip().capitalize()
        for line in path.read_text().splitlines()
        if line.startswith(("ATOM", "HETATM"))
    ]
    numbers = [atomic_numbers.get(symbol, 0) for symbol in symbols]
    return Reference(np.array(numbers), np.array(charges))
