"""What people read of a QM region before they wait for its labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_kit import NETWORK, few_charges

from datagen import cli as eqmm_datagen
from datagen.datasets.export import export
from eqmm_ase import cli as eqmm
from eqmm_ase.data.boundary import Boundary, LinkAtom
from eqmm_ase.data.frame import Frame
from eqmm_ase.data.region_description import describe_region, describe_regions
from eqmm_ase.files.dataset_file import write_frames
from eqmm_ase.network.committee import Committee
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.training.scales import fit_statistics
from eqmm_ase.uncertainty.domain import Domain

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


@pytest.fixture(scope="module")
def folder(methanol_file, tmp_path_factory):
    """Labels of methanol, the same as extended XYZ, and a committee that has learned nothing."""
    place = tmp_path_factory.mktemp("regions")
    frames = few_charges(methanol_file, 3)
    write_frames(place / "data.h5", frames, {"functional": "b3lyp", "basis": "6-31g*"})
    export(place / "data.h5", place / "data.xyz")
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(MultiscaleModel(NETWORK))
        members[-1].set_statistics(*fit_statistics(frames, NETWORK.l_expansion))
    save_model(
        place / "committee.eqmm", Committee(members), {"domain": Domain.of(frames).to_dict()}
    )
    return place


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "eqmm train data.h5 -o new.eqmm training.max_steps=1 model.channels=2",
        "eqmm evaluate committee.eqmm data.h5",
        "eqmm explore committee.eqmm data.h5 -o a.h5 --time 0.001 --trajectories 1 --force-limit 9",
        "eqmm md committee.eqmm data.h5:0 --steps 1",
        "eqmm optimize committee.eqmm data.h5:0 --steps 1",
        "eqmm-datagen import data.xyz -o imported.h5",
    ],
)
def test_commands_that_read_a_region_say_what_it_is(words, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    program, *arguments = words.split()
    with pytest.raises(SystemExit) as stopped:
        {"eqmm": eqmm, "eqmm-datagen": eqmm_datagen}[program].main(arguments)
    assert stopped.value.code in (0, 1)
    told = capsys.readouterr()
    assert "CH4O, total charge 0, singlet" in told.out + told.err
