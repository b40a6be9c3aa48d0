"""The ASE calculator of QM atoms in MM charges."""
