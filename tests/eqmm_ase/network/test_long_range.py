"""Distant QM atoms: Coulomb's law between the molecules' multipoles, and charges of lone ions."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from calculator_kit import assert_same, random_model
from e3nn import o3
from rich.console import Console

from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.expansion import expand
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.model_file import load_model
from eqmm_ase.network.prediction import predict
from eqmm_ase.training.config import load_config
from eqmm_ase.training.scales import fit_ion_charges
from eqmm_ase.training.train import train
from eqmm_ase.units import COULOMB_CONSTANT

CONFIG = ModelConfig((1, 6, 8, 11, 17), channels=4, n_radial=4, n_near=2, hidden=8, long_range=True)
WATER = np.array([[0.0, 0.0, 0.1], [0.8, 0.0, -0.5], [-0.7, 0.2, -0.5]])


def both_models(**changes: int) -> tuple[MultiscaleModel, MultiscaleModel]:
    """One random network in float64, with the long range and without."""
    config = replace(CONFIG, **changes)
    model = random_model(3, config).double()
    model.atomic_energies.zero_()  # of a difference of 10⁴ eV, 1e-11 eV would be rounding
    model.long_range.ion_charges[3:] = torch.tensor([1.0, -1.0])
    without = MultiscaleModel(replace(config, long_range=False)).double()
    weights = model.state_dict()
    del weights["long_range.ion_charges"]
    without.load_state_dict(weights)
    return model, without


def chain(n_atoms: int = 30) -> Frame:
    """A stretched zigzag, 40 Å long, beside a few charges."""
    steps = np.arange(n_atoms)
    positions = np.stack([1.35 * steps, 0.4 * (-1.0) ** steps, 0.1 * np.sin(steps)], axis=1)
    sites = np.array([[5.0, 4.0, 1.0], [20.0, -4.0, 2.0], [33.0, 1.0, 4.0]])
    numbers = np.array([6, 8, 1])[steps % 3]
    return Frame(numbers, positions, sites, np.array([0.8, -0.5, 0.4]), total_charge=1)


def ions(distance: float) -> Frame:
    return Frame(np.array([11, 17]), np.array([[0.0, 0, 0], [0.6 * distance, 0, 0.8 * distance]]))


def energy_of(model: MultiscaleModel, frame: Frame) -> float:
    return float(predict(model, FrameBatch.from_frames([frame])).energy)


def multipoles_of(model: MultiscaleModel, frame: Frame) -> np.ndarray:
    """Response of the energy to the local potential, (n_qm, (L+1)²)."""
    frames = FrameBatch.from_frames([frame])
    tensors = expand(frames, model.config.l_expansion).requires_grad_()
    (response,) = torch.autograd.grad(model.in_potential(frames, tensors).energy.sum(), tensors)
    return response.numpy()


# --- Coulomb's law, written out in Cartesian tensors ---


def cartesian(l: int) -> np.ndarray:
    """Symmetric tensors A_m with R_lm(x) = A_m · x ⋯ x, (2l+1, 3, …), by polarisation."""
    tensors = np.zeros((2 * l + 1, *[3] * l))
    for index in itertools.product(range(3), repeat=l):
        for size in range(1, l + 1):
            for chosen in itertools.combinations(index, size):
                point = torch.tensor(np.eye(3)[list(chosen)].sum(0))
                value = o3.spherical_harmonics(l, point, False, "norm").numpy()
                tensors[(slice(None), *index)] += (-1) ** (l - size) * value / math.factorial(l)
    return tensors if l else np.ones(1)


def derivatives_of_inverse_distance(r: np.ndarray) -> list[np.ndarray]:
    """1/r and its first three derivative tensors."""
    d, unit = np.linalg.norm(r), np.eye(3)
    third = 3 * d**2 * sum(np.einsum(f"i,jk->{out}", r, unit) for out in ("ijk", "jik", "jki"))
    return [
        np.array(1 / d),
        -r / d**3,
        (3 * np.outer(r, r) - d**2 * unit) / d**5,
        (third - 15 * np.einsum("i,j,k->ijk", r, r, r)) / d**7,
    ]


def explicit_pair_sum(multipoles: np.ndarray, positions: np.ndarray, cutoff: float) -> float:
    """½ Σ_(i≠j) s(r_ij) U_ij up to 1/r^(L+1), from the tensors' definitions alone."""
    l_max = math.isqrt(multipoles.shape[1]) - 1
    odd = [1.0, 1.0, 3.0, 15.0]  # (2l−1)!!
    moments = [
        [
            np.tensordot(atom[l**2 : (l + 1) ** 2], cartesian(l), 1) / odd[l]
            for l in range(l_max + 1)
        ]
        for atom in multipoles
    ]
    total = 0.0
    for i, j in itertools.permutations(range(len(positions)), 2):
        r = positions[i] - positions[j]
        x = np.clip((np.linalg.norm(r) / cutoff - 0.6) / 0.3, 0.0, 1.0)
        field = derivatives_of_inverse_distance(r)
        for l1, l2 in itertools.product(range(l_max + 1), repeat=2):
            if l1 + l2 <= l_max:
                inner = np.tensordot(moments[i][l1], field[l1 + l2], l1)
                term = (-1) ** l2 * np.tensordot(moments[j][l2], inner, l2)
                total += 0.5 * x**3 * (10 - 15 * x + 6 * x**2) * float(term)
    return COULOMB_CONSTANT * total


