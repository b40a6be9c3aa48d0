"""Relaxation and dynamics of QM atoms in fixed charges."""
