"""EqMM through openmm-ml: what a user types, and that it is the same physics."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from calculator_kit import random_model

openmm = pytest.importorskip("openmm")
pytest.importorskip("openmmml")
pytest.importorskip("finufft")

from openmm import app  # noqa: E402
from openmmml import MLPotential  # noqa: E402
from system_kit import answers, methanol_in_water  # noqa: E402

from eqmm_ase import save_model  # noqa: E402
from eqmm_ase.engines.mixed_system import mixed_system  # noqa: E402
from eqmm_ase.engines.openmm_ml import EqMMPotentialFactory  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def box():
    return methanol_in_water(20.0)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.eqmm"
    save_model(path, random_model(), {})
    return path


@pytest.fixture
def potential(model_file):
    # The entry point does this where the package is installed.
    MLPotential.registerImplFactory("eqmm", EqMMPotentialFactory())
    return MLPotential("eqmm", model=model_file, total_charge=0, dtype="float64")


def test_the_entry_point_names_the_factory() -> None:
    (found,) = entry_points(group="openmmml.potentials", name="eqmm")
    assert found.load() is EqMMPotentialFactory


@pytest.mark.parametrize("first", ["eqmm_ase.engines.openmm_ml", "openmmml"])
def test_it_can_be_imported_before_openmm_ml_and_after(first) -> None:
    """openmm-ml loads the entry point while it is imported, even by the module that it names."""
    program = f"import {first}; from openmmml import MLPotential; MLPotential('eqmm', model='m')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mixed_system_is_that_of_eqmm(box, potential, model_file) -> None:
    topology, system, positions, ml = box
    mixed = potential.createMixedSystem(topology, system, ml, embedding="electrostatic")
    own = mixed_system(topology, system, ml, model_file, total_charge=0, dtype="float64").system
    (energy, forces), (expected, expected_forces) = (
        answers(mixed, positions),
        answers(own, positions),
    )
    assert energy == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-9)
    assert mixed.getNumConstraints() == own.getNumConstraints()


def test_interpolation_ends_at_the_classical_and_at_the_mixed_system(box, potential) -> None:
    topology, system, positions, ml = box
    with pytest.warns(UserWarning, match="constraints of the ML region have no term"):
        both = potential.createMixedSystem(
            topology, system, ml, embedding="electrostatic", interpolate=True
        )
    mixed = potential.createMixedSystem(topology, system, ml, embedding="electrostatic")
    classical, _ = answers(system, positions)
    networked, forces = answers(mixed, positions)
    assert abs(networked - classical) > 1.0
    ends = [answers(both, positions, lambda_interpolate=x) for x in (0.0, 1.0, 0.25)]
    assert ends[0][0] == pytest.approx(classical, abs=1e-5)
    assert ends[1][0] == pytest.approx(networked, abs=1e-5)
    np.testing.assert_allclose(ends[1][1], forces, atol=1e-5)
    assert ends[2][0] == pytest.approx(0.75 * classical + 0.25 * networked, abs=1e-5)


def test_mechanical_embedding_is_one_word_away_and_something_else(box, potential) -> None:
    topology, system, positions, ml = box
    mechanical = potential.createMixedSystem(topology, system, ml, embedding="mechanical")
    electrostatic = potential.createMixedSystem(topology, system, ml, embedding="electrostatic")
    energies = [answers(one, positions)[0] for one in (mechanical, electrostatic)]
    assert abs(energies[0] - energies[1]) > 0.01
    # In mechanical embedding the force on the region's atoms is the vacuum's and the force field's.
    alone = potential.createSystem(_only(topology, ml))
    vacuum, _ = answers(alone, positions[ml])
    assert np.isfinite(vacuum)


def _only(topology, rows):
    modeller = app.Modeller(topology, [openmm.Vec3(0, 0, 0)] * topology.getNumAtoms())
    modeller.delete([a for a in topology.atoms() if a.index not in set(rows)])
    modeller.topology.setPeriodicBoxVectors(None)
    return modeller.topology


def test_a_potential_without_a_model_says_what_it_needs() -> None:
    MLPotential.registerImplFactory("eqmm", EqMMPotentialFactory())
    with pytest.raises(ValueError, match="needs model="):
        MLPotential("eqmm")
