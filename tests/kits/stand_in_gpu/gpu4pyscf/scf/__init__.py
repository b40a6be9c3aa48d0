"""As in GPU4PySCF."""
