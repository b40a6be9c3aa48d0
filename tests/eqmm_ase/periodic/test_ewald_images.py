"""What the images of the QM region do to it: multipoles in a lattice."""

from __future__ import annotations

import itertools

import ewald_reference
import numpy as np
import pytest
import torch

from eqmm_ase.network.harmonics import irregular_harmonics, regular_harmonics, translation_tensor
from eqmm_ase.periodic.cell import Box
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.images import ImageInteraction, ImagesTooNearError
from eqmm_ase.units import COULOMB_CONSTANT, KJ_PER_MOL

CELLS = [
    np.diag([13.0, 14.0, 12.0]),
    np.array([[13.0, 0, 0], [3, 14, 0], [-2, 4, 12]]),
]
TRICLINIC = CELLS[1]
ATOMS = torch.tensor([[0.0, 0, 0], [1.4, 0, 0.3], [-0.5, 1.0, 0.2]], dtype=torch.float64)


def random_multipoles(l_max: int, lowest: int = 0, seed: int = 1) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    multipoles = torch.from_numpy(0.3 * rng.normal(size=(len(ATOMS), (l_max + 1) ** 2)))
    multipoles[:, : lowest**2] = 0.0
    return multipoles


def interaction(cell: np.ndarray, l_max: int, nearest: float = 2.0) -> ImageInteraction:
    return ImageInteraction(Box.of(cell), l_max, nearest)


