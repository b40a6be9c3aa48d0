"""Reference labels: one calculation of a QM region in its charges, by PySCF."""
