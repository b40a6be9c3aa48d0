"""Point charges around mean fields of the stand-in, with what the real one keeps and refuses."""

from __future__ import annotations

from pyscf import lib
from pyscf.qmmm import itrf, mm_mole

from gpu4pyscf.scf.hf import SCF


class _InCharges(itrf.QMMMSCF):
    """PySCF's; but the energy of nuclei and charges is kept when the charges change."""

    def energy_nuc(self):
        if getattr(self, "_e_nuc_ext", None) is None:
            self._e_nuc_ext = super().energy_nuc() - self.mol.energy_nuc()
        return self.mol.energy_nuc() + self._e_nuc_ext


def add_mm_charges(scf_method, atoms_or_coords, charges, radii=None, unit=None):
    unit = scf_method.mol.unit if unit is None else unit
    mm_mol = mm_mole.create_mm_mol(atoms_or_coords, charges, radii=radii, unit=unit)
    assert isinstance(scf_method, SCF), "it is to be on the GPU before it is in charges"
    assert mm_mol.charge_model == "point"
    if isinstance(scf_method, QMMMSCF):
        scf_method.mm_mol = mm_mol
        return scf_method
    host = _InCharges(scf_method.host, mm_mol)
    host = lib.set_class(host, (_InCharges, scf_method.host.__class__))
    return type("QMMM", (QMMMSCF, type(scf_method)), {})(host)


mm_charge = add_mm_charges


class QMMMSCF(SCF):
    """A mean field in charges."""

    def undo_qmmm(self):
        return type(self).__bases__[1](self.host.undo_qmmm())

    def Gradients(self):  # noqa: N802 - PySCF's name
        return QMMMGrad(super().Gradients())


class QMMMGrad:
    """PySCF's gradient, which answers with NumPy arrays here and on the GPU."""

    def __init__(self, host):
        object.__setattr__(self, "host", host)

    def __getattr__(self, name):
        return getattr(self.host, name)

    def __setattr__(self, name, value):
        setattr(self.host, name, value)

    def grad_hcore_mm(self, dm, mol=None):
        assert dm.ndim == 2, "the total density"
        return self.host.grad_hcore_mm(dm, mol)

    def grad_nuc_mm(self, mol=None):
        return self.host.grad_nuc_mm(mol)