def along(function, step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order."""
    at = [float(function(n * step)) for n in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=["rectangular", "triclinic"])
@pytest.mark.parametrize("charge", [0.0, -1.0])
def test_multipoles_act_as_the_charges_that_they_are_made_of(cell, charge: float) -> None:
    rng = np.random.default_rng(2)
    places = 0.15 * rng.normal(size=(len(ATOMS), 6, 3))
    charges = rng.normal(size=(len(ATOMS), 6))
    charges += charge / charges.size - charges.mean()
    harmonics = regular_harmonics(torch.from_numpy(places.reshape(-1, 3).T.copy()), 4)
    multipoles = (harmonics.reshape(25, 3, 6) * torch.from_numpy(charges)).sum(2).T
    reference = ewald_reference.energy_of_copies(
        (ATOMS.numpy()[:, None] + places).reshape(-1, 3), charges.flatten(), cell
    )
    # What the background, of constant ∇²φ, does to the extent of the charges has no multipole; MM
    # charges that neutralise the region undo it.
    extent = (charges * (places**2).sum(2)).sum()
    reference -= 2 * np.pi / 3 * COULOMB_CONSTANT * charge * extent / np.linalg.det(cell)
    found = interaction(cell, 4)(multipoles, ATOMS).energy
    assert float(found) == pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize("l_max", [2, 3, 4])
def test_high_multipoles_agree_with_a_sum_over_images(l_max: int) -> None:
    # From quadrupoles on, the sum over shells of images converges by itself.
    cell = 9.0 * np.eye(3)
    multipoles = random_multipoles(l_max, lowest=2)
    n = (l_max + 1) ** 2
    table = translation_tensor(2 * l_max)[:n, :n]
    shifts = torch.from_numpy(ewald_reference.lattice(cell, 9.0 * 8.5))
    shifts = shifts[shifts.norm(dim=1) > 1.0]
    reference = 0.0
    for i, j in itertools.product(range(len(ATOMS)), repeat=2):
        vectors = (ATOMS[i] - ATOMS[j] - shifts).T.contiguous()
        harmonics = irregular_harmonics(vectors, 2 * l_max).sum(1)
        energy = torch.einsum("a,b,abc,c->", multipoles[j], multipoles[i], table, harmonics)
        reference += 0.5 * COULOMB_CONSTANT * float(energy)
    found = float(interaction(cell, l_max)(multipoles, ATOMS).energy)
    assert found == pytest.approx(reference, rel=1e-3, abs=1e-6)


def test_an_ion_and_its_lattice_have_madelungs_constant() -> None:
    # Sodium chloride with one sodium as QM region: its images are missing from the MM charges.
    # Source: D. Borwein et al., J. Math. Phys. 26, 2999 (1985).
    distance = 2.8
    index = np.array(list(itertools.product(range(4), repeat=3)))
    charges = (-1.0) ** index.sum(1)
    cell = 4 * distance * np.eye(3)
    ewald = Ewald(0, tolerance=1e-9, dtype=torch.float64)
    sites = torch.from_numpy(distance * index[1:])
    ion = torch.zeros(1, 3, dtype=torch.float64)
    expansion = ewald.expansion(ion, sites, torch.from_numpy(charges[1:]), cell)
    images = interaction(cell, 0)(torch.ones(1, 1), ion)
    potential = float(expansion.tensors.detach()[0, 0] + images.tensors[0, 0])
    assert potential == pytest.approx(-1.747564594633 * COULOMB_CONSTANT / distance, rel=1e-7)


@pytest.mark.parametrize("surplus", [0.0, 1.7])
@pytest.mark.parametrize("cell", CELLS, ids=["rectangular", "triclinic"])
def test_charges_in_charges_and_their_images_are_what_pme_calls_their_energy(cell, surplus) -> None:
    # Taken from a charged box too: the background is the one that OpenMM has.
    openmm = pytest.importorskip("openmm")
    rng = np.random.default_rng(2)
    own = np.array([0.3, -0.9, 0.1])
    sites = rng.uniform(0, 1, (20, 3)) @ cell
    charges = rng.normal(size=20)
    charges += (surplus - own.sum() - charges.sum()) / 20

    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.PME)
    force.setCutoffDistance(0.55)
    force.setEwaldErrorTolerance(1e-5)
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(cell / 10))
    for charge in [*own, *charges]:
        system.addParticle(1.0)
        force.addParticle(charge, 1.0, 0.0)
    for i, j in itertools.combinations(range(3), 2):
        force.addException(i, j, 0.0, 1.0, 0.0)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(np.concatenate([ATOMS.numpy(), sites]) / 10)

    def energy(scale: float) -> float:
        for i, charge in enumerate(own):
            force.setParticleParameters(i, scale * charge, 1.0, 0.0)
        force.updateParametersInContext(context)
        found = context.getState(getEnergy=True).getPotentialEnergy()
        return found.value_in_unit(openmm.unit.kilojoule_per_mole) * KJ_PER_MOL

    system_of_ours = (ATOMS, torch.from_numpy(sites), torch.from_numpy(charges), cell)
    expansion = Ewald(0, tolerance=1e-9, dtype=torch.float64).expansion(*system_of_ours)
    own = torch.from_numpy(own).unsqueeze(1)
    images = interaction(cell, 0)(own, ATOMS)
    found = float((expansion.tensors.detach() * own).sum() + images.energy)
    own = own[:, 0].numpy()
    assert found == pytest.approx(energy(1.0) - energy(0.0), abs=1e-4)


@pytest.mark.parametrize("l_max", [0, 1, 3])
def test_all_derivatives_are_those_of_the_energy(l_max: int) -> None:
    rng = np.random.default_rng(3)
    multipoles = random_multipoles(l_max)
    by_moment = torch.from_numpy(rng.normal(size=multipoles.shape))
    by_atom = torch.from_numpy(rng.normal(size=ATOMS.shape))
    shear = 0.1 * rng.normal(size=(3, 3))
    images = interaction(TRICLINIC, l_max)
    found = images(multipoles, ATOMS, strain=True)
    assert images(multipoles, ATOMS).strain is None
    moved = along(lambda t: images(multipoles + t * by_moment, ATOMS).energy)
    assert float((found.tensors * by_moment).sum()) == pytest.approx(moved, rel=1e-8)
    moved = along(lambda t: images(multipoles, ATOMS + t * by_atom).energy)
    assert float((found.gradient * by_atom).sum()) == pytest.approx(moved, rel=1e-6, abs=1e-9)

    def strained(t: float) -> torch.Tensor:
        scale = np.eye(3) + t * shear
        other = images.at(Box.of(TRICLINIC @ scale))
        return other(multipoles, ATOMS @ torch.from_numpy(scale)).energy

    by_strain = float((found.strain * torch.from_numpy(shear)).sum())
    assert by_strain == pytest.approx(along(strained), rel=1e-7)
    # Quadratic in the multipoles: their potential is half of what they feel.
    half = 0.5 * float((found.tensors * multipoles).sum())
    assert float(found.energy) == pytest.approx(half, rel=1e-12)


def test_a_long_region_meets_its_images_in_the_sum_over_space() -> None:
    # Two thirds of the box long: its ends are nearer to images than to each other.
    atoms = torch.tensor([[0.0, 0, 0], [4.5, 0, 0], [9.0, 0, 0]], dtype=torch.float64)
    charges = torch.tensor([[0.7], [-0.3], [-0.8]], dtype=torch.float64)
    cell = 14.0 * np.eye(3)
    reference = ewald_reference.energy_of_copies(atoms.numpy(), charges[:, 0].numpy(), cell)
    found = interaction(cell, 0)(charges, atoms).energy
    assert float(found) == pytest.approx(reference, rel=1e-6)


def test_images_that_touch_the_region_are_refused() -> None:
    atoms = torch.tensor([[0.0, 0, 0], [6.0, 0, 0]])
    images = interaction(10.0 * np.eye(3), 0, nearest=5.0)
    with pytest.raises(
        ImagesTooNearError, match=r"1 is 4\.00 Å from a periodic image of QM atom 0"
    ):
        images(torch.ones(2, 1), atoms)
    images = interaction(np.diag([4.5, 20, 20]), 0, nearest=5.0)
    with pytest.raises(ImagesTooNearError, match=r"QM atom 0 is 4\.50 Å"):
        images(torch.ones(1, 1), torch.zeros(1, 3))
