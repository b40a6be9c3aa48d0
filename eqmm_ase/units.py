"""Every unit factor of the project.

Inside EqMM: eV, Å, e, V. Other programs' units are converted where data enters or leaves,
with the factors of this module and nothing else, so that a label made today and a model run
tomorrow agree on what a Bohr is.

===================  =================================================
BOHR                 Å per Bohr
HARTREE              eV per Hartree
HARTREE_PER_BOHR     eV/Å per Hartree/Bohr
KJ_PER_MOL           eV per kJ/mol
KCAL_PER_MOL         eV per kcal/mol (thermochemical calorie)
NANOMETRE            Å per nm
COULOMB_CONSTANT     k_e, eV·Å/e²: energy of two unit charges 1 Å apart
AVOGADRO_CHARGE      N_A·e, C/mol: the Faraday constant
===================  =================================================

Multiply a value in the other unit by its factor to get EqMM's, divide to go back: an energy in eV
divided by ``KCAL_PER_MOL`` is in kcal/mol.

Source: CODATA 2018 recommended values (Tiesinga et al., Rev. Mod. Phys. 93, 025010 (2021)).
"""

BOHR = 0.529177210903
"""Å per Bohr."""

HARTREE = 27.211386245988
"""eV per Hartree."""

COULOMB_CONSTANT = HARTREE * BOHR
"""k_e in eV·Å/e²: the energy of two unit charges 1 Å apart."""

HARTREE_PER_BOHR = HARTREE / BOHR
"""eV/Å per Hartree/Bohr."""

AVOGADRO_CHARGE = 6.02214076e23 * 1.602176634e-19
"""N_A·e in C/mol (the Faraday constant): turns V into J/mol per unit charge."""

KJ_PER_MOL = 1.0e3 / AVOGADRO_CHARGE
"""eV per kJ/mol."""

KCAL_PER_MOL = 4.184 * KJ_PER_MOL
"""eV per kcal/mol (thermochemical calorie)."""

NANOMETRE = 10.0
"""Å per nm."""
