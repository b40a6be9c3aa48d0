"""Cut bonds: caps in their places, charges conserved, forces of real atoms exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from dipeptide_kit import (
    ACETYL_METHYL,
    BETA_METHYL,
    DIPEPTIDE,
    POSITIONS,
    SCHEMES,
    cut,
)

from datagen.campaigns.campaign import label_frames
from datagen.campaigns.storage import from_bytes, to_bytes
from datagen.labels.method import Method
from datagen.labels.single_point import label_frame
from eqmm_ase.cutting.link_atoms import BoundaryError
from eqmm_ase.data.boundary_forces import project_forces
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import read_frames, write_frames

CHEAP = Method(functional="hf", basis="sto-3g", density_fit=False, conv_tol=1e-12)
TWO_METHYLS = (*ACETYL_METHYL, *BETA_METHYL)  # their M1 atoms, ACE C and ALA CA, share an M2: N
CA, C, N, HA, CB = 8, 14, 6, 9, 10


@pytest.fixture(scope="module")
def bent() -> np.ndarray:
    """Positions without any symmetry."""
    return POSITIONS + np.random.default_rng(3).normal(0.0, 0.03, POSITIONS.shape)


def _real_forces(frame: Frame) -> np.ndarray:
    """Forces on the 22 atoms in the order of the topology."""
    real = project_forces(frame)
    qm = np.array(TWO_METHYLS)
    hosts = np.array([4, CA])  # in the order of the cut bonds
    rest = np.setdiff1d(np.arange(22), [*qm, *hosts])
    forces = np.zeros((22, 3))
    forces[qm], forces[hosts], forces[rest] = real.qm, real.m1, real.mm
    return forces


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "rule"), [*((scheme, "scaled") for scheme in SCHEMES), ("rcd", "fixed")]
)
def test_projected_forces_are_derivatives_by_the_real_positions(scheme, rule, bent):
    def labelled(positions: np.ndarray) -> Frame:
        frame = cut(TWO_METHYLS, positions, redistribution=scheme, cap_rule=rule)
        return label_frame(frame, CHEAP).frame

    forces = _real_forces(labelled(bent))
    direction = np.random.default_rng(5).normal(size=(22, 3))  # Q1, M1 and M2 move, and the others
    step = 2e-4 * direction
    slope = (labelled(bent + step).energy - labelled(bent - step).energy) / 4e-4
    assert -(forces * direction).sum() == pytest.approx(slope, abs=5e-5)


@pytest.mark.parametrize("rule", ["scaled", "fixed"])
def test_projection_keeps_net_force_and_torque_zero(rule, bent):
    """The caps' and the moved charges' own forces do not add up; the projected ones do."""
    labelled = label_frame(cut(TWO_METHYLS, bent, cap_rule=rule), CHEAP).frame
    centre = POSITIONS[list(TWO_METHYLS)].mean(axis=0)
    forces = _real_forces(labelled)
    assert np.abs(forces.sum(axis=0)).max() < 1e-6
    assert np.abs(np.cross(bent - centre, forces).sum(axis=0)).max() < 1e-5
    real = project_forces(labelled)
    assert np.abs(real.qm - labelled.qm_forces[real.qm_rows]).max() > 0.1


def test_caps_stand_on_the_cut_bonds():
    scaled, fixed = (cut(BETA_METHYL, cap_rule=rule) for rule in ("scaled", "fixed"))
    bond = POSITIONS[CA] - POSITIONS[CB]
    ratio = 1.09 / 1.52  # C–H of methane over twice the covalent radius of carbon
    for frame, length in ((scaled, ratio * np.linalg.norm(bond)), (fixed, 1.09)):
        np.testing.assert_array_equal(frame.atomic_numbers, [6, 1, 1, 1, 1])
        cap = frame.qm_positions[-1] - frame.qm_positions[0]
        assert np.linalg.norm(cap) == pytest.approx(length, rel=1e-12)
        assert cap @ bond == pytest.approx(length * np.linalg.norm(bond), rel=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_keep_the_net_charge_and_the_dipole_that_they_promise(scheme, bent):
    frame = cut(TWO_METHYLS, bent, redistribution=scheme)
    rest = np.setdiff1d(np.arange(22), TWO_METHYLS)
    centre = bent[list(TWO_METHYLS)].mean(axis=0)
    charge = frame.mm_charges.sum() - DIPEPTIDE.charges[rest].sum()
    dipole = frame.mm_charges @ frame.mm_positions
    dipole = dipole - DIPEPTIDE.charges[rest] @ (bent[rest] - centre)
    lost = DIPEPTIDE.charges[4] + DIPEPTIDE.charges[CA]
    assert charge == pytest.approx(-lost if scheme == "zero" else 0.0, abs=1e-12)
    assert (np.abs(dipole).max() < 1e-12) == (scheme in ("rcd", "shift-dipole"))


def test_redistribution_is_that_of_lin_and_truhlar():
    """Charges at midpoints are 2 q₀ and q₀ leaves M2; nothing else is touched."""
    frame = cut(BETA_METHYL)
    share = DIPEPTIDE.charges[CA] / 3
    middle = (POSITIONS[[N, HA, C]] + POSITIONS[CA]) / 2 - POSITIONS[list(BETA_METHYL)].mean(axis=0)
    order = np.argsort(frame.mm_positions[-3:, 0])
    np.testing.assert_allclose(frame.mm_charges[-3:], 2 * share, rtol=1e-12)
    np.testing.assert_allclose(
        frame.mm_positions[-3:][order], middle[np.argsort(middle[:, 0])], atol=1e-12
    )
    altered = frame.mm_charges[:-3] - frame.mm_charges_original[:-3]
    np.testing.assert_allclose(altered[altered != 0.0], [-share] * 3, rtol=1e-12)


def test_original_charges_are_those_of_the_force_field():
    frame = cut(TWO_METHYLS, redistribution="shift-dipole")
    rest = np.setdiff1d(np.arange(22), [*TWO_METHYLS, 4, CA])
    sites = [site.site for site in frame.boundary.sites]
    atoms = np.setdiff1d(np.arange(frame.n_mm), sites)
    np.testing.assert_array_equal(frame.mm_charges_original[atoms], DIPEPTIDE.charges[rest])
    np.testing.assert_array_equal(frame.mm_charges_original[sites], 0.0)
    charges = [link.m1_charge for link in frame.boundary.links]
    assert charges == DIPEPTIDE.charges[[4, CA]].tolist()


def test_a_frame_without_cut_bonds_has_its_forces_unchanged():
    frame = replace(cut(tuple(range(22))), qm_forces=np.ones((22, 3)), mm_forces=np.zeros((0, 3)))
    real = project_forces(frame)
    np.testing.assert_array_equal(real.qm, frame.qm_forces)
    assert real.m1.shape == real.mm.shape == (0, 3)
    assert frame.boundary is frame.mm_charges_original is None
    with pytest.raises(ValueError, match="label it first"):
        project_forces(replace(frame, qm_forces=None))


def test_the_boundary_survives_files_and_campaigns(tmp_path, bent):
    frames = [cut(TWO_METHYLS, bent), cut(tuple(range(22))), cut(BETA_METHYL, cap_rule="fixed")]
    write_frames(tmp_path / "frames.h5", frames, {})
    for sent, read in zip(frames, read_frames(tmp_path / "frames.h5"), strict=True):
        stored = from_bytes(to_bytes(sent))
        assert read.boundary == stored.boundary == sent.boundary
        for found in (read, stored):
            if sent.boundary is None:
                assert found.mm_charges_original is None or found.n_mm == 0
            else:
                np.testing.assert_array_equal(found.mm_charges_original, sent.mm_charges_original)


@pytest.mark.slow
def test_labels_of_a_campaign_can_be_projected(tmp_path):
    frames = [cut(BETA_METHYL), cut(ACETYL_METHYL, cap_rule="fixed")]
    summary = label_frames(frames, CHEAP, tmp_path / "campaign", output=tmp_path / "labels.h5")
    assert summary.done == 2
    for sent, labelled in zip(frames, read_frames(tmp_path / "labels.h5"), strict=True):
        assert labelled.boundary == sent.boundary
        for name in ("qm_atom_indices", "mm_atom_indices", "mm_residue_indices"):
            np.testing.assert_array_equal(getattr(labelled, name), getattr(sent, name))
        real = project_forces(labelled)
        assert np.abs(real.qm.sum(0) + real.mm.sum(0) + real.m1.sum(0)).max() < 1e-6


def test_an_atom_at_the_boundary_outside_the_radius_is_a_sentence():
    torn = POSITIONS.copy()
    torn[[14, 15]] += [60.0, 0.0, 0.0]
    residues = np.where(np.isin(np.arange(22), [14, 15]), 1, 0)
    with pytest.raises(BoundaryError, match="ALA 2 C, at a cut bond, is not within the radius"):
        cut(BETA_METHYL, torn, replace(DIPEPTIDE, residues=residues))


def test_neighbouring_cuts_are_refused_unless_the_charges_vanish():
    neighbours = (*BETA_METHYL, *ACETYL_METHYL, 4, 5)  # the M1 atoms CA and N are bonded
    with pytest.raises(BoundaryError, match="are neighbours and both at cut bonds"):
        cut(neighbours)
    frame = cut(neighbours, redistribution="zero")
    assert len(frame.boundary.links) == 2


def test_m1_without_neighbours_needs_the_scheme_zero():
    without = replace(DIPEPTIDE, bonds=np.array([[CB, CA]]))
    with pytest.raises(BoundaryError, match="no classical neighbour"):
        cut(BETA_METHYL, topology=without)
