"""As in GPU4PySCF; the host knows its functional, and that it is unrestricted."""

from gpu4pyscf.scf.hf import from_cpu as from_cpu
