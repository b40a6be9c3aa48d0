"""What labels call of GPU4PySCF is there: read in its sources, which can be without a GPU.

The sources are those that are installed, or in the wheel or folder that GPU4PYSCF_SOURCES names:

    pip download --no-deps gpu4pyscf-cuda12x==1.9.0 -d wheels
    GPU4PYSCF_SOURCES=$(echo wheels/*.whl) scripts/test tests/datagen/labels -k sources

The stand-in of the other tests is held to the same table.
"""

from __future__ import annotations

import ast
import os
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from gpu_kit import STAND_IN

Read = Callable[[str], str]

FUNCTIONS = {
    ("qmmm/itrf.py", "add_mm_charges"): "scf_method atoms_or_coords charges radii unit",
    ("qmmm/itrf.py", "QMMMSCF.undo_qmmm"): "self",
    ("qmmm/itrf.py", "QMMMGrad.grad_hcore_mm"): "self dm mol",
    ("qmmm/itrf.py", "QMMMGrad.grad_nuc_mm"): "self mol",
    ("gto/int3c1e.py", "int1e_grids"): (
        "mol grids charge_exponents dm charges direct_scf_tol intopt"
    ),
    ("scf/hf.py", "SCF.get_init_guess"): "self mol key",
    ("scf/hf.py", "SCF.make_rdm1"): "self mo_coeff mo_occ",
    ("scf/hf.py", "SCF.nuc_grad_method"): "self",
    ("scf/hf.py", "RHF.newton"): "self",
    ("scf/hf.py", "RHF.density_fit"): "self auxbasis with_df only_dfj",
    ("scf/soscf.py", "_CIAH_SOSCF.kernel"): "self mo_coeff mo_occ dm0",
}
"""File and name → its parameters."""

ONLY_THE_REAL_ONE = {
    ("scf/hf.py", "scf"): "mf dm0",
    ("scf/hf.py", "SCF.get_hcore"): "self mol",
    ("df/df_jk.py", "density_fit"): "mf auxbasis with_df only_dfj",
    ("df/df.py", "DF.__init__"): "self mol auxbasis",
    ("grad/rhf.py", "GradientsBase.kernel"): "self mo_energy mo_coeff mo_occ atmlst",
}
"""What the stand-in has from PySCF."""

NAMES = {
    "qmmm/itrf.py": "mm_charge",
    "scf/hf.py": "SCF.kernel",
}
"""File → a name that is assigned in it."""

ONLY_THE_REAL_ONES_NAMES = {
    "__init__.py": "__version__",
    "scf/hf.py": (
        "SCF.level_shift SCF.damp SCF.diis_space SCF.max_cycle SCF.conv_tol SCF.conv_tol_grad "
        "SCF.energy_nuc RHF.to_gpu"
    ),
    "scf/uhf.py": "UHF.energy_elec",
    "dft/rks.py": "RKS.to_gpu",
    "dft/uks.py": "UKS.to_gpu",
    "dft/gen_grid.py": "Grids.level",
    "grad/rks.py": "Gradients.grid_response",
    "grad/uks.py": "Gradients.grid_response",
    "df/grad/rhf.py": "Gradients.auxbasis_response",
    "df/grad/rks.py": "Gradients.auxbasis_response",
    "df/grad/uks.py": "Gradients.auxbasis_response",
}


@pytest.fixture(scope="module")
def installed() -> Read:
    """Text of a file of the real package."""
    named = os.environ.get("GPU4PYSCF_SOURCES")
    if named and Path(named).suffix == ".whl":
        return lambda file: zipfile.ZipFile(named).read(f"gpu4pyscf/{file}").decode()
    if named:
        return lambda file: (Path(named) / "gpu4pyscf" / file).read_text(encoding="utf-8")
    spec = find_spec("gpu4pyscf")  # imports nothing: that would need a GPU
    if spec is None or spec.origin is None:
        pytest.skip("GPU4PySCF is not installed, and GPU4PYSCF_SOURCES names no wheel")
    folder = Path(spec.origin).parent
    return lambda file: (folder / file).read_text(encoding="utf-8")


def of_stand_in(file: str) -> str:
    return (STAND_IN / "gpu4pyscf" / file).read_text(encoding="utf-8")


def found(text: str, name: str) -> ast.AST:
    """The function that a dotted name defines, or what assigns it."""
    *classes, last = name.split(".")
    body = ast.parse(text).body
    for step in classes:
        (body,) = [n.body for n in body if isinstance(n, ast.ClassDef) and n.name == step]
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == last:
            return node
        targets = node.targets if isinstance(node, ast.Assign) else []
        if last in [target.id for target in targets if isinstance(target, ast.Name)]:
            return node
        if isinstance(node, ast.ImportFrom) and last in [alias.name for alias in node.names]:
            return node
    raise AssertionError(f"there is no {name}")


def assert_fits(read: Read, functions: dict, names: dict) -> None:
    for (file, name), parameters in functions.items():
        node = found(read(file), name)
        assert isinstance(node, ast.FunctionDef), f"{file}: {name}"
        assert [each.arg for each in node.args.args] == parameters.split(), f"{file}: {name}"
    for file, listed in names.items():
        for name in listed.split():
            assert found(read(file), name), f"{file}: {name}"


def test_gpu4pyscf_has_what_labels_call(installed: Read) -> None:
    assert_fits(installed, {**FUNCTIONS, **ONLY_THE_REAL_ONE}, NAMES)
    assert_fits(installed, {}, ONLY_THE_REAL_ONES_NAMES)


def test_gpu4pyscf_is_as_it_was_when_the_order_of_wrappers_was_chosen(installed: Read) -> None:
    def words(file: str, name: str) -> str:
        return ast.unparse(found(installed(file), name))

    assert "isinstance(method, gpu4pyscf.scf.hf.SCF)" in words("qmmm/itrf.py", "qmmm_for_scf")
    assert "_e_nuc_ext" in words("qmmm/itrf.py", "QMMMSCF.energy_nuc")
    assert "charge_model == 'point'" in words("qmmm/itrf.py", "QMMMSCF.energy_nuc")
    assert "predefined_auxbasis" not in words("df/df_jk.py", "density_fit")
    assert "dm.ndim == 2" in words("gto/int3c1e.py", "get_int3c1e_density_contracted")
    for file in ("scf/hf.py", "scf/uhf.py", "dft/rks.py"):
        assert "scf_summary['e1'] = e1" in words(file, "energy_elec")
    assert "rks.energy_elec(" in words("dft/uks.py", "energy_elec")
    assert "scf_summary['nuc'] = nuc" in words("scf/hf.py", "energy_tot")
    settings = installed("__config__.py")
    assert "getDeviceCount()" in settings
    assert "set_limit(fraction=" in settings


def test_the_stand_in_of_the_other_tests_has_the_same_interface() -> None:
    assert_fits(of_stand_in, FUNCTIONS, NAMES)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def mm(scf, charges, radii): ...", "mm"),
        ("class mm: ...", "there is no mm"),
        ("mm = None", "mm"),
    ],
)
def test_another_interface_is_noticed(text: str, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        assert_fits(lambda _: text, {("x.py", "mm"): "scf charges"}, {})