@pytest.mark.slow
@pytest.mark.parametrize("l_expansion", [0, 1, 3])
def test_a_stretched_chain_has_the_electrostatics_of_its_multipoles(l_expansion: int) -> None:
    model, without = both_models(l_expansion=l_expansion)
    frame = chain()
    found = energy_of(model, frame) - energy_of(without, frame)
    multipoles = multipoles_of(without, frame)
    expected = explicit_pair_sum(multipoles, frame.qm_positions, CONFIG.cutoff)
    assert abs(expected) > 0.05
    assert found == pytest.approx(expected, rel=1e-8)


# --- one energy, smooth ---


@pytest.mark.slow
def test_forces_of_a_chain_are_derivatives_of_its_energy() -> None:
    model, _ = both_models()
    frame, step = chain(), 1e-3
    out = predict(model, FrameBatch.from_frames([frame]))

    def slope(name: str, row: int) -> float:
        def odd(steps: int) -> float:
            ends = []
            for sign in (1, -1):
                values = np.array(getattr(frame, name))
                values[row, ..., 0] += sign * steps * step
                ends.append(energy_of(model, replace(frame, **{name: values})))
            return ends[0] - ends[1]

        return (8 * odd(1) - odd(2)) / (12 * step)

    for name, forces, rows in (
        ("qm_positions", out.qm_forces, (0, 7, 14, 29)),
        ("mm_positions", out.mm_forces, range(3)),
    ):
        for row in rows:
            assert slope(name, row) == pytest.approx(-float(forces[row, 0]), abs=1e-6)


def end_of_chain(distance: float) -> Frame:
    """A short chain whose last atom is this far from the first one, within reach of others."""
    frame = chain(6)
    positions = frame.qm_positions.copy()
    positions[5] = positions[0] + distance * np.array([0.6, 0.8, 0.0])
    return replace(frame, qm_positions=positions)


@pytest.mark.parametrize("where", [0.6, 0.9, 1.0])
@pytest.mark.parametrize("make", [end_of_chain, ions])
def test_two_derivatives_are_continuous_where_a_pair_passes_a_threshold(
    make: Callable[[float], Frame], where: float
) -> None:
    model, _ = both_models()
    threshold = where * CONFIG.cutoff

    def second_derivative(distance: float, step: float) -> float:
        energies = [energy_of(model, make(distance + k * step)) for k in (-1, 0, 1)]
        return (energies[0] - 2 * energies[1] + energies[2]) / step**2

    gaps = [
        second_derivative(threshold + off, off / 4) - second_derivative(threshold - off, off / 4)
        for off in (0.02, 0.01)
    ]
    # The third derivative may jump: gaps fall in proportion. A jump of the second would stay.
    assert abs(2 * gaps[1] - gaps[0]) < 0.1 * abs(gaps[0]) + 2e-4


# --- molecules within reach of the network ---


def test_a_small_molecule_does_not_know_of_it(methanol_file: Path) -> None:
    model, without = both_models()
    frames = FrameBatch.from_frames(list(read_frames(methanol_file, [0, 1])))
    assert_same(predict(model, frames).values(), predict(without, frames).values())


# --- ions ---


