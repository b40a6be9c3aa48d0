"""What people read of a QM region before they wait for its labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from eqmm_ase.boundary import Boundary, LinkAtom
from eqmm_ase.frame import Frame
from eqmm_ase.region_description import describe_region, describe_regions

METHANOL = Frame(np.array([6, 8, 1, 1, 1, 1]), np.zeros((6, 3)))


@pytest.mark.parametrize(
    ("numbers", "charge", "multiplicity", "text"),
    [
        ([1, 8, 6, 1, 1, 1], 0, 1, "CH4O, total charge 0, singlet"),
        ([17, 6, 1, 1, 1, 17], -1, 1, "CH3Cl2, total charge -1, singlet"),
        ([8, 1, 1], 1, 2, "H2O, total charge +1, doublet"),
        ([26], 2, 5, "Fe, total charge +2, quintet"),
        ([64], 3, 8, "Gd, total charge +3, multiplicity 8"),
        ([3, 7, 2, 2, 2, 2], 0, 1, "He4LiN, total charge 0, singlet"),
    ],
)
def test_a_region_is_a_formula_a_charge_and_a_spin(numbers, charge, multiplicity, text):
    frame = Frame(np.array(numbers), np.zeros((len(numbers), 3)), total_charge=charge)
    assert describe_region(replace(frame, spin_multiplicity=multiplicity)) == text


def test_link_atoms_are_not_part_of_the_formula():
    link = LinkAtom(5, 0, "scaled", 0.7, (0.0, 0.0, 1.5), 0.0)
    capped = replace(METHANOL, boundary=Boundary("rcd", (link,), ()))
    assert describe_region(capped) == "CH3O and 1 link atom, total charge 0, singlet"
    second = replace(link, cap=4)
    capped = replace(METHANOL, boundary=Boundary("rcd", (link, second), ()))
    assert describe_region(capped).startswith("CH2O and 2 link atoms")


def test_different_regions_are_counted():
    water = Frame(np.array([8, 1, 1]), np.zeros((3, 3)))
    assert describe_regions([water, METHANOL, water]) == (
        "H2O, total charge 0, singlet (2); CH4O, total charge 0, singlet (1)"
    )
    assert describe_regions([water, water]) == "H2O, total charge 0, singlet"
    ions = [Frame(np.array([z]), np.zeros((1, 3))) for z in range(1, 9)]
    assert describe_regions(ions).endswith("; 3 others")
    assert describe_regions([]) == ""
