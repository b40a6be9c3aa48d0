"""Lennard-Jones between QM atoms and held MM sites."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces

from eqmm_ase.simulation.lennard_jones import HeldLennardJones


def test_two_argon_atoms_have_their_well_at_the_known_distance() -> None:
    sigma, epsilon = 3.4, 0.0103
    minimum = 2 ** (1 / 6) * sigma
    calculator = HeldLennardJones([sigma], [epsilon], [[0.0, 0.0, minimum]], [sigma], [epsilon])
    atoms = Atoms("Ar", positions=[[0, 0, 0]], calculator=calculator)
    assert atoms.get_potential_energy() == pytest.approx(-epsilon, abs=1e-14)
    np.testing.assert_allclose(atoms.get_forces(), 0.0, atol=1e-14)


def test_parameters_of_unlike_atoms_are_mixed_by_lorentz_and_berthelot() -> None:
    minimum = 2 ** (1 / 6) * (3.0 + 4.0) / 2
    calculator = HeldLennardJones([3.0], [0.01], [[minimum, 0.0, 0.0]], [4.0], [0.04])
    atoms = Atoms("C", positions=[[0, 0, 0]], calculator=calculator)
    assert atoms.get_potential_energy() == pytest.approx(-0.02, abs=1e-14)


def test_forces_are_the_derivative_of_the_energy() -> None:
    generator = np.random.default_rng(0)
    sites = generator.normal(size=(20, 3))
    sites *= (3.0 + generator.random((20, 1))) / np.linalg.norm(sites, axis=1, keepdims=True)
    calculator = HeldLennardJones([3.4, 1.1], [0.005, 0.001], sites, [3.2] * 20, [0.007] * 20)
    atoms = Atoms("OH", positions=[[0, 0, 0], [0.96, 0, 0]], calculator=calculator)
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-8
    )


def test_the_energy_follows_atoms_that_moved() -> None:
    calculator = HeldLennardJones([3.4], [0.01], [[0.0, 0.0, 4.0]], [3.4], [0.01])
    atoms = Atoms("Ar", positions=[[0, 0, 0]], calculator=calculator)
    before = atoms.get_potential_energy()
    atoms.positions[0, 2] -= 1.0
    assert atoms.get_potential_energy() != before


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"epsilon": [0.1, 0.1]}, r"epsilon has shape \(2,\); expected \(1,\)"),
        ({"mm_sigma": [1.0]}, r"mm_epsilon has shape \(2,\); expected \(1,\)"),
        ({"mm_positions": [[0, 0, 3]]}, r"mm_positions has shape \(1, 3\); expected \(2, 3\)"),
        ({"sigma": [-1.0]}, "sigma has negative or NaN values"),
        ({"mm_epsilon": [np.nan, 1.0]}, "mm_epsilon has negative or NaN values"),
    ],
)
def test_bad_parameters_are_refused_by_name(changed: dict, sentence: str) -> None:
    good = {
        "sigma": [3.0],
        "epsilon": [0.1],
        "mm_positions": [[0, 0, 3], [0, 3, 0]],
        "mm_sigma": [3.0, 3.0],
        "mm_epsilon": [0.1, 0.1],
    }
    with pytest.raises(ValueError, match=sentence):
        HeldLennardJones(**{**good, **changed})


def test_another_number_of_atoms_is_refused() -> None:
    calculator = HeldLennardJones([3.0], [0.1], [[0, 0, 3]], [3.0], [0.1])
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 9]], calculator=calculator)
    with pytest.raises(ValueError, match="there are 2 atoms; sigma and epsilon are for 1"):
        atoms.get_potential_energy()
