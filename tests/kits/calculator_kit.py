"""Small random models and systems for the tests of the calculator and of runs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.tip3p import angleHOH, rOH
from ase.geometry import get_distances

from eqmm_ase import EqMM
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.features import Neighbourhood
from eqmm_ase.network.model import Energies, ModelConfig, MultiscaleModel

SMALL = ModelConfig(
    elements=(1, 6, 8), channels=4, n_layers=2, n_radial=4, n_near=2, hidden=8, l_expansion=2
)

ROUNDING = {"float32": 1e-5, "float64": 1e-11}
"""How far two ways of computing one answer may differ, in eV, Å and e.

Matrix products may add up in another order on another processor, at another address or with other
threads, so that nobody promises bits: after some hundred operations on numbers of order one, some
hundred roundings (6e-8, 1e-16 each; 2e-13 of energies of 2000 eV) may differ. 1e-5 eV is 4e-4 kT at
room temperature, and a hundredth of the error of the best models; it would be the heat of 0.1 K.
"""


def assert_same(found: Iterable, expected: Iterable, dtype: str = "float64") -> None:
    """Answers of models of this width are the same but for `ROUNDING`."""
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.0, atol=ROUNDING[dtype])


def random_model(seed: int = 0, config: ModelConfig = SMALL) -> MultiscaleModel:
    """A small network with random weights and statistics of the size that data give."""
    torch.manual_seed(seed)
    model = MultiscaleModel(config)
    with torch.no_grad():  # an untrained network starts with small outputs
        model.charge_flow.flow.out.weight *= 20.0
        if model.multipoles is not None:
            model.multipoles.out.weight *= 20.0
        model.atomic_energy.mlp[2].weight *= 20.0
    model.set_statistics(
        torch.linspace(-13.6, -2000.0, len(config.elements), dtype=torch.float64),
        1.0,
        torch.linspace(2.0, 0.5, config.l_expansion + 1),
    )
    return model


class SpringModel(MultiscaleModel):
    """A random network held together by springs: alone it falls apart within 10 fs."""

    stiffness = 30.0  # eV/Å²

    def __init__(self, reference: Atoms, seed: int = 0) -> None:
        super().__init__(SMALL)
        torch.manual_seed(seed)
        self.load_state_dict(random_model(seed).state_dict())
        self.energy_scale.fill_(0.1)
        self.pairs = torch.triu_indices(len(reference), len(reference), 1)
        self.lengths = torch.as_tensor(reference.get_all_distances())[tuple(self.pairs)]

    def in_potential(
        self, frames: FrameBatch, tensors: torch.Tensor, neighbourhood: Neighbourhood | None = None
    ) -> Energies:
        out = super().in_potential(frames, tensors, neighbourhood)
        first, second = frames.qm_positions[self.pairs].double()
        stretch = (first - second).norm(dim=1) - self.lengths
        springs = 0.5 * self.stiffness * (stretch**2).sum()
        return out._replace(energy=out.energy + springs)


def methanol(displaced: float = 0.05) -> Atoms:
    """Methanol off its minimum; the same every time."""
    atoms = molecule("CH3OH")
    atoms.positions += np.random.default_rng(1).normal(size=(6, 3)) * displaced
    return atoms


def some_charges(count: int = 12, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Neutral charges (n,) in e at positions (n, 3), 4 to 6 Å from the origin."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(count, 3))
    positions *= rng.uniform(4.0, 6.0, (count, 1)) / np.linalg.norm(positions, axis=1)[:, None]
    charges = rng.uniform(-0.4, 0.4, count)
    return charges - charges.mean(), positions


def water_shell(count: int, distance: float) -> Atoms:
    """Rigid water molecules in random orientations on a sphere, well apart."""
    rng = np.random.default_rng(3)
    angle = np.radians(angleHOH)
    one = Atoms("OH2", [[0, 0, 0], [rOH, 0, 0], [rOH * np.cos(angle), rOH * np.sin(angle), 0]])
    corners = np.array(
        [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [-1, 1, 1], [1, -1, 1]]
    ) / np.sqrt(3)
    shell = Atoms()
    for corner in corners[:count]:
        molecule = one.copy()
        molecule.rotate(rng.uniform(0, 360), rng.normal(size=3))
        molecule.translate(distance * corner)
        shell += molecule
    return shell


BOX = np.array([[15.0, 0.0, 0.0], [3.0, 16.0, 0.0], [-2.0, 4.0, 14.5]])
"""Å, a triclinic box."""


def charges_in_box(cell: np.ndarray = BOX, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Charges (n,) in e at positions (n, 3) in Å, 2 Å and more from methanol and its images.

    Their sum is not zero.
    """
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 1, (count, 3)) @ cell
    _, distances = get_distances(methanol().positions, positions, cell=cell, pbc=True)
    positions = positions[distances.min(axis=0) > 2.0]
    return 0.4 * rng.normal(size=len(positions)), positions


def boxed(model, cell: np.ndarray = BOX, **settings) -> Atoms:
    """Methanol in a periodic box of charges, in float64 unless told otherwise."""
    atoms = methanol()
    atoms.calc = EqMM(model, **{"dtype": "float64"} | settings)
    atoms.calc.embed(*charges_in_box(cell), cell=cell)
    return atoms


def embedded(model, **settings) -> Atoms:
    """Methanol in charges, with a calculator in float64 unless told otherwise."""
    atoms = methanol()
    atoms.calc = EqMM(model, **{"dtype": "float64"} | settings)
    atoms.calc.embed(*some_charges())
    return atoms


def numerical_mm_gradient(handle, positions: np.ndarray, energy, eps: float = 1e-4) -> np.ndarray:
    """dE/dr of the charges by central differences, (n, 3); leaves them where they were."""
    gradient = np.zeros_like(positions)
    for index in np.ndindex(*positions.shape):
        for sign in (1, -1):
            moved = positions.copy()
            moved[index] += sign * eps
            handle.set_positions(moved)
            gradient[index] += sign * energy() / (2 * eps)
    handle.set_positions(positions)
    return gradient


def bound(charges: bool = True):
    """Methanol that stays together, in twelve charges or in vacuum."""
    atoms = methanol()
    atoms.calc = EqMM(SpringModel(methanol(0.0)), dtype="float64")
    if charges:
        atoms.calc.embed(*some_charges())
    return atoms


def fresh(atoms: Atoms) -> Atoms:
    """The same system with a calculator that has never been asked anything."""
    twin = atoms.copy()
    old = atoms.calc
    twin.calc = EqMM(old._source, **old.parameters)
    handle = old.point_charges
    twin.calc.embed(handle.charges, handle.positions, cell=handle.cell)
    return twin


def everything(atoms: Atoms) -> dict[str, np.ndarray]:
    """All results of a calculator, by name."""
    results = {
        "energy": np.array(atoms.get_potential_energy()),
        "forces": atoms.get_forces(),
        "charges": atoms.get_charges(),
        "dipole": atoms.get_dipole_moment(),
        "mm_forces": atoms.calc.mm_forces,
        "mm_potential": atoms.calc.mm_potential,
    }
    return results | (
        {} if atoms.calc.point_charges.cell is None else {"stress": atoms.get_stress()}
    )


def assert_same_results(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], tol: float = ROUNDING["float64"]
) -> None:
    """Results of one name are the same but for `tol`, which is rounding."""
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tol, err_msg=name)
