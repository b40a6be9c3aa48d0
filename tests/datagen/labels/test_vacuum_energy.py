"""The energy without charges: the same method, the same state, and only when asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import water_in_charges

from datagen.campaigns.storage import frame_id, from_bytes, to_bytes
from datagen.errors import LabelCheckError, SCFNotConvergedError
from datagen.labels.accelerated.accelerated_pyscf import AcceleratedPySCF
from datagen.labels.method import Method
from datagen.labels.molecule import build_molecule
from datagen.labels.single_point import label_frame

QUICK = Method(functional="hf", basis="sto-3g", vacuum_energy=True)
CATION = {"total_charge": 1, "spin_multiplicity": 2}


@pytest.mark.slow
@pytest.mark.parametrize("state", [{}, CATION], ids=["rks", "uks"])
@pytest.mark.parametrize(
    "method",
    [
        Method(basis="6-31g", grid_level=0, dispersion="d3bj", vacuum_energy=True),
        replace(QUICK, density_fit=False),
    ],
    ids=["dft-df-d3", "hf"],
)
def test_vacuum_energy_is_that_of_the_same_molecule_labelled_alone(method, state):
    frame = replace(water_in_charges(), **state)
    label = label_frame(frame, method).frame
    alone = label_frame(frame.in_vacuum(), method).frame
    assert label.energy_vacuum == pytest.approx(alone.energy, abs=1e-7)
    assert alone.energy_vacuum == alone.energy
    assert from_bytes(to_bytes(label)).energy_vacuum == label.energy_vacuum
    # Taking the charges away from the embedded density leaves the energy of polarising it.
    undone = label.energy - frame.mm_charges @ label.mm_potential
    assert 0.0 < undone - label.energy_vacuum < 0.3


@pytest.mark.parametrize("method", [QUICK, Method(functional="pbe", basis="sto-3g", grid_level=0)])
def test_embedded_labels_do_not_change_when_the_vacuum_energy_is_asked_for(method):
    plain, both = (
        label_frame(water_in_charges(), replace(method, vacuum_energy=asked)).frame
        for asked in (False, True)
    )
    assert plain.energy_vacuum is None
    # The same SCF twice: with several threads sums are rounded otherwise each time.
    assert plain.energy == pytest.approx(both.energy, abs=1e-9)
    np.testing.assert_allclose(plain.qm_forces, both.qm_forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(plain.mm_forces, both.mm_forces, rtol=0, atol=1e-8)


class Excited(AcceleratedPySCF):
    """A backend that finds another state where there are no charges."""

    def without_charges(self, field, frame, method):
        doublet = replace(frame, total_charge=1, spin_multiplicity=2)
        return self.mean_field(build_molecule(doublet, method), doublet.in_vacuum(), method)


def test_vacuum_energy_of_another_state_is_no_label():
    with pytest.raises(LabelCheckError, match="belongs to another electronic state"):
        label_frame(water_in_charges(), QUICK, backend=Excited())


class Stuck(AcceleratedPySCF):
    """A backend that gives no density a chance where there are no charges."""

    def without_charges(self, field, frame, method):
        alone = super().without_charges(field, frame, method)
        alone.max_cycle = 1
        return alone


def test_failure_without_the_charges_says_so():
    with pytest.raises(SCFNotConvergedError, match="without the charges, the SCF"):
        label_frame(water_in_charges(), QUICK, backend=Stuck())


def test_asking_for_the_vacuum_energy_is_another_label_and_not_asking_is_the_old_one():
    frame, without = water_in_charges(), replace(QUICK, vacuum_energy=False)
    assert frame_id(frame, QUICK) != frame_id(frame, without)
    assert "vacuum_energy" not in without.settings()
