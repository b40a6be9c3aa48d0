"""Relaxations: they end where they should, or say why not."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read
from calculator_kit import bound, methanol

from eqmm_ase.simulation.relax import OPTIMIZERS, RunError, RunFailedError, relax, rmsd


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_finds_the_same_minimum(optimizer, tmp_path):
    atoms, rows = bound(charges=False), []
    start, before = atoms.get_positions(), atoms.get_potential_energy()
    result = relax(
        atoms,
        optimizer=optimizer,
        fmax=1e-3,
        trajectory=tmp_path / "relaxed.traj",
        report=rows.append,
    )
    assert result.converged
    assert result.fmax == np.linalg.norm(atoms.get_forces(), axis=1).max() <= 1e-3
    assert result.energy == atoms.get_potential_energy()
    assert result.change == result.energy - before < 0
    assert result.rmsd == pytest.approx(rmsd(start, atoms.positions))
    assert 0 < result.rmsd_superposed <= result.rmsd
    assert [row.step for row in rows] == list(range(result.steps + 1))
    images = read(tmp_path / "relaxed.traj", ":")
    assert len(images) == result.steps + 1
    assert images[-1].get_potential_energy() == pytest.approx(result.energy)
    assert result.energy == pytest.approx(relax(bound(charges=False), fmax=1e-3).energy, abs=1e-5)


def test_a_relaxation_that_does_not_converge_says_so():
    result = relax(bound(), fmax=1e-6, steps=2)
    assert not result.converged
    assert result.steps == 2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"optimizer": "newton"}, "optimizer must be one of bfgs, lbfgs, fire, got 'newton'"),
        ({"fmax": 0.0}, "fmax must be positive"),
        ({"fmax": np.nan}, "fmax must be positive"),
        ({"steps": -1}, "steps must be positive"),
    ],
)
def test_bad_relaxation_settings(settings, sentence):
    with pytest.raises(RunError, match=sentence):
        relax(bound(), **settings)


def test_a_relaxation_that_falls_without_end_is_stopped():
    class Abyss(Calculator):
        implemented_properties = ["energy", "forces"]  # noqa: RUF012

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            slope = np.full((6, 3), 100.0)
            self.results = {"energy": -100.0 * atoms.positions.sum(), "forces": slope}

    atoms = methanol()
    atoms.calc = Abyss()
    with pytest.raises(RunFailedError, match=r"at step \d the energy is .* eV below the start"):
        relax(atoms, steps=50)


def test_rmsd_after_superposition_is_blind_to_motion_but_not_to_reflection():
    atoms = methanol()
    moved = atoms.copy()
    moved.rotate(40, (1, 2, 3))
    moved.translate((1, 2, 3))
    assert rmsd(atoms.positions, moved.positions, superpose=True) == pytest.approx(0, abs=1e-12)
    assert rmsd(atoms.positions, moved.positions) > 1
    # Methanol off its minimum is chiral.
    assert rmsd(atoms.positions, -atoms.positions, superpose=True) > 0.01
    assert rmsd(np.zeros((4, 3)), np.full((4, 3), 2.0)) == pytest.approx(np.sqrt(12))
