"""Networks in periodic and switched surroundings: one energy, images of the QM region included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from calculator_kit import SMALL, random_model

from eqmm_ase.data.frame import Frame
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.prediction import predict
from eqmm_ase.periodic.ewald import Ewald
from eqmm_ase.periodic.images import ImagesTooNearError
from eqmm_ase.periodic.prediction import PeriodicPrediction, SurroundedModels
from eqmm_ase.periodic.switched import SwitchedCutoff

CELL = np.array([[15.0, 0, 0], [3, 16, 0], [-2, 4, 14.5]])
METHANOL = molecule("CH3OH")
ATOMS = METHANOL.positions + 3.0
LONG_RANGE = replace(SMALL, long_range=True, cutoff=2.5)
PLAIN = replace(SMALL, polarisable=False, multipoles=False, l_expansion=0)


def surroundings(cell: np.ndarray = CELL, count: int = 36) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    sites = rng.uniform(0, 1, (count, 3)) @ cell
    vectors = sites[:, None] - ATOMS
    vectors -= np.round(vectors @ np.linalg.inv(cell)) @ cell
    sites = sites[np.linalg.norm(vectors, axis=2).min(1) > 1.6]
    return sites, 0.4 * rng.normal(size=len(sites))


def network(config=SMALL) -> MultiscaleModel:
    model = random_model(0, config).double()
    model.atomic_energies.zero_()  # of a difference of 10⁴ eV, 1e-11 eV would be rounding
    return model


def by_ewald(model: MultiscaleModel, images: bool = True) -> SurroundedModels:
    ewald = Ewald(model.config.l_expansion, tolerance=1e-8, cutoff=6.8, dtype=torch.float64)
    return SurroundedModels([model], ewald, images=images)


def by_cutoff(model: MultiscaleModel) -> SurroundedModels:
    residues = np.arange(len(surroundings()[1])) // 3
    cutoff = SwitchedCutoff(
        residues, model.config.l_expansion, inner=5.0, outer=6.5, dtype=torch.float64
    )
    return SurroundedModels([model], cutoff, images=False)


def ask(models: SurroundedModels, atoms, sites, charges, cell, **options) -> PeriodicPrediction:
    frame = Frame(METHANOL.numbers, atoms, sites, charges, total_charge=-1, spin_multiplicity=1)
    return models(FrameBatch.from_frames([frame]), cell, **options)[0]


def along(function: Callable[[float], float], step: float = 1e-3) -> float:
    """Derivative at 0 by central differences of fourth order."""
    at = [function(n * step) for n in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


@pytest.mark.slow
@pytest.mark.parametrize(
    "models",
    [
        by_ewald(network()),
        by_ewald(network(LONG_RANGE)),
        by_ewald(network(PLAIN)),
        by_ewald(network(), images=False),
        by_cutoff(network()),
    ],
    ids=["images", "long range", "charges", "no images", "cutoff"],
)
def test_all_derivatives_are_those_of_one_energy(models: SurroundedModels) -> None:
    sites, charges = surroundings()
    rng = np.random.default_rng(3)
    by_atom, by_site, by_charge = (rng.normal(size=x.shape) for x in (ATOMS, sites, charges))
    shear = 0.1 * rng.normal(size=(3, 3))

    def energy(*system) -> float:
        return float(ask(models, *system).total.energy)

    found = ask(models, ATOMS, sites, charges, CELL, strain=True)
    qm_forces, mm_forces = found.total.qm_forces.numpy(), found.total.mm_forces.numpy()
    moved = along(lambda t: energy(ATOMS + t * by_atom, sites, charges, CELL))
    assert -(qm_forces * by_atom).sum() == pytest.approx(moved, rel=1e-6)
    moved = along(lambda t: energy(ATOMS, sites + t * by_site, charges, CELL))
    assert -(mm_forces * by_site).sum() == pytest.approx(moved, rel=1e-6)
    moved = along(lambda t: energy(ATOMS, sites, charges + t * by_charge, CELL))
    potential = found.total.mm_potential.numpy()
    assert (potential * by_charge).sum() == pytest.approx(moved, rel=1e-6)

    def strained(t: float) -> float:
        scale = np.eye(3) + t * shear
        return energy(ATOMS @ scale, sites @ scale, charges, CELL @ scale)

    strain = found.strain.numpy()
    assert (strain * shear).sum() == pytest.approx(along(strained), rel=1e-6)
    # The energy does not know how it is turned, nor where it is.
    np.testing.assert_allclose(strain, strain.T, atol=1e-6)
    np.testing.assert_allclose(qm_forces.sum(0) + mm_forces.sum(0), 0.0, atol=1e-6)


def test_without_images_the_network_sees_what_the_cluster_shows_it() -> None:
    # No box, all charges within the inner radius: the same as the network in bare charges.
    model = network()
    sites, charges = surroundings()
    near = np.linalg.norm(sites[:, None] - ATOMS, axis=2).min(1) < 9.0
    sites, charges = sites[near], charges[near]
    cutoff = SwitchedCutoff(np.arange(len(charges)), 2, dtype=torch.float64)
    found = ask(SurroundedModels([model], cutoff), ATOMS, sites, charges, None).total
    frame = Frame(METHANOL.numbers, ATOMS, sites, charges, total_charge=-1)
    expected = predict(model, FrameBatch.from_frames([frame]))
    for one, other in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=0, atol=1e-9)


def test_the_images_of_a_large_box_are_far() -> None:
    # −ξ k_e Q²/2L, ξ = 2.837297 for a cube, and the field of a dipole that is small beside it.
    model, cell = network(), 200.0 * np.eye(3)
    site = ATOMS[:1] + np.array([0.0, 0.0, 4.0])
    models = SurroundedModels([model], Ewald(2, dtype=torch.float64))
    found = ask(models, ATOMS, site, np.zeros(1), cell)
    assert float(found.image_energy) == pytest.approx(-2.837297 * 14.399645 / 400.0, rel=1e-3)
    frame = Frame(METHANOL.numbers, ATOMS, total_charge=-1)
    alone = float(predict(model, FrameBatch.from_frames([frame])).energy)
    assert float(found.total.energy) == pytest.approx(alone + float(found.image_energy), abs=1e-9)


def test_single_precision_models_take_double_precision_positions() -> None:
    sites, charges = surroundings()
    models = SurroundedModels([network().float()], Ewald(2, cutoff=6.5))
    away = 400.0 * CELL.sum(0)
    here = ask(models, ATOMS, sites, charges, CELL, strain=True)
    there = ask(models, ATOMS + away, sites + away, charges, CELL, strain=True)
    exact = ask(by_ewald(network()), ATOMS, sites, charges, CELL, strain=True)
    assert float(here.total.energy) == pytest.approx(float(exact.total.energy), abs=1e-4)
    for name in here.total.keys() - {"energy"}:
        one, other = here.total[name].double(), exact.total[name]
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)
    torch.testing.assert_close(here.strain.double(), exact.strain, rtol=2e-4, atol=2e-3)
    for name in here.total.keys() - {"energy", "dipole"}:
        torch.testing.assert_close(here.total[name], there.total[name], rtol=1e-4, atol=1e-4)


def test_several_models_share_what_has_no_weights() -> None:
    sites, charges = surroundings()
    members = [random_model(seed, SMALL).double() for seed in (1, 2)]
    ewald = Ewald(2, dtype=torch.float64)
    frame = Frame(METHANOL.numbers, ATOMS, sites, charges)
    together = SurroundedModels(members, ewald)(FrameBatch.from_frames([frame]), CELL)
    for member, found in zip(members, together, strict=True):
        alone = SurroundedModels([member], ewald)(FrameBatch.from_frames([frame]), CELL)[0]
        torch.testing.assert_close(found.total, alone.total, rtol=0, atol=1e-10)


def test_a_region_that_nearly_touches_its_images_is_refused() -> None:
    sites, charges = surroundings(6.0 * np.eye(3), 3)
    models = SurroundedModels([network()], Ewald(2, dtype=torch.float64))
    with pytest.raises(ImagesTooNearError, match="from a periodic image of QM atom"):
        ask(models, ATOMS, sites, charges, 6.0 * np.eye(3))
