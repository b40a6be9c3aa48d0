"""Terms of the force field at cut bonds: each counted once, by hand and by the ledger."""

from __future__ import annotations

from dataclasses import replace

import hand_count
import numpy as np
import pytest
from calculator_kit import SMALL, random_model
from dipeptide_kit import BETA_METHYL, POSITIONS, cut

openmm = pytest.importorskip("openmm")

from system_kit import charmm_dipeptide_in_water, dipeptide  # noqa: E402

from eqmm_ase.engines.energy_ledger import (  # noqa: E402
    COULOMB,
    LENNARD_JONES,
    NETWORK,
    energy_ledger,
)
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import (  # noqa: E402
    box_of,
    energy_and_forces,
    move_to,
    new_context,
)
from eqmm_ase.network.batch import FrameBatch  # noqa: E402
from eqmm_ase.network.prediction import predict  # noqa: E402

REGIONS = {
    "methyl": BETA_METHYL,
    "amide": tuple(range(16, 22)),
    "two cuts": (4, 5, 6, 7),
    "molecule": tuple(range(22)),
}
MODEL = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))


def shaken() -> np.ndarray:
    """So that no term of the force field is zero."""
    return POSITIONS + np.random.default_rng(3).normal(0.0, 0.05, POSITIONS.shape)


@pytest.mark.parametrize("region", REGIONS)
def test_the_ledger_has_every_term_once_that_has_an_atom_outside(region) -> None:
    inside, positions = set(REGIONS[region]), shaken()
    topology, system, _ = dipeptide()
    mixed = mixed_system(
        topology,
        system,
        REGIONS[region],
        MODEL,
        total_charge=0,
        rest_charge="background",
        dtype="float64",
    )
    terms = energy_ledger(mixed, positions, None).terms

    def stays(atoms: set[int]) -> bool:
        return not atoms <= inside

    coulomb, _ = hand_count.pairs(system, positions, lambda pair: not pair & inside)
    _, lennard_jones = hand_count.pairs(system, positions, stays)
    expected = {
        "bonds": hand_count.bonds(system, positions, stays),
        "angles": hand_count.angles(system, positions, stays),
        "torsions": hand_count.torsions(system, positions, stays),
        COULOMB: coulomb,
        LENNARD_JONES: lennard_jones,
    }
    for name, value in expected.items():
        assert terms.pop(name, 0.0) == pytest.approx(value, abs=1e-9), name
        assert bool(value) is (region != "molecule")
    assert set(terms) == {NETWORK}


@pytest.mark.parametrize("redistribution", ["shift-dipole", "rcd", "zero"])
def test_coulomb_with_the_neighbours_of_a_cut_is_the_networks_and_whole(redistribution) -> None:
    """1-2, 1-3 and 1-4 neighbours act as in the frames that models are trained on: unscaled."""
    topology, system, _ = dipeptide()
    positions = shaken()
    mixed = mixed_system(
        topology,
        system,
        BETA_METHYL,
        MODEL,
        total_charge=0,
        redistribution=redistribution,
        dtype="float64",
    )
    frame = cut(BETA_METHYL, positions, redistribution=redistribution)
    # CA gives its charge away; N, HA and C, then H, O and the amide's N stay with all of theirs.
    assert set(mixed.region.sites.tolist()) == set(range(22)) - set(BETA_METHYL) - {8}
    batch = FrameBatch.from_frames([frame])
    found = mixed.potential(positions, None)
    assert found.energy == pytest.approx(float(predict(MODEL.double(), batch).energy), abs=1e-8)


@pytest.mark.slow
def test_the_terms_of_charmm_go_with_the_region_and_stay_with_the_rest() -> None:
    """CMAP, impropers, Lennard-Jones of 1-4 neighbours and all Lennard-Jones are custom forces."""
    pytest.importorskip("finufft")
    topology, system, positions = charmm_dipeptide_in_water()
    found = {}
    for name, region in {"methyl": BETA_METHYL, "all": range(22), "a water": (22, 23, 24)}.items():
        settings = {"rest_charge": "hosts"} if name == "methyl" else {}
        mixed = mixed_system(
            topology, system, region, MODEL, total_charge=0, dtype="float64", **settings
        )
        ledger = energy_ledger(mixed, positions, box_of(mixed.system))
        context = new_context(mixed.system, "Reference")
        move_to(context, positions, None)
        assert energy_and_forces(context)[0] == pytest.approx(ledger.total, abs=1e-8)
        found[name] = ledger.terms
    own = {"CMAP", "custom torsions", "custom bonds", "bonds", "angles", "torsions"}
    assert own <= set(found["methyl"]) & set(found["a water"])
    assert not own & set(found["all"])
    for number, kind in enumerate(("CMAPTorsionForce", "CustomTorsionForce", "CustomBondForce")):
        (force,) = [f for f in system.getForces() if type(f).__name__ == kind]
        force.setForceGroup(number + 1)
    context = new_context(system, "Reference")
    move_to(context, positions, None)
    for number, name in enumerate(("CMAP", "custom torsions", "custom bonds")):
        expected, _ = energy_and_forces(context, {number + 1})
        assert found["a water"][name] == pytest.approx(expected, abs=1e-9)
    # Backbone only: the methyl group has no part in CMAP and impropers.
    for name in ("CMAP", "custom torsions"):
        assert found["methyl"][name] == pytest.approx(found["a water"][name], abs=1e-9)
