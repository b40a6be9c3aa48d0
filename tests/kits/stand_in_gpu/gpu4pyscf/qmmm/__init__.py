"""As in GPU4PySCF."""

from gpu4pyscf.qmmm.itrf import mm_charge as mm_charge
