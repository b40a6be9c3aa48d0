"""From a force field to the network in its place: at λ = 0 nothing of the force field is lost."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from calculator_kit import SMALL, random_model

openmm = pytest.importorskip("openmm")
openmmml = pytest.importorskip("openmmml")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import (  # noqa: E402
    answers,
    charmm_dipeptide_in_water,
    dipeptide_in_water,
    methanol_in_water,
)

from eqmm_ase.engines.openmm_context import (  # noqa: E402
    energy_and_forces,
    move_to,
    new_context,
)
from eqmm_ase.engines.openmm_force import callback_of  # noqa: E402
from eqmm_ase.engines.openmm_ml import EqMMPotentialFactory  # noqa: E402
from eqmm_ase.units import KJ_PER_MOL  # noqa: E402

pytestmark = pytest.mark.slow

LAMBDA = "lambda_interpolate"
ROUNDING = 1e-8  # eV, of energies of some thousand
PEPTIDE = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))
REGIONS = {
    "side chain": (10, 11, 12, 13),
    "amide": tuple(range(16, 22)),
    "molecule": tuple(range(22)),
}
METHODS = {"PME": app.PME, "reaction field": app.CutoffPeriodic, "no cutoff": app.NoCutoff}


def potential(model=PEPTIDE):
    openmmml.MLPotential.registerImplFactory("eqmm", EqMMPotentialFactory())
    return openmmml.MLPotential("eqmm", model=model, total_charge=0, dtype="float64")


def both_ways(region, method, model=PEPTIDE):
    """Classical, mixed and interpolated System, and positions."""
    topology, classical, positions = dipeptide_in_water(
        nonbondedMethod=METHODS[method], constraints=None, rigidWater=False
    )
    settings = {"embedding": "electrostatic", "rest_charge": "hosts", "redistribution": "shift"}
    if region == "molecule":
        settings["rest_charge"] = "refuse"
    if method == "reaction field":
        settings |= {"electrostatics": "cutoff", "switch": (6.0, 8.0)}
    mixed, interpolated = (
        potential(model).createMixedSystem(
            topology, classical, list(REGIONS[region]), interpolate=wanted, **settings
        )
        for wanted in (False, True)
    )
    return classical, mixed, interpolated, positions


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("method", METHODS)
def test_the_coulomb_energy_within_the_region_is_there_below_lambda_1(region, method) -> None:
    classical, mixed, interpolated, positions = both_ways(region, method)
    ends = [answers(system, positions) for system in (classical, mixed)]
    assert abs(ends[1][0] - ends[0][0]) > 1.0
    assert answers(interpolated, positions)[0] == pytest.approx(ends[1][0], abs=ROUNDING)
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        energy, forces = answers(interpolated, positions, **{LAMBDA: share})
        mean, mean_forces = (
            (1.0 - share) * of_field + share * of_network
            for of_field, of_network in zip(*ends, strict=True)
        )
        assert energy == pytest.approx(mean, abs=ROUNDING)
        np.testing.assert_allclose(forces, mean_forces, atol=ROUNDING)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_derivative_by_lambda_is_told_and_is_that_of_the_energy(share) -> None:
    classical, mixed, interpolated, positions = both_ways("amide", "PME")
    made = new_context(interpolated, "Reference")
    move_to(made, positions, None)
    ends = []
    for at in (share + 0.01, share - 0.01):
        made.setParameter(LAMBDA, at)
        ends.append(energy_and_forces(made)[0])
    made.setParameter(LAMBDA, share)
    told = made.getState(parameterDerivatives=True).getEnergyParameterDerivatives()[LAMBDA]
    assert told * KJ_PER_MOL == pytest.approx((ends[0] - ends[1]) / 0.02, rel=1e-8)
    whole = answers(mixed, positions)[0] - answers(classical, positions)[0]
    assert told * KJ_PER_MOL == pytest.approx(whole, rel=1e-8)


@pytest.mark.filterwarnings("ignore:.* constraints of the ML region")
def test_lennard_jones_in_a_force_of_its_own_is_interpolated_too() -> None:
    """As in CHARMM36, where some pairs have parameters of their own."""
    topology, classical, positions = charmm_dipeptide_in_water()
    interpolated = potential().createMixedSystem(
        topology, classical, list(range(22)), interpolate=True, embedding="electrostatic"
    )
    found = answers(interpolated, positions, **{LAMBDA: 0.0})[0]
    assert found == pytest.approx(answers(classical, positions)[0], abs=ROUNDING)


def test_bonds_that_only_constraints_hold_are_warned_about() -> None:
    topology, system, _, ml = methanol_in_water(20.0)
    settings = {"embedding": "electrostatic", "interpolate": True}
    with pytest.warns(UserWarning, match=r"4 constraints of the ML region have no term") as told:
        potential(random_model()).createMixedSystem(topology, system, ml, **settings)
    assert "mlpotential" in told[0].filename or __file__ in told[0].filename


def test_the_network_of_an_interpolated_system_can_be_asked(recwarn) -> None:
    _, _, interpolated, positions = both_ways("molecule", "PME")
    answers(interpolated, positions, **{LAMBDA: 0.5})
    assert callback_of(interpolated).latest.charges.sum() == pytest.approx(0.0, abs=1e-8)
    again = copy.deepcopy(interpolated)
    answers(again, positions)
    assert callback_of(again).latest is not None
