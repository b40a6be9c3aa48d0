"""Charges that over-polarise: the limits stand where the energy begins to depend on the basis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyscf")

from label_kit import WATER

from datagen.campaigns.frame_warnings import warned_in_dataset
from datagen.cli import cli
from datagen.labels.method import Method
from datagen.labels.overpolarisation import EXCESS, contact_limit, contact_warnings
from eqmm_ase.command_line import run
from eqmm_ase.data.frame import Frame
from eqmm_ase.files.dataset_file import write_frames
from scripts.studies.overpolarisation import DONORS, excess

WATER_MODEL = 0.417  # e, hydrogen of TIP3P
DIFFUSE = Method(basis="def2-tzvpd", grid_level=1)


def near(element: int, charge: float, distance: float, total_charge: int = 0) -> Frame:
    """An atom with a charge beside it, and another charge far away."""
    return Frame(
        np.array([element]),
        np.zeros((1, 3)),
        np.array([[0.0, 0.0, 30.0], [distance, 0.0, 0.0]]),
        np.array([charge, charge]),
        total_charge=total_charge,
    )


@pytest.mark.slow
def test_at_the_limit_of_a_cation_the_polarisation_has_left_linear_response():
    chloride = DONORS["chloride"]()
    limit = contact_limit(17, 1.0, -1)
    assert excess(chloride, limit, 1.0, DIFFUSE) == pytest.approx(-EXCESS, abs=0.3)


@pytest.mark.slow
def test_a_hydrogen_bond_to_a_water_model_is_far_from_it():
    # The nearest of all contacts in chloride's labels is 1.64 Å.
    assert abs(excess(DONORS["chloride"](), 1.64, WATER_MODEL, DIFFUSE)) < 0.5 * EXCESS


@pytest.mark.parametrize(
    ("element", "distance", "total_charge"),
    [(7, 1.76, 0), (8, 1.65, 0), (16, 2.0, 0), (8, 1.55, -1), (17, 1.64, -1), (9, 1.5, -1)],
)
def test_ordinary_hydrogen_bonds_are_not_warned_of(element, distance, total_charge):
    for charge in (0.4, WATER_MODEL, 0.4238):  # TIP3P, SPC/E
        assert contact_warnings(near(element, charge, distance, total_charge)) == ()


@pytest.mark.parametrize(
    ("element", "charge", "distance", "total_charge"),
    [
        (8, 2.0, 2.1, 0),  # zinc or magnesium at a water
        (7, 1.0, 2.4, 0),  # sodium at an amine
        (17, 1.0, 2.75, -1),  # sodium at chloride
        (8, 1.0, 2.3, -1),  # sodium at a carboxylate
        (8, 0.8, 1.8, 0),
    ],
)
def test_ions_in_contact_are_warned_of(element, charge, distance, total_charge):
    (warning,) = contact_warnings(near(element, charge, distance, total_charge))
    assert warning.startswith(f"overpolarisation: a charge of {charge:+.3f} e (MM site 1) is ")
    assert f"{distance:.2f} Å from" in warning
    assert "(QM atom 0)" in warning


def test_larger_charges_and_softer_atoms_have_longer_limits():
    limits = [contact_limit(8, q, 0) for q in (0.417, 0.8, 1.0, 2.0)]
    assert limits == sorted(limits)
    assert contact_limit(8, 1.0, 0) < contact_limit(7, 1.0, 0) < contact_limit(17, 1.0, -1)
    assert contact_limit(8, 0.1, -1) < 0.0


def test_negative_charges_and_hydrogen_are_left_alone():
    assert contact_warnings(near(8, -2.0, 1.0)) == ()
    assert contact_warnings(near(1, 2.0, 1.0)) == ()
    assert contact_warnings(Frame(np.array([8]), np.zeros((1, 3)))) == ()


def test_the_worst_of_several_is_named_and_the_others_counted():
    frame = near(8, 1.0, 2.2)
    more = replace(
        frame,
        mm_positions=np.array([[0.0, 2.0, 0.0], [2.2, 0.0, 0.0], [0.0, 0.0, 2.3]]),
        mm_charges=np.array([1.0, 2.0, 0.1]),
    )
    (warning,) = contact_warnings(more)
    assert "+2.000 e (MM site 1)" in warning
    assert "1 more charges are too near" in warning


def test_status_lists_the_frames_of_a_dataset_that_carry_a_warning(tmp_path, capsys):
    water = Frame(np.array([8, 1, 1]), np.asarray(WATER), frame_id="far", source="water-0")
    site = WATER[0] + np.array([0.0, 0.0, 2.0])
    close = replace(
        water,
        mm_positions=site[None],
        mm_charges=np.array([2.0]),
        frame_id="c1cnc[nH]1",
        source="[/red]",
    )
    path = tmp_path / "labels[new].h5"
    write_frames(path, [water, close], {})
    assert run(cli, "eqmm-datagen", ["status", str(path), "--warnings"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == str(path)
    assert lines[1].startswith("frame 1 (c1cnc[nH]1, [/red]): overpolarisation: a charge of +2.000")
    assert lines[2] == "1 of 2 frames carry a warning"
    assert [frame.number for frame in warned_in_dataset(path)[0]] == [1]
    assert run(cli, "eqmm-datagen", ["status", str(path)]) == 2
    assert "lists frames with --warnings" in " ".join(capsys.readouterr().err.split())
