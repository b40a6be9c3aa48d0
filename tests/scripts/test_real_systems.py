"""What is checked of whole systems, and that a wrong force is seen there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("openmm")
pytest.importorskip("finufft")

from calculator_kit import SMALL, random_model
from openmm import unit

from eqmm_ase.data.lattice import minimum_image
from eqmm_ase.engines.embedded_region import EmbeddedRegion
from eqmm_ase.engines.mixed_system import MixedSystem
from eqmm_ase.engines.openmm_context import move_to, new_context
from scripts.docs import system_rows
from scripts.systems import real_systems
from scripts.systems.boxes import Box, make_box
from scripts.systems.dipeptide import dipeptide_box

MODEL = random_model(config=replace(SMALL, elements=(1, 6, 7, 8)))


@pytest.fixture(scope="module")
def side_chain() -> Box:
    return dipeptide_box(24.0)


def coupled(box: Box) -> MixedSystem:
    return box.coupled(MODEL, dtype="float64", group=1)


def errors(mixed: MixedSystem, box: Box) -> dict[str, dict[str, float]]:
    context = new_context(mixed.system, "Reference")
    move_to(context, box.positions, box.cell)
    rows = real_systems.atoms_of_interest(mixed, box.positions, box.cell)
    return real_systems.force_errors(context, box.positions, rows)


@pytest.mark.slow
def test_forces_around_a_cut_bond_are_derivatives_and_a_lost_share_of_the_cap_is_seen(
    side_chain: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = errors(coupled(side_chain), side_chain)
    assert list(found) == ["ML", "near", "far", "Q1", "M1", "M2"]
    assert max(row[part] for row in found.values() for part in ("network", "all")) < 1e-5

    right = EmbeddedRegion.site_forces

    def without_m1(self: EmbeddedRegion, *answers: object) -> np.ndarray:
        forces = right(self, *answers)
        forces[[bond.m1 for bond in self.region.bonds]] = 0.0
        return forces

    monkeypatch.setattr(EmbeddedRegion, "site_forces", without_m1)
    wrong = errors(coupled(side_chain), side_chain)
    assert min(wrong["M1"]["network"], wrong["M1"]["all"]) > 1e-3
    assert max(wrong["Q1"]["all"], wrong["M2"]["all"], wrong["near"]["all"]) < 1e-5


@pytest.mark.slow
def test_the_atoms_looked_at_are_what_they_are_called(side_chain: Box) -> None:
    atoms = list(side_chain.topology.atoms())
    rows = real_systems.atoms_of_interest(
        coupled(side_chain), side_chain.positions, side_chain.cell
    )
    names = {kind: (atoms[row].residue.name, atoms[row].name) for kind, row in rows.items()}
    assert names["ML"][0] == "ALA"
    assert (names["Q1"][1], names["M1"][1]) == ("CB", "CA")
    assert names["M2"][1] in {"N", "HA", "C"}
    assert {names["near"][0], names["far"][0]} == {"HOH"}
    apart = side_chain.positions[[rows["near"], rows["far"]]] - side_chain.positions[rows["ML"]]
    near, far = np.linalg.norm(minimum_image(apart, side_chain.cell), axis=1)
    assert near < 6.0 < 12.0 < far

    opc = make_box("methanol", 24.5, water="opc")
    parent = real_systems.atoms_of_interest(coupled(opc), opc.positions, opc.cell)["parent"]
    assert list(opc.topology.atoms())[parent].element.symbol == "O"


@pytest.mark.slow
def test_a_counter_ion_makes_the_box_of_acetate_neutral() -> None:
    box = make_box("acetate", 24.5, water="charmm", neutralize=True)
    mixed = coupled(box)
    ion = list(box.topology.atoms())[
        real_systems.atoms_of_interest(mixed, box.positions, box.cell)["ion"]
    ]
    assert ion.residue.name == "NA"
    assert mixed.region.rest_charge == pytest.approx(0.0, abs=1e-6)
    assert mixed.region.mm_charges.sum() == pytest.approx(1.0, abs=1e-6)
    # The geometry is that of the force field's acetate: bonds where its names say.
    place = dict(zip((a.name for a in box.topology.atoms()), box.positions[:7], strict=False))
    assert np.linalg.norm(place["C1"] - place["C2"]) == pytest.approx(1.5, abs=0.05)


@pytest.mark.slow
def test_the_temperature_is_that_of_the_velocities() -> None:
    box = make_box("methanol", 19.0)
    context = new_context(box.system, "CPU")
    move_to(context, box.positions, box.cell)
    context.setVelocitiesToTemperature(250.0 * unit.kelvin, 1)
    assert real_systems.temperature(context) == pytest.approx(250.0, rel=0.1)


def test_a_system_becomes_a_row_with_its_largest_errors() -> None:
    figures = {
        "system": "methanol, OPC",
        "atoms": 100_000,
        "ps": 2.0,
        "temperature": 301.2,
        "largest_force": 6.14,
        "ratio": 1.36,
        "ms": 300.0,
        "ms_classical": 200.0,
        "memory_MB": 512,
        "energy": -1e6,
        "ledger_error": 1e-9,
        "net_force_network": 1e-15,
        "forces": {
            "ML": {"force": 1.0, "network": 1e-9, "all": 3e-8},
            "M1": {"force": 1.0, "network": 2e-7, "all": 1e-9},
        },
    }
    (checked,) = system_rows.system_checks({"systems": [figures]})
    assert checked == ["methanol, OPC", "100 000", "1·10⁻⁹", "1·10⁻¹⁵", "2·10⁻⁷", "M1"]
    (run,) = system_rows.system_runs({"systems": [figures]})
    assert run == ["methanol, OPC", "2", "301", "6.1", "300", "200", "1.36", "512"]
