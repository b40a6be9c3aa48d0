"""Which row is which atom, and forces on the atoms of the topology by the chain rule."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from box_kit import CELLS, in_water
from dipeptide_kit import ACETYL_METHYL, BETA_METHYL, DIPEPTIDE, SCHEMES

from datagen.campaigns.storage import from_bytes, to_bytes
from eqmm_ase import Frame, forces_on_topology, project_forces, read_frames, write_frames
from eqmm_ase.cutting.qm_region import find_region
from eqmm_ase.cutting.snapshots import CutError, CutSettings, SnapshotCutter
from eqmm_ase.cutting.trajectories import Snapshot
from eqmm_ase.data.atom_map import topology_name
from eqmm_ase.data.boundary import Boundary
from eqmm_ase.network.batch import FrameBatch
from eqmm_ase.network.model import ModelConfig, MultiscaleModel
from eqmm_ase.network.prediction import predict

CELL = CELLS["cube"]
TOPOLOGY, POSITIONS = in_water(CELL)
TWO_METHYLS = (*ACETYL_METHYL, *BETA_METHYL)
WATER = (22, 23, 24)
HOSTS = [4, 8]  # their M1 atoms


def _cutter(qm_atoms: tuple[int, ...] = TWO_METHYLS, **settings: object) -> SnapshotCutter:
    values = {"medium": "water", "radius": 6.5, "total_charge": 0, **settings}
    region = find_region(TOPOLOGY, np.array(sorted(qm_atoms)))
    return SnapshotCutter(TOPOLOGY, region, CutSettings(**values), "system.prmtop abc")


def _cut(positions: np.ndarray, cutter: SnapshotCutter) -> Frame:
    """Wrapped atom by atom at a face that runs through the dipeptide, which must not matter."""
    moved = positions + 10.5
    wrapped = moved - np.floor(moved @ np.linalg.inv(CELL)) @ CELL
    return cutter(Snapshot(0, wrapped, CELL), "run")


def _labelled(frame: Frame) -> Frame:
    """A polarisable toy of every row: energy, forces and potential by automatic derivatives."""
    qm, mm, charges = (
        torch.tensor(np.asarray(array, np.float64), requires_grad=True)
        for array in (frame.qm_positions, frame.mm_positions, frame.mm_charges)
    )
    numbers = torch.tensor(np.asarray(frame.atomic_numbers, np.float64))
    apart = torch.pdist(qm)
    potential = (charges / torch.sqrt(1.0 + torch.cdist(qm, mm) ** 2)).sum(dim=1)
    energy = (torch.exp(-apart) + 0.1 * apart**-2).sum()
    energy = energy + (numbers * 0.1 * potential - 0.3 * potential**2).sum()
    qm_gradient, mm_gradient, mm_potential = torch.autograd.grad(energy, (qm, mm, charges))
    return replace(
        frame,
        energy=energy.item(),
        qm_forces=-qm_gradient.numpy(),
        mm_forces=-mm_gradient.numpy(),
        mm_potential=mm_potential.numpy(),
    )


def _slope(positions: np.ndarray, direction: np.ndarray, cutter: SnapshotCutter, label=_labelled):
    """Derivative of the energy along a direction in the simulation, to fourth order."""

    def energy(step: float) -> float:
        return float(label(_cut(positions + step * direction, cutter)).energy)

    step = 1e-3
    return (8 * (energy(step) - energy(-step)) - energy(2 * step) + energy(-2 * step)) / (12 * step)


@pytest.mark.parametrize(
    ("scheme", "rule", "inner"),
    [
        *itertools.product(SCHEMES, ("scaled", "fixed"), (None, 3.2)),
    ],
)
def test_forces_are_the_derivative_through_the_whole_cut(scheme, rule, inner):
    """Wrapped box, two caps, all ways to move charges, four-site waters, fading or not."""
    cutter = _cutter(redistribution=scheme, cap_rule=rule, switch_from=inner)
    frame = _labelled(_cut(POSITIONS, cutter))
    forces = forces_on_topology(frame, TOPOLOGY.n_sites)
    assert forces.shape == (TOPOLOGY.n_sites, 3)
    rng = np.random.default_rng(7)
    near = np.union1d(frame.mm_atom_indices[frame.mm_atom_indices >= 0], [*TWO_METHYLS, *HOSTS])
    direction = np.zeros_like(POSITIONS)
    direction[near] = rng.normal(size=(len(near), 3))
    slope = _slope(POSITIONS, direction, cutter)
    assert -(forces * direction).sum() == pytest.approx(slope, rel=1e-6)
    assert np.abs(forces.sum(axis=0)).max() < 1e-9


@pytest.mark.slow
def test_fading_moves_atoms_that_have_no_other_force():
    """One atom at a time: QM atom, M1, M2, atoms of a residue that fades, a virtual site."""
    cutter = _cutter(switch_from=3.2)
    frame = _labelled(_cut(POSITIONS, cutter))
    forces = forces_on_topology(frame, TOPOLOGY.n_sites)
    scales = frame.mm_charges / np.where(frame.mm_charges_original, frame.mm_charges_original, 1.0)
    fading = (frame.mm_residue_indices > 2) & (scales > 0.1) & (scales < 0.9)
    atoms = frame.mm_atom_indices[fading][:3]
    assert set(TOPOLOGY.atomic_numbers[atoms]) == {0, 1}
    for atom in (TWO_METHYLS[1], TWO_METHYLS[6], *HOSTS, 6, *atoms):
        for axis in range(3):
            direction = np.zeros_like(POSITIONS)
            direction[atom, axis] = 1.0
            slope = _slope(POSITIONS, direction, cutter)
            assert -forces[atom, axis] == pytest.approx(slope, rel=1e-6, abs=1e-9)
    sharp = forces_on_topology(replace(frame, switch_radii=None), TOPOLOGY.n_sites)
    assert np.abs(sharp - forces).max() > 1e-3


def test_forces_of_a_network_are_the_derivative_too():
    torch.manual_seed(1)
    model = MultiscaleModel(ModelConfig(elements=(1, 6), channels=4)).double()

    def label(frame: Frame) -> Frame:
        prediction = predict(model, FrameBatch.from_frames([frame], dtype=torch.float64))
        values = ("qm_forces", "mm_forces", "mm_potential")
        arrays = {name: getattr(prediction, name).detach().numpy() for name in values}
        return replace(frame, energy=float(prediction.energy[0]), **arrays)

    cutter = _cutter(switch_from=3.2)
    forces = forces_on_topology(label(_cut(POSITIONS, cutter)), TOPOLOGY.n_sites)
    direction = np.random.default_rng(2).normal(size=POSITIONS.shape) * (np.abs(forces) > 0)
    slope = _slope(POSITIONS, direction, cutter, label)
    assert -(forces * direction).sum() == pytest.approx(slope, rel=1e-6)


def test_every_row_knows_its_atom():
    frame = _cut(POSITIONS, _cutter(redistribution="shift-dipole"))
    qm, mm = frame.qm_atom_indices, frame.mm_atom_indices
    np.testing.assert_array_equal(qm, [*TWO_METHYLS, -1, -1])
    np.testing.assert_array_equal(TOPOLOGY.atomic_numbers[qm[:-2]], frame.atomic_numbers[:-2])
    assert [link.m1_atom_index for link in frame.boundary.links] == HOSTS
    assert [link.m1_residue_index for link in frame.boundary.links] == [0, 1]
    added = [site.site for site in frame.boundary.sites]
    np.testing.assert_array_equal(np.flatnonzero(mm < 0), added)
    real = mm >= 0
    np.testing.assert_array_equal(TOPOLOGY.charges[mm[real]], frame.mm_charges_original[real])
    np.testing.assert_array_equal(TOPOLOGY.residues[mm[real]], frame.mm_residue_indices[real])
    apart = frame.mm_positions[real] - POSITIONS[mm[real]]
    shift = apart - (frame.qm_positions[0] - POSITIONS[0])  # lattice vectors, nothing else
    np.testing.assert_allclose(shift, np.round(shift / 22.5) * 22.5, atol=1e-9)
    altered = mm[real & (frame.mm_charges != frame.mm_charges_original)]
    partners = [6, 5, 9, 14]  # N of both M1 atoms, O, HA, C
    assert set(altered) == set(partners)


def test_a_region_without_cuts_and_a_virtual_site_are_mapped():
    frame = _labelled(_cut(POSITIONS, _cutter(WATER, switch_from=4.0)))
    np.testing.assert_array_equal(frame.qm_atom_indices, WATER)
    assert not np.isin([22, 23, 24, 25], frame.mm_atom_indices).any()
    forces = forces_on_topology(frame, TOPOLOGY.n_sites)
    virtual = np.flatnonzero(TOPOLOGY.parents >= 0)
    assert np.abs(forces[np.intersect1d(virtual, frame.mm_atom_indices)]).max() > 0.0
    assert np.abs(forces[25]).max() == 0.0


def test_the_map_survives_files_storage_and_selection(tmp_path):
    cutter = _cutter(switch_from=3.2)
    frames = [
        _labelled(_cut(POSITIONS, cutter)),
        _labelled(_cut(POSITIONS, _cutter(WATER))),
        replace(
            _labelled(_cut(POSITIONS, cutter)),
            qm_atom_indices=None,
            mm_atom_indices=None,
            mm_residue_indices=None,
            switch_radii=None,
            topology="",
        ),
    ]
    write_frames(tmp_path / "all.h5", frames, {})
    write_frames(tmp_path / "some.h5", read_frames(tmp_path / "all.h5", [1, 0]), {})
    read = read_frames(tmp_path / "all.h5")
    pairs = [
        *zip(frames, read, strict=True),
        *zip(frames, (from_bytes(to_bytes(frame)) for frame in frames), strict=True),
        *zip([frames[1], frames[0]], read_frames(tmp_path / "some.h5"), strict=True),
    ]
    for sent, found in pairs:
        assert (found.topology, found.boundary) == (sent.topology, sent.boundary)
        for name in ("qm_atom_indices", "mm_atom_indices", "mm_residue_indices", "switch_radii"):
            expected = getattr(sent, name)
            if expected is None:
                assert getattr(found, name) is None
            else:
                np.testing.assert_array_equal(getattr(found, name), expected)
        if sent.topology:
            np.testing.assert_array_equal(
                forces_on_topology(found, TOPOLOGY.n_sites),
                forces_on_topology(sent, TOPOLOGY.n_sites),
            )
    with pytest.raises(ValueError, match="does not know which atoms of a topology"):
        forces_on_topology(read[2], TOPOLOGY.n_sites)


def test_a_file_in_which_no_frame_knows_its_atoms_has_no_such_arrays(tmp_path):
    import h5py

    frame = Frame(np.array([1]), np.zeros((1, 3)))
    write_frames(tmp_path / "plain.h5", [frame], {})
    with h5py.File(tmp_path / "plain.h5") as file:
        assert not {"topology", "qm_atom_indices", "mm_atom_indices", "switch_radii"} & set(file)
    assert read_frames(tmp_path / "plain.h5")[0].qm_atom_indices is None


def test_boundaries_of_older_files_are_read():
    text = _cut(POSITIONS, _cutter()).boundary.to_json()
    values = json.loads(text)
    for link in values["links"]:
        del link["m1_atom_index"], link["m1_residue_index"]
    boundary = Boundary.from_json(json.dumps(values))
    assert [link.m1_atom_index for link in boundary.links] == [-1, -1]
    assert Boundary.from_json(text).links[0].m1_atom_index == HOSTS[0]


def test_another_topology_is_noticed(tmp_path):
    right, wrong = tmp_path / "right.prmtop", tmp_path / "wrong.prmtop"
    right.write_text("a topology")
    wrong.write_text("another topology")
    frame = replace(_labelled(_cut(POSITIONS, _cutter())), topology=topology_name(right))
    n = TOPOLOGY.n_sites
    forces = forces_on_topology(frame, n, topology=right)
    np.testing.assert_array_equal(forces, forces_on_topology(frame, n))
    renamed = Path(right.rename(tmp_path / "renamed.prmtop"))
    np.testing.assert_array_equal(forces, forces_on_topology(frame, n, topology=renamed))
    with pytest.raises(ValueError, match=r"another topology \(right.prmtop\) than .*wrong.prmtop"):
        forces_on_topology(frame, n, topology=wrong)
    with pytest.raises(ValueError, match=r"\(right.prmtop\), which do not fit into 22"):
        forces_on_topology(frame, 22)


def test_fading_needs_the_potential_and_full_charges_at_the_cut():
    frame = _labelled(_cut(POSITIONS, _cutter(switch_from=3.2)))
    with pytest.raises(ValueError, match="their forces need mm_potential"):
        project_forces(replace(frame, mm_potential=None))
    with pytest.raises(
        CutError, match="switch_from is 2; expected at least 3 Å where bonds are cut"
    ):
        _cutter(switch_from=2.0)
    assert _cutter(WATER, switch_from=2.0).settings.switch_from == 2.0


def test_a_residue_counts_in_full_by_its_m1_which_is_no_row_of_the_frame():
    """ACE C is the M1; the rest of its residue, a methyl group at the other end, is far away."""
    host = np.isin(np.arange(22), [4, 18, 19, 20, 21])
    bonds = DIPEPTIDE.bonds[(host[DIPEPTIDE.bonds[:, 0]] == host[DIPEPTIDE.bonds[:, 1]])]
    bonds = np.concatenate([bonds, [[1, 4], [4, 5], [4, 6]]])
    topology = replace(DIPEPTIDE, residues=host.astype(int), bonds=bonds)
    region = find_region(topology, np.array(ACETYL_METHYL))
    settings = CutSettings("peptide", radius=12.0, switch_from=3.0, isolated=True)
    frame = SnapshotCutter(topology, region, settings)(Snapshot(0, POSITIONS[:22], None), "run")
    far = frame.mm_residue_indices == 1
    np.testing.assert_array_equal(frame.mm_atom_indices[far], [18, 19, 20, 21])
    np.testing.assert_array_equal(frame.mm_charges[far], DIPEPTIDE.charges[18:])
    labelled = _labelled(frame)
    constant = forces_on_topology(replace(labelled, switch_radii=None), 22)
    np.testing.assert_allclose(forces_on_topology(labelled, 22), constant, atol=1e-14)
