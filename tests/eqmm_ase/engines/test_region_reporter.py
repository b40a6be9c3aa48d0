"""What the network says of the ML region, in a table of OpenMM's own Simulation."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from ase.build import molecule
from calculator_kit import SpringModel

openmm = pytest.importorskip("openmm")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from system_kit import methanol_in_water  # noqa: E402

from eqmm_ase import RegionReporter, mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_context import positions_in  # noqa: E402
from eqmm_ase.network.committee import Committee  # noqa: E402

pytestmark = pytest.mark.slow


class Positions:
    """A reporter that keeps where everything was, wrapped into the box."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, np.ndarray, np.ndarray]] = []

    def describeNextReport(self, simulation):  # noqa: N802
        steps = 4 - simulation.currentStep % 4
        return {"steps": steps, "periodic": True, "include": ["positions"]}

    def report(self, simulation, state) -> None:
        self.kept.append((simulation.currentStep, *positions_in(state, True)))


def simulation_of(model):
    topology, system, positions, ml = methanol_in_water(16.0, method=app.CutoffPeriodic, cutoff=7.0)
    mixed = mixed_system(
        topology,
        system,
        ml,
        model,
        total_charge=0,
        electrostatics="cutoff",
        switch=(5.5, 7.0),
        dtype="float64",
    )
    mixed.system.addForce(openmm.MonteCarloBarostat(1.0, 300.0, 3))
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.0005)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, mixed.system, integrator, platform)
    simulation.context.setPositions(positions / 10.0)
    simulation.context.setVelocitiesToTemperature(300.0, 1)
    return mixed, simulation


@pytest.mark.parametrize("first", ["positions", "region"])
def test_a_row_belongs_to_the_positions_of_its_step(tmp_path, first) -> None:
    model = Committee([SpringModel(molecule("CH3OH"), seed) for seed in (0, 1)])
    mixed, simulation = simulation_of(model)
    positions = Positions()
    region = RegionReporter(tmp_path / "region.csv", 4, mixed.system, atoms=[1, 0])
    reporters = [positions, region] if first == "positions" else [region, positions]
    simulation.reporters += reporters
    simulation.step(12)
    with (tmp_path / "region.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8, 12]
    assert [float(row["time"]) for row in rows] == pytest.approx([0.002, 0.004, 0.006])
    assert list(rows[0])[-2:] == ["charge_1", "charge_0"]
    for row, (step, at, cell) in zip(rows, positions.kept, strict=True):
        assert int(row["step"]) == step
        found = mixed.potential(at, cell)
        assert float(row["network"]) == pytest.approx(found.energy, abs=1e-6)
        assert float(row["images"]) == 0.0  # with a cutoff
        assert float(row["uncertainty"]) == pytest.approx(found.uncertainty.forces.max(), abs=1e-6)
        assert float(row["energy_uncertainty"]) == pytest.approx(found.uncertainty.energy, abs=1e-6)
        assert float(row["charge_0"]) == pytest.approx(found.charges[0], abs=1e-5)
        assert float(row["charge_1"]) == pytest.approx(found.charges[1], abs=1e-5)
    assert region.latest.energy == pytest.approx(float(rows[-1]["network"]), abs=1e-6)
    energies = [float(row["network"]) for row in rows]
    assert np.ptp(energies) > 1e-3  # a row of another step would be noticed


def test_a_single_model_has_no_uncertainty_and_all_charges_are_written() -> None:
    mixed, simulation = simulation_of(SpringModel(molecule("CH3OH")))
    table = io.StringIO()
    simulation.reporters.append(RegionReporter(table, 2, mixed.system))
    simulation.step(2)
    again = RegionReporter(table, 2, mixed.system, append=True)
    simulation.reporters[:] = [again]
    simulation.step(2)
    rows = list(csv.DictReader(table.getvalue().splitlines()))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert rows[0]["uncertainty"] == rows[0]["energy_uncertainty"] == ""
    charges = [float(rows[0][f"charge_{row}"]) for row in range(6)]
    assert sum(charges) == pytest.approx(0.0, abs=1e-4)


def test_what_cannot_be_reported_is_refused() -> None:
    mixed, _ = simulation_of(SpringModel(molecule("CH3OH")))
    with pytest.raises(ValueError, match="atom 7 is not in the ML region"):
        RegionReporter(io.StringIO(), 1, mixed.system, atoms=[0, 7])
    with pytest.raises(ValueError, match="interval is 0 steps"):
        RegionReporter(io.StringIO(), 0, mixed.system)
    with pytest.raises(ValueError, match="holds no network of EqMM"):
        RegionReporter(io.StringIO(), 1, openmm.System())