def test_lone_ions_have_their_charge_and_molecules_stay_as_they_were() -> None:
    model, _ = both_models()
    water = Frame(np.array([8, 1, 1]), WATER)
    salt = np.array([[0.0, 0.0, 7.0], [0.0, 8.0, -3.0]])
    both = Frame(np.array([8, 1, 1, 11, 17]), np.concatenate([WATER, salt]))
    alone = predict(model, FrameBatch.from_frames([water])).charges
    together = predict(model, FrameBatch.from_frames([both])).charges
    torch.testing.assert_close(together[:3], alone, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(together[3:], torch.tensor([1.0, -1.0]).double())
    chloride = replace(both, atomic_numbers=both.atomic_numbers[[0, 1, 2, 4]], total_charge=-1)
    chloride = replace(chloride, qm_positions=both.qm_positions[[0, 1, 2, 4]])
    charges = predict(model, FrameBatch.from_frames([chloride])).charges
    assert float(charges[3]) == pytest.approx(-1.0, abs=1e-12)
    assert float(charges[:3].sum()) == pytest.approx(0.0, abs=1e-12)


def test_formal_charges_are_those_of_lone_atoms_in_the_training_data() -> None:
    far, near = ions(5.5), replace(ions(4.0), charges={"mulliken": np.array([0.1, -0.1])})
    lone = [replace(far, charges={"mulliken": np.array([0.96, -0.96])})] * 2
    oxide = Frame(np.array([8]), np.zeros((1, 3)), total_charge=-2)
    found = fit_ion_charges([*lone, near, near, near, oxide], (1, 8, 11, 17), 5.0)
    np.testing.assert_array_equal(found, [0.0, -2.0, 1.0, -1.0])
    np.testing.assert_array_equal(fit_ion_charges([far], (11, 17), 5.0), [0.0, 0.0])


def salt_energy(distance: float) -> float:
    """Of Na⁺ ⋯ Cl⁻: Coulomb's law and a Born–Mayer wall, eV."""
    return -COULOMB_CONSTANT / distance + 1256.0 * math.exp(-distance / 0.317)


def labelled_ions(distance: float) -> Frame:
    frame = ions(distance)
    slope = COULOMB_CONSTANT / distance**2 - 1256.0 / 0.317 * math.exp(-distance / 0.317)
    force = slope * np.array([0.6, 0.0, 0.8])
    return replace(
        frame,
        energy=salt_energy(distance),
        qm_forces=np.stack([force, -force]),
        charges={"mulliken": np.array([1.0, -1.0])},
        dipole=-frame.qm_positions[1],
    )


@pytest.mark.slow
@pytest.mark.parametrize("long_range", [True, False])
def test_two_ions_trained_near_each_other_follow_coulombs_law_afar(
    tmp_path: Path, long_range: bool
) -> None:
    frames = [labelled_ions(distance) for distance in np.linspace(2.2, 7.0, 97)]
    write_frames(tmp_path / "salt.h5", frames, {"functional": "born-mayer"})
    settings = [
        *("model.channels=4", "model.l_expansion=1", "model.l_hidden=1", "model.n_near=0"),
        *("model.n_layers=1", "model.hidden=16", "training.max_steps=200"),
        *("training.batch_size=5", "training.dtype=float64", "optimizer.learning_rate=0.01"),
        *("hardware.accelerator=cpu", f"model.long_range={str(long_range).lower()}"),
    ]
    config = load_config(None, settings)
    console = Console(file=io.StringIO())
    train([tmp_path / "salt.h5"], tmp_path / "salt.eqmm", config, console=console)
    model = load_model(tmp_path / "salt.eqmm")[0]
    distances = np.linspace(8.0, 20.0, 25)
    energies = np.array([energy_of(model, ions(distance)) for distance in distances])
    if long_range:
        expected = [salt_energy(distance) for distance in distances]
        np.testing.assert_allclose(energies, expected, rtol=0.0, atol=0.005)
    else:  # without, nothing beyond 5 Å
        assert np.ptp(energies) < 1e-12
        assert salt_energy(20.0) - salt_energy(8.0) > 1.0


def test_a_single_atom_is_a_qm_region_too() -> None:
    model, _ = both_models()
    site = np.array([[0.0, 0.0, 6.0]])
    frame = Frame(np.array([17]), np.zeros((1, 3)), site, np.array([0.5]), total_charge=-1)
    out = predict(model, FrameBatch.from_frames([frame]))
    assert float(out.charges) == pytest.approx(-1.0, abs=1e-12)
    assert float(out.mm_potential) == pytest.approx(-COULOMB_CONSTANT / 6.0, rel=0.2)
