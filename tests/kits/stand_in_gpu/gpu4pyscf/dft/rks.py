"""As in GPU4PySCF; the host knows its functional."""

from gpu4pyscf.scf.hf import from_cpu as from_cpu
