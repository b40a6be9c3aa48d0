"""Whole systems: an ML region in the classical rest of a simulation, for OpenMM and ASE."""
