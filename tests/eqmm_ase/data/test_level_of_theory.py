"""Labels of two levels of theory never meet in silence, however their levels are spelled."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console
from training_kit import NETWORK, few_charges

from eqmm_ase.data.level_of_theory import different_level, different_settings, level_of, spoken
from eqmm_ase.files.dataset_file import DatasetError, write_frames
from eqmm_ase.network.model import MultiscaleModel
from eqmm_ase.network.model_file import save_model
from eqmm_ase.training.config import TrainConfig, load_config
from eqmm_ase.training.data import TrainingData
from eqmm_ase.training.fine_tuning import Start
from eqmm_ase.training.train import say_notes

B3LYP = {"functional": "b3lyp", "basis": "6-31g*", "dispersion": None, "program": "pyscf"}

SAME = [
    [
        B3LYP,
        {"xc": "B3LYP", "basis": "6-31G(d)"},
        {"level": "B3LYP/6-31G*"},
        {"level": " b3lyp / 6-31g(d) "},
        {"functional": "B3-LYP", "basis_set": "6-31G(D)", "dispersion": "none", "solvent": None},
    ],
    [
        {"functional": "b3lyp", "basis": "6-31+g*", "dispersion": "d3bj"},
        {"level": "B3LYP-D3(BJ)/6-31+G(d)"},
        {"level": "B3LYP D3BJ/6-31+G*"},
        {"functional": "B3LYP-GD3BJ", "basis": "6-31+G*"},
        {"functional": "b3lyp", "basis": "6-31+g*", "disp": "D3-BJ"},
    ],
    [
        {"functional": "wb97x-d3bj", "basis": "def2-svp"},
        {"level": "ωB97X-D3(BJ)/def2-SVP"},
        {"functional": "wB97X-D3BJ", "basis": "def2_svp"},
    ],
    [{"level": "DLPNO-CCSD(T)/cc-pVTZ"}, {"level": "dlpno-ccsd(t)/CC-PVTZ"}],
    [{"level": "my own method"}, {"level": "My own  method"}],
    [{}, {"program": "orca"}, {"sampling": {"seed": 1}}],
]
OTHERS = [
    {"functional": "b3lyp", "basis": "6-31g"},
    {"functional": "b3lyp", "basis": "6-31g**"},
    {"functional": "b3lyp5", "basis": "6-31g*"},
    {"functional": "b3lyp", "basis": "6-31g*", "dispersion": "d3zero"},
    {"functional": "b3lyp", "basis": "6-31g*", "dispersion": "d4"},
    {"functional": "b3lyp", "basis": "6-31g*", "solvent": "water"},
    {"functional": "b3lyp", "basis": "6-31g*", "cart": True},
    {"functional": "b3lyp", "basis": "6-31g*", "ecp": "lanl2dz"},
    {"functional": "wb97x", "basis": "def2-svp", "dispersion": "d3bj"},
    {"functional": "pbe", "basis": "def2-tzvp(-f)"},
    {"functional": "pbe", "basis": "def2-tzvp(f)"},
    {"level": "CCSD(T)/cc-pVTZ"},
    {"level": "HF/STO-3G"},
    {"level": "B3LYP/G/6-31G*"},
]


@pytest.mark.parametrize("spellings", SAME, ids=lambda group: spoken(group[0]))
def test_spellings_of_one_level_are_the_same(spellings):
    for one in spellings:
        for other in spellings:
            assert different_level(one, other) == "", (one, other)


def test_different_levels_are_never_taken_for_the_same():
    groups = [group[0] for group in SAME] + OTHERS
    for i, one in enumerate(groups):
        for other in groups[:i]:
            assert different_level(one, other), (one, other)
            assert different_level(other, one), (other, one)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ({**B3LYP, "basis": "sto-3g"}, "basis 'sto-3g' and not '6-31g*'"),
        ({"level": "HF/STO-3G"}, "HF/STO-3G and not b3lyp/6-31g*"),
        ({}, "an unnamed method and not b3lyp/6-31g*"),
        ({**B3LYP, "program": "orca"}, "program 'orca' and not 'pyscf'"),
        ({**B3LYP, "spherical": False}, "cartesian True and not None"),
        ({**B3LYP, "dispersion": "d4"}, "dispersion 'd4' and not None"),
    ],
)
def test_the_difference_is_said(method, sentence):
    assert different_level(method, B3LYP) == sentence


def test_a_text_for_a_level_is_read_where_it_is_one_functional_and_one_basis():
    assert level_of({"level": "B3LYP-D3(BJ)/6-31G(d,p)"}) == {
        "functional": "b3lyp",
        "dispersion": "d3bj",
        "basis": "631g**",
    }
    assert level_of({"level": "B3LYP/6-31G* // HF"}) == {"level": "b3lyp/6-31g* // hf"}


def test_settings_that_are_no_level_are_named_and_one_sided_ones_are_not():
    other = {**B3LYP, "grid_level": 5, "conv_tol": 1e-8, "charges": ["mbis"], "note": "x"}
    mine = {**B3LYP, "grid_level": 3, "charges": ["lowdin"], "note": "y"}
    assert different_settings(mine, other) == "grid_level 3 and 5, note 'y' and 'x'"
    assert different_settings(mine, mine) == ""


@pytest.fixture(scope="module")
def frames(methanol_file):
    return few_charges(methanol_file, 6)


def load(paths, *settings):
    return TrainingData.load(paths, load_config(None, settings) if settings else TrainConfig())


def write(path, frames, method):
    write_frames(path, frames, method)
    return path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"level": "HF/STO-3G"}, {"level": "B3LYP/6-31G*"}),
        ({"level": "HF/STO-3G"}, B3LYP),
        (B3LYP, {}),
        ({}, B3LYP),
        (B3LYP, {**B3LYP, "program": "orca"}),
    ],
)
def test_a_training_refuses_two_levels_in_its_files_and_in_its_validation(
    one, other, frames, tmp_path
):
    first = write(tmp_path / "a.h5", frames[:3], one)
    second = write(tmp_path / "b.h5", frames[3:], other)
    for arguments in ([[first, second]], [[first], f"data.validation={second}"]):
        with pytest.raises(DatasetError, match=r"b\.h5 was labelled with .* as .*a\.h5; one model"):
            load(*arguments)


def test_two_programs_are_noticed_behind_a_file_that_names_none(frames, tmp_path):
    paths = [
        write(tmp_path / f"{name}.h5", frames[i : i + 2], method)
        for i, (name, method) in enumerate(
            [("a", {"level": "B3LYP/6-31G*"}), ("b", B3LYP), ("c", {**B3LYP, "program": "orca"})]
        )
    ]
    load(paths[:2])
    load(paths[::2])
    with pytest.raises(DatasetError, match=r"c\.h5 was labelled with program 'orca' .*b\.h5"):
        load(paths)


def test_one_level_in_two_spellings_is_one_training_set_and_other_settings_are_told(
    frames, tmp_path
):
    first = write(tmp_path / "a.h5", frames[:3], {**B3LYP, "grid_level": 3})
    second = write(tmp_path / "b.h5", frames[3:], {"level": "B3LYP/6-31G(d)"})
    finer = write(tmp_path / "c.h5", frames[3:], {**B3LYP, "grid_level": 5})
    assert load([first, second]).notes == ()
    (note,) = load([first, finer]).notes
    assert "c.h5" in note
    assert "grid_level 5 and 3" in note


def test_a_file_without_labels_is_no_training_file_beside_others(frames, tmp_path):
    bare = [
        replace(f, energy=None, qm_forces=None, mm_forces=None, mm_potential=None) for f in frames
    ]
    bare = [replace(f, charges={}, dipole=None) for f in bare]
    first = write(tmp_path / "a.h5", frames, B3LYP)
    second = write(tmp_path / "b.h5", bare, {})
    with pytest.raises(DatasetError, match=r"b\.h5 has no labels; label its frames first"):
        load([first, second])


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"method": {"level": "B3LYP/6-31G*"}}, ""),
        (
            {"method": {"functional": "pbe0", "basis": "6-31g*"}},
            "functional 'pbe0' and not 'b3lyp'",
        ),
        ({}, "an unnamed method and not b3lyp/6-31g*"),
    ],
)
def test_a_training_that_starts_from_another_level_says_so(card, said, frames, tmp_path):
    save_model(tmp_path / "start.eqmm", MultiscaleModel(NETWORK), card)
    data = load([write(tmp_path / "a.h5", frames, B3LYP)], "data.validation_fraction=0")
    output = io.StringIO()
    say_notes(Console(file=output), data, Start.of_members(tmp_path / "start.eqmm")[0])
    text = output.getvalue()
    assert ("starts from a model of another level of theory" in text) == bool(said)
    assert said in text


def test_the_baseline_of_a_model_of_differences_is_a_part_of_its_level(frames, tmp_path):
    cheap, other = {"functional": "hf", "basis": "sto-3g"}, {"level": "HF/3-21G"}
    start = Start(tmp_path, MultiscaleModel(NETWORK), {"method": B3LYP, "baseline": cheap}, "")
    assert start.other_level(B3LYP, {"level": "HF/STO-3G"}) == ""
    assert "the baseline hf/sto-3g, of hf/sto-3g and not HF/3-21G" in start.other_level(
        B3LYP, other
    )
